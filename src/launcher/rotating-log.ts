/** A log file that is renamed to `NAME.1` when it is full, `NAME.1` to `NAME.2` and so on; the oldest is removed. */
import { closeSync, openSync, renameSync, rmSync, statSync, writeSync } from 'node:fs';
import path from 'node:path';
import { makeFolder } from '../shared/runtime/make-folder.ts';

export interface RotatingLogOptions {
  maxBytes: number;
  /** Files kept, the current one included. */
  maxFiles: number;
}

export class RotatingLog {
  readonly #file: string;
  readonly #options: RotatingLogOptions;
  #fd: number | undefined;
  #bytes = 0;

  /** @param file its path; its folder is made */
  constructor(file: string, options: RotatingLogOptions) {
    this.#file = file;
    this.#options = options;
    rotateIfFull(file, options);
  }

  /** Appends a line. A full disk loses lines: it must not take the service down with its logs. */
  writeLine(line: string): void {
    const text = `${line}\n`;
    try {
      if (this.#fd !== undefined && this.#bytes + Buffer.byteLength(text) > this.#options.maxBytes) {
        this.close();
        rotate(this.#file, this.#options.maxFiles);
      }
      if (this.#fd === undefined) {
        makeFolder(path.dirname(this.#file));
        this.#fd = openSync(this.#file, 'a', 0o600);
        this.#bytes = statSync(this.#file).size;
      }
      this.#bytes += writeSync(this.#fd, text);
    } catch {
      this.close();
    }
  }

  close(): void {
    if (this.#fd === undefined) return;
    const fd = this.#fd;
    this.#fd = undefined;
    try {
      closeSync(fd);
    } catch {
      // Some network file systems find out only now that there is no room.
    }
  }
}

/** For a file that another program writes to: between two runs of it. What cannot be renamed just now is next time. */
export function rotateIfFull(file: string, { maxBytes, maxFiles }: RotatingLogOptions): void {
  try {
    const size = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
    if (size >= maxBytes) rotate(file, maxFiles);
  } catch {
    // As in writeLine().
  }
}

function rotate(file: string, maxFiles: number): void {
  const name = (i: number) => (i === 0 ? file : `${file}.${i}`);
  rmSync(name(maxFiles - 1), { force: true });
  for (let i = maxFiles - 2; i >= 0; i--)
    if (statSync(name(i), { throwIfNoEntry: false })) renameSync(name(i), name(i + 1));
}
