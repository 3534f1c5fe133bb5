/** Ends uploads that stall or are too slow. */
import { AppError } from '../../shared/contract/problems.ts';

export interface UploadPace {
  /** Length of the window in which bytes must arrive, in ms. */
  idleMs: number;
  /** Lowest average rate over a window. */
  minBytesPerS: number;
}

/**
 * Passes the body through. Only the wait for its next piece counts, not the time that the consumer takes with one.
 *
 * Slow producers are legitimate (a program that computes what it sends), so the minimum rate is far below that of any network: it
 * ends only uploads that send a byte now and then to stay open. MAX_UPLOADS bounds what slow uploads can hold.
 * @throws AppError `upload_idle`; errors of the body
 */
export async function* withPace(
  body: AsyncIterable<Uint8Array>,
  { idleMs, minBytesPerS }: UploadPace,
): AsyncGenerator<Uint8Array> {
  const iterator = body[Symbol.asyncIterator]();
  const minBytes = Math.ceil((minBytesPerS * idleMs) / 1000);
  let timer: NodeJS.Timeout | undefined;
  let ended = false;
  /** In the current window: bytes received, and ms spent waiting for them. */
  let bytes = 0;
  let waitedMs = 0;
  try {
    for (;;) {
      const start = performance.now();
      const tooSlow = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(idle(bytes, idleMs)), idleMs - waitedMs);
      });
      const next = await Promise.race([iterator.next(), tooSlow]);
      clearTimeout(timer);
      if (next.done === true) {
        ended = true;
        return;
      }
      bytes += next.value.length;
      waitedMs += performance.now() - start;
      if (bytes >= minBytes) bytes = waitedMs = 0;
      else if (waitedMs >= idleMs) throw idle(bytes, idleMs);
      yield next.value;
    }
  } finally {
    clearTimeout(timer);
    if (!ended) iterator.return?.().catch(() => {});
  }
}

function idle(bytes: number, idleMs: number): AppError {
  const seconds = idleMs / 1000;
  return new AppError(
    'upload_idle',
    bytes === 0
      ? `no data was received for ${seconds} s`
      : `only ${bytes} bytes were received in ${seconds} s; open a batch, and upload parts that are complete before they are sent`,
  );
}
