/**
 * BlobStore: the interface to bulk data, with two back ends, a folder (file-blobs.ts) and S3 (s3-blobs.ts), and its errors.
 * A blob is written whole or not at all; a reader never sees half of one.
 */
import { AppError, PROBLEMS } from '../contract/problems.ts';
import type { Purpose } from '../runtime/disk-reserve.ts';

/** Bytes from `start` up to, but not including, `end`, as in `slice`; a range beyond the blob's end is empty, not an error. */
export interface ByteRange {
  start?: number;
  end?: number;
}

export interface PutStreamOptions {
  /** Decides how much of the disk must stay free. Default: `new`. */
  purpose?: Purpose | undefined;
  /** Aborts the upload, which then rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
  /** A larger upload is ended with `blob_too_large`. */
  maxBytes?: number | undefined;
}

export interface PutStreamResult {
  bytes: number;
  /** In hex. */
  sha256: string;
}

/**
 * Every method rejects with a BlobError: `blob_store_unavailable` when the store does not work, writers also with
 * `blob_store_full`, `blob_key_invalid` for a key or prefix against the rule in keys.ts.
 *
 * In a folder a blob cannot also be the folder of another one, so never use both `a` and `a/b` as keys.
 */
export interface BlobStore {
  /** The bucket or folder, for messages. Without credentials. */
  readonly place: string;
  /** Writes a blob and replaces an older one. Durable when it resolves. */
  put(key: string, body: Uint8Array): Promise<void>;
  /** Writes a blob unless the key is taken. Of several calls at once exactly one resolves to `true`. */
  putIfAbsent(key: string, body: Uint8Array): Promise<boolean>;
  /**
   * Writes a blob of unknown size, with backpressure on `source`. If it rejects, for whatever reason, nothing is visible
   * and nothing is left behind; an error of `source` passes unchanged. (If only the store's last answer was lost, the
   * whole blob may exist nevertheless.)
   * @throws BlobError also `blob_too_large`
   */
  putStream(
    key: string,
    source: AsyncIterable<Uint8Array>,
    options?: PutStreamOptions,
  ): Promise<PutStreamResult>;
  /**
   * Streams a blob. Opens it when the first piece is requested, and closes it when the loop is left.
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
  /** Keys that begin with `prefix` (any string, not only a folder), in byte order. */
  list(prefix: string): AsyncIterable<string>;
  /** Deletes blobs; a missing one is no error. */
  delete(keys: readonly string[]): Promise<void>;
  /**
   * Removes temporary files and unfinished multipart uploads of crashed writers; called every few minutes.
   * @param olderThanMs age at which they count as abandoned where their writer cannot be checked; must be longer than any pause
   *   of an upload
   * @returns how many were removed
   */
  sweep(olderThanMs?: number): Promise<number>;
  close(): void;
}

export type BlobErrorCode =
  | 'blob_not_found'
  | 'blob_changed'
  | 'blob_too_large'
  | 'blob_key_invalid'
  | 'blob_store_full'
  | 'blob_store_unavailable';

/** `message` is one line for the operator: it may name the folder or bucket, but no credentials. */
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
    super('blob_not_found', `no blob ${key} in ${place}`);
  }
}

/** The error as callers see it; the operator's line, which names the place, goes to the log. */
export function toAppError(error: BlobError): AppError {
  switch (error.code) {
    case 'blob_store_full':
      return new AppError(
        error.code,
        `${PROBLEMS[error.code].title}: delete batches that you no longer need, or wait until the operator has made room`,
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
 * A store that opens at its first use, and tries again after a failure: a service whose bucket is unreachable still does
 * everything else.
 */
export type LazyBlobStore = () => Promise<BlobStore>;
