/** Gzip undone, of one member or several, and nothing of it lost without a word. */
import { createGunzip, type Gunzip } from 'node:zlib';

/** `cut`: ends before its end; `damaged`: is no gzip, or was changed; `trailing`: something else lies behind it. */
export type GzipProblem = 'cut' | 'damaged' | 'trailing';

export class GzipError extends Error {
  readonly problem: GzipProblem;

  constructor(problem: GzipProblem, message: string, options?: ErrorOptions) {
    super(message, options);
    this.problem = problem;
  }
}

/**
 * Zeros behind the last member are padding. Zeros between members are a hole: Node's decoder takes them for the end and
 * drops what follows without an error (and `rejectGarbageAfterEnd` refuses files of several members), so whatever it does
 * not take is looked at here.
 *
 * @param chunkBytes size of the pieces that come out, at most
 * @throws GzipError; and errors of the source, as they are
 */
export async function* gunzip(
  source: AsyncIterable<Uint8Array>,
  chunkBytes = 16 * 1024,
): AsyncGenerator<Buffer, void, undefined> {
  const decoder = createGunzip({ chunkSize: chunkBytes });
  const fed = feed(source, decoder);
  // Through the decoder it ends the loop below; that may be over by then, and nobody else listens.
  decoder.on('error', () => {});
  fed.catch((error: unknown) => decoder.destroy(error as Error));
  try {
    for await (const bytes of decoder) yield bytes as Buffer;
    await fed;
  } catch (error) {
    throw toGzipError(error);
  } finally {
    decoder.destroy();
  }
}

async function feed(source: AsyncIterable<Uint8Array>, decoder: Gunzip): Promise<void> {
  const closed = new Promise<never>((_, reject) =>
    decoder.once('close', () => reject(new Error('nobody reads on'))),
  );
  closed.catch(() => {});
  let ended = false;
  for await (const bytes of source) {
    let rest = bytes;
    if (!ended) {
      const before = decoder.bytesWritten;
      await Promise.race([write(decoder, bytes), closed]);
      rest = bytes.subarray(decoder.bytesWritten - before);
      ended = rest.length > 0;
    }
    if (rest.some((byte) => byte !== 0)) {
      throw new GzipError('trailing', 'behind the gzip data, and zeros, there is something else');
    }
  }
  decoder.end();
}

/** Waits until the decoder has taken what it takes of it. */
function write(decoder: Gunzip, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    decoder.write(bytes, (error) => {
      if (error) reject(error);
      else resolve();
    });
  });
}

function toGzipError(error: unknown): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'Z_BUF_ERROR') return new GzipError('cut', message, { cause: error });
  if (code?.startsWith('Z_') === true) return new GzipError('damaged', message, { cause: error });
  return error;
}
