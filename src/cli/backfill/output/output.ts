/** Writes the rows: to `OUT.partial`, which becomes `OUT` when complete, or to standard output. */
import { open, type FileHandle } from 'node:fs/promises';
import { Outcomes } from './outcomes.ts';
import { CliError, EXIT } from '../../terminal/exit.ts';
import { writeAll, writeToStandardOutput } from './target.ts';

/** Receives whole lines, in order. */
export interface Output {
  /** Number of lines written. */
  readonly rows: number;
  /** Without its line ending; empty before the first line. */
  readonly lastLine: Buffer;
  /** What is in these lines. */
  readonly outcomes: Outcomes;
  write: (lines: Buffer) => Promise<void>;
  /** Removes all rows. @throws CliError where rows cannot be taken back */
  clear: () => Promise<void>;
  close: () => Promise<void>;
}

const LF = 0x0a;
const READ_BYTES = 1024 * 1024;
/** Small, because everything that is made of a piece is in memory at a time. */
const PIECE_BYTES = 128 * 1024;

/** Size, number, content and last line of the rows so far. */
class Rows {
  /** Bytes of whole lines. */
  protected bytes = 0;
  rows = 0;
  lastLine: Buffer = Buffer.alloc(0);
  readonly outcomes = new Outcomes();

  protected add(lines: Buffer): void {
    this.bytes += lines.length;
    this.rows += countLines(lines);
    this.lastLine = lastLineOf(lines);
    this.outcomes.take(lines);
  }
}

/** `OUT.partial`. */
export class PartialFile extends Rows implements Output {
  readonly #file: FileHandle;

  private constructor(file: FileHandle) {
    super();
    this.#file = file;
  }

  /** Opens or creates the file; cuts off an unfinished line that a crash left. */
  static async open(filePath: string): Promise<PartialFile> {
    // Not O_APPEND: a write that failed halfway is overwritten by its repetition.
    const file = await open(filePath, 'r+').catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      return open(filePath, 'wx+');
    });
    const opened = new PartialFile(file);
    await opened.#survey();
    await file.truncate(opened.bytes);
    return opened;
  }

  /** Counts the rows that are there, up to the last whole line. */
  async #survey(): Promise<void> {
    let buffer = Buffer.allocUnsafeSlow(READ_BYTES);
    for (;;) {
      // Always reads from the start of a line.
      const { bytesRead } = await this.#file.read(buffer, 0, buffer.length, this.bytes);
      const read = buffer.subarray(0, bytesRead);
      // A power failure may leave blocks of zeros; rows contain none.
      const zero = read.indexOf(0);
      const sound = zero === -1 ? read : read.subarray(0, zero);
      const lines = sound.subarray(0, sound.lastIndexOf(LF) + 1);
      if (lines.length === 0) {
        if (zero !== -1 || bytesRead < buffer.length) return;
        // A row with fields of the input may be longer than the buffer.
        buffer = Buffer.allocUnsafeSlow(2 * buffer.length);
        continue;
      }
      this.add(lines);
      if (zero !== -1) return;
    }
  }

  async write(lines: Buffer): Promise<void> {
    await writeAll(this.#file, lines, this.bytes);
    this.add(lines);
  }

  async clear(): Promise<void> {
    await this.#file.truncate(0);
    this.bytes = 0;
    this.rows = 0;
    this.lastLine = Buffer.alloc(0);
    this.outcomes.clear();
  }

  /** Whole lines, in pieces. */
  async *read(): AsyncGenerator<Buffer, void, undefined> {
    for (let at = 0, size = PIECE_BYTES; at < this.bytes;) {
      const buffer = Buffer.allocUnsafe(Math.min(size, this.bytes - at));
      const { bytesRead } = await this.#file.read(buffer, 0, buffer.length, at);
      if (bytesRead === 0) throw new Error('rows were removed from the partial file by another program');
      const lines = buffer.subarray(0, buffer.subarray(0, bytesRead).lastIndexOf(LF) + 1);
      if (lines.length > 0) yield lines;
      else size *= 2;
      at += lines.length;
    }
  }

  /** Flushes the rows to the disk, so that later steps can rely on them. */
  async sync(): Promise<void> {
    await this.#file.sync();
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

/** Standard output: rows cannot be taken back, and a run cannot be resumed. */
export class StandardOutput extends Rows implements Output {
  async write(lines: Buffer): Promise<void> {
    await writeToStandardOutput(lines);
    this.add(lines);
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

export function countLines(lines: Buffer): number {
  let count = 0;
  for (let at = lines.indexOf(LF); at !== -1; at = lines.indexOf(LF, at + 1)) count++;
  return count;
}

/** A copy, since the lines may be in a reused buffer. */
function lastLineOf(lines: Buffer): Buffer {
  const end = lines.length - 1;
  return Buffer.from(lines.subarray(lines.lastIndexOf(LF, end - 1) + 1, end));
}
