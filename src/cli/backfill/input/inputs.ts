/** Lists the sources that the arguments of a run name: files, the files of folders, a pipe, standard input. */
import { realpathSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { UsageError } from '../../terminal/exit.ts';
import { plural } from '../../terminal/units.ts';
import { filesOf, MAX_FILES, type FolderOptions } from './folder.ts';
import { openInput, unreadable } from './input.ts';
import type { ReadingOptions } from './reading.ts';
import { protocolOf } from '../remote/addresses.ts';
import { findRemote } from '../remote/find-remote.ts';
import type { RemoteOptions } from '../remote/remote-file.ts';
import { workingPath } from '../remote/working-path.ts';
import type { Source } from './source.ts';

export interface Sources {
  list: Source[];
  /** Whether they are several, or could be: a folder, whose files may become more. */
  several: boolean;
  /** For the user: what was left out. */
  notes: string[];
}

/**
 * @param args files, folders, or `-`; in this order
 * @param outputs no inputs
 * @param remote how to read addresses
 * @throws UsageError when one does not exist, is given twice, or cannot be read beside others
 */
export async function findSources(
  args: readonly string[],
  { glob, whole_files: whole }: Pick<ReadingOptions, 'glob' | 'whole_files'>,
  outputs: Outputs,
  remote: RemoteOptions,
): Promise<Sources> {
  const list: Source[] = [];
  let folders = 0;
  let leftOut = 0;
  for (const name of args) {
    if (protocolOf(name) !== undefined) {
      const found = await findRemote(name, glob, remote);
      if (found.isFolder) folders++;
      const prefix = args.length === 1 ? '' : name;
      list.push(
        ...found.list.map((source) => ({ ...source, id: found.isFolder ? prefix + source.id : source.id })),
      );
      continue;
    }
    const stats = await statOf(name);
    if (stats?.isDirectory() !== true) {
      list.push(fileSource(name, stats));
      continue;
    }
    folders++;
    const found = await filesOf(name, { glob, isOwn: ownFiles(outputs) });
    leftOut += found.leftOut;
    const prefix = name.replace(/\/*$/, '/');
    for (const { path: below, size, mtimeMs } of found.files) {
      const id = args.length === 1 ? below : `${prefix}${below}`;
      const file = `${prefix}${below}`;
      const open = (reading: ReadingOptions) => openInput(file, reading, { isOneOfMany: true });
      list.push({ name: file, id, size, version: String(mtimeMs), open });
    }
  }
  if (glob !== undefined && folders === 0)
    throw new UsageError(`--glob chooses files of a folder, and ${args[0]} is not a folder`);
  if (list.length > MAX_FILES)
    throw new UsageError(`more than ${MAX_FILES} files: label them in several runs`);
  const several = folders > 0 || args.length > 1 || whole === true;
  if (several) refuseUnsuitable(list);
  const notes =
    leftOut === 0
      ? []
      : [`${plural(leftOut, 'file')} left out: symbolic links that lead elsewhere, or special files`];
  return { list, several, notes };
}

/** A file, a pipe, standard input or an address. @throws UsageError when there is no file of this name */
export async function findSource(name: string, remote: RemoteOptions): Promise<Source> {
  if (protocolOf(name) !== undefined) {
    const { list, isFolder } = await findRemote(name, undefined, remote);
    if (isFolder || !list[0]) throw new UsageError(`${name} is a prefix`);
    return list[0];
  }
  const stats = await statOf(name);
  if (stats?.isDirectory() === true) throw new UsageError(`${name} is a folder`);
  return fileSource(name, stats);
}

type Stats = Awaited<ReturnType<typeof stat>>;

/** Undefined for standard input. */
async function statOf(name: string): Promise<Stats | undefined> {
  if (name === '-') return undefined;
  return stat(name).catch((error: unknown) => {
    throw unreadable(name, error);
  });
}

function fileSource(name: string, stats?: Stats): Source {
  const open = (reading: ReadingOptions) => openInput(name, reading);
  const once = { name, id: name, size: undefined, version: undefined, open };
  return stats?.isFile() === true
    ? { ...once, size: Number(stats.size), version: String(Math.trunc(Number(stats.mtimeMs))) }
    : once;
}

/** They are read twice: to be checked, and to be uploaded. */
function refuseUnsuitable(list: readonly Source[]): void {
  const seen = new Set<string>();
  for (const { name, version } of list) {
    if (version === undefined) {
      const what = name === '-' ? 'standard input' : `${name}, which can be read only once,`;
      throw new UsageError(`${what} cannot be read beside other inputs, or as a whole file`);
    }
    const full = protocolOf(name) === undefined ? path.resolve(name) : name;
    if (seen.has(full)) throw new UsageError(`${name} is given twice`);
    seen.add(full);
  }
}

/** Paths that a run writes to; `-` is standard output. */
export interface Outputs {
  out: string;
  summary: string | undefined;
}

/** Whether a path is the output, a file beside it that a run makes, or the summary. */
function ownFiles({ out, summary = '-' }: Outputs): FolderOptions['isOwn'] {
  const working = realPath(workingPath(out));
  const own = new Set(
    ['', '.partial', '.writing', '.resume.json', '.resume.json.new', '.upload.json', '.lock'].map(
      (end) => working + end,
    ),
  );
  if (summary !== '-') own.add(realPath(summary));
  return (file) => own.has(file) || file.startsWith(`${working}.lock.`);
}

/** Of a file that need not exist. */
function realPath(file: string): string {
  const folder = path.dirname(path.resolve(file));
  try {
    return path.join(realpathSync(folder), path.basename(file));
  } catch {
    return path.join(folder, path.basename(file));
  }
}
