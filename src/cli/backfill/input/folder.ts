/**
 * Lists the files of a folder and of the folders below it, in the order of their paths. Hidden files stay out, and so do the files that the
 * command itself writes. A symbolic link counts as the file that it leads to, if that lies in the folder and is not listed by itself.
 */
import type { Dirent } from 'node:fs';
import { readdir, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { listed } from '../../../shared/contract/text.ts';
import { UsageError } from '../../terminal/exit.ts';
import { count, shellWord } from '../../terminal/units.ts';
import { unreadable } from './input.ts';

/** More would take more than 100 MB of memory, and as much for the state of the run. */
export const MAX_FILES = 100_000;
/** Entries to look at, listed or not: without a limit, `/` would take hours. */
const MAX_ENTRIES = 1_000_000;

export interface FolderOptions {
  /** Pattern for the files to list; undefined: all of them. */
  glob: string | undefined;
  /** Whether the command itself writes the file of this path, in which no part is a symbolic link. */
  isOwn: (path: string) => boolean;
}

export interface FolderFile {
  /** Below the folder, with `/` between its parts. */
  path: string;
  size: number;
  mtimeMs: number;
}

export interface FolderFiles {
  files: FolderFile[];
  /** Links and special files that are left out. */
  leftOut: number;
}

/** @throws UsageError when a folder cannot be read, or has too many files */
export async function filesOf(folder: string, { glob, isOwn }: FolderOptions): Promise<FolderFiles> {
  const real = await realpath(folder).catch((error: unknown) => {
    throw unreadable(folder, error);
  });
  const isWanted = glob === undefined ? () => true : matcher(glob);
  const files: FolderFile[] = [];
  const links: string[] = [];
  const others: string[] = [];
  const folders = [''];
  let entries = 0;
  let leftOut = 0;
  const add = async (below: string): Promise<boolean> => {
    const stats = await stat(path.join(folder, below)).catch(() => undefined);
    if (stats?.isFile() !== true) return false;
    files.push({ path: below, size: stats.size, mtimeMs: Math.trunc(stats.mtimeMs) });
    if (files.length <= MAX_FILES) return true;
    throw new UsageError(`${folder} has more than ${count(MAX_FILES)} files: choose fewer with --glob`);
  };
  for (let next = folders.pop(); next !== undefined; next = folders.pop()) {
    for (const entry of await entriesOf(path.join(folder, next))) {
      if (++entries > MAX_ENTRIES)
        throw new UsageError(`${folder} has more than ${count(MAX_ENTRIES)} entries: name folders below it`);
      if (isHidden(entry.name)) continue;
      const below = next === '' ? entry.name : `${next}/${entry.name}`;
      if (entry.name.includes('\ufffd'))
        throw new UsageError(`${folder}: the name of ${below} is not valid UTF-8: rename the file`);
      if (entry.isDirectory()) folders.push(below);
      else if (isOwn(path.join(real, below))) continue;
      else if (!isWanted(below)) others.push(below);
      else if (entry.isSymbolicLink()) links.push(below);
      else if (!entry.isFile() || !(await add(below))) leftOut++;
    }
  }
  const found = new Set(files.map((file) => path.join(real, file.path)));
  for (const link of links) {
    const target = await realpath(path.join(folder, link)).catch(() => undefined);
    const inside = target !== undefined && target.startsWith(`${real}${path.sep}`) && !isOwn(target);
    if (!inside || found.has(target) || !(await add(link))) leftOut++;
  }
  if (files.length === 0) throw noFiles(folder, glob, others.sort());
  // Code units, whatever the language of the system: the same order everywhere.
  return { files: files.sort((a, b) => (a.path < b.path ? -1 : 1)), leftOut };
}

async function entriesOf(folder: string): Promise<Dirent[]> {
  try {
    return await readdir(folder, { withFileTypes: true });
  } catch (error) {
    throw unreadable(folder, error);
  }
}

/** Files that Spark and Hive write beside those with the rows. */
const OF_SPARK = new Set(['_SUCCESS', '_metadata', '_common_metadata']);

export const isHidden = (name: string): boolean => name.startsWith('.') || OF_SPARK.has(name);

/** A pattern without a slash is for names, in every folder; one with a slash is for paths. */
export function matcher(glob: string): (path: string) => boolean {
  const { matchesGlob } = path.posix as Partial<typeof path.posix>;
  if (!matchesGlob) {
    throw new UsageError(
      `--glob needs Node 20.17 or later, and this is ${process.version}: name the files instead`,
    );
  }
  const pattern = glob.includes('/') ? glob.replace(/^\.?\//, '') : `**/${glob}`;
  return (below) => matchesGlob(below, pattern);
}

export function noFiles(folder: string, glob: string | undefined, others: readonly string[]): UsageError {
  if (glob === undefined || others.length === 0) return new UsageError(`${folder} has no files`);
  return new UsageError(`no file of ${folder} matches --glob ${shellWord(glob)}; it has ${listed(others)}`);
}
