/** The output of a run, and the files beside it that a later run resumes from. */
import { rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { diskProblem, exists } from '../terminal/disk.ts';
import { CliError, EXIT, UsageError } from '../terminal/exit.ts';
import { takeLock } from '../terminal/lock.ts';
import { moveInto, PartialFile, StandardOutput, type Output } from './output.ts';
import { toError } from '../../shared/runtime/to-error.ts';
import { StateFile, type BackfillState } from './state.ts';

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
  /** Turns the rows into the finished output; may be called again after a crash halfway. */
  finish: (
    state: BackfillState | undefined,
    finished: { rows: number; failed: number },
    output?: Output,
  ) => Promise<void>;
  /** Releases the lock. */
  release: () => void;
}

/**
 * @param out path of a file, or `-`
 * @throws UsageError when the path cannot be written to, or another process is writing there
 */
export async function openDestination(out: string): Promise<Destination> {
  if (out === '-') return standardOutput();
  await check(out);
  const release = lock(out);
  const partial = `${out}.partial`;
  const file = new StateFile(`${out}.resume.json`);
  return {
    name: out,
    resumable: true,
    exists: () => exists(out),
    load: () => file.read(),
    save: (state) => file.write(state),
    discard: async () => {
      await rm(partial, { force: true });
      await file.remove();
    },
    openOutput: () => PartialFile.open(partial),
    finish: async (state, finished, output) => {
      if (output instanceof PartialFile) await output.sync();
      // From here on only the renaming is missing.
      if (state) await file.write({ ...state, finished });
      await output?.close();
      if (await exists(partial)) await moveInto(partial, out);
      await file.remove();
    },
    release,
  };
}

/** Name of standard output in messages. */
export const STANDARD_OUTPUT = 'standard output';

function standardOutput(): Destination {
  const nothing = () => Promise.resolve();
  return {
    name: STANDARD_OUTPUT,
    resumable: false,
    exists: () => Promise.resolve(false),
    load: () => Promise.resolve(undefined),
    save: nothing,
    discard: nothing,
    openOutput: () => Promise.resolve(new StandardOutput()),
    finish: nothing,
    release: () => {},
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
