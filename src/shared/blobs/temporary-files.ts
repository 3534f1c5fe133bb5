/**
 * Temporary files of blobs that are being written. The name of a file identifies its writer, so that on the same machine a file
 * of a killed process is recognised at once, and no process removes a file that another one still writes.
 */
import { createHash, randomUUID } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { readdir, stat, unlink } from 'node:fs/promises';
import { hostname } from 'node:os';
import path from 'node:path';

/** How often a writer that waits for its source updates the time of its file, to show that it is alive. */
export const TOUCH_MS = 60_000;
/** Age at which a file counts as abandoned when its writer cannot be checked (another machine, or before a reboot). */
const STALE_MS = 3_600_000;
/** The same for a file whose name has no writer: earlier versions did not update the time. */
const STALE_NAMELESS_MS = 24 * 3_600_000;

const NAME = /^([0-9a-f]{12})\.(\d+)\.(\d*)\.[0-9a-f-]{36}$/;

/** Identifies the machine since its boot, and the processes on it that see each other (pid namespace). */
const machine = createHash('sha256')
  .update(
    [hostname(), read('/proc/sys/kernel/random/boot_id'), read('/proc/self/ns/pid', readlinkSync)].join('\n'),
  )
  .digest('hex')
  .slice(0, 12);
const self = `${machine}.${process.pid}.${startTime(process.pid)}`;

const FOLDER = '~tmp';

/** Folder for temporary files of the store in `root`. */
export function temporaryFolder(root: string): string {
  return path.join(root, FOLDER);
}

/** A new name for a temporary file of this process. */
export const temporaryName = (): string => `${self}.${randomUUID()}`;

/**
 * Removes abandoned files.
 * @param olderThanMs age at which a file counts as abandoned when its writer cannot be checked; by default an hour (a day when
 *   the name has no writer)
 * @returns how many were removed
 * @throws the system's error
 */
export async function sweepTemporary(folder: string, olderThanMs?: number): Promise<number> {
  let count = 0;
  for (const name of await readdir(folder)) {
    const file = path.join(folder, name);
    const mtimeMs = await stat(file).then(
      (stats) => stats.mtimeMs,
      // Its writer may remove it at the same moment.
      ignoreMissing,
    );
    if (mtimeMs === undefined || !isLeftover(name, Date.now() - mtimeMs, olderThanMs)) continue;
    await unlink(file).catch(ignoreMissing);
    count++;
  }
  return count;
}

function isLeftover(name: string, ageMs: number, olderThanMs: number | undefined): boolean {
  const [, where, pid, started] = NAME.exec(name) ?? [];
  if (where === machine) return !isAlive(Number(pid), started ?? '');
  return ageMs >= (olderThanMs ?? (where === undefined ? STALE_NAMELESS_MS : STALE_MS));
}

/** Whether the process still exists, and is not another one that has its pid by now. */
function isAlive(pid: number, started: string): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: the process exists, but belongs to another user.
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  const now = startTime(pid);
  return now === '' || started === '' || now === started;
}

/** Start time in ticks since boot; '' where the system does not tell. */
function startTime(pid: number): string {
  // The name of the program, in brackets, may have spaces and brackets.
  return read(`/proc/${pid}/stat`).split(') ').at(-1)?.split(' ')[19] ?? '';
}

/** What `look` reads of a file; '' where that fails. */
function read(file: string, look: (file: string) => string = (name) => readFileSync(name, 'utf8').trim()) {
  try {
    return look(file);
  } catch {
    return '';
  }
}

function ignoreMissing(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
}
