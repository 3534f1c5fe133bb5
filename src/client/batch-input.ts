/** What a batch is made of, as bytes: rows of a program, or a file in one of the formats of docs/bulk.md. */
import { prepend, ungzip, withoutMark } from '../shared/bulk/byte-stream.ts';
import { formatByName } from '../shared/bulk/file-formats.ts';
import { gunzip, read } from './bytes.ts';
import type { InputFormat } from './types.ts';

/** A text, or one with an id that comes back with its result. */
export type TextRow = string | { id?: string | number | undefined; text: string };

/** Bytes of a file that know what they are, such as those of `fromFile()`. */
export interface FormattedBytes extends AsyncIterable<Uint8Array> {
  format?: InputFormat | undefined;
  /** CSV: between fields. */
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
  /** Gzip undone, without a byte order mark. */
  bytes: AsyncGenerator<Uint8Array, void, undefined>;
  /** Lets go of an input of which `bytes` was not begun: a generator that did not begin does not end either. */
  close: () => Promise<unknown>;
}

/** Reads as far as it takes to know what it is. */
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

/** A file of a browser. */
const isFile = (input: BatchInput): input is File => input instanceof Blob && 'name' in input;

async function* iterate(input: BatchInput): AsyncGenerator<TextRow | Uint8Array, void, undefined> {
  if (input instanceof Uint8Array) yield input;
  else if (input instanceof Blob) yield* read(input.stream());
  else if (input instanceof ReadableStream) yield* read(input);
  else yield* input;
}

/** Rows are put together to pieces of about this size. */
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
