/**
 * Gzip undone, of one member or several, and nothing of it lost without a word.
 *
 * Node's Gunzip takes what follows a member for another one: one line feed behind the data reads as a member that is cut, and
 * zeros between members end the data without an error. So members are taken apart here, and Node only inflates.
 */
import * as zlib from 'node:zlib';

/**
 * `cut`: ends before its end; `damaged`: is no gzip, or was changed; `trailing`: something else lies behind it; `hole`: zeros
 * lie between two members, as where a disk lost a block; `members`: it has too many for its size.
 */
export type GzipProblem = 'cut' | 'damaged' | 'trailing' | 'hole' | 'members';

/**
 * A member costs about 100 µs, however small it is, and can have 20 bytes: a stream may have MAX_TINY_MEMBERS, and one more for
 * every MEMBER_BYTES of it. Tools write larger ones: bgzip mostly 10 KB and more, pigz one a file, `gzip -c >>` one a call.
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
 * Zeros behind the last member are padding, as on tapes.
 *
 * @param chunkBytes size of the pieces that come out, at most
 * @throws GzipError; and errors of the source, as they are
 */
export async function* gunzip(
  source: AsyncIterable<Uint8Array>,
  chunkBytes = 16 * 1024,
): AsyncGenerator<Buffer, void, undefined> {
  const input = new Bytes(source);
  try {
    await readHeader(input);
    let members = 0;
    do {
      if (++members > MAX_TINY_MEMBERS + input.taken / MEMBER_BYTES) throw tooManyMembers();
      yield* readMember(input, chunkBytes);
    } while (await anotherMember(input));
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
/** Of a name or comment in a header. */
const MAX_STRING_BYTES = 64 * 1024;

/** @throws GzipError */
async function readHeader(input: Bytes): Promise<void> {
  const header = await input.take(HEADER_BYTES);
  const [a, b, method, flags = 0] = header;
  if (a !== MAGIC[0] || b !== MAGIC[1] || method !== DEFLATE)
    throw new GzipError('damaged', 'incorrect header');
  if ((flags & EXTRA) !== 0) await input.take((await input.take(2)).readUInt16LE());
  for (const string of [NAME, COMMENT]) if ((flags & string) !== 0) await skipString(input);
  if ((flags & HEADER_CRC) !== 0) await input.take(2);
}

/** @throws GzipError */
async function skipString(input: Bytes): Promise<void> {
  for (let length = 0; ;) {
    const bytes = await input.next();
    if (!bytes) throw cutOff();
    const end = bytes.indexOf(0);
    length += end === -1 ? bytes.length : end;
    if (length > MAX_STRING_BYTES) throw new GzipError('damaged', 'endless header');
    if (end === -1) continue;
    input.giveBack(bytes.subarray(end + 1));
    return;
  }
}

/** Behind a header. */
async function* readMember(input: Bytes, chunkBytes: number): AsyncGenerator<Buffer, void, undefined> {
  const inflate = zlib.createInflateRaw({ chunkSize: chunkBytes });
  const fed = feed(input, inflate);
  // Through the decoder it ends the loop below; that may be over by then, and nobody else listens.
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

/** Gives the decoder what it takes, and the rest back. */
async function feed(input: Bytes, inflate: zlib.InflateRaw): Promise<void> {
  const end = new Promise<undefined>((resolve) => {
    inflate.once('end', () => resolve(undefined));
    inflate.once('close', () => resolve(undefined));
  });
  for (;;) {
    const bytes = await Promise.race([input.next(), end]);
    if (bytes === undefined) {
      inflate.end();
      return;
    }
    const before = inflate.bytesWritten;
    // When the data ends within these bytes, nothing says that they are written.
    await Promise.race([write(inflate, bytes), end]);
    const taken = inflate.bytesWritten - before;
    if (taken < bytes.length) {
      input.giveBack(bytes.subarray(taken));
      return;
    }
  }
}

/** Waits until the decoder has taken what it takes of it. */
function write(inflate: zlib.InflateRaw, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    inflate.write(bytes, (error) => {
      if (error) reject(error);
      else resolve();
    });
  });
}

/** Reads the header of the member that follows. False at the end. @throws GzipError when something else does */
async function anotherMember(input: Bytes): Promise<boolean> {
  const bytes = await input.next();
  if (!bytes) return false;
  if (bytes[0] !== 0) {
    input.giveBack(bytes);
    const [a, b] = await input.peek(2);
    if (a !== MAGIC[0] || b !== MAGIC[1]) {
      throw new GzipError('trailing', 'something else lies behind it');
    }
    await readHeader(input);
    return true;
  }
  for (let zeros: Uint8Array | undefined = bytes; zeros; zeros = await input.next()) {
    if (zeros.some((byte) => byte !== 0)) {
      throw new GzipError('hole', 'it has a hole of zeros, and what lies behind that would be lost');
    }
  }
  return false;
}

/** A source of which as much can be taken as is needed. */
class Bytes {
  readonly #source: AsyncIterator<Uint8Array>;
  /** Never empty. */
  #rest: Uint8Array | undefined;
  #received = 0;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** How many have been taken so far. */
  get taken(): number {
    return this.#received - (this.#rest?.length ?? 0);
  }

  /** Some bytes, at least one; undefined at the end. */
  async next(): Promise<Uint8Array | undefined> {
    const rest = this.#rest;
    this.#rest = undefined;
    if (rest) return rest;
    for (;;) {
      const next = await this.#source.next();
      if (next.done === true) return undefined;
      this.#received += next.value.length;
      if (next.value.length > 0) return next.value;
    }
  }

  giveBack(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#rest = bytes;
  }

  /** The next bytes, which stay; fewer at the end. */
  async peek(count: number): Promise<Uint8Array> {
    let bytes = (await this.next()) ?? Buffer.alloc(0);
    while (bytes.length < count) {
      const more = await this.next();
      if (!more) break;
      bytes = Buffer.concat([bytes, more]);
    }
    this.giveBack(bytes);
    return bytes.subarray(0, count);
  }

  /** @throws GzipError when there are fewer */
  async take(count: number): Promise<Buffer> {
    const bytes = await this.peek(count);
    if (bytes.length < count) throw cutOff();
    const rest = this.#rest;
    this.#rest = rest && rest.length > count ? rest.subarray(count) : undefined;
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Not waited for: a source that has nothing to say does not end either. */
  close(): void {
    void this.#source.return?.().catch(() => {});
  }
}

const cutOff = () => new GzipError('cut', 'unexpected end of file');

const tooManyMembers = () =>
  new GzipError(
    'members',
    `it has too many tiny members (more than ${MAX_TINY_MEMBERS} and one for every ${MEMBER_BYTES} bytes): pack it again, with zcat FILE | gzip`,
  );

function toGzipError(error: unknown): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'Z_BUF_ERROR') return new GzipError('cut', message, { cause: error });
  if (code?.startsWith('Z_') === true) return new GzipError('damaged', message, { cause: error });
  return error;
}

/** Not in the first releases of Node 20 and 22, on which the client runs, too. */
const crc32 = (zlib as Partial<Pick<typeof zlib, 'crc32'>>).crc32 ?? slowCrc32;

function slowCrc32(bytes: Uint8Array, before: number): number {
  let crc = ~before;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? (crc >>> 1) ^ 0xed_b8_83_20 : crc >>> 1;
  }
  return ~crc >>> 0;
}
