/** Byte ranges and streams of bytes, as both back ends read and write them. */
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

/** `source` until its end, its error, too many bytes, or the signal, even when it hangs. */
export async function* limited(
  source: AsyncIterable<Uint8Array>,
  { signal, maxBytes = Number.MAX_SAFE_INTEGER }: PutStreamOptions,
): AsyncGenerator<Uint8Array> {
  const iterator = source[Symbol.asyncIterator]();
  // Not Promise.race() against one promise of the signal: that would keep every piece for as long as it is pending.
  let giveUp = (_reason: Error): void => {};
  const onAbort = () => giveUp(toError(signal?.reason));
  signal?.addEventListener('abort', onAbort, { once: true });
  let bytes = 0;
  let ended = false;
  try {
    for (;;) {
      signal?.throwIfAborted();
      const next = await new Promise<IteratorResult<Uint8Array>>((resolve, reject) => {
        giveUp = reject;
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
    // Not awaited: a source that hangs answers to this no sooner than to the rest.
    if (!ended) iterator.return?.().catch(() => {});
  }
}
