/**
 * One process at an output at a time. The lock is a file that says who holds it, so that a lock which a killed process left
 * behind is told from one that is held. (A listening socket, as the launcher's, would leave nothing behind, but is not seen
 * from another container or machine that shares the folder.)
 */
import { randomBytes } from 'node:crypto';
import { linkSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import nodePath from 'node:path';
import { UsageError } from './exit.ts';

interface Owner {
  pid: number;
  host: string;
  /** When the process began, in the system's terms; tells it from a later one with the same number. */
  began: string;
}

/**
 * Takes the lock `path`; returns what gives it back.
 * @param command that others would be holding it for
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
    // Written first, linked then: nobody ever sees a lock without its owner.
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

/** Returns when the lock of a dead process is out of the way. @throws UsageError when its owner lives */
function removeStale(path: string, aside: string, command: string): void {
  const owner = read(path);
  if (owner === undefined) return;
  refuseIfHeld(path, owner, command);
  // Renamed, not removed: if another process was faster, what is now there is its lock, and goes back.
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
 * Removes what processes that were killed while they took the lock have left. A living one still needs its files. What
 * cannot be removed, of another user perhaps, is in nobody's way.
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
    // Left for another time.
  }
}

function refuseIfHeld(path: string, text: string, command: string): void {
  const holder = holderOf(text);
  if (holder === undefined) return;
  throw new UsageError(`another ${command} (process ${holder}) is writing there`, [
    `If that process has ended, remove ${path}`,
  ]);
}

/** Undefined when it was cut off by a crash of the machine. */
function ownerOf(text: string): Partial<Owner> | undefined {
  try {
    return JSON.parse(text) as Partial<Owner>;
  } catch {
    return undefined;
  }
}

/** The other process that a lock says holds it; undefined when that is gone. */
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

/** Where there is no /proc, numbers of processes alone must do. */
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
