/** Converts the input of a batch to bytes: rows of a program, or a file in one of the formats of docs/bulk.md. */
import { prepend, ungzip, withoutMark } from '../shared/bulk/byte-stream.ts';
import { formatByName } from '../shared/bulk/file-formats.ts';
import { gunzip, read } from './bytes.ts';
import type { InputFormat } from './types.ts';

/** A text, or a text with an id that is returned with its result. */
export type TextRow = string | { id?: string | number | undefined; text: string };

/** Bytes of a file with their format, such as those of `fromFile()`. */
export interface FormattedBytes extends AsyncIterable<Uint8Array> {
  format?: InputFormat | undefined;
  /** CSV: the character between fields. */
  delimiter?: string | undefined;
}

/**
 * Rows (a list, a generator, a database cursor, …), or the bytes of a file, gzipped or not: a stream of Node or the web, a
 * `File` of a browser, `fromFile(path)`. Strings are texts, one each; bytes are a file.
 */
export type BatchInput =
  | Iterable<TextRow>
  | AsyncIterable<TextRow>
  | AsyncIterable<Uint8Array>
  | FormattedBytes
  | ReadableStream<Uint8Array>
  | Uint8Array
  | Blob;

export interface OpenedInput {
  format?: InputFormat | undefined;
  delimiter?: string | undefined;
  /** Decompressed, without a byte order mark. */
  bytes: AsyncGenerator<Uint8Array, void, undefined>;
  /** Closes the input if `bytes` was never read: closing a generator that has not started does not close its source. */
  close: () => Promise<unknown>;
}

/** Reads the first item to find out the kind of input. */
export async function openInput(input: BatchInput): Promise<OpenedInput> {
  if (typeof input === 'string') {
    throw new TypeError('one text is not a batch; for a file, use fromFile(path) of amulet-classify/node');
  }
  const items = iterate(input);
  const close = () => items.return();
  const first = await items.next();
  if (first.done === true) return { bytes: toNdjson(items as AsyncIterable<TextRow>), close };
  if (!(first.value instanceof Uint8Array)) {
    const rows = prepend(first.value, items) as AsyncIterable<TextRow>;
    return { format: 'ndjson', bytes: toNdjson(rows), close };
  }
  const { format, delimiter } = (
    isFile(input) ? (formatByName(input.name) ?? {}) : input
  ) as Partial<FormattedBytes>;
  const stored = prepend(first.value, items) as AsyncGenerator<Uint8Array>;
  return { format, delimiter, bytes: withoutMark(ungzip(stored, gunzip)), close };
}

/** A browser's file. */
const isFile = (input: BatchInput): input is File => input instanceof Blob && 'name' in input;

async function* iterate(input: BatchInput): AsyncGenerator<TextRow | Uint8Array, void, undefined> {
  if (input instanceof Uint8Array) yield input;
  else if (input instanceof Blob) yield* read(input.stream());
  else if (input instanceof ReadableStream) yield* read(input);
  else yield* input;
}

/** Rows are joined to pieces of about this size. */
const PIECE_CHARS = 64 * 1024;

async function* toNdjson(rows: AsyncIterable<TextRow>): AsyncGenerator<Uint8Array, void, undefined> {
  const encoder = new TextEncoder();
  let lines = '';
  for await (const row of rows) {
    const { id, text } = typeof row === 'string' ? { id: undefined, text: row } : row;
    lines += `${JSON.stringify({ id, text })}\n`;
    if (lines.length < PIECE_CHARS) continue;
    yield encoder.encode(lines);
    lines = '';
  }
  if (lines !== '') yield encoder.encode(lines);
}
