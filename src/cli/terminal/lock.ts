/**
 * Lock file of an output, so that only one process writes to it. The file names its owner, so that the lock of a killed process
 * can be told from a held one. (A listening socket, as the launcher's, would leave nothing behind, but other containers and
 * machines that share the folder would not see it.)
 */
import { randomBytes } from 'node:crypto';
import { linkSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import nodePath from 'node:path';
import { UsageError } from './exit.ts';

interface Owner {
  pid: number;
  host: string;
  /** Start time of the process as the system counts it; differs for a later process with the same number. */
  began: string;
}

/**
 * Takes the lock `path`; the returned function releases it.
 * @param command name of the command that may hold it, for the message
 * @throws UsageError when another process holds it
 */
export function takeLock(path: string, command = 'amulet backfill'): () => void {
  const unique = `${path}.${randomBytes(4).toString('hex')}`;
  const mine = JSON.stringify({
    pid: process.pid,
    host: hostname(),
    began: startTimeOf(process.pid),
  } satisfies Owner);
  try {
    // Written first, then linked: the lock never exists without its owner in it.
    writeFileSync(unique, mine, { flag: 'wx' });
    while (!link(unique, path)) removeStale(path, `${unique}.stale`, command);
    removeLeftovers(path);
  } finally {
    rmSync(unique, { force: true });
  }
  return () => {
    if (read(path) === mine) rmSync(path, { force: true });
  };
}

/** Whether the lock was free. */
function link(from: string, path: string): boolean {
  try {
    linkSync(from, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** Removes the lock of a dead process. @throws UsageError when its owner is alive */
function removeStale(path: string, aside: string, command: string): void {
  const owner = read(path);
  if (owner === undefined) return;
  refuseIfHeld(path, owner, command);
  // Renamed, not removed: if another process was faster, this is its new lock, and is put back.
  try {
    renameSync(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  const moved = read(aside);
  if (moved !== owner) link(aside, path);
  rmSync(aside, { force: true });
  if (moved !== undefined && moved !== owner) refuseIfHeld(path, moved, command);
}

/**
 * Removes files of processes that were killed while they took the lock. A running process still needs its files. A file that
 * cannot be removed, perhaps another user's, does no harm.
 */
function removeLeftovers(path: string): void {
  const folder = nodePath.dirname(path);
  const begin = `${nodePath.basename(path)}.`;
  try {
    for (const name of readdirSync(folder)) {
      if (!name.startsWith(begin) || !/^[0-9a-f]{8}$/.test(name.slice(begin.length))) continue;
      const unique = nodePath.join(folder, name);
      const text = read(unique) ?? '';
      const pid = ownerOf(text)?.pid;
      if (pid === undefined || pid === process.pid || holderOf(text) !== undefined) continue;
      rmSync(`${unique}.stale`, { force: true });
      rmSync(unique, { force: true });
    }
  } catch {
    // A later run tries again.
  }
}

function refuseIfHeld(path: string, text: string, command: string): void {
  const holder = holderOf(text);
  if (holder === undefined) return;
  throw new UsageError(`another ${command} (process ${holder}) is writing there`, [
    `If that process has ended, remove ${path}`,
  ]);
}

/** Undefined when a crash of the machine cut the file off. */
function ownerOf(text: string): Partial<Owner> | undefined {
  try {
    return JSON.parse(text) as Partial<Owner>;
  } catch {
    return undefined;
  }
}

/** The other process that a lock names, if it is still running. */
function holderOf(text: string): string | undefined {
  const owner = ownerOf(text);
  if (owner === undefined) return undefined;
  const { pid = 0, host = '', began = '' } = owner;
  if (host !== hostname()) return `${pid} on ${host}`;
  return pid === process.pid || !lives(pid) || startTimeOf(pid) !== began ? undefined : String(pid);
}

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Empty on systems without /proc: process numbers alone must do there. */
export function startTimeOf(pid: number): string {
  // Field 22; field 2, the name in parentheses, may have spaces.
  const stat = read(`/proc/${pid}/stat`);
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
