/** Lists the sources that the arguments of a run name: a file, a pipe, standard input. */
import { stat } from 'node:fs/promises';
import { openInput, unreadable, type Input } from './input.ts';
import type { ReadingOptions } from './reading.ts';
import { UsageError } from '../terminal/exit.ts';

/** A stored input that has not been opened. */
export interface Source {
  /** Its path, for messages and for the format that the name implies; `-` is standard input. */
  name: string;
  /** Stored bytes; undefined for one that can be read only once. */
  size: number | undefined;
  /** Differs once its content has changed: the time of its modification. Undefined for one that can be read only once. */
  version: string | undefined;
  /** May be called again, unless it can be read only once. @throws UsageError when it cannot be opened */
  open: (reading: ReadingOptions) => Promise<Input>;
}

/** @throws UsageError when there is no file of this name, before anything else about it is examined */
export async function findSource(name: string): Promise<Source> {
  const open = (reading: ReadingOptions) => openInput(name, reading);
  const once = { name, size: undefined, version: undefined, open };
  if (name === '-') return once;
  const stats = await stat(name).catch((error: unknown) => {
    throw unreadable(name, error);
  });
  if (stats.isDirectory()) throw new UsageError(`${name} is a folder`);
  return stats.isFile() ? { ...once, size: stats.size, version: String(Math.trunc(stats.mtimeMs)) } : once;
}
