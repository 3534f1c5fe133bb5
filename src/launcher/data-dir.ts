/** The data folder of `npm start`: creates it, checks that it is writable, and finds short paths for sockets. */
import { existsSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { StartupError } from '../shared/runtime/startup-error.ts';
import { toError } from '../shared/runtime/to-error.ts';
import { makeFolder } from '../shared/runtime/make-folder.ts';

/** sun_path holds 108 bytes on Linux, 104 on macOS. */
export const MAX_SOCKET_PATH = 100;
const FALLBACK_TMPDIR = '/tmp';
const ELSEWHERE = 'or set DATA_DIR to another folder';

/** Subfolders, and bytes that each must be able to store: with less, Redis would end at its first large job. */
const FOLDERS = { '': 4096, redis: 1024 * 1024, logs: 4096 };
const RETRY_MS = 1000;

/** The disk is full or the quota used up: waiting helps once somebody has made room. */
export class DiskFull extends StartupError {}

/**
 * Creates the folder and its subfolders, and tries to write to each.
 * @returns the absolute path
 * @throws StartupError with what to do; DiskFull when waiting may help
 */
export function makeDataDir(dataDir: string): string {
  const dir = path.resolve(dataDir);
  for (const [name, bytes] of Object.entries(FOLDERS)) {
    const folder = path.join(dir, name);
    try {
      makeFolder(folder);
      const probe = mkdtempSync(path.join(folder, '.probe-'));
      try {
        writeFileSync(path.join(probe, 'file'), 'x'.repeat(bytes));
      } finally {
        rmSync(probe, { recursive: true, force: true });
      }
    } catch (error) {
      throw cannotWrite(dataDir, path.join(dataDir, name), error);
    }
  }
  return dir;
}

export interface WaitOptions {
  /** Gets a line when the reason for waiting changes. */
  print: (line: string) => void;
  isStopping: () => boolean;
  /** Removes files that are no longer needed. */
  sweep: () => Promise<unknown>;
}

/**
 * Resolves when the data folder can be written to.
 * @throws StartupError when waiting is of no use
 */
export async function waitForDiskSpace(
  dataDir: string,
  { print, isStopping, sweep }: WaitOptions,
): Promise<void> {
  let said: string | undefined;
  while (!isStopping()) {
    try {
      makeDataDir(dataDir);
      return;
    } catch (error) {
      if (!(error instanceof DiskFull)) throw error;
      if (said !== error.message) print(`waiting: ${error.message}; press Ctrl-C to give up`);
      said = error.message;
    }
    // Errors are ignored: the next attempt shows whether the disk is writable again.
    await sweep().catch(() => {});
    await sleep(RETRY_MS);
  }
}

function cannotWrite(dataDir: string, folder: string, error: unknown): StartupError {
  const { code = '' } = error as NodeJS.ErrnoException;
  const reasons: Record<string, string> = {
    EACCES: `this user may not write to it: give it the right (chown, chmod u+rwx), ${ELSEWHERE}`,
    EPERM: `this user may not write to it: give it the right (chown, chmod u+rwx), ${ELSEWHERE}`,
    EROFS: `it is on a read-only file system: set DATA_DIR to a folder on another one`,
    ENOSPC: `${hasNoFiles(folder) ? 'its disk has no inodes left, so no file can be created: remove some files' : 'the disk is full: make room'}, ${ELSEWHERE}`,
    EDQUOT: `this user's disk quota is used up: make room, ${ELSEWHERE}`,
    EEXIST: `a file has this name: remove it, ${ELSEWHERE}`,
    ENOTDIR: `a folder of this path is a file: remove it, ${ELSEWHERE}`,
    ENOENT: `no folder can be created there: set DATA_DIR to another folder`,
    ENAMETOOLONG: `the path is too long: set DATA_DIR to a shorter one`,
  };
  const NamedError = code === 'ENOSPC' || code === 'EDQUOT' ? DiskFull : StartupError;
  const where = folder === path.join(dataDir, '') ? `DATA_DIR=${dataDir}` : `${folder} (DATA_DIR)`;
  return new NamedError(`${where}: ${reasons[code] ?? toError(error).message}`, { cause: error });
}

/** Whether the disk has no inodes left, which looks like a full disk. */
function hasNoFiles(folder: string): boolean {
  try {
    const { files, ffree } = statfsSync(existsSync(folder) ? folder : path.dirname(folder));
    return files > 0 && ffree === 0;
  } catch {
    return false;
  }
}

/**
 * A path for a socket in the folder for temporary files: one in the data folder may be too long.
 * @throws StartupError when there is no folder for temporary files
 */
export function temporarySocket(name: string): string {
  const candidates = [tmpdir(), FALLBACK_TMPDIR].map((folder) => path.join(folder, name));
  const usable = candidates.find(
    (socket) => Buffer.byteLength(socket) <= MAX_SOCKET_PATH && existsSync(path.dirname(socket)),
  );
  if (usable !== undefined) return usable;
  throw new StartupError(
    `TMPDIR=${tmpdir()} does not exist, or its path is too long for a socket: create it, or set TMPDIR to a folder with a short path`,
  );
}
