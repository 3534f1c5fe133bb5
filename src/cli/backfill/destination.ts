/** Where a run writes to and what it leaves there for the next one. */
import { rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { diskProblem, exists } from '../terminal/disk.ts';
import { CliError, EXIT, UsageError } from '../terminal/exit.ts';
import { takeLock } from '../terminal/lock.ts';
import { moveInto, PartialFile, StandardOutput, type Output } from './output.ts';
import { StateFile, type BackfillState } from './state.ts';

export interface Destination {
  /** As the user gave it. */
  name: string;
  /** Whether a later run can go on with what this one leaves. */
  resumable: boolean;
  /** Whether the finished output is there. */
  exists: () => Promise<boolean>;
  /** What an earlier run has left. @throws UsageError when it is not to be understood */
  load: () => Promise<BackfillState | undefined>;
  save: (state: BackfillState) => Promise<void>;
  /** Removes what earlier runs have left. */
  discard: () => Promise<void>;
  /** The rows so far, to be added to. */
  openOutput: () => Promise<Output>;
  /** Makes the rows the finished output; may be called again after a crash in the middle of it. */
  finish: (
    state: BackfillState | undefined,
    finished: { rows: number; failed: number },
    output?: Output,
  ) => Promise<void>;
  /** Lets other processes in. */
  release: () => void;
}

/**
 * @param out path of a file, or `-`
 * @throws UsageError when nothing can be written there, or another process does
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
      // From here on nothing is missing but the renaming.
      if (state) await file.write({ ...state, finished });
      await output?.close();
      if (await exists(partial)) await moveInto(partial, out);
      await file.remove();
    },
    release,
  };
}

/** Its name, for messages. */
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
    // Also the first file to be made in the folder: whether that can be done, only trying tells.
    if (error instanceof UsageError) throw new UsageError(`--out ${out}: ${error.message}`, error.hints);
    const problem = diskProblem(error);
    if (problem?.exitCode === EXIT.temporary) throw new CliError(EXIT.temporary, `${out}: ${problem.reason}`);
    throw new UsageError(`--out ${out} cannot be written: ${(error as Error).message}`);
  }
}
