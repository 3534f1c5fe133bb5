/**
 * Temporary files of blobs that are being written. Their names say who writes them, so that what a killed process has left
 * is known at once, on its own machine at least, and no process takes away what another one still writes.
 */
import { createHash, randomUUID } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { readdir, stat, unlink } from 'node:fs/promises';
import { hostname } from 'node:os';
import path from 'node:path';

/** How often a writer that waits for its source shows that it is alive, by the time of its file. */
export const TOUCH_MS = 60_000;
/** Age at which the file of a writer that cannot be looked at, being on another machine or before a restart, is a leftover. */
const STALE_MS = 3_600_000;
/** The same for a file that does not say who writes it: earlier versions did not touch theirs. */
const STALE_NAMELESS_MS = 24 * 3_600_000;

const NAME = /^([0-9a-f]{12})\.(\d+)\.(\d*)\.[0-9a-f-]{36}$/;

/** This machine since it was started, and in it the processes that see each other. */
const machine = createHash('sha256')
  .update([hostname(), read('/proc/sys/kernel/random/boot_id'), readLink('/proc/self/ns/pid')].join('\n'))
  .digest('hex')
  .slice(0, 12);
const self = `${machine}.${process.pid}.${startTime(process.pid)}`;

const FOLDER = '~tmp';

/** Where writers of a store in `root` have their temporary files. */
export function temporaryFolder(root: string): string {
  return path.join(root, FOLDER);
}

/** A new name. */
export const temporaryName = (): string => `${self}.${randomUUID()}`;

/**
 * Removes what nobody writes any more.
 * @param olderThanMs age of a leftover whose writer cannot be looked at; by default an hour (a day for nameless ones)
 * @returns how many were removed
 * @throws the system's error
 */
export async function sweepTemporary(folder: string, olderThanMs?: number): Promise<number> {
  let count = 0;
  for (const name of await readdir(folder)) {
    const file = path.join(folder, name);
    const mtimeMs = await stat(file).then(
      (stats) => stats.mtimeMs,
      // A writer that ends just now takes it away itself.
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

/** Whether the process is there, and not another one that has its number by now. */
function isAlive(pid: number, started: string): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // Of another user.
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  const now = startTime(pid);
  return now === '' || started === '' || now === started;
}

/** In ticks since the machine was started; '' where the system does not say. */
function startTime(pid: number): string {
  // The name of the program, in brackets, may have spaces and brackets.
  return read(`/proc/${pid}/stat`).split(') ').at(-1)?.split(' ')[19] ?? '';
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return '';
  }
}

function readLink(file: string): string {
  try {
    return readlinkSync(file);
  } catch {
    return '';
  }
}

function ignoreMissing(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
}
