/** Streams of bytes for an upload: look at the beginning, undo gzip, drop a byte order mark. It runs in browsers, too. */

/** Yields `first`, then the rest; closes the rest when it is closed. */
export async function* prepend<T>(first: T, rest: AsyncIterator<T>): AsyncGenerator<T, void, undefined> {
  try {
    yield first;
    for (;;) {
      const next = await rest.next();
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    await rest.return?.();
  }
}

/**
 * Reads the first `bytes` bytes or more of a stream, fewer if it is shorter.
 * @param source must not be read any further; closing the returned stream closes it
 * @returns what was read, and the whole stream from its beginning
 */
export async function peek(
  source: AsyncIterable<Uint8Array>,
  bytes: number,
): Promise<{ head: Uint8Array; stream: AsyncGenerator<Uint8Array, void, undefined> }> {
  const iterator = source[Symbol.asyncIterator]();
  let head: Uint8Array = new Uint8Array();
  while (head.length < bytes) {
    const next = await iterator.next();
    if (next.done === true) break;
    head = head.length === 0 ? next.value : concat([head, next.value]);
  }
  return { head, stream: prepend(head, iterator) };
}

const GZIP_MAGIC = [0x1f, 0x8b];
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf];

/** Decompresses a stream that begins as gzip does, and passes any other on. @param gunzip called only for gzip */
export async function* ungzip(
  stored: AsyncIterable<Uint8Array>,
  gunzip: (compressed: AsyncGenerator<Uint8Array>) => AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { head, stream } = await peek(stored, GZIP_MAGIC.length);
  yield* beginsWith(head, GZIP_MAGIC) ? gunzip(stream) : stream;
}

export async function* withoutMark(
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { head, stream } = await peek(source, BYTE_ORDER_MARK.length);
  let skip = beginsWith(head, BYTE_ORDER_MARK) ? BYTE_ORDER_MARK.length : 0;
  for await (const bytes of stream) {
    yield bytes.subarray(skip);
    skip = 0;
  }
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

/** Collects pieces and joins them once, when all have arrived. */
export class Pieces {
  bytes = 0;
  #pieces: Uint8Array[] = [];

  add(piece: Uint8Array): void {
    if (piece.length > 0) this.#pieces.push(piece);
    this.bytes += piece.length;
  }

  take(): Uint8Array {
    const all = concat(this.#pieces);
    this.#pieces = [];
    this.bytes = 0;
    return all;
  }
}
