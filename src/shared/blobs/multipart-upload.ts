/** Multipart uploads to S3: one that starts with its first part, and the removal of abandoned ones. */
import { randomUUID } from 'node:crypto';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  ListMultipartUploadsCommand,
  ListPartsCommand,
  UploadPartCommand,
  type CompletedPart,
  type ListMultipartUploadsCommandOutput,
  type ListPartsCommandOutput,
  type S3Client,
} from '@aws-sdk/client-s3';
import { BlobError } from './blob-store.ts';
import { isKey } from './keys.ts';
import type { S3Failure } from './s3-errors.ts';

/** An upload holds at most two parts, one filling and one on its way. S3 wants at least 5 MiB, but for the last. */
export const PART_BYTES = 8 * 1024 * 1024;
/** S3's limit: 78 GiB in parts of ours. */
const MAX_PARTS = 10_000;
/** Metadata of an object: a random id of the write that made it, which recognises the write after a lost answer. */
export const WRITE_ID = 'amulet-write';
/** Age of the last part at which an upload counts as abandoned. */
export const STALE_MS = 24 * 3_600_000;

/** A multipart upload; S3 learns of it with its first part. */
export class MultipartUpload {
  /** Identifies the object as written by this upload. */
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

  /** Uploads the next part, and resolves to its buffer when that can be reused. */
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

  /** Aborts the upload, which removes its parts. If that fails, `sweep` does it later. */
  async abort(underway: Promise<unknown> | undefined): Promise<void> {
    this.#aborter.abort();
    // A part that arrived after the abort would stay.
    await underway?.catch(() => {});
    if (this.#uploadId === undefined) return;
    await this.#client
      .send(new AbortMultipartUploadCommand({ ...this.#object, UploadId: this.#uploadId }))
      .catch(() => {});
  }

  async #create(): Promise<string> {
    // The SDK sends a CRC32 with each part unless configured otherwise, and S3 must know beforehand.
    const checksums = (await this.#client.config.requestChecksumCalculation()) === 'WHEN_SUPPORTED';
    const { UploadId } = await this.#client.send(
      new CreateMultipartUploadCommand({
        ...this.#object,
        Metadata: { [WRITE_ID]: this.id },
        ...(checksums ? { ChecksumAlgorithm: 'CRC32' } : {}),
      }),
    );
    if (UploadId === undefined) throw new Error('the server returned no upload id');
    return UploadId;
  }
}

export interface StaleUploads {
  client: S3Client;
  bucket: string;
  /** Prefix of the store's objects. */
  prefix: string;
  olderThanMs: number;
}

/**
 * Aborts the uploads of a store that have had no new part for `olderThanMs`.
 * @returns how many were aborted
 */
export async function abortStaleUploads({
  client,
  bucket,
  prefix,
  olderThanMs,
}: StaleUploads): Promise<number> {
  let count = 0;
  let page: ListMultipartUploadsCommandOutput | undefined;
  do {
    const markers =
      page === undefined ? {} : { KeyMarker: page.NextKeyMarker, UploadIdMarker: page.NextUploadIdMarker };
    page = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket, Prefix: prefix, ...markers }));
    for (const { Key, UploadId, Initiated } of page.Uploads ?? []) {
      if (Initiated === undefined || Date.now() - Initiated.getTime() < olderThanMs) continue;
      // Another store's, when our prefix is empty or theirs begins with it.
      if (Key === undefined || !isKey(Key.slice(prefix.length))) continue;
      const upload = { Bucket: bucket, Key, UploadId };
      try {
        if (await hasYoungPart(client, upload, olderThanMs)) continue;
        await client.send(new AbortMultipartUploadCommand(upload));
        count++;
      } catch (error) {
        if ((error as S3Failure).name !== 'NoSuchUpload') throw error;
      }
    }
  } while (page.IsTruncated === true);
  return count;
}

/** Whether an upload that began long ago is still running: its newest part shows it. */
async function hasYoungPart(
  client: S3Client,
  upload: { Bucket: string; Key: string; UploadId: string | undefined },
  olderThanMs: number,
): Promise<boolean> {
  let page: ListPartsCommandOutput | undefined;
  do {
    const marker = page === undefined ? {} : { PartNumberMarker: page.NextPartNumberMarker };
    page = await client.send(new ListPartsCommand({ ...upload, ...marker }));
    const young = (page.Parts ?? []).some(
      ({ LastModified }) => LastModified !== undefined && Date.now() - LastModified.getTime() < olderThanMs,
    );
    if (young) return true;
  } while (page.IsTruncated === true);
  return false;
}
