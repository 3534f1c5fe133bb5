/** The input: a file, a pipe or standard input, read as UTF-8 without a byte order mark. */
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { systemReason } from '../../terminal/disk.ts';
import { UnreadableInputError, UsageError } from '../../terminal/exit.ts';
import { toError } from '../../../shared/runtime/to-error.ts';
import { decode, type Compression } from './decode.ts';
import type { LineRange } from '../upload/parts.ts';
import type { Place } from './places.ts';
import type { ColumnType } from './parquet-values.ts';
import type { ReadingOptions } from './reading.ts';
import type { PlannedRange } from '../remote/read-ahead.ts';

/** Properties by which a changed file is noticed. Modification time in Unix ms. */
export interface InputIdentity {
  size: number;
  mtimeMs: number;
  /** SHA-256 of its first 64 KB, in hex. */
  head: string;
  /** Of a remote file whose server says it. */
  etag?: string | undefined;
}

export interface Input {
  /** For messages. */
  name: string;
  /** Stored bytes, before decompression; undefined for standard input and pipes. */
  size: number | undefined;
  /** Undefined for an input that can be read only once. */
  identity: InputIdentity | undefined;
  /** The decoded bytes; may be called once. */
  read: (signal: AbortSignal) => AsyncGenerator<Uint8Array, void, undefined>;
  /** Compression of the bytes read so far. */
  compression: () => Compression | undefined;
  /** Encoding of the bytes read so far; undefined: UTF-8, or not known. */
  encoding?: () => string | undefined;
  /** Stored bytes read so far. */
  position: () => number;
  /** Types of the columns of Parquet, for an output with the same ones. */
  types?: () => Promise<Record<string, ColumnType>>;
  /** Reads a range of the stored bytes; undefined for an input that can be read only once. */
  slice?: (start: number, end: number) => Promise<Uint8Array>;
  /**
   * Reads ranges of a remote input before they are asked for.
   * @param groups in the order in which they will be asked for
   * @returns a function like `slice`
   */
  readAhead?: (
    groups: readonly (readonly PlannedRange[])[],
  ) => (start: number, end: number) => Promise<Uint8Array>;
  /** Why nothing arrives from a remote input at the moment. */
  delay?: () => string | undefined;
  /** Checks a Parquet file without reading its rows. @throws UsageError when it cannot be read */
  check?: () => Promise<{ rows: number; columns: string[] }>;
  close: () => void;
  /** Several inputs in one: where the lines of each begin, as far as they have been read. */
  places?: readonly Place[];
  /** Several inputs in one: quoted fields that are not closed, with the lines of their file. */
  unclosed?: readonly (LineRange & { name: string })[];
}

/** Name of standard input in messages. */
export const STANDARD_INPUT = 'standard input';

const HEAD_BYTES = 64 * 1024;
const READ_BYTES = 128 * 1024;

const open = promisify(fs.open);
const fstat = promisify(fs.fstat);
const read = promisify(fs.read);
const close = promisify(fs.close);

/**
 * @param path of a file or a named pipe; `-` is standard input
 * @param isOneOfMany its size and time say enough about it: reading its head takes longer than all the rest of a small file
 * @throws UsageError when it cannot be opened
 */
export async function openInput(
  path: string,
  reading: ReadingOptions = {},
  { isOneOfMany = false } = {},
): Promise<Input> {
  if (path === '-') return fromStream(STANDARD_INPUT, process.stdin, reading);
  const fd = await openForReading(path);
  const stats = await fstat(fd);
  if (stats.isDirectory()) {
    await close(fd);
    throw new UsageError(`${path} is a folder`);
  }
  // Reading a pipe like a file would block a thread until data arrives, and could not be aborted.
  if (stats.isFIFO()) {
    return fromStream(path, new Socket({ fd, readable: true, writable: false }), reading);
  }
  // A buffer of this size is allocated for each read; of ten thousand small files most of it would stay empty.
  const highWaterMark = stats.isFile() && stats.size > 0 ? Math.min(READ_BYTES, stats.size + 1) : READ_BYTES;
  const input = fromStream(path, fs.createReadStream(path, { fd, highWaterMark }), reading);
  if (!stats.isFile()) return input;
  try {
    const slice = (start: number, end: number) => readRange(path, fd, start, end);
    const identity = isOneOfMany ? undefined : await identify(fd, stats);
    return { ...input, size: stats.size, identity, slice };
  } catch (error) {
    input.close();
    throw new UsageError(`${path} cannot be read: ${systemReason(toError(error).message)}`);
  }
}

async function openForReading(path: string): Promise<number> {
  try {
    return await open(path, 'r');
  } catch (error) {
    throw unreadable(path, error);
  }
}

/** The error for a path that cannot be opened. */
export function unreadable(path: string, error: unknown): UsageError {
  const { code, message } = error as NodeJS.ErrnoException;
  const reasons: Record<string, string> = {
    ENOENT: 'does not exist',
    ENOTDIR: 'does not exist',
    EACCES: 'cannot be read: permission denied',
    EISDIR: 'is a folder',
  };
  return new UsageError(`${path} ${reasons[code ?? ''] ?? `cannot be opened: ${systemReason(message)}`}`);
}

async function identify(fd: number, { size, mtimeMs }: fs.Stats): Promise<InputIdentity> {
  const head = Buffer.alloc(HEAD_BYTES);
  const { bytesRead } = await read(fd, head, 0, HEAD_BYTES, 0);
  const sha256 = createHash('sha256').update(head.subarray(0, bytesRead)).digest('hex');
  return { size, mtimeMs: Math.trunc(mtimeMs), head: sha256 };
}

/** Fewer bytes where the file ends. @throws UnreadableInputError */
async function readRange(path: string, fd: number, start: number, end: number): Promise<Uint8Array> {
  const range = Buffer.allocUnsafeSlow(Math.max(0, end - start));
  let used = 0;
  try {
    while (used < range.length) {
      const { bytesRead } = await read(fd, range, used, range.length - used, start + used);
      if (bytesRead === 0) break;
      used += bytesRead;
    }
  } catch (error) {
    throw new UnreadableInputError(`${path} cannot be read: ${systemReason(toError(error).message)}`, {
      cause: error,
    });
  }
  return range.subarray(0, used);
}

export function fromStream(name: string, stream: Readable, { encoding }: ReadingOptions = {}): Input {
  let position = 0;
  let compression: Compression | undefined;
  let decodedFrom: string | undefined;
  async function* counted(): AsyncGenerator<Buffer> {
    try {
      for await (const chunk of stream) {
        position += (chunk as Buffer).length;
        yield chunk as Buffer;
      }
    } catch (error) {
      if (!(error instanceof Error) || !('syscall' in error)) throw error;
      throw new UnreadableInputError(`${name} cannot be read: ${systemReason(error.message)}`, {
        cause: error,
      });
    }
  }
  return {
    name,
    size: undefined,
    identity: undefined,
    compression: () => compression,
    encoding: () => decodedFrom,
    position: () => position,
    close: () => void stream.destroy(),
    async *read(signal) {
      // Also ends the wait for a silent pipe.
      const stop = () => stream.destroy(signal.reason as Error);
      signal.addEventListener('abort', stop, { once: true });
      try {
        signal.throwIfAborted();
        const onCompression = (found: Compression) => (compression = found);
        const onEncoding = (found: string) => (decodedFrom = found);
        yield* decode({ name, encoding, bytes: counted(), onCompression, onEncoding });
      } finally {
        signal.removeEventListener('abort', stop);
      }
    },
  };
}
