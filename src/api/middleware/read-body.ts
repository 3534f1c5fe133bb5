/** Reads a whole body into memory, within limits: its size, the time it takes, and the bytes that all bodies hold together. */
import type { IncomingMessage } from 'node:http';
import type { Context } from 'hono';
import { AppError } from '../../shared/contract/problems.ts';
import type { AppEnv } from '../env.ts';
import type { Lease } from '../load/fair-share.ts';

export interface ReadBodyOptions {
  maxBytes: number;
  /** Makes the error for a larger body. */
  tooLarge: () => AppError;
  /** Seconds within which the whole body must arrive. */
  timeoutS: number;
  /** Lease of InFlight.bodyBytes: holds the bytes that have arrived, also when readBody() throws. */
  lease: Lease;
}

/**
 * @returns the bytes; none when there is no body
 * @throws AppError `tooLarge`, `body_timeout`, `bodies_full`; the connection's error when it breaks off
 */
export async function readBody(c: Context<AppEnv>, limits: ReadBodyOptions): Promise<Uint8Array> {
  // The HTTP parser reads at most Content-Length bytes, and ignores that header beside Transfer-Encoding.
  const chunked = c.req.header('transfer-encoding') !== undefined;
  const length = chunked ? Infinity : Number(c.req.header('content-length') ?? Infinity);
  if (length !== Infinity && length > limits.maxBytes) throw limits.tooLarge();
  const incoming = (c.env as Partial<AppEnv['Bindings']> | undefined)?.incoming;
  // Only tests call the application without a server.
  if (!incoming) return new Uint8Array(await c.req.arrayBuffer());
  // A small body arrives in one packet with the headers. Node parses it once their handler has returned, before other promises.
  await Promise.resolve();
  const arrived = incoming.complete || incoming.readableLength === length;
  return arrived ? takeBuffered(incoming, limits) : collect(incoming, limits);
}

/** Needs no listener, no timer and no copy. */
function takeBuffered(incoming: IncomingMessage, { maxBytes, tooLarge, lease }: ReadBodyOptions): Uint8Array {
  const bytes = (incoming.read() as Buffer | null) ?? NOTHING;
  // Has the stream end, or the server's adapter would wait for more.
  incoming.resume();
  if (bytes.length > maxBytes) throw tooLarge();
  lease.add(bytes.length);
  return bytes;
}

const NOTHING = Buffer.alloc(0);

function collect(
  incoming: IncomingMessage,
  { maxBytes, tooLarge, timeoutS, lease }: ReadBodyOptions,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const bytes = new GrowingBuffer();
    const finish = (settle: () => void) => {
      clearTimeout(timer);
      incoming.off('data', onData).off('end', onEnd).off('error', fail).off('close', onClose);
      // The server's adapter decides what becomes of the rest.
      if (!incoming.readableEnded) incoming.pause();
      settle();
    };
    const fail = (error: Error) => finish(() => reject(error));
    const onData = (piece: Buffer) => {
      try {
        if (bytes.length + piece.length > maxBytes) throw tooLarge();
        lease.add(piece.length);
        bytes.append(piece);
      } catch (error) {
        fail(error as Error);
      }
    };
    const onEnd = () => finish(() => resolve(bytes.read()));
    const onClose = () => fail(incoming.errored ?? new Error('the connection was closed'));
    const timer = setTimeout(() => {
      fail(new AppError('body_timeout', `the body did not arrive within ${timeoutS} s`));
    }, timeoutS * 1000);
    if (incoming.destroyed) onClose();
    else incoming.on('data', onData).once('end', onEnd).once('error', fail).once('close', onClose);
  });
}

/** Copies the pieces into one buffer: they may be millions of single bytes, each in a buffer with its own overhead. */
class GrowingBuffer {
  #buffer = NOTHING;
  length = 0;

  append(piece: Buffer): void {
    const end = this.length + piece.length;
    if (end > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(2 * end, 1024));
      this.#buffer.copy(larger, 0, 0, this.length);
      this.#buffer = larger;
    }
    piece.copy(this.#buffer, this.length);
    this.length = end;
  }

  read(): Buffer {
    return this.#buffer.subarray(0, this.length);
  }
}
