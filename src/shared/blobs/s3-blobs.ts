/**
 * Blobs in a bucket of S3 or of a server that speaks its protocol. Loaded only when `BLOB_URL` begins with `s3:`.
 *
 * S3 itself shows whole objects only. What is left to do here: uploads of unknown size in parts, write-once in spite of
 * lost answers, downloads that outlive their connection, and errors in one line.
 *
 * The SDK's environment variables work as everywhere: `AWS_REQUEST_CHECKSUM_CALCULATION=when_required` for a server that
 * does not know S3's newer checksums, for example. The credentials need s3:GetObject, PutObject, DeleteObject,
 * AbortMultipartUpload, ListBucket (without it S3 says "denied" where it means "not there"), ListBucketMultipartUploads and
 * ListMultipartUploadParts (without these, what a crash left behind stays).
 */
import { createHash, randomUUID } from 'node:crypto';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
  type CompletedPart,
  type ListMultipartUploadsCommandOutput,
  type ListObjectsV2CommandOutput,
  type ListPartsCommandOutput,
} from '@aws-sdk/client-s3';
import { toError } from '../runtime/to-error.ts';
import {
  assertKey,
  assertPrefix,
  BlobError,
  BlobNotFound,
  deleteListed,
  isKey,
  limited,
  probe,
  resolveRange,
  toBuffer,
  type BlobStore,
  type ByteRange,
  type PutStreamOptions,
  type PutStreamResult,
  type S3Options,
} from './blob-store.ts';

/** An upload holds at most two parts, one filling and one on its way. S3 wants at least 5 MiB, but for the last. */
const PART_BYTES = 8 * 1024 * 1024;
/** S3's limit: 78 GiB in parts of ours. */
const MAX_PARTS = 10_000;
/** S3's limit. */
const KEYS_PER_DELETE = 1000;
/**
 * Attempts of one request, by the SDK, with random pauses up to 0.1, 0.2, 0.4 … s. With 4, a connection that was away for
 * 50 ms could cost an upload all its parts.
 */
const REQUEST_ATTEMPTS = 6;
/** Connections a download may lose in a row without a byte. */
const RESUME_ATTEMPTS = 5;
/** S3 answers 409 to one of several conditional writes at once and asks for another try. */
const CONFLICT_ATTEMPTS = 20;
/** Under this name a write leaves a random id at its object, to know it again after a lost answer. */
/** Age of the last part at which an upload is taken for abandoned. */
const STALE_MS = 24 * 3_600_000;
const WRITE_ID = 'amulet-write';

/** The fields of the SDK's errors that tell them apart. */
interface S3Failure extends Error {
  $metadata?: { httpStatusCode?: number; attempts?: number };
  code?: string;
}

export class S3Blobs implements BlobStore {
  readonly place: string;
  readonly #client: S3Client;
  readonly #bucket: string;
  readonly #prefix: string;

  private constructor(client: S3Client, { bucket, prefix, endpoint }: S3Options) {
    this.#client = client;
    this.#bucket = bucket;
    this.#prefix = prefix;
    this.place = `the bucket ${bucket}${endpoint === undefined ? '' : ` at ${new URL(endpoint).host}`}`;
  }

  /** Does not connect yet: `check` does. */
  static open(options: S3Options): S3Blobs {
    const { region, endpoint, forcePathStyle } = options;
    // A download holds its connection while its reader is busy: there must be more of them than readers.
    const agent = { keepAlive: true, maxSockets: 256 };
    const client = new S3Client({
      ...(region === undefined ? {} : { region }),
      ...(endpoint === undefined ? {} : { endpoint }),
      forcePathStyle,
      maxAttempts: REQUEST_ATTEMPTS,
      // The SDK would check a download as a whole, which does not go with resuming; whoever reads has the SHA-256.
      responseChecksumValidation: 'WHEN_REQUIRED',
      requestHandler: {
        connectionTimeout: 5000,
        socketTimeout: 60_000,
        httpAgent: agent,
        httpsAgent: agent,
      },
    });
    return new S3Blobs(client, options);
  }

  async put(key: string, body: Uint8Array): Promise<void> {
    await this.#on(this.#client.send(new PutObjectCommand({ ...this.#object(key), Body: body })));
  }

  async putIfAbsent(key: string, body: Uint8Array): Promise<boolean> {
    const object = this.#object(key);
    const id = randomUUID();
    let retried = false;
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#client.send(
          new PutObjectCommand({ ...object, Body: body, IfNoneMatch: '*', Metadata: { [WRITE_ID]: id } }),
        );
        return true;
      } catch (thrown) {
        const failure = thrown as S3Failure;
        const status = failure.$metadata?.httpStatusCode;
        retried ||= (failure.$metadata?.attempts ?? 1) > 1;
        // The object in the way may be our own, from an attempt whose answer got lost.
        if (status === 412) return retried && (await this.#wrote(key, id));
        if (status !== 409 || attempt === CONFLICT_ATTEMPTS) throw this.#translate(thrown, key);
        await sleep(Math.random() * 50 * attempt);
      }
    }
  }

  async putStream(
    key: string,
    source: AsyncIterable<Uint8Array>,
    options: PutStreamOptions = {},
  ): Promise<PutStreamResult> {
    const object = this.#object(key);
    const hash = createHash('sha256');
    const upload = new MultipartUpload(this.#client, object, options.signal);
    let bytes = 0;
    let part: Buffer = Buffer.allocUnsafeSlow(PART_BYTES);
    let filled = 0;
    // The other one of two buffers: it comes back when its part is uploaded.
    let underway: Promise<Buffer> | undefined;
    try {
      for await (const piece of limited(source, options)) {
        hash.update(piece);
        bytes += piece.length;
        for (let at = 0; at < piece.length;) {
          if (filled === PART_BYTES) {
            const next = (await underway) ?? Buffer.allocUnsafeSlow(PART_BYTES);
            underway = this.#on(upload.part(part), key);
            // Its rejection is met at the next await of it, which may come later.
            underway.catch(() => {});
            part = next;
            filled = 0;
          }
          const some = piece.subarray(at, at + PART_BYTES - filled);
          part.set(some, filled);
          filled += some.length;
          at += some.length;
        }
      }
      const last = part.subarray(0, filled);
      if (underway === undefined) {
        await this.#on(
          this.#client.send(
            new PutObjectCommand({ ...object, Body: last }),
            options.signal ? { abortSignal: options.signal } : {},
          ),
          key,
        );
      } else {
        await underway;
        underway = undefined;
        if (filled > 0) await this.#on(upload.part(last), key);
        options.signal?.throwIfAborted();
        await this.#complete(key, upload);
      }
    } catch (error) {
      await upload.abort(underway);
      // The SDK makes an error of its own of it.
      options.signal?.throwIfAborted();
      throw error;
    }
    return { bytes, sha256: hash.digest('hex') };
  }

  async *get(key: string, range: ByteRange = {}): AsyncGenerator<Uint8Array> {
    const { start, end } = resolveRange(range);
    const object = this.#object(key);
    if (start === end) {
      // HTTP has no empty ranges.
      await this.size(key);
      return;
    }
    let at = start;
    let stop = end;
    let etag: string | undefined;
    for (let failures = 0; ;) {
      let body: Readable | undefined;
      try {
        const last = stop === Number.MAX_SAFE_INTEGER ? '' : stop - 1;
        const partial = at > 0 || last !== '';
        const answer = await this.#client.send(
          new GetObjectCommand({
            ...object,
            ...(partial ? { Range: `bytes=${at}-${last}` } : {}),
            // Whatever comes after a lost connection must be the rest of the same object.
            ...(etag === undefined ? {} : { IfMatch: etag }),
          }),
        );
        body = answer.Body as Readable;
        if (partial && answer.ContentRange === undefined) {
          throw new BlobError('blob_store_unavailable', `${this.place} does not answer range requests`);
        }
        if (answer.ContentLength !== undefined) stop = at + answer.ContentLength;
        etag ??= answer.ETag;
        for await (const piece of body as AsyncIterable<Uint8Array>) {
          at += piece.length;
          failures = 0;
          yield piece;
        }
        if (at >= stop || answer.ContentLength === undefined) return;
        throw new Error('the connection ended early');
      } catch (thrown) {
        if (thrown instanceof BlobError) throw thrown;
        const status = (thrown as S3Failure).$metadata?.httpStatusCode;
        // Nothing lies from `start` on. Of an empty blob S3 calls every range unsatisfiable.
        if (status === 416 && etag === undefined) return;
        if (status === 412) throw new BlobError('blob_changed', `${key} was overwritten while it was read`);
        if (etag !== undefined && at >= stop) return;
        if (etag === undefined || status === 404 || ++failures > RESUME_ATTEMPTS) {
          throw this.#translate(thrown, key);
        }
      } finally {
        body?.destroy();
      }
      await sleep(50 * 2 ** failures);
    }
  }

  read(key: string, range?: ByteRange): Promise<Buffer> {
    return toBuffer(this.get(key, range));
  }

  async size(key: string): Promise<number> {
    return (await this.#head(key)).ContentLength ?? 0;
  }

  async *list(prefix: string): AsyncGenerator<string> {
    assertPrefix(prefix);
    let token: string | undefined;
    do {
      const page: ListObjectsV2CommandOutput = await this.#on(
        this.#client.send(
          new ListObjectsV2Command({
            Bucket: this.#bucket,
            Prefix: this.#prefix + prefix,
            ...(token === undefined ? {} : { ContinuationToken: token }),
          }),
        ),
      );
      for (const { Key = '' } of page.Contents ?? []) {
        const key = Key.slice(this.#prefix.length);
        // Others may keep things in the bucket that are no blobs, such as folder markers.
        if (isKey(key)) yield key;
      }
      token = page.IsTruncated === true ? page.NextContinuationToken : undefined;
    } while (token !== undefined);
  }

  async delete(keys: readonly string[]): Promise<void> {
    const objects = keys.map((key) => ({ Key: this.#object(key).Key }));
    for (let at = 0; at < objects.length; at += KEYS_PER_DELETE) {
      const lot = objects.slice(at, at + KEYS_PER_DELETE);
      const answer = await this.#on(
        this.#client.send(
          new DeleteObjectsCommand({ Bucket: this.#bucket, Delete: { Objects: lot, Quiet: true } }),
        ),
      );
      // Some servers report a missing object here, which is what was wanted.
      const errors = (answer.Errors ?? []).filter(({ Code }) => Code !== 'NoSuchKey');
      if (errors.length > 0) {
        const { Code, Message } = errors[0] ?? {};
        throw new BlobError(
          'blob_store_unavailable',
          `${this.place} did not delete ${errors.length} of ${lot.length} blobs: ${Code} ${Message}`,
        );
      }
    }
  }

  deletePrefix(prefix: string): Promise<number> {
    return deleteListed(this, prefix);
  }

  async sweep(olderThanMs = STALE_MS): Promise<number> {
    let count = 0;
    let page: ListMultipartUploadsCommandOutput | undefined;
    do {
      page = await this.#on(
        this.#client.send(
          new ListMultipartUploadsCommand({
            Bucket: this.#bucket,
            Prefix: this.#prefix,
            ...(page === undefined
              ? {}
              : { KeyMarker: page.NextKeyMarker, UploadIdMarker: page.NextUploadIdMarker }),
          }),
        ),
      );
      for (const { Key, UploadId, Initiated } of page.Uploads ?? []) {
        if (Initiated === undefined || Date.now() - Initiated.getTime() < olderThanMs) continue;
        // Somebody else's, when our prefix is empty or theirs begins with it.
        if (Key === undefined || !isKey(Key.slice(this.#prefix.length))) continue;
        const upload = { Bucket: this.#bucket, Key, UploadId };
        try {
          if (await this.#goesOn(upload, olderThanMs)) continue;
          await this.#client.send(new AbortMultipartUploadCommand(upload));
          count++;
        } catch (error) {
          if ((error as S3Failure).name !== 'NoSuchUpload') throw this.#translate(error);
        }
      }
    } while (page.IsTruncated === true);
    return count;
  }

  /** Whether a part of an upload is younger than that: it may have begun long ago, and be no leftover. */
  async #goesOn(
    upload: { Bucket: string; Key: string; UploadId: string | undefined },
    olderThanMs: number,
  ): Promise<boolean> {
    let page: ListPartsCommandOutput | undefined;
    do {
      const marker = page === undefined ? {} : { PartNumberMarker: page.NextPartNumberMarker };
      page = await this.#client.send(new ListPartsCommand({ ...upload, ...marker }));
      const young = (page.Parts ?? []).some(
        ({ LastModified }) => LastModified !== undefined && Date.now() - LastModified.getTime() < olderThanMs,
      );
      if (young) return true;
    } while (page.IsTruncated === true);
    return false;
  }

  check(): Promise<void> {
    return probe(this);
  }

  close(): void {
    this.#client.destroy();
  }

  #object(key: string): { Bucket: string; Key: string } {
    assertKey(key);
    return { Bucket: this.#bucket, Key: this.#prefix + key };
  }

  async #complete(key: string, upload: MultipartUpload): Promise<void> {
    try {
      await upload.complete();
    } catch (thrown) {
      const { name, $metadata } = thrown as S3Failure;
      // The upload is gone because an attempt whose answer got lost has completed it.
      if (name === 'NoSuchUpload' && ($metadata?.attempts ?? 1) > 1 && (await this.#wrote(key, upload.id))) {
        return;
      }
      throw this.#translate(thrown, key);
    }
  }

  async #wrote(key: string, id: string): Promise<boolean> {
    try {
      return (await this.#head(key)).Metadata?.[WRITE_ID] === id;
    } catch (error) {
      if (error instanceof BlobNotFound) return false;
      throw error;
    }
  }

  async #head(key: string): Promise<{ ContentLength?: number; Metadata?: Record<string, string> }> {
    const object = this.#object(key);
    try {
      const { ContentLength, Metadata } = await this.#client.send(new HeadObjectCommand(object));
      return {
        ...(ContentLength === undefined ? {} : { ContentLength }),
        ...(Metadata === undefined ? {} : { Metadata }),
      };
    } catch (thrown) {
      if ((thrown as S3Failure).$metadata?.httpStatusCode !== 404) throw this.#translate(thrown, key);
      // The answer to a HEAD has no body that would say whether it is the object or the bucket that is not there.
      await this.#on(this.#client.send(new HeadBucketCommand({ Bucket: this.#bucket })), undefined);
      throw new BlobNotFound(key, this.place);
    }
  }

  /** A request with its error translated. `key`: what a 404 is about, when it may be about a blob. */
  async #on<T>(call: Promise<T>, key?: string): Promise<T> {
    try {
      return await call;
    } catch (error) {
      throw this.#translate(error, key);
    }
  }

  #translate(thrown: unknown, key?: string): unknown {
    if (thrown instanceof BlobError) return thrown;
    const error = toError(thrown) as S3Failure;
    const status = error.$metadata?.httpStatusCode;
    if (error.name === 'NoSuchKey' && key !== undefined) return new BlobNotFound(key, this.place);
    // A copy of what is known to be harmless: the SDK's errors carry requests, signatures and key ids with them.
    const reason = describe(error);
    const cause = new Error(reason);
    if (
      status === 507 ||
      /^(XMinioStorageFull|StorageFull|QuotaExceeded|XMinioAdminBucketQuotaExceeded)$/.test(error.name)
    ) {
      return new BlobError('blob_store_full', `${this.place} is full (${reason})`, cause);
    }
    return new BlobError('blob_store_unavailable', `${this.place} cannot be used: ${reason}`, cause);
  }
}

/** A multipart upload that begins with its first part. */
class MultipartUpload {
  /** Marks the object as this upload's. */
  readonly id = randomUUID();
  readonly #client: S3Client;
  readonly #object: { Bucket: string; Key: string };
  readonly #parts: CompletedPart[] = [];
  readonly #aborter = new AbortController();
  readonly #signal: AbortSignal;
  #uploadId: string | undefined;

  constructor(client: S3Client, object: { Bucket: string; Key: string }, signal?: AbortSignal) {
    this.#client = client;
    this.#object = object;
    this.#signal = signal ? AbortSignal.any([signal, this.#aborter.signal]) : this.#aborter.signal;
  }

  /** Uploads the next part, and resolves to its buffer when that may be used again. */
  async part(body: Buffer): Promise<Buffer> {
    if (this.#parts.length === MAX_PARTS) {
      throw new BlobError('blob_too_large', `the S3 store takes ${MAX_PARTS * PART_BYTES} bytes at a time`);
    }
    this.#uploadId ??= await this.#create();
    const PartNumber = this.#parts.length + 1;
    const { ETag, ChecksumCRC32 } = await this.#client.send(
      new UploadPartCommand({ ...this.#object, UploadId: this.#uploadId, PartNumber, Body: body }),
      { abortSignal: this.#signal },
    );
    this.#parts.push({ PartNumber, ETag, ChecksumCRC32 });
    return body;
  }

  async complete(): Promise<void> {
    await this.#client.send(
      new CompleteMultipartUploadCommand({
        ...this.#object,
        UploadId: this.#uploadId,
        MultipartUpload: { Parts: this.#parts },
      }),
    );
  }

  /** Removes the parts. What it cannot remove is left to `sweep`. */
  async abort(underway: Promise<unknown> | undefined): Promise<void> {
    this.#aborter.abort();
    // A part that arrives after the abort would stay.
    await underway?.catch(() => {});
    if (this.#uploadId === undefined) return;
    await this.#client
      .send(new AbortMultipartUploadCommand({ ...this.#object, UploadId: this.#uploadId }))
      .catch(() => {});
  }

  async #create(): Promise<string> {
    // Parts come with a CRC32 unless the SDK is told otherwise, and S3 wants to know beforehand.
    const checksums = (await this.#client.config.requestChecksumCalculation()) === 'WHEN_SUPPORTED';
    const { UploadId } = await this.#client.send(
      new CreateMultipartUploadCommand({
        ...this.#object,
        Metadata: { [WRITE_ID]: this.id },
        ...(checksums ? { ChecksumAlgorithm: 'CRC32' } : {}),
      }),
    );
    if (UploadId === undefined) throw new Error('the server gave the upload no id');
    return UploadId;
  }
}

const PLAINLY: Record<string, string> = {
  NoSuchBucket: 'there is no such bucket',
  NotFound: 'there is no such bucket',
  AccessDenied: 'access denied',
  Forbidden: 'access denied',
  InvalidAccessKeyId: 'the access key is unknown',
  SignatureDoesNotMatch: 'the secret key is wrong',
  CredentialsProviderError: 'the AWS SDK found no credentials',
};

/** One line, without credentials. */
function describe(error: S3Failure): string {
  const plain = PLAINLY[error.name];
  if (plain !== undefined) return plain;
  // Node's AggregateError of several addresses has a code but no message.
  const what = error.message === '' ? (error.code ?? error.name) : error.message;
  const name = error.name === 'Error' || what.includes(error.name) ? '' : `${error.name}: `;
  return `${name}${what}`.replace(/\s+/g, ' ').slice(0, 300);
}
