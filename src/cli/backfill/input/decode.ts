/** Decodes the stored bytes of an input to UTF-8: undoes gzip or zstd, converts the encoding, drops a byte order mark. */
import { isUtf8 } from 'node:buffer';
import { peek, withoutMark } from '../../../shared/bulk/byte-stream.ts';
import { gunzip, GzipError, type GzipProblem } from '../../../shared/bulk/gunzip.ts';
import { SNIFF_BYTES } from '../../../shared/bulk/sniff.ts';
import { beginsLikeZstd, unzstd, ZstdError, type ZstdProblem } from '../../../shared/bulk/unzstd.ts';
import { BadInputError, UsageError } from '../../terminal/exit.ts';

export type Compression = 'gzip' | 'zstd';

export interface Stored {
  /** Name of the input, for messages. */
  name: string;
  /** As TextDecoder spells it; undefined: UTF-8, or UTF-16 by its mark. */
  encoding: string | undefined;
  bytes: AsyncIterable<Uint8Array>;
  /** Called for a compressed input. */
  onCompression: (compression: Compression) => void;
  /** Called for another encoding than UTF-8. */
  onEncoding?: (encoding: string) => void;
}

type Bytes = AsyncGenerator<Uint8Array, void, undefined>;

/** Largest piece of decompressed bytes. */
const PIECE_BYTES = 128 * 1024;

/** @throws BadInputError for damaged data; UsageError for a wrong encoding, before the first byte */
export async function* decode({ name, encoding, bytes, onCompression, onEncoding }: Stored): Bytes {
  yield* withoutMark(toUtf8(decompress(bytes, name, onCompression), name, encoding, onEncoding));
}

const GZIP_PROBLEMS: Record<GzipProblem, string> = {
  cut: 'ends within its gzip data: is it complete?',
  damaged: 'has damaged gzip data',
  trailing:
    'has other data after its gzip data (two files in one?): unpack it with gunzip -c and send the result',
  hole: 'has zero bytes between its gzip members: the data after them would be lost',
  members: 'consists of too many tiny gzip members: repack it with zcat FILE | gzip',
};

const ZSTD_PROBLEMS: Record<ZstdProblem, string> = {
  cut: 'ends within its zstd data: is it complete?',
  damaged: 'has damaged zstd data',
  trailing:
    'has other data after its zstd data (two files in one?): unpack it with zstd -dc and send the result',
  frames: 'consists of too many tiny zstd frames: repack it with zstd -dc FILE | zstd',
  window: 'needs more than 128 MB to unpack: use zstd -dc --long=31 FILE | amulet backfill -',
  unsupported: `is compressed with zstd, which Node ${process.version} cannot unpack: use Node 22.15 or later, or zstd -dc FILE | amulet backfill -`,
};

/** Undoes gzip or zstd, and passes any other bytes on. @throws BadInputError for damaged data */
export async function* decompress(
  stored: AsyncIterable<Uint8Array>,
  name: string,
  onCompression: Stored['onCompression'],
): Bytes {
  const { head, stream } = await peek(stored, 4);
  const compression =
    head[0] === 0x1f && head[1] === 0x8b ? 'gzip' : beginsLikeZstd(head) ? 'zstd' : undefined;
  if (compression === undefined) {
    yield* stream;
    return;
  }
  onCompression(compression);
  try {
    yield* compression === 'gzip' ? gunzip(stream, PIECE_BYTES) : unzstd(stream, PIECE_BYTES);
  } catch (error) {
    if (error instanceof GzipError) throw new BadInputError(`${name} ${GZIP_PROBLEMS[error.problem]}`, error);
    if (!(error instanceof ZstdError)) throw error;
    const message = `${name} ${ZSTD_PROBLEMS[error.problem]}`;
    // Nothing is wrong with the file, so a run that another Node began can still be resumed.
    throw error.problem === 'unsupported' || error.problem === 'window'
      ? new UsageError(message)
      : new BadInputError(message, error);
  }
}

async function* toUtf8(
  source: AsyncIterable<Uint8Array>,
  name: string,
  given: string | undefined,
  onEncoding: Stored['onEncoding'],
): Bytes {
  const { head, stream } = await peek(source, SNIFF_BYTES);
  const marked = wideMark(head);
  const encoding = given ?? marked;
  if (encoding === undefined) {
    yield* stream;
    return;
  }
  if (given !== undefined) refuseOther(name, given, marked, head);
  onEncoding?.(encoding);
  const decoder = new LenientDecoder(encoding);
  for await (const bytes of stream) yield decoder.decode(bytes);
  yield decoder.end();
}

/** Encodings of all Unicode characters: in them U+FFFD may be a character of the text. */
const UNICODE = new Set(['utf-16le', 'utf-16be', 'gb18030', 'gbk']);

/** Decodes to UTF-8, in which bytes without a meaning stay invalid. */
class LenientDecoder {
  readonly #decoder: InstanceType<typeof TextDecoder>;
  /** Tells U+FFFD in the text from a byte without a meaning, up to the first such byte. */
  #strict: InstanceType<typeof TextDecoder> | undefined;

  constructor(encoding: string) {
    this.#decoder = new TextDecoder(encoding);
    if (UNICODE.has(encoding)) this.#strict = new TextDecoder(encoding, { fatal: true });
  }

  decode(bytes: Uint8Array): Uint8Array {
    return this.#utf8(bytes, { stream: true });
  }

  end(): Uint8Array {
    return this.#utf8(new Uint8Array(), {});
  }

  #utf8(bytes: Uint8Array, options: { stream?: boolean }): Uint8Array {
    const text = this.#decoder.decode(bytes, options);
    try {
      if (this.#strict?.decode(bytes, options) !== undefined) return Buffer.from(text);
    } catch {
      this.#strict = undefined;
    }
    return utf8(text);
  }
}

/** UTF-16, by its mark. UTF-32, whose mark begins likewise, is refused later. */
function wideMark([a, b, c, d]: Uint8Array): string | undefined {
  if (a === 0xfe && b === 0xff) return 'utf-16be';
  return a === 0xff && b === 0xfe && (c !== 0 || d !== 0) ? 'utf-16le' : undefined;
}

/** A byte that UTF-8 does not have. */
const UNDECODABLE = 0xff;
const REPLACEMENT = '\ufffd';

/** Bytes that the encoding does not have stay invalid: they make an error row, where U+FFFD would pass as text. */
function utf8(text: string): Uint8Array {
  const bytes = Buffer.from(text);
  if (!text.includes(REPLACEMENT)) return bytes;
  const replacement = Buffer.from(REPLACEMENT);
  for (let at = bytes.indexOf(replacement); at !== -1; at = bytes.indexOf(replacement, at))
    bytes.fill(UNDECODABLE, at, at + replacement.length);
  return bytes;
}

/** Fewer lines that cannot be decoded become errors in their places. */
const FEW_LINES = 3;
/** Fewer characters beyond ASCII may be valid UTF-8 by chance. */
const ENOUGH_CHARACTERS = 3;

/** @throws UsageError when the first bytes show that they have another encoding than the one that was given */
function refuseOther(name: string, given: string, marked: string | undefined, head: Uint8Array): void {
  const wide = given.startsWith('utf-16');
  if (marked !== undefined && marked !== given) {
    throw new UsageError(
      `${name} begins with the byte order mark of ${marked}, so it is not ${given}: leave out --encoding`,
    );
  }
  if (wide && marked === undefined && head.length > 1 && !head.includes(0)) {
    throw new UsageError(
      `${name} is not ${given}, which has zero bytes in spaces and line ends: leave out --encoding, or name another`,
    );
  }
  // The last character of a long head may be cut.
  const whole = head.subarray(0, head.length < SNIFF_BYTES ? undefined : head.lastIndexOf(0x0a) + 1);
  const characters = whole.reduce((count, byte) => count + (byte >= 0xc2 ? 1 : 0), 0);
  if (!wide && characters >= ENOUGH_CHARACTERS && isUtf8(whole)) {
    throw new UsageError(`${name} is UTF-8, not ${given}: leave out --encoding`);
  }
  const decoded = utf8(new TextDecoder(given).decode(head, { stream: true }));
  const lines = Buffer.from(decoded).toString('latin1').split('\n');
  const bad = lines.flatMap((line, i) => (line.includes('\xff') ? [i + 1] : []));
  const [first] = bad;
  // Fewer are error rows, as in UTF-8.
  if (first === undefined || (bad.length < FEW_LINES && bad.length * 10 < lines.length)) return;
  throw new UsageError(
    `${name} is not ${given}: line ${first} has bytes without a meaning in it; name another --encoding`,
  );
}
