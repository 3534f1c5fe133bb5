/** How slowly an upload may come. */
import { AppError } from '../../shared/contract/problems.ts';

export interface UploadPace {
  /** Time in which something must come, in ms. */
  idleMs: number;
  /** On average over that time. */
  minBytesPerS: number;
}

/**
 * The body until its end. The time that the reader of this takes before it wants the next piece does not count.
 *
 * Slow producers are legitimate (a program that computes what it sends), so the least pace is far below what any network has: it
 * ends only uploads that send a byte now and then to stay open. What slow uploads can hold is bounded by MAX_UPLOADS.
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
  /** Of the window that goes on: bytes that came, and ms that were waited for them. */
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
      ? `nothing was received for ${seconds} s`
      : `${bytes} bytes are too little for ${seconds} s; open a batch, and upload parts that are whole when they are sent`,
  );
}
