/**
 * Cuts an input into the parts of an upload: whole records, 8 MB at most. The cuts depend on the bytes alone, so that a second
 * reading of the same input gives the same parts, whose digests show which of them the server has.
 *
 * A BufferPool bounds the memory for any input: a record too long for a part is replaced by a placeholder of the size of a part
 * with the same number of lines. It becomes an error row in any case: 8 MB are many times the server's limit of a record.
 */
import { isEmptyLine, recordScanner } from '../../../shared/bulk/records.ts';
import type { InputSpec } from '../../../shared/bulk/input.ts';
import { BadInputError } from '../../terminal/exit.ts';
import type { BufferPool } from './buffer-pool.ts';

/** The server's largest part number. */
const MAX_PARTS = 10_000;

export interface Part {
  /** From 1. */
  number: number;
  /** In a buffer of the pool; invalid after release(). */
  bytes: Buffer;
  /** Records with content. */
  rows: number;
  /** Rows with a quoted field that spans several lines. */
  multiline: MultilineRows | undefined;
  /** Lines of a quoted field that is still open at the end of the input. */
  unclosed: LineRange | undefined;
  /** Returns the buffer to the pool. */
  release: () => void;
}

/** Line numbers, both inclusive. */
export interface LineRange {
  from: number;
  to: number;
}

export interface MultilineRows {
  rows: number;
  first: LineRange;
}

/**
 * @param source decompressed, without byte order mark and CSV header
 * @param firstLine number of the first line, for messages
 * @param pool at least two buffers of the size of a part
 */
export async function* cutParts(
  source: AsyncIterable<Uint8Array>,
  format: Pick<InputSpec, 'format' | 'delimiter' | 'quote'>,
  firstLine: number,
  pool: BufferPool,
): AsyncGenerator<Part, void, undefined> {
  const scanner = recordScanner(format);
  const partBytes = pool.bufferBytes;
  let number = 0;
  let line = firstLine;
  let buffer = await pool.take();
  /** Used bytes of the buffer: whole records, then from `recordStart` the unfinished one. */
  let used = 0;
  let recordStart = 0;
  let rows = 0;
  let multiline: MultilineRows | undefined;
  let unclosed: LineRange | undefined;
  /** The unfinished record is too long for a part; its bytes are dropped. */
  let tooLong = false;

  const part = (bytes: Buffer): Part => {
    if (++number > MAX_PARTS) {
      const gigabytes = Math.floor((MAX_PARTS * partBytes) / 1e9);
      throw new BadInputError(`the input is larger than ${gigabytes} GB: split it`);
    }
    const owner = buffer;
    const made = { number, bytes, rows, multiline, unclosed, release: () => pool.give(owner) };
    rows = 0;
    multiline = undefined;
    return made;
  };

  const count = (lines: number): void => {
    rows++;
    if (lines === 1) return;
    multiline ??= { rows: 0, first: { from: line, to: line + lines - 1 } };
    multiline.rows++;
  };

  for await (const { buffer: memory, byteOffset, byteLength } of source) {
    const bytes = Buffer.from(memory, byteOffset, byteLength);
    for (let from = 0; from < bytes.length;) {
      const end = scanner.scan(bytes, from);
      const to = end === -1 ? bytes.length : end;
      if (!tooLong && used + to - from > partBytes && recordStart > 0) {
        const next = await pool.take();
        const carried = buffer.copy(next, 0, recordStart, used);
        yield part(buffer.subarray(0, recordStart));
        buffer = next;
        used = carried;
        recordStart = 0;
      }
      tooLong ||= used + to - from > partBytes;
      if (!tooLong) used += bytes.copy(buffer, used, from, to);
      from = to;
      if (end === -1) continue;

      const lineFeeds = scanner.takeLineFeeds();
      if (tooLong) {
        rows = 1;
        fillPlaceholder(buffer, { line, lineFeeds, ended: true });
        const next = await pool.take();
        yield part(buffer);
        buffer = next;
        used = 0;
        tooLong = false;
      } else if (!isEmpty(buffer, recordStart, used)) count(lineFeeds);
      line += lineFeeds;
      recordStart = used;
    }
  }

  const openedOn = line + scanner.openedAfter;
  const lineFeeds = scanner.takeLineFeeds();
  const lines = lineFeeds + (tooLong || buffer[used - 1] !== LF ? 1 : 0);
  if (scanner.inQuotes) unclosed = { from: openedOn, to: line + lines - 1 };
  if (tooLong) {
    fillPlaceholder(buffer, { line, lineFeeds, ended: false });
    used = partBytes;
    rows++;
  } else if (used > recordStart && !isEmpty(buffer, recordStart, used)) count(unclosed ? 1 : lines);
  if (used > 0) yield part(buffer.subarray(0, used));
  else pool.give(buffer);
}

const LF = 0x0a;
const QUOTE = 0x22;

/** Whether a record is an empty line. */
const isEmpty = (buffer: Buffer, from: number, to: number): boolean =>
  to - from <= 2 && isEmptyLine(buffer.subarray(from, to));

/**
 * Fills the buffer with a quoted record that has as many line feeds as the one it replaces and is an error in all formats, even
 * if its length is allowed: NUL is invalid in texts and in JSON.
 */
function fillPlaceholder(
  buffer: Buffer,
  { line, lineFeeds, ended }: { line: number; lineFeeds: number; ended: boolean },
): void {
  const inside = ended ? lineFeeds - 1 : lineFeeds;
  if (inside > buffer.length - 3) {
    throw new BadInputError(
      `the record that begins on line ${line} spans ${inside} lines: is a quote missing?`,
    );
  }
  buffer.fill(0);
  buffer[0] = QUOTE;
  buffer.fill(LF, 1, 1 + inside);
  if (!ended) return;
  buffer[buffer.length - 2] = QUOTE;
  buffer[buffer.length - 1] = LF;
}
