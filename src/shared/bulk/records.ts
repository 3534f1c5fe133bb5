/**
 * Where a record ends, and the marker that stands for a record too long to be kept. Both halves of bulk input use this
 * one scanner, so they cannot disagree on what a record is.
 *
 * A record ends with a line feed (in CSV: one outside of quotes) or with the file; one carriage return before that is
 * part of the ending. A record without content is an empty line, in all three formats: skipped, but counted as a line.
 */
import { InputError, type InputSpec } from './input.ts';

const LF = 0x0a;
const CR = 0x0d;
const QUOTE = 0x22;

// Where in a CSV record the scanner is. A quote opens a field only at its start; elsewhere it ends nothing.
const FIELD_START = 0;
const UNQUOTED = 1;
const QUOTED = 2;
/** After a quote inside of quotes: another one makes it a character of the field, anything else closes it. */
const QUOTE_SEEN = 3;

export class RecordScanner {
  readonly #delimiter: number | undefined;
  #state = FIELD_START;
  #lineFeeds = 0;

  constructor(input: Pick<InputSpec, 'format' | 'delimiter'>) {
    this.#delimiter = input.format === 'csv' ? delimiterByte(input.delimiter ?? ',') : undefined;
  }

  /** Index behind the end of the record that begins or goes on at `from`; -1 when the bytes end before it does. */
  scan(bytes: Buffer, from: number): number {
    const delimiter = this.#delimiter;
    if (delimiter === undefined) {
      const end = bytes.indexOf(LF, from) + 1;
      if (end === 0) return -1;
      this.#lineFeeds++;
      return end;
    }
    let state = this.#state;
    for (let i = from; i < bytes.length; i++) {
      const byte = bytes[i];
      if (state === QUOTED) {
        if (byte === QUOTE) state = QUOTE_SEEN;
        else if (byte === LF) this.#lineFeeds++;
      } else if (byte === LF) {
        this.#state = FIELD_START;
        this.#lineFeeds++;
        return i + 1;
      } else if (byte === delimiter) state = FIELD_START;
      else if (byte === QUOTE && state !== UNQUOTED) state = QUOTED;
      else state = UNQUOTED;
    }
    this.#state = state;
    return -1;
  }

  /** Line feeds in the record just ended. */
  takeLineFeeds(): number {
    const lineFeeds = this.#lineFeeds;
    this.#lineFeeds = 0;
    return lineFeeds;
  }
}

/** A record without its line ending. */
export function content(record: Buffer): Buffer {
  let end = record.length;
  if (record[end - 1] === LF) end--;
  if (record[end - 1] === CR) end--;
  return record.subarray(0, end);
}

/**
 * First byte of a marker. UTF-8 has no 0xff, and the splitter makes it 0xfe (not UTF-8 either) in a record of the input
 * that begins with one, so no upload can produce a marker.
 */
export const MARKER = 0xff;
export const NOT_A_MARKER = 0xfe;

export interface TooLong {
  lineFeeds: number;
  maxBytes: number;
}

/** The record that stands for one with so many line feeds that was longer than `maxBytes`. */
export function tooLongMarker({ lineFeeds, maxBytes }: TooLong): Buffer {
  return Buffer.from(`\xff${lineFeeds} ${maxBytes}\n`, 'latin1');
}

/** What a record stands for, if it is a marker. */
export function readMarker(record: Buffer): TooLong | undefined {
  if (record[0] !== MARKER) return undefined;
  const [, lineFeeds, maxBytes] = /^.(\d{1,15}) (\d{1,15})\n$/s.exec(record.toString('latin1')) ?? [];
  return maxBytes === undefined ? undefined : { lineFeeds: Number(lineFeeds), maxBytes: Number(maxBytes) };
}

function delimiterByte(delimiter: string): number {
  // csv-parse takes any string; a byte that is never part of another character keeps the scanner simple.
  if (delimiter === '"' || !/^[\t -~]$/.test(delimiter)) {
    throw new InputError('the delimiter must be a tab or one printable ASCII character other than a quote');
  }
  return delimiter.charCodeAt(0);
}
