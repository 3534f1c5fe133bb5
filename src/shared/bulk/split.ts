/**
 * Cuts an upload into chunks of whole records while it streams in. Looks only for the ends of records: their content is left to
 * `parse.ts`, so a bad record does not stop an upload.
 *
 * Memory is bounded by one chunk and one record, whatever the client does: all bytes are copied into one store, because slices of the
 * source's buffers would keep those alive, up to one buffer per byte. Chunks depend on the bytes alone, not on how they arrive in
 * buffers, so the same upload always gives the same chunks.
 */
import type { CsvHeader } from '../contract/batches.ts';
import { withoutMark as withoutFirstMark } from './byte-stream.ts';
import { headerTooLong, readHeader, toHeader, type HeaderLimits } from './csv.ts';
import { InputError, type InputSpec } from './input.ts';
import {
  MARKER,
  NOT_A_MARKER,
  content,
  isEmptyLine,
  recordScanner,
  tooLongMarker,
  withoutMark,
} from './records.ts';
import { contentEnd, type RecordScanner } from './record-scanner.ts';

const LF = 0x0a;
/** Length up to which a loop copies faster than a call into C++. */
const SHORT_BYTES = 32;
/** Bytes of a byte order mark and of the longest line ending, CR CR LF. */
const MAX_AROUND_HEADER = 6;

export interface SplitLimits {
  /** Most records in a chunk. */
  chunkRows: number;
  /** Most bytes of a chunk, unless its only record is longer. */
  chunkBytes: number;
  /** A longer record, line ending included, becomes an error row. */
  maxRecordBytes: number;
  /** Limits of a CSV header in the input. */
  header: HeaderLimits;
}

export interface InputChunk {
  /** The records byte for byte, with empty lines between them; a marker replaces a record that is too long. */
  bytes: Uint8Array;
  rows: number;
  /** Physical line of the first record, counted from 1. */
  firstLine: number;
  /** CSV: the header, whose record is in no chunk. */
  header?: CsvHeader;
}

/** Totals at the end of an input. */
export interface InputEnd {
  /** Physical lines, including headers and empty lines. */
  lines: number;
  /** CSV: the column names, when the input began with them. */
  columns?: readonly string[];
  /** CSV: records with a quoted field over several lines. */
  multilineRows: number;
}

/**
 * Throws an InputError before the first chunk when the header of a CSV file lacks a column, or `input` is invalid. A CSV file begins
 * with its header unless `input` has it, as for the later parts of a batch.
 */
export async function* splitRecords(
  source: AsyncIterable<Uint8Array>,
  input: InputSpec,
  limits: SplitLimits,
): AsyncGenerator<InputChunk, InputEnd, undefined> {
  const splitter = new Splitter(input, limits);
  for await (const bytes of withoutFirstMark(source))
    yield* splitter.push(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  return yield* splitter.end();
}

class Splitter {
  readonly #input: InputSpec;
  readonly #limits: SplitLimits;
  readonly #scanner: RecordScanner;
  /** The records of the chunk so far, then the unfinished one. */
  #store = Buffer.alloc(64 * 1024);
  #used = 0;
  #recordStart = 0;
  #tooLong = false;
  #line = 1;
  #rows = 0;
  #firstLine = 1;
  #multilineRows = 0;
  /** Column names that were read from the input. */
  #columns: readonly string[] | undefined;
  #header: CsvHeader | undefined;

  constructor(input: InputSpec, limits: SplitLimits) {
    this.#input = input;
    this.#limits = limits;
    this.#scanner = recordScanner(input);
    this.#header = input.header;
  }

  get #awaitsHeader(): boolean {
    return this.#input.format === 'csv' && this.#header === undefined;
  }

  *push(bytes: Buffer): Generator<InputChunk, void, undefined> {
    for (let from = 0; from < bytes.length;) {
      const end = this.#scanner.scan(bytes, from);
      this.#append(bytes, from, end === -1 ? bytes.length : end);
      if (end === -1) return;
      const chunk = this.#endRecord();
      if (chunk) yield chunk;
      from = end;
    }
  }

  *end(): Generator<InputChunk, InputEnd, undefined> {
    const unended = this.#tooLong || this.#used > this.#recordStart;
    if (unended) {
      const chunk = this.#endRecord();
      if (chunk) yield chunk;
    }
    if (this.#awaitsHeader) throw new InputError('the file has no header');
    if (this.#rows > 0) yield this.#cut(this.#used);
    return {
      lines: this.#line - 1 + (unended ? 1 : 0),
      multilineRows: this.#multilineRows,
      ...(this.#columns && { columns: this.#columns }),
    };
  }

  #append(bytes: Buffer, from: number, end: number): void {
    const bytesSoFar = this.#used - this.#recordStart + end - from;
    if (this.#awaitsHeader) {
      // Checked at once: a header with an open quote may have no end.
      if (bytesSoFar > this.#limits.header.bytes + MAX_AROUND_HEADER)
        throw headerTooLong(this.#limits.header);
    } else if (bytesSoFar > this.#limits.maxRecordBytes) this.#tooLong = true;
    if (this.#tooLong) this.#used = this.#recordStart;
    else this.#write(bytes, from, end);
  }

  #write(bytes: Buffer, from: number, end: number): void {
    const used = this.#used + end - from;
    if (used > this.#store.length) {
      const larger = Buffer.alloc(2 * used);
      this.#store.copy(larger, 0, 0, this.#used);
      this.#store = larger;
    }
    if (end - from > SHORT_BYTES) bytes.copy(this.#store, this.#used, from, end);
    else for (let i = from, to = this.#used; i < end; i++, to++) this.#store[to] = bytes[i] as number;
    this.#used = used;
  }

  /** Adds the record to the chunk; returns a chunk that is complete by that. */
  #endRecord(): InputChunk | undefined {
    const line = this.#line;
    const start = this.#recordStart;
    const lineFeeds = this.#scanner.takeLineFeeds();
    this.#line += lineFeeds;

    const ended = this.#store[this.#used - 1] === LF;
    const header = this.#awaitsHeader;
    // A line of only CR CR LF is a row without a text, except before a header.
    const empty =
      !this.#tooLong &&
      (header
        ? contentEnd(this.#store, start, this.#used) === start
        : isEmptyLine(this.#store, start, this.#used));

    if (header && !empty) {
      const record = content(this.#store.subarray(start, this.#used));
      this.#columns = readHeader(withoutMark(record), this.#input, this.#limits.header);
      this.#header = toHeader(this.#columns, this.#input);
      this.#used = start;
      return undefined;
    }
    if (this.#tooLong) {
      const marker = tooLongMarker({ lineFeeds, maxBytes: this.#limits.maxRecordBytes });
      this.#write(marker, 0, marker.length);
      this.#tooLong = false;
    } else if (this.#store[start] === MARKER) this.#store[start] = NOT_A_MARKER;

    if (!empty && lineFeeds + (ended ? 0 : 1) > 1) this.#multilineRows++;
    const tooMuch = this.#rows > 0 && this.#used > this.#limits.chunkBytes;
    const chunk = tooMuch ? this.#cut(start) : undefined;
    if (!empty && this.#rows++ === 0) this.#firstLine = line;
    // An empty line is stored only to keep later line numbers right.
    if (this.#rows === 0) this.#used = 0;
    this.#recordStart = this.#used;
    return chunk ?? (this.#rows >= this.#limits.chunkRows ? this.#cut(this.#used) : undefined);
  }

  /** The first `end` bytes of the store as a chunk; the rest begins the next one. */
  #cut(end: number): InputChunk {
    const chunk: InputChunk = {
      bytes: Buffer.from(this.#store.subarray(0, end)),
      rows: this.#rows,
      firstLine: this.#firstLine,
      ...(this.#header && { header: this.#header }),
    };
    this.#store.copyWithin(0, end, this.#used);
    this.#used -= end;
    this.#recordStart = 0;
    this.#rows = 0;
    return chunk;
  }
}
