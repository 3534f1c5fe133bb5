/** A log file that rotates when it is full: it becomes `NAME.1`, `NAME.1` becomes `NAME.2` and so on; the oldest is deleted. */
import { closeSync, openSync, renameSync, rmSync, statSync, writeSync } from 'node:fs';
import path from 'node:path';
import { makeFolder } from '../shared/runtime/make-folder.ts';

export interface RotatingLogOptions {
  maxBytes: number;
  /** Files to keep, including the current one. */
  maxFiles: number;
}

export class RotatingLog {
  readonly #file: string;
  readonly #options: RotatingLogOptions;
  #fd: number | undefined;
  #bytes = 0;

  /** @param file the path; its folder is created */
  constructor(file: string, options: RotatingLogOptions) {
    this.#file = file;
    this.#options = options;
    rotateIfFull(file, options);
  }

  /** Appends a line. On a full disk lines are lost: logs must not take the service down. */
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
      // Some network file systems report a full disk only at close.
    }
  }
}

/** Rotates a file that another program writes to, between two of its runs. A failure is left to the next run. */
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
