/** The output of a run, and the files beside it that a later run resumes from. */
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { diskProblem, exists } from '../../terminal/disk.ts';
import { CliError, EXIT, UsageError } from '../../terminal/exit.ts';
import { takeLock } from '../../terminal/lock.ts';
import { PartialFile, StandardOutput, type Output } from './output.ts';
import { protocolOf, withoutSecrets } from '../remote/addresses.ts';
import type { RemoteOptions } from '../remote/remote-file.ts';
import { throwMissingPackage } from '../remote/s3-address.ts';
import { workingPath } from '../remote/working-path.ts';
import { toError } from '../../../shared/runtime/to-error.ts';
import { StateFile, type BackfillState } from '../state.ts';
import { fileTarget, writeToStandardOutput, type Target } from './target.ts';

/** Makes the bytes of the finished output. @param rows whole lines of the results, from the first one on each time it is called */
export type Conversion = (rows: () => AsyncIterable<Buffer>) => AsyncIterable<Uint8Array>;

export interface Finish {
  /** Undefined for an input without records. */
  state: BackfillState | undefined;
  finished: NonNullable<BackfillState['finished']>;
  /** Undefined: the finished output is the rows themselves. */
  convert: Conversion | undefined;
  /** Replace an output that has appeared meanwhile; a file is replaced anyway. */
  replace?: boolean;
}

export interface Destination {
  /** As given by the user. */
  name: string;
  /** Whether a later run can resume this one. */
  resumable: boolean;
  /** Whether the finished output exists. */
  exists: () => Promise<boolean>;
  /** Reads the state of an earlier run. @throws UsageError for a file of another format */
  load: () => Promise<BackfillState | undefined>;
  save: (state: BackfillState) => Promise<void>;
  /** Removes the files of earlier runs. */
  discard: () => Promise<void>;
  /** Opens the rows so far, to append to them. */
  openOutput: () => Promise<Output>;
  /** Whether there are rows of an earlier run. */
  hasRows: () => Promise<boolean>;
  /** Turns the rows into the finished output; may be called again after a crash halfway. */
  finish: (finish: Finish, output: Output | undefined) => Promise<void>;
  /** Releases the lock. */
  release: () => Promise<void>;
}

/**
 * @param out path of a file, or `-`
 * @param converted the output is made of the rows at the end
 * @param remote how to write to an address
 * @throws UsageError when the path cannot be written to, or another process is writing there
 */
export async function openDestination(
  out: string,
  converted = false,
  remote: RemoteOptions = { signal: new AbortController().signal, retryTimeoutMs: 0 },
): Promise<Destination> {
  if (out === '-') return converted ? convertedStandardOutput() : standardOutput();
  const protocol = protocolOf(out);
  if (protocol === 'http')
    throw new UsageError(
      `--out ${withoutSecrets(out)}: the output is a file, or an object of S3 (s3://bucket/key)`,
    );
  if (protocol === 's3') {
    const working = workingPath(out);
    const { openS3Target } = await import('../remote/s3-target.ts').catch(throwMissingPackage);
    return resumableDestination(await openS3Target(out, working, remote), working);
  }
  await check(out);
  return resumableDestination(fileTarget(out), out);
}

/** An earlier output that is replaced at the end; the files of the run stand beside it: OUT.retry.partial, … */
export async function openRetryDestination(out: string): Promise<Destination> {
  await check(out);
  const destination = resumableDestination(fileTarget(out), `${out}.retry`);
  return { ...destination, exists: () => Promise.resolve(false) };
}

/** @param working path that the names of the files of an unfinished run begin with */
function resumableDestination(target: Target, working: string): Destination {
  const unlock = lock(working);
  const partial = `${working}.partial`;
  const file = new StateFile(`${working}.resume.json`);
  return {
    name: target.name,
    resumable: true,
    exists: () => target.exists(),
    load: () => file.read(),
    save: (state) => file.write(state),
    discard: async () => {
      await rm(partial, { force: true });
      await target.discard();
      await file.remove();
    },
    openOutput: () => PartialFile.open(partial),
    hasRows: () => exists(partial),
    finish: async ({ state, finished, convert, replace = false }, output) => {
      if (output instanceof PartialFile) await output.sync();
      // From here on only the finished output may be missing.
      if (state) await file.write({ ...state, finished });
      if (output instanceof PartialFile && convert) {
        await target.put(
          convert(() => output.read()),
          replace,
        );
        await output.close();
        await rm(partial, { force: true });
      } else if (output) {
        await output.close();
        await target.take(partial, replace);
      }
      await file.remove();
      await target.settled();
    },
    release: () => {
      unlock();
      return Promise.resolve();
    },
  };
}

/** Name of standard output in messages. */
export const STANDARD_OUTPUT = 'standard output';

const nothing = () => Promise.resolve();

/** Rows as they arrive. */
function standardOutput(): Destination {
  return {
    name: STANDARD_OUTPUT,
    resumable: false,
    exists: () => Promise.resolve(false),
    load: () => Promise.resolve(undefined),
    save: nothing,
    discard: nothing,
    openOutput: () => Promise.resolve(new StandardOutput()),
    hasRows: () => Promise.resolve(false),
    finish: nothing,
    release: nothing,
  };
}

/** An output that needs all rows first: they wait in a temporary file. */
function convertedStandardOutput(): Destination {
  let folder: string | undefined;
  return {
    ...standardOutput(),
    openOutput: async () => {
      folder = await mkdtemp(path.join(tmpdir(), 'amulet-'));
      return PartialFile.open(path.join(folder, 'rows'));
    },
    finish: async ({ convert }, output) => {
      if (!(output instanceof PartialFile) || !convert) return;
      for await (const piece of convert(() => output.read())) await writeToStandardOutput(piece);
    },
    release: async () => {
      if (folder !== undefined) await rm(folder, { recursive: true, force: true });
    },
  };
}

async function check(out: string): Promise<void> {
  const folder = path.dirname(out);
  const stats = await stat(out).catch(() => undefined);
  if (stats?.isDirectory() === true) throw new UsageError(`--out ${out} is a folder`);
  if (stats && !stats.isFile())
    throw new UsageError(`--out ${out} is not a regular file; use --out - for standard output`);
  if ((await stat(folder).catch(() => undefined))?.isDirectory() !== true) {
    throw new UsageError(`--out ${out}: the folder ${folder} does not exist`);
  }
}

function lock(out: string): () => void {
  try {
    return takeLock(`${out}.lock`);
  } catch (error) {
    // The lock is the first file made in the folder, so this also finds out whether the folder is writable.
    if (error instanceof UsageError) throw new UsageError(`--out ${out}: ${error.message}`, error.hints);
    const problem = diskProblem(error);
    if (problem?.exitCode === EXIT.temporary) throw new CliError(EXIT.temporary, `${out}: ${problem.reason}`);
    throw new UsageError(`--out ${out} cannot be written: ${problem?.reason ?? toError(error).message}`);
  }
}
