/** Makes folders that only their user can read. */
import { existsSync, mkdirSync, statSync } from 'node:fs';
import path from 'node:path';

/**
 * Makes a folder and those on the way to it, with mode 0700. Node's own `recursive` never returns where nothing can be made
 * and the system says ENOENT, as below /proc.
 * @throws the system's error
 */
export function makeFolder(folder: string): void {
  const target = path.resolve(folder);
  // Before mkdir, which on a read-only disk fails for a folder that is there, too.
  if (isFolder(target)) return;
  const parent = path.dirname(target);
  if (!existsSync(parent)) makeFolder(parent);
  try {
    mkdirSync(target, { mode: 0o700 });
  } catch (error) {
    // Made by another process just now.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || !isFolder(target)) throw error;
  }
}

function isFolder(name: string): boolean {
  try {
    return statSync(name).isDirectory();
  } catch {
    return false;
  }
}
