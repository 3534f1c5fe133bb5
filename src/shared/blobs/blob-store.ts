/**
 * Where bulk data lies: one small interface with two backends, a folder (`file-blobs.ts`) and S3 (`s3-blobs.ts`). Here
 * is what they share: keys, ranges, errors and the choice between them.
 *
 * A blob is written whole or not at all; a reader never sees half of one.
 */
import { randomUUID } from 'node:crypto';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { AppError, PROBLEMS } from '../contract/problems.ts';
import { StartupError } from '../runtime/startup-error.ts';
import { toError } from '../runtime/to-error.ts';
import type { MinFree, Purpose } from '../runtime/disk-reserve.ts';
import type { Logger } from '../runtime/logger.ts';

/** Bytes `start` up to, but not including, `end`, as in `slice`: beyond the blob's end there is nothing, not an error. */
export interface ByteRange {
  start?: number;
  end?: number;
}

export interface PutStreamOptions {
  /** Who writes, where room is kept free on a disk. Default: `new`. */
  purpose?: Purpose | undefined;
  /** Ends the upload, which then rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
  /** More bytes than this end the upload with `blob_too_large`. */
  maxBytes?: number | undefined;
}

export interface PutStreamResult {
  bytes: number;
  /** In hex. */
  sha256: string;
}

/**
 * Every method rejects with a BlobError: `blob_store_unavailable` when the store cannot work, writers also with
 * `blob_store_full`, `blob_key_invalid` for a key or prefix that breaks the rule at `KEY`.
 *
 * In a folder a blob cannot also be the folder of another one, so never use both `a` and `a/b` as keys.
 */
export interface BlobStore {
  /** The bucket or folder, for messages. Without credentials. */
  readonly place: string;
  /** Writes a blob, over an older one if there is one. Durable when it resolves. */
  put(key: string, body: Uint8Array): Promise<void>;
  /** Writes a blob only if there is none. Of several at once exactly one is told `true`. */
  putIfAbsent(key: string, body: Uint8Array): Promise<boolean>;
  /**
   * Writes a blob of unknown size, taking from `source` no faster than the store writes. If it rejects, for whatever
   * reason, nothing is visible and nothing is left behind; an error of `source` passes unchanged. (If only the store's
   * last answer got lost, the blob may be there after all, whole.)
   * @throws BlobError also `blob_too_large`
   */
  putStream(
    key: string,
    source: AsyncIterable<Uint8Array>,
    options?: PutStreamOptions,
  ): Promise<PutStreamResult>;
  /**
   * Reads a blob piece by piece. Opens it at the first piece asked for, and lets go of it when the loop is left.
   * @throws BlobError also `blob_not_found`; `blob_changed` when it was overwritten while a dropped connection was resumed
   */
  get(key: string, range?: ByteRange): AsyncIterable<Uint8Array>;
  /**
   * Reads a blob, or a part of it, into memory.
   * @throws BlobError as `get`
   */
  read(key: string, range?: ByteRange): Promise<Buffer>;
  /**
   * The size in bytes.
   * @throws BlobError also `blob_not_found`
   */
  size(key: string): Promise<number>;
  /** The keys that begin with `prefix` (any string, not only a folder), in the order of their bytes. */
  list(prefix: string): AsyncIterable<string>;
  /** Removes blobs; a missing one is no error. */
  delete(keys: readonly string[]): Promise<void>;
  /** Removes every blob whose key begins with `prefix`, and resolves to how many there were. '' removes all. */
  deletePrefix(prefix: string): Promise<number>;
  /**
   * Removes what crashed writers left behind: temporary files, unfinished multipart uploads. Run it now and then.
   * @param olderThanMs age of what is taken for left behind where its writer cannot be asked; must be longer than any upload pauses
   * @returns how many were removed
   */
  sweep(olderThanMs?: number): Promise<number>;
  /** For start-up: writes, reads, lists and removes a probe, and sweeps. Rejects with one line that says what is wrong. */
  check(): Promise<void>;
  close(): void;
}

export type BlobErrorCode =
  | 'blob_not_found'
  | 'blob_changed'
  | 'blob_too_large'
  | 'blob_key_invalid'
  | 'blob_store_full'
  | 'blob_store_unavailable';

/** `message` is one line for the operator: it may name the folder or bucket, never credentials. */
export class BlobError extends Error {
  override name = 'BlobError';
  readonly code: BlobErrorCode;

  constructor(code: BlobErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}

export class BlobNotFound extends BlobError {
  override name = 'BlobNotFound';

  constructor(key: string, place: string) {
    super('blob_not_found', `there is no blob ${key} in ${place}`);
  }
}

/** What a caller is told; the operator's line with the place goes to the log. */
export function toAppError(error: BlobError): AppError {
  switch (error.code) {
    case 'blob_store_full':
      return new AppError(
        error.code,
        `${PROBLEMS[error.code].title}: delete batches that are done with, or wait until the operator makes room`,
        { retryAfterS: 10, cause: error },
      );
    case 'blob_store_unavailable':
      return new AppError(error.code, PROBLEMS[error.code].title, { retryAfterS: 10, cause: error });
    case 'blob_too_large':
      return new AppError('body_too_large', `${error.message}: send it in several parts`, { cause: error });
    default:
      return new AppError('internal_error', PROBLEMS.internal_error.title, { cause: error });
  }
}

// --- Keys ---------------------------------------------------------------------------------------------------------------

const SEGMENT = /^(?!\.\.?$)[A-Za-z0-9._=-]{1,200}$/;
/** S3 takes 1024 bytes, with the URL's prefix. */
const MAX_KEY_CHARS = 800;
/**
 * Backends keep what is not a blob under names with a tilde, which no key can have: a key can neither reach them nor
 * clash with them, and `list` skips whatever is not a key.
 */
const PROBE = /^~check\/[0-9a-f-]{36}$/;

/** Segments of letters, digits, `.`, `_`, `=` and `-`, with slashes between them; none is `.` or `..`. */
export const isKey = (key: string): boolean =>
  key.length <= MAX_KEY_CHARS && key.split('/').every((segment) => SEGMENT.test(segment));

export const isSegment = (name: string): boolean => SEGMENT.test(name);

/** @throws BlobError `blob_key_invalid` */
export function assertKey(key: string): void {
  if (!isKey(key) && !PROBE.test(key)) {
    throw new BlobError('blob_key_invalid', `not a blob key: ${JSON.stringify(key.slice(0, 200))}`);
  }
}

/** @throws BlobError `blob_key_invalid` unless some key could begin with `prefix` */
export function assertPrefix(prefix: string): void {
  // Whatever the last segment is still missing, an x makes a segment of it.
  if (!isKey(`${prefix}x`)) {
    throw new BlobError('blob_key_invalid', `not a prefix of blob keys: ${JSON.stringify(prefix)}`);
  }
}

// --- Shared by the backends ---------------------------------------------------------------------------------------------

/** @throws RangeError when a bound is not a whole number ≥ 0 */
export function resolveRange({ start = 0, end }: ByteRange): { start: number; end: number } {
  for (const bound of [start, end ?? 0]) {
    if (!Number.isSafeInteger(bound) || bound < 0) throw new RangeError(`not a byte offset: ${bound}`);
  }
  return { start, end: Math.max(start, end ?? Number.MAX_SAFE_INTEGER) };
}

export async function toBuffer(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const piece of pieces) all.push(piece);
  return Buffer.concat(all);
}

/** `source` until its end, its error, too many bytes, or the signal, even when it hangs. */
export async function* limited(
  source: AsyncIterable<Uint8Array>,
  { signal, maxBytes = Number.MAX_SAFE_INTEGER }: PutStreamOptions,
): AsyncGenerator<Uint8Array> {
  const iterator = source[Symbol.asyncIterator]();
  // Not Promise.race() against one promise of the signal: that would keep every piece for as long as it is pending.
  let giveUp = (_reason: Error): void => {};
  const onAbort = () => giveUp(toError(signal?.reason));
  signal?.addEventListener('abort', onAbort, { once: true });
  let bytes = 0;
  let ended = false;
  try {
    for (;;) {
      signal?.throwIfAborted();
      const next = await new Promise<IteratorResult<Uint8Array>>((resolve, reject) => {
        giveUp = reject;
        iterator.next().then(resolve, reject);
      });
      if (next.done === true) {
        ended = true;
        return;
      }
      bytes += next.value.length;
      if (bytes > maxBytes) throw new BlobError('blob_too_large', `more than ${maxBytes} bytes`);
      yield next.value;
    }
  } finally {
    signal?.removeEventListener('abort', onAbort);
    // Not awaited: a source that hangs answers to this no sooner than to the rest.
    if (!ended) iterator.return?.().catch(() => {});
  }
}

/** `list` and `delete` in lots; a store's deletePrefix. */
export async function deleteListed(store: BlobStore, prefix: string): Promise<number> {
  let count = 0;
  let lot: string[] = [];
  for await (const key of store.list(prefix)) {
    lot.push(key);
    if (lot.length < 1000) continue;
    await store.delete(lot);
    count += lot.length;
    lot = [];
  }
  await store.delete(lot);
  return count + lot.length;
}

/** A store's check. */
export async function probe(store: BlobStore): Promise<void> {
  const key = `~check/${randomUUID()}`;
  const body = Buffer.from(key);
  try {
    await store.put(key, body);
    // Some S3-like servers ignore If-None-Match and some file systems have no hard links: write-once would be a lie.
    if (await store.putIfAbsent(key, Buffer.from('again'))) {
      throw new BlobError(
        'blob_store_unavailable',
        `${store.place} overwrites blobs that are to be written once: it ignores If-None-Match`,
      );
    }
    if (!(await store.read(key)).equals(body)) {
      throw new BlobError('blob_store_unavailable', `${store.place} does not give back what was written`);
    }
    for await (const _ of store.list('')) break;
  } finally {
    // The first error is the one to tell.
    await store.delete([key]).catch(() => {});
  }
  if (await exists(store, key)) {
    throw new BlobError('blob_store_unavailable', `${store.place} does not delete`);
  }
  // May be forbidden without harm: an S3 lifecycle rule can do the same.
  await store.sweep().catch(() => 0);
}

async function exists(store: BlobStore, key: string): Promise<boolean> {
  try {
    await store.size(key);
    return true;
  } catch (error) {
    if (error instanceof BlobNotFound) return false;
    throw error;
  }
}

// --- Opening ------------------------------------------------------------------------------------------------------------

/**
 * The store that a URL names: `file:PATH` (relative to the working folder, or absolute), or
 * `s3://BUCKET/PREFIX?region=…&endpoint=…&forcePathStyle=true`, all after the bucket optional; credentials by the AWS
 * SDK's default chain. A missing folder is made, a missing bucket is not. What lies there belongs to the store alone.
 *
 * @param minFree bytes of the folder's disk that are kept free; a bucket has none
 * @throws StartupError when the URL is wrong
 * @throws BlobError `blob_store_unavailable` when the folder cannot be made or the SDK not be loaded
 */
export async function openBlobStore(url: string, minFree: MinFree = 0): Promise<BlobStore> {
  if (url.startsWith('file:')) {
    const { FileBlobs } = await import('./file-blobs.ts');
    return FileBlobs.open(folderOf(url), minFree);
  }
  if (url.startsWith('s3:')) {
    const options = parseS3Url(url);
    // 200 ms and 30 MB that an installation without S3 is spared.
    const { S3Blobs } = await import('./s3-blobs.ts');
    return S3Blobs.open(options);
  }
  throw new StartupError('BLOB_URL must begin with file: or s3://');
}

/** The folder of a store; undefined for a bucket. @throws StartupError when the URL is wrong */
export function blobFolder(url: string): string | undefined {
  return url.startsWith('file:') ? folderOf(url) : undefined;
}

/** Removes what killed writers left in a store's folder, before there is anybody who writes. A bucket does it by itself. */
export async function sweepLeftovers(url: string): Promise<void> {
  const folder = blobFolder(url);
  if (folder === undefined) return;
  const { temporaryFolder } = await import('./file-blobs.ts');
  const { sweepTemporary } = await import('./temporary-files.ts');
  await sweepTemporary(temporaryFolder(folder));
}

/**
 * A store that is opened when it is first needed, and again when that failed: a service whose bucket is away for a while
 * still does everything else.
 */
export type LazyBlobStore = () => Promise<BlobStore>;

export function lazyBlobStore(url: string, minFree: MinFree = 0): LazyBlobStore {
  let opened: Promise<BlobStore> | undefined;
  return () => {
    opened ??= openBlobStore(url, minFree).catch((error: unknown) => {
      opened = undefined;
      throw error;
    });
    return opened;
  };
}

/** For start-up: tells the log whether the store works. @throws StartupError when its URL is wrong */
export async function reportBlobStore(blobs: LazyBlobStore, logger: Logger): Promise<void> {
  try {
    const store = await blobs();
    await store.check();
    logger.info({ place: store.place }, 'blob store works');
  } catch (error) {
    if (error instanceof StartupError) throw error;
    logger.warn({ reason: toError(error).message }, 'blob store does not work: no batches until it does');
  }
}

function folderOf(url: string): string {
  const rest = url.slice('file:'.length);
  if (rest === '') throw new StartupError('BLOB_URL names no folder');
  if (!rest.startsWith('//')) return path.resolve(rest);
  try {
    return fileURLToPath(url);
  } catch (error) {
    throw new StartupError(`BLOB_URL: ${toError(error).message}`, { cause: error });
  }
}

export interface S3Options {
  bucket: string;
  /** Before every key: '' or something that ends with a slash. */
  prefix: string;
  region: string | undefined;
  endpoint: string | undefined;
  forcePathStyle: boolean;
}

const S3_PARAMETERS = new Set(['region', 'endpoint', 'forcePathStyle']);

/** @throws StartupError that never repeats the URL: it may hold what should not be in it */
export function parseS3Url(text: string): S3Options {
  const wrong = (why: string): never => {
    throw new StartupError(`BLOB_URL: ${why}`);
  };
  const url = URL.parse(text) ?? wrong('not a URL');
  if (url.username !== '' || url.password !== '') {
    wrong(
      'must not hold credentials: the AWS SDK finds them in the environment, a profile or the instance role',
    );
  }
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(url.hostname)) wrong('not a bucket name after s3://');
  const prefix = url.pathname.replace(/^\//, '').replace(/\/$/, '');
  if (prefix !== '' && (!isKey(prefix) || prefix.length > 200)) wrong('not a prefix after the bucket');
  for (const name of url.searchParams.keys()) {
    if (!S3_PARAMETERS.has(name)) wrong(`unknown parameter ${JSON.stringify(name)}`);
  }
  const endpoint = url.searchParams.get('endpoint') ?? undefined;
  if (endpoint !== undefined) {
    const parsed = URL.parse(endpoint);
    if (parsed === null || !/^https?:$/.test(parsed.protocol)) wrong('endpoint must be an http(s) URL');
    else if (parsed.username !== '' || parsed.password !== '') wrong('endpoint must not hold credentials');
  }
  const style = url.searchParams.get('forcePathStyle') ?? 'false';
  if (style !== 'true' && style !== 'false') wrong('forcePathStyle must be true or false');
  return {
    bucket: url.hostname,
    prefix: prefix === '' ? '' : `${prefix}/`,
    // Servers other than AWS's do not care, but the SDK wants one.
    region: url.searchParams.get('region') ?? (endpoint === undefined ? undefined : 'us-east-1'),
    endpoint,
    forcePathStyle: style === 'true',
  };
}
