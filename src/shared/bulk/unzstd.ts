/**
 * Unpacks zstd of one or several frames without losing data silently.
 *
 * Node's decoder ignores whatever follows a frame in the same piece of input: another frame, or half of one. So this module separates
 * the frames, and Node only decodes.
 */
import * as zlib from 'node:zlib';
import { ByteReader } from './byte-reader.ts';
import { feedDecoder } from './feed-decoder.ts';
import { MAX_TINY_MEMBERS, MEMBER_BYTES } from './gunzip.ts';

/**
 * `cut`: truncated; `damaged`: modified; `trailing`: other data follows; `frames`: too many frames for the size; `window`: needs more
 * memory than MAX_WINDOW_LOG allows; `unsupported`: this Node has no zstd.
 */
export type ZstdProblem = 'cut' | 'damaged' | 'trailing' | 'frames' | 'window' | 'unsupported';

export class ZstdError extends Error {
  readonly problem: ZstdProblem;

  constructor(problem: ZstdProblem, message: string, options?: ErrorOptions) {
    super(message, options);
    this.problem = problem;
  }
}

/** 128 MB, as the zstd command takes without --long. */
const MAX_WINDOW_LOG = 27;

/** Missing before Node 22.15, on which the client runs too. */
const createDecoder = (zlib as Partial<Pick<typeof zlib, 'createZstdDecompress'>>).createZstdDecompress;

/**
 * @param chunkBytes largest piece of output
 * @throws ZstdError; errors of the source pass unchanged
 */
export async function* unzstd(
  source: AsyncIterable<Uint8Array>,
  chunkBytes = 16 * 1024,
): AsyncGenerator<Buffer, void, undefined> {
  const input = new ByteReader(source);
  try {
    for (let frames = 1; await atFrame(input, frames); frames++) {
      if (frames > MAX_TINY_MEMBERS + input.taken / MEMBER_BYTES) throw tooManyFrames();
      yield* readFrame(input, chunkBytes);
    }
  } finally {
    input.close();
  }
}

/** @returns false at the end. @throws ZstdError when something else than a frame follows */
async function atFrame(input: ByteReader, number: number): Promise<boolean> {
  const magic = await input.peek(4);
  if (magic.length === 0 && number > 1) return false;
  if (beginsLikeZstd(magic)) return true;
  if (number === 1) throw new ZstdError(magic.length < 4 ? 'cut' : 'damaged', 'incorrect header');
  throw new ZstdError('trailing', 'other data follows the zstd data');
}

/** Whether bytes begin as a frame does, or as one that decoders skip. */
export function beginsLikeZstd([a, b, c, d]: Uint8Array): boolean {
  if (a === 0x28 && b === 0xb5 && c === 0x2f && d === 0xfd) return true;
  return a !== undefined && a >> 4 === 5 && b === 0x2a && c === 0x4d && d === 0x18;
}

async function* readFrame(input: ByteReader, chunkBytes: number): AsyncGenerator<Buffer, void, undefined> {
  if (createDecoder === undefined) throw new ZstdError('unsupported', `Node ${process.version} has no zstd`);
  const params = { [zlib.constants.ZSTD_d_windowLogMax]: MAX_WINDOW_LOG };
  const decoder = createDecoder({ chunkSize: chunkBytes, params });
  const fed = feedDecoder(input, decoder);
  // An error ends the loop below. If the loop is over already, this listener keeps the error from being uncaught.
  decoder.on('error', () => {});
  fed.catch((error: unknown) => decoder.destroy(error as Error));
  try {
    yield* decoder as AsyncIterable<Buffer>;
    await fed;
  } catch (error) {
    throw toZstdError(error);
  } finally {
    decoder.destroy();
  }
}

function toZstdError(error: unknown): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  const because = { cause: error };
  if (code === 'Z_BUF_ERROR') return new ZstdError('cut', message, because);
  // A frame that ended with a piece is followed by something else.
  if (code === 'ZSTD_error_prefix_unknown') return new ZstdError('trailing', message, because);
  if (code === 'ZSTD_error_frameParameter_windowTooLarge') return new ZstdError('window', message, because);
  return code?.startsWith('ZSTD_') === true ? new ZstdError('damaged', message, because) : error;
}

const tooManyFrames = () =>
  new ZstdError(
    'frames',
    `too many tiny zstd frames (more than ${MAX_TINY_MEMBERS} and one for every ${MEMBER_BYTES} bytes)`,
  );
