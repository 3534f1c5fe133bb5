/** Streams of bytes, wherever they come from. */
import { AmuletError } from './errors.ts';

/** @param first what was taken off `rest` to look at it */
export async function* prepend<T>(first: T, rest: AsyncGenerator<T>): AsyncGenerator<T, void, undefined> {
  try {
    yield first;
    yield* rest;
  } finally {
    await rest.return(undefined);
  }
}

/** Not every browser can iterate a stream. */
export async function* read(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { value } = await reader.read();
      if (value === undefined) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

const GZIP_MAGIC = [0x1f, 0x8b];
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf];

/** The bytes of a file as they are meant: gzip undone, without a byte order mark. */
export async function decode(
  stored: AsyncGenerator<Uint8Array>,
): Promise<AsyncGenerator<Uint8Array, void, undefined>> {
  return withoutMark(await ungzip(stored, gunzip));
}

/**
 * Gzip undone where there is some.
 * @throws AmuletError `bad_gzip`, while it is read
 */
export async function ungzip(
  stored: AsyncGenerator<Uint8Array>,
  gunzip: (compressed: AsyncGenerator<Uint8Array>) => AsyncGenerator<Uint8Array, void, undefined>,
): Promise<AsyncGenerator<Uint8Array, void, undefined>> {
  const { head, all } = await peek(stored, GZIP_MAGIC.length);
  return beginsWith(head, GZIP_MAGIC) ? gunzip(all) : all;
}

export const badGzip = (reason: string, cause: unknown): AmuletError =>
  new AmuletError('bad_gzip', `the gzip data of the input cannot be read: ${reason}`, { cause });

async function* gunzip(compressed: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const source: { error?: unknown } = {};
  const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      const next = await compressed.next().catch((error: unknown) => {
        source.error = error;
        throw error;
      });
      if (next.done === true) controller.close();
      else controller.enqueue(next.value as Uint8Array<ArrayBuffer>);
    },
    async cancel() {
      await compressed.return(undefined);
    },
  });
  try {
    yield* read(stream.pipeThrough(new DecompressionStream('gzip')));
  } catch (error) {
    if ('error' in source) throw source.error;
    const reason = 'it is damaged or truncated, or has several members, which only fromFile() can read';
    throw badGzip(reason, error);
  }
}

async function* withoutMark(source: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const { head, all } = await peek(source, BYTE_ORDER_MARK.length);
  let skip = beginsWith(head, BYTE_ORDER_MARK) ? BYTE_ORDER_MARK.length : 0;
  for await (const bytes of all) {
    yield bytes.subarray(skip);
    skip = 0;
  }
}

/** The first `length` bytes or more, if there are so many, and everything again. */
async function peek(
  source: AsyncGenerator<Uint8Array>,
  length: number,
): Promise<{ head: Uint8Array; all: AsyncGenerator<Uint8Array, void, undefined> }> {
  let head = new Uint8Array();
  while (head.length < length) {
    const next = await source.next();
    if (next.done === true) break;
    head = concat([head, next.value]);
  }
  return { head, all: prepend(head, source) };
}

const beginsWith = (bytes: Uint8Array, mark: readonly number[]): boolean =>
  mark.every((byte, i) => bytes[i] === byte);

export function concat(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(pieces.reduce((length, piece) => length + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}
