/**
 * Unpacks gzip of one or several members without losing data silently.
 *
 * Node's Gunzip takes whatever follows a member for another one: a line feed after the data reads as a truncated member, and zeros
 * between members end the data without an error. So this module separates the members, and Node only inflates.
 */
import * as zlib from 'node:zlib';
import { ByteReader, CutOffError } from './byte-reader.ts';
import { feedDecoder } from './feed-decoder.ts';

/**
 * `cut`: truncated; `damaged`: not gzip, or modified; `trailing`: other data follows; `hole`: zeros between two members, as where a
 * disk lost a block; `members`: too many members for the size.
 */
export type GzipProblem = 'cut' | 'damaged' | 'trailing' | 'hole' | 'members';

/**
 * A member costs about 100 µs, even if it has only 20 bytes: a stream may have MAX_TINY_MEMBERS, and one more for every
 * MEMBER_BYTES. Tools write larger ones: bgzip mostly 10 KB and more, pigz one per file, `gzip -c >>` one per call.
 */
export const MAX_TINY_MEMBERS = 1000;
export const MEMBER_BYTES = 512;

export class GzipError extends Error {
  readonly problem: GzipProblem;

  constructor(problem: GzipProblem, message: string, options?: ErrorOptions) {
    super(message, options);
    this.problem = problem;
  }
}

/**
 * Zeros after the last member are padding, as on tapes.
 *
 * @param chunkBytes largest piece of output
 * @throws GzipError; errors of the source pass unchanged
 */
export async function* gunzip(
  source: AsyncIterable<Uint8Array>,
  chunkBytes = 16 * 1024,
): AsyncGenerator<Buffer, void, undefined> {
  const input = new ByteReader(source);
  try {
    await readHeader(input);
    let members = 0;
    do {
      if (++members > MAX_TINY_MEMBERS + input.taken / MEMBER_BYTES) throw tooManyMembers();
      yield* readMember(input, chunkBytes);
    } while (await anotherMember(input));
  } catch (error) {
    throw error instanceof CutOffError ? new GzipError('cut', error.message, { cause: error }) : error;
  } finally {
    input.close();
  }
}

const MAGIC = [0x1f, 0x8b] as const;
const DEFLATE = 8;
const HEADER_BYTES = 10;
const TRAILER_BYTES = 8;
/** Bits of the flags. */
const HEADER_CRC = 2;
const EXTRA = 4;
const NAME = 8;
const COMMENT = 16;
/** Longest name or comment in a header. */
const MAX_STRING_BYTES = 64 * 1024;

/** @throws GzipError */
async function readHeader(input: ByteReader): Promise<void> {
  const header = await input.take(HEADER_BYTES);
  const [a, b, method, flags = 0] = header;
  if (a !== MAGIC[0] || b !== MAGIC[1] || method !== DEFLATE)
    throw new GzipError('damaged', 'incorrect header');
  if ((flags & EXTRA) !== 0) await input.take((await input.take(2)).readUInt16LE());
  for (const string of [NAME, COMMENT]) if ((flags & string) !== 0) await skipString(input);
  if ((flags & HEADER_CRC) !== 0) await input.take(2);
}

/** @throws GzipError */
async function skipString(input: ByteReader): Promise<void> {
  for (let length = 0; ;) {
    const bytes = await input.next();
    if (!bytes) throw new CutOffError();
    const end = bytes.indexOf(0);
    length += end === -1 ? bytes.length : end;
    if (length > MAX_STRING_BYTES) throw new GzipError('damaged', 'endless header');
    if (end === -1) continue;
    input.giveBack(bytes.subarray(end + 1));
    return;
  }
}

/** Reads the data and trailer of a member, after its header. */
async function* readMember(input: ByteReader, chunkBytes: number): AsyncGenerator<Buffer, void, undefined> {
  const inflate = zlib.createInflateRaw({ chunkSize: chunkBytes });
  const fed = feedDecoder(input, inflate);
  // An error ends the loop below. If the loop is over already, this listener keeps the error from being uncaught.
  inflate.on('error', () => {});
  fed.catch((error: unknown) => inflate.destroy(error as Error));
  let crc = 0;
  let size = 0;
  try {
    for await (const bytes of inflate as AsyncIterable<Buffer>) {
      crc = crc32(bytes, crc);
      size = (size + bytes.length) % 2 ** 32;
      yield bytes;
    }
    await fed;
  } catch (error) {
    throw toGzipError(error);
  } finally {
    inflate.destroy();
  }
  const trailer = await input.take(TRAILER_BYTES);
  if (trailer.readUInt32LE(0) !== crc) throw new GzipError('damaged', 'incorrect data check');
  if (trailer.readUInt32LE(4) !== size) throw new GzipError('damaged', 'incorrect length check');
}

/** Reads the header of the next member. @returns false at the end. @throws GzipError when other data follows */
async function anotherMember(input: ByteReader): Promise<boolean> {
  const bytes = await input.next();
  if (!bytes) return false;
  if (bytes[0] !== 0) {
    input.giveBack(bytes);
    const [a, b] = await input.peek(2);
    if (a !== MAGIC[0] || b !== MAGIC[1]) {
      throw new GzipError('trailing', 'other data follows the gzip data');
    }
    await readHeader(input);
    return true;
  }
  for (let zeros: Uint8Array | undefined = bytes; zeros; zeros = await input.next()) {
    if (zeros.some((byte) => byte !== 0)) {
      throw new GzipError('hole', 'zero bytes between gzip members: the data after them would be lost');
    }
  }
  return false;
}

const tooManyMembers = () =>
  new GzipError(
    'members',
    `too many tiny gzip members (more than ${MAX_TINY_MEMBERS} and one for every ${MEMBER_BYTES} bytes): compress it again, with zcat FILE | gzip`,
  );

function toGzipError(error: unknown): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'Z_BUF_ERROR') return new GzipError('cut', message, { cause: error });
  if (code?.startsWith('Z_') === true) return new GzipError('damaged', message, { cause: error });
  return error;
}

/** Missing in the first releases of Node 20 and 22, on which the client runs too. */
const crc32 = (zlib as Partial<Pick<typeof zlib, 'crc32'>>).crc32 ?? slowCrc32;

function slowCrc32(bytes: Uint8Array, before: number): number {
  let crc = ~before;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? (crc >>> 1) ^ 0xed_b8_83_20 : crc >>> 1;
  }
  return ~crc >>> 0;
}
