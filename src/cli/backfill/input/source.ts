/** One of the inputs that the arguments of a run name, before it is read. */
import type { Input } from './input.ts';
import type { ReadingOptions } from './reading.ts';

/** A stored input that has not been opened. */
export interface Source {
  /** Its path, for messages and for the format that the name implies; `-` is standard input. */
  name: string;
  /** Id of a whole file: its path, below the folder if one was given. */
  id: string;
  /** Stored bytes; undefined for one that can be read only once. */
  size: number | undefined;
  /** Differs once its content has changed: the time of its modification. Undefined for one that can be read only once. */
  version: string | undefined;
  /** May be called again, unless it can be read only once. @throws UsageError when it cannot be opened */
  open: (reading: ReadingOptions) => Promise<Input>;
}
