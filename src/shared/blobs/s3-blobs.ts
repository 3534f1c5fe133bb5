/**
 * S3Blobs: blobs in a bucket of S3 or of a server that speaks its protocol. Loaded only when `BLOB_URL` begins with `s3:`.
 *
 * S3 itself shows only whole objects. This class adds uploads of unknown size in parts, write-once in spite of lost answers,
 * downloads that survive a lost connection, and errors in one line.
 *
 * The SDK's environment variables apply: `AWS_REQUEST_CHECKSUM_CALCULATION=when_required` for a server that
 * does not know S3's newer checksums, for example. The credentials need s3:GetObject, PutObject, DeleteObject,
 * AbortMultipartUpload, ListBucket (without it S3 answers "denied" for a missing object), ListBucketMultipartUploads and
 * ListMultipartUploadParts (without these, leftovers of a crash stay).
 */
import { createHash, randomUUID } from 'node:crypto';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  paginateListObjectsV2,
  PutObjectCommand,
  S3Client,
  type HeadObjectCommandOutput,
} from '@aws-sdk/client-s3';
import { assertKey, assertPrefix, isKey } from './keys.ts';
import {
  BlobError,
  BlobNotFound,
  type BlobStore,
  type ByteRange,
  type PutStreamOptions,
  type PutStreamResult,
} from './blob-store.ts';
import { limited, resolveRange, toBuffer } from './byte-streams.ts';
import { abortStaleUploads, MultipartUpload, PART_BYTES, STALE_MS, WRITE_ID } from './multipart-upload.ts';
import { translateS3Error, type S3Failure } from './s3-errors.ts';
import type { S3Options } from './s3-url.ts';

/** S3's limit. */
const KEYS_PER_DELETE = 1000;
/**
 * Attempts of one request, by the SDK, with random pauses up to 0.1, 0.2, 0.4 … s. With 4, a connection that was away for
 * 50 ms could cost an upload all its parts.
 */
const REQUEST_ATTEMPTS = 6;
/** Connections that a download may lose in a row without receiving a byte. */
const RESUME_ATTEMPTS = 5;
/** Of several conditional writes at once, S3 may answer one with 409, which asks for a retry. */
const CONFLICT_ATTEMPTS = 20;

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

  /** Does not connect yet: `checkStore` does. */
  static open(options: S3Options): S3Blobs {
    const { region, endpoint, forcePathStyle } = options;
    // A download keeps its connection while its reader is busy: the pool must be larger than the number of readers.
    const agent = { keepAlive: true, maxSockets: 256 };
    const client = new S3Client({
      ...(region === undefined ? {} : { region }),
      ...(endpoint === undefined ? {} : { endpoint }),
      forcePathStyle,
      maxAttempts: REQUEST_ATTEMPTS,
      // The SDK checks a download as a whole, which a resumed one cannot pass; readers compare the SHA-256 instead.
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
        // The existing object may be our own, from an attempt whose answer was lost.
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
    // The second of two buffers is free again when its part is uploaded.
    let underway: Promise<Buffer> | undefined;
    try {
      for await (const piece of limited(source, options)) {
        hash.update(piece);
        bytes += piece.length;
        for (let at = 0; at < piece.length;) {
          if (filled === PART_BYTES) {
            const next = (await underway) ?? Buffer.allocUnsafeSlow(PART_BYTES);
            underway = this.#on(upload.part(part), key);
            // A rejection is handled at the next await of this promise, which may come later.
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
      // The SDK replaces the signal's reason with its own error.
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
        // The blob ends before `start`. For an empty blob S3 calls every range unsatisfiable.
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
    const listed = { Bucket: this.#bucket, Prefix: this.#prefix + prefix };
    const pages = paginateListObjectsV2({ client: this.#client }, listed);
    for (let page = await this.#on(pages.next()); page.done !== true; page = await this.#on(pages.next())) {
      for (const { Key = '' } of page.value.Contents ?? []) {
        const key = Key.slice(this.#prefix.length);
        // Other programs may keep objects in the bucket that are not blobs, such as folder markers.
        if (isKey(key)) yield key;
      }
    }
  }

  async delete(keys: readonly string[]): Promise<void> {
    const objects = keys.map((key) => ({ Key: this.#object(key).Key }));
    for (let at = 0; at < objects.length; at += KEYS_PER_DELETE) {
      const page = objects.slice(at, at + KEYS_PER_DELETE);
      const answer = await this.#on(
        this.#client.send(
          new DeleteObjectsCommand({ Bucket: this.#bucket, Delete: { Objects: page, Quiet: true } }),
        ),
      );
      // Some servers report a missing object as an error; a deletion has succeeded all the same.
      const errors = (answer.Errors ?? []).filter(({ Code }) => Code !== 'NoSuchKey');
      if (errors.length > 0) {
        const { Code, Message } = errors[0] ?? {};
        throw new BlobError(
          'blob_store_unavailable',
          `${this.place} did not delete ${errors.length} of ${page.length} blobs: ${Code} ${Message}`,
        );
      }
    }
  }

  async sweep(olderThanMs = STALE_MS): Promise<number> {
    return this.#on(
      abortStaleUploads({ client: this.#client, bucket: this.#bucket, prefix: this.#prefix, olderThanMs }),
    );
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
      // The upload is gone because an attempt whose answer was lost has completed it.
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

  async #head(key: string): Promise<HeadObjectCommandOutput> {
    const object = this.#object(key);
    try {
      return await this.#client.send(new HeadObjectCommand(object));
    } catch (thrown) {
      if ((thrown as S3Failure).$metadata?.httpStatusCode !== 404) throw this.#translate(thrown, key);
      // The answer to a HEAD has no body, so it does not tell a missing object from a missing bucket.
      await this.#on(this.#client.send(new HeadBucketCommand({ Bucket: this.#bucket })), undefined);
      throw new BlobNotFound(key, this.place);
    }
  }

  /** Awaits a request and translates its error. `key` is set when a 404 may be about this blob. */
  async #on<T>(call: Promise<T>, key?: string): Promise<T> {
    try {
      return await call;
    } catch (error) {
      throw this.#translate(error, key);
    }
  }

  #translate(thrown: unknown, key?: string): unknown {
    return translateS3Error(thrown, { place: this.place, key });
  }
}
