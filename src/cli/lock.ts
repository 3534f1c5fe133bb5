/**
 * One process at an output at a time. The lock is a file that says who holds it, so that a lock which a killed process left
 * behind is told from one that is held. (A listening socket, as the launcher's, would leave nothing behind, but is not seen
 * from another container or machine that shares the folder.)
 */
import { randomBytes } from 'node:crypto';
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
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
    began: beginOf(process.pid),
  } satisfies Owner);
  try {
    // Written first, linked then: nobody ever sees a lock without its owner.
    writeFileSync(unique, mine, { flag: 'wx' });
    while (!link(unique, path)) removeStale(path, `${unique}.stale`, command);
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

function refuseIfHeld(path: string, text: string, command: string): void {
  let owner: Partial<Owner>;
  try {
    owner = JSON.parse(text) as Partial<Owner>;
  } catch {
    // Cut off by a crash of the machine.
    return;
  }
  const { pid = 0, host = '', began = '' } = owner;
  const elsewhere = host !== hostname();
  if (!elsewhere && (pid === process.pid || !lives(pid) || beginOf(pid) !== began)) return;
  const where = elsewhere ? ` on ${host}` : '';
  throw new UsageError(`another ${command} (process ${pid}${where}) is writing there`, [
    `If it is not, remove ${path}`,
  ]);
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
function beginOf(pid: number): string {
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
