/** The folder for everything that `npm start` writes, and short paths for sockets. */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { StartupError, toError } from '../shared/errors.ts';

/** sun_path holds 108 bytes on Linux, 104 on macOS. */
export const MAX_SOCKET_PATH = 100;
const FALLBACK_TMPDIR = '/tmp';
const ELSEWHERE = 'or set DATA_DIR to another folder';

/**
 * Makes the folder and those in it, and tries to write to each.
 * @returns its absolute path
 * @throws StartupError that says how to go on
 */
export function makeDataDir(dataDir: string): string {
  const dir = path.resolve(dataDir);
  for (const name of ['', 'redis', 'logs']) {
    const folder = path.join(dir, name);
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      const probe = mkdtempSync(path.join(folder, '.probe-'));
      try {
        writeFileSync(path.join(probe, 'file'), 'x'.repeat(4096));
      } finally {
        rmSync(probe, { recursive: true, force: true });
      }
    } catch (error) {
      throw cannotWrite(dataDir, path.join(dataDir, name), error);
    }
  }
  return dir;
}

function cannotWrite(dataDir: string, folder: string, error: unknown): StartupError {
  const { code = '' } = error as NodeJS.ErrnoException;
  const reasons: Record<string, string> = {
    EACCES: `this user may not write to it: give it the right (chown, chmod u+rwx), ${ELSEWHERE}`,
    EPERM: `this user may not write to it: give it the right (chown, chmod u+rwx), ${ELSEWHERE}`,
    EROFS: `it is on a read-only file system: set DATA_DIR to a folder on another one`,
    ENOSPC: `the disk is full: make room, ${ELSEWHERE}`,
    EDQUOT: `this user's disk quota is used up: make room, ${ELSEWHERE}`,
    EEXIST: `there is a file of this name: remove it, ${ELSEWHERE}`,
    ENOTDIR: `a part of this path is a file: remove it, ${ELSEWHERE}`,
    ENAMETOOLONG: `the path is too long: set DATA_DIR to a shorter one`,
  };
  const where = folder === path.join(dataDir, '') ? `DATA_DIR=${dataDir}` : `${folder} (DATA_DIR)`;
  return new StartupError(`${where}: ${reasons[code] ?? toError(error).message}`, { cause: error });
}

/**
 * The path of a socket outside of the data folder, whose own may be too long for one.
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
