/**
 * Finds where a record ends. Splitter, parser, the `amulet` command and the client use this one scanner, so they cannot disagree on
 * what a record is. Imports nothing: the client runs anywhere.
 *
 * A record ends with a line feed (in CSV: one outside of quotes) or with the file; one carriage return before that is
 * part of the ending. A record without content is an empty line, in all three formats: skipped, but counted as a line.
 */
const LF = 0x0a;
const CR = 0x0d;
const QUOTE = 0x22;

/** Distance up to which a loop finds a byte faster than a call into C++. */
const SHORT_BYTES = 16;

// Where in a CSV record the scanner is. A quote opens a field only at its start; elsewhere it ends nothing.
const FIELD_START = 0;
const UNQUOTED = 1;
const QUOTED = 2;
/** After a quote inside quotes: a second quote makes it a character of the field, anything else closes the field. */
const QUOTE_SEEN = 3;

export class RecordScanner {
  readonly #delimiter: number | undefined;
  #state = FIELD_START;
  #lineFeeds = 0;
  #openedAfter = 0;

  /** @param delimiter of CSV with quoted fields, one ASCII character; undefined: a record is a line */
  constructor(delimiter?: string) {
    this.#delimiter = delimiter?.charCodeAt(0);
  }

  /** Index after the end of the record that begins or continues at `from`; -1 when the bytes end before the record. */
  scan(bytes: Uint8Array, from: number): number {
    const delimiter = this.#delimiter;
    if (delimiter === undefined) {
      const end = indexOfLineFeed(bytes, from) + 1;
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
      else if (byte === QUOTE && state !== UNQUOTED) {
        if (state === FIELD_START) this.#openedAfter = this.#lineFeeds;
        state = QUOTED;
      } else state = UNQUOTED;
    }
    this.#state = state;
    return -1;
  }

  /** Whether the bytes so far end inside a quoted field. */
  get inQuotes(): boolean {
    return this.#state === QUOTED;
  }

  /** Line feeds of the record before its last quoted field. */
  get openedAfter(): number {
    return this.#openedAfter;
  }

  /** Line feeds in the record that has just ended. */
  takeLineFeeds(): number {
    const lineFeeds = this.#lineFeeds;
    this.#lineFeeds = 0;
    return lineFeeds;
  }
}

/**
 * Index of the line ending of the record in a range: LF, CRLF, or the CR CR LF of programs that convert CRLF again. A range,
 * not a view: uploads may have millions of empty lines.
 */
export function contentEnd(bytes: Uint8Array, start: number, end: number): number {
  let at = end;
  if (at > start && bytes[at - 1] === LF) at--;
  while (at > start && bytes[at - 1] === CR) at--;
  return at;
}

function indexOfLineFeed(bytes: Uint8Array, from: number): number {
  const near = Math.min(from + SHORT_BYTES, bytes.length);
  for (let i = from; i < near; i++) if (bytes[i] === LF) return i;
  return bytes.indexOf(LF, near);
}
