/** Where the rows go: a file that is there only when it is whole, or standard output. */
import { open, rename, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { ErrorRows } from './error-rows.ts';
import { CliError, EXIT, Interrupted } from '../terminal/exit.ts';
import { isClosedPipe, printRows } from '../terminal/print.ts';

/** Takes whole lines, in order. */
export interface Output {
  /** Lines that it has. */
  readonly rows: number;
  /** The last of them, without its line ending; empty when there is none. */
  readonly lastLine: Buffer;
  /** The first rows that are errors. */
  readonly errors: ErrorRows;
  write: (lines: Buffer) => Promise<void>;
  /** Takes back all rows. @throws CliError when that cannot be done */
  clear: () => Promise<void>;
  close: () => Promise<void>;
}

const LF = 0x0a;
const READ_BYTES = 1024 * 1024;

/** `OUT.partial`, which becomes `OUT` in the end. */
export class PartialFile implements Output {
  readonly #file: FileHandle;
  #bytes: number;
  #rows: number;
  #lastLine: Buffer;
  readonly errors: ErrorRows;

  private constructor(file: FileHandle, content: Content) {
    this.#file = file;
    this.#bytes = content.bytes;
    this.#rows = content.rows;
    this.#lastLine = content.lastLine;
    this.errors = content.errors;
  }

  /** Opens or makes it; what a crash may have left of a line is cut off. */
  static async open(filePath: string): Promise<PartialFile> {
    // Not O_APPEND: a write that failed half-way is written again over what it left.
    const file = await open(filePath, 'r+').catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      return open(filePath, 'wx+');
    });
    const content = await survey(file);
    await file.truncate(content.bytes);
    return new PartialFile(file, content);
  }

  get rows(): number {
    return this.#rows;
  }

  get lastLine(): Buffer {
    return this.#lastLine;
  }

  async write(lines: Buffer): Promise<void> {
    for (let written = 0; written < lines.length;) {
      const { bytesWritten } = await this.#file.write(
        lines,
        written,
        lines.length - written,
        this.#bytes + written,
      );
      written += bytesWritten;
    }
    this.#bytes += lines.length;
    this.#rows += countLines(lines);
    this.#lastLine = lastLineOf(lines);
    this.errors.take(lines);
  }

  async clear(): Promise<void> {
    await this.#file.truncate(0);
    this.#bytes = 0;
    this.#rows = 0;
    this.#lastLine = Buffer.alloc(0);
    this.errors.clear();
  }

  /** On the disk, so that what follows may rely on it. */
  async sync(): Promise<void> {
    await this.#file.sync();
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

/** Renames, and makes the renaming outlive a power failure. */
export async function moveInto(from: string, target: string): Promise<void> {
  await rename(from, target);
  const folder = await open(path.dirname(target), 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

interface Content {
  /** Of whole lines. */
  bytes: number;
  rows: number;
  lastLine: Buffer;
  errors: ErrorRows;
}

/** Reads what is there, up to the last line that is whole. */
async function survey(file: FileHandle): Promise<Content> {
  const content: Content = { bytes: 0, rows: 0, lastLine: Buffer.alloc(0), errors: new ErrorRows() };
  const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  for (;;) {
    // Always from the beginning of a line: no line is as long as the buffer.
    const { bytesRead } = await file.read(buffer, 0, buffer.length, content.bytes);
    const read = buffer.subarray(0, bytesRead);
    // A power failure may leave blocks of zeros, which are in no row.
    const zero = read.indexOf(0);
    const sound = zero === -1 ? read : read.subarray(0, zero);
    const lines = sound.subarray(0, sound.lastIndexOf(LF) + 1);
    if (lines.length === 0) return content;
    content.bytes += lines.length;
    content.rows += countLines(lines);
    content.lastLine = lastLineOf(lines);
    content.errors.take(lines);
    if (zero !== -1) return content;
  }
}

/** Standard output: no second try, and nobody knows when it is whole. */
export class StandardOutput implements Output {
  rows = 0;
  lastLine: Buffer = Buffer.alloc(0);
  readonly errors = new ErrorRows();

  async write(lines: Buffer): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      printRows(lines, (error) => {
        if (!error) resolve();
        else reject(isClosedPipe(error) ? new Interrupted(EXIT.closedPipe) : error);
      });
    });
    this.rows += countLines(lines);
    this.errors.take(lines);
    this.lastLine = lastLineOf(lines);
  }

  clear(): Promise<void> {
    const message =
      'the batch was restarted with other model weights: the rows already written come from the earlier ones';
    return Promise.reject(new CliError(EXIT.failed, message));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

function countLines(lines: Buffer): number {
  let count = 0;
  for (let at = lines.indexOf(LF); at !== -1; at = lines.indexOf(LF, at + 1)) count++;
  return count;
}

/** A copy, as the lines may lie in a buffer that is used again. */
function lastLineOf(lines: Buffer): Buffer {
  const end = lines.length - 1;
  return Buffer.from(lines.subarray(lines.lastIndexOf(LF, end - 1) + 1, end));
}
