/** Makes folders that only their user can read. */
import { existsSync, mkdirSync, statSync } from 'node:fs';
import path from 'node:path';

/**
 * Creates a folder and its parents, with mode 0700. Node's own `recursive` never returns where mkdir answers ENOENT for good, as
 * below /proc.
 * @throws the system's error
 */
export function makeFolder(folder: string): void {
  const target = path.resolve(folder);
  // Checked first: on a read-only disk mkdir fails even for an existing folder.
  if (isFolder(target)) return;
  const parent = path.dirname(target);
  if (!existsSync(parent)) makeFolder(parent);
  try {
    mkdirSync(target, { mode: 0o700 });
  } catch (error) {
    // EEXIST: another process has created it meanwhile.
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
