/** Byte ranges and byte streams: helpers of both back ends. */
import { toError } from '../runtime/to-error.ts';
import { BlobError, type ByteRange, type PutStreamOptions } from './blob-store.ts';

/** @throws RangeError when a bound is not a whole number ≥ 0 */
export function resolveRange({ start = 0, end }: ByteRange): { start: number; end: number } {
  for (const bound of [start, end ?? 0]) {
    if (!Number.isSafeInteger(bound) || bound < 0) throw new RangeError(`not a byte offset: ${bound}`);
  }
  return { start, end: Math.max(start, end ?? Number.MAX_SAFE_INTEGER) };
}

export async function toBuffer(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const piece of pieces) all.push(piece);
  return Buffer.concat(all);
}

/** Passes `source` on until its end, its error, too many bytes, or the abort signal, which works even while it hangs. */
export async function* limited(
  source: AsyncIterable<Uint8Array>,
  { signal, maxBytes = Number.MAX_SAFE_INTEGER }: PutStreamOptions,
): AsyncGenerator<Uint8Array> {
  const iterator = source[Symbol.asyncIterator]();
  // Not Promise.race() against one promise of the signal: that promise would keep every piece alive.
  let fail = (_reason: Error): void => {};
  const onAbort = () => fail(toError(signal?.reason));
  signal?.addEventListener('abort', onAbort, { once: true });
  let bytes = 0;
  let ended = false;
  try {
    for (;;) {
      signal?.throwIfAborted();
      const next = await new Promise<IteratorResult<Uint8Array>>((resolve, reject) => {
        fail = reject;
        iterator.next().then(resolve, reject);
      });
      if (next.done === true) {
        ended = true;
        return;
      }
      bytes += next.value.length;
      if (bytes > maxBytes) throw new BlobError('blob_too_large', `more than ${maxBytes} bytes`);
      yield next.value;
    }
  } finally {
    signal?.removeEventListener('abort', onAbort);
    // Not awaited: a source that hangs does not answer to this either.
    if (!ended) iterator.return?.().catch(() => {});
  }
}
