/** The local disk: errors in words for the user, free space, existence of files, writes that survive a power failure. */
import { open, stat, statfs } from 'node:fs/promises';
import { CliError, EXIT, type ExitCode } from './exit.ts';
import { bytes } from './units.ts';

/** Errors that pass once space is freed. */
const FULL: Record<string, string> = {
  ENOSPC: 'no space left on the disk',
  EDQUOT: 'the disk quota is reached',
};

/** Words of Node's message alone: `permission denied` for `EACCES: permission denied, open '/out'`. */
export function systemReason(message: string): string {
  const [, reason] = /^(?:[a-z]+ )?E[A-Z0-9]+: (.+?)(?:, [a-z]+(?: '.*)?| \S+:\d+)?$/s.exec(message) ?? [];
  return reason ?? message;
}

/** @returns undefined for an error that is not a system error */
export function diskProblem(error: unknown): { exitCode: ExitCode; reason: string } | undefined {
  const { code, syscall, message } = (error ?? {}) as NodeJS.ErrnoException;
  if (code === undefined || syscall === undefined) return undefined;
  const full = FULL[code];
  return full === undefined
    ? { exitCode: EXIT.failed, reason: systemReason(message) }
    : { exitCode: EXIT.temporary, reason: full };
}

/**
 * @param folder an existing one
 * @param needed bytes to be written into it
 * @throws CliError when they do not fit
 */
export async function checkRoom(folder: string, needed: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize;
  if (needed <= free) return;
  throw new CliError(
    EXIT.temporary,
    `${folder}: ${bytes(needed)} of free space needed, ${bytes(free)} available`,
  );
}

/** Whether a file or folder of this name exists. @throws CliError when that cannot be found out */
export async function exists(filePath: string): Promise<boolean> {
  try {
    await stat(filePath);
    return true;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return false;
    throw new CliError(EXIT.usage, `${filePath}: ${systemReason(message)}`);
  }
}

/** Flushes a file, or the names in a folder, to the disk. */
export async function flush(filePath: string): Promise<void> {
  const handle = await open(filePath, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
