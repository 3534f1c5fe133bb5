/**
 * BlobStore: the interface to bulk data, with two back ends, a folder (file-blobs.ts) and S3 (s3-blobs.ts), and its errors.
 * A blob is written whole or not at all; a reader never sees half of one.
 */
import { AppError, PROBLEMS } from '../contract/problems.ts';
import type { Purpose } from '../runtime/disk-reserve.ts';

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

/**
 * A store that is opened when it is first needed, and again when that failed: a service whose bucket is away for a while
 * still does everything else.
 */
export type LazyBlobStore = () => Promise<BlobStore>;
