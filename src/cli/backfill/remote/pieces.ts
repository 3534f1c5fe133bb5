/** The body of an answer, piece by piece, until its server has been silent for too long. */
import type { Readable } from 'node:stream';
import { ConnectionError } from '../../../client/errors.ts';

/** After this silence the connection counts as dead. */
export const SILENCE_MS = 60_000;

/**
 * Closes the body at its end. A reader that is busy does not make the server silent.
 * @param convert makes an error for the caller of one of the connection
 * @throws what `convert` returns, or the signal's reason
 */
export async function* piecesOf(
  body: Readable,
  signal: AbortSignal,
  convert: (error: unknown) => unknown,
): AsyncGenerator<Uint8Array, void, undefined> {
  const abort = () => body.destroy(signal.reason as Error);
  signal.addEventListener('abort', abort, { once: true });
  let waiting = false;
  const timer = setTimeout(() => {
    if (waiting) body.destroy(new ConnectionError('ETIMEDOUT', `no data for ${SILENCE_MS / 1000} s`));
  }, SILENCE_MS);
  try {
    const pieces = body[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    for (;;) {
      waiting = true;
      timer.refresh();
      const next = await pieces.next();
      waiting = false;
      if (next.done === true) return;
      yield next.value;
    }
  } catch (error) {
    signal.throwIfAborted();
    throw convert(error);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', abort);
    body.destroy();
  }
}
