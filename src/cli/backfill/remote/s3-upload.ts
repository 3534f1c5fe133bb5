/**
 * Uploads an output to S3: in one request, or in parts. An interrupted upload goes on with the parts that S3 has: the output is made
 * again, and a part with the same MD5 is not sent again. The object appears once it is complete.
 */
import { createHash, randomUUID } from 'node:crypto';
import { readFile, rm, writeFile } from 'node:fs/promises';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  HeadObjectCommand,
  ListPartsCommand,
  PutObjectCommand,
  UploadPartCommand,
  type CompletedPart,
  type Part,
  type S3Client,
} from '@aws-sdk/client-s3';
import type { Retrier } from '../../../client/retry.ts';
import { WRITE_ID } from '../../../shared/blobs/multipart-upload.ts';
import type { S3Failure } from '../../../shared/blobs/s3-errors.ts';
import { bytes as size } from '../../terminal/units.ts';
import { toError } from '../../../shared/runtime/to-error.ts';
import { Refusal } from './remote-file.ts';
import { s3Problem, type S3Place } from './s3-problems.ts';

/** At most 48 MB are in memory: a part is filled while two are sent. */
export const PART_BYTES = 16 * 1024 * 1024;
const PARTS_IN_FLIGHT = 2;
/** S3's limit. */
const MAX_PARTS = 10_000;

export interface UploadOptions {
  client: S3Client;
  object: { Bucket: string; Key: string };
  place: S3Place;
  contentType: string;
  /** Replace an object that is there; otherwise it is a Refusal. */
  replace: boolean;
  retrier: Retrier;
  signal: AbortSignal;
  /** Path of the file that a later run resumes from. */
  stateFile: string;
  /** Size of a part, at least 5 MB. */
  partBytes: number;
}

/** What a later run has to know of an upload; it stays until the upload will not be repeated. */
interface UploadState {
  /** In the metadata of the object, which recognises it after a lost answer. */
  writeId: string;
  /** Undefined before the first part. */
  uploadId?: string;
}

/** @throws Refusal, GaveUpError, or the signal's reason */
export async function uploadObject(bytes: AsyncIterable<Uint8Array>, options: UploadOptions): Promise<void> {
  const upload = new ObjectUpload(options, await readState(options.stateFile));
  await upload.run(bytes);
}

/** Aborts the unfinished upload of an earlier run. */
export async function abortUpload({
  client,
  object,
  stateFile,
}: Pick<UploadOptions, 'client' | 'object' | 'stateFile'>) {
  const state = await readState(stateFile);
  if (state?.uploadId !== undefined) {
    await client
      .send(new AbortMultipartUploadCommand({ ...object, UploadId: state.uploadId }))
      // Its parts stay until the bucket's lifecycle rule removes them.
      .catch(() => {});
  }
  await rm(stateFile, { force: true });
}

class ObjectUpload {
  readonly #options: UploadOptions;
  readonly #state: UploadState;
  readonly #resumed: boolean;
  readonly #parts: CompletedPart[] = [];
  /** Parts of an earlier run, by number. */
  #present: ReadonlyMap<number, Part> = new Map();

  constructor(options: UploadOptions, earlier: UploadState | undefined) {
    this.#options = options;
    this.#resumed = earlier !== undefined;
    this.#state = earlier ?? { writeId: randomUUID() };
  }

  async run(bytes: AsyncIterable<Uint8Array>): Promise<void> {
    const { partBytes } = this.#options;
    if (!this.#resumed) await this.#save();
    // The earlier run may have been killed after its last request.
    else if (!(await this.#isWritten())) this.#present = await this.#listParts();
    else return;
    const sending = new Set<Promise<void>>();
    let failure: Error | undefined;
    try {
      let [part, filled] = [Buffer.allocUnsafeSlow(partBytes), 0];
      for await (const piece of bytes) {
        for (let at = 0; at < piece.length;) {
          if (filled === partBytes) {
            if (sending.size === PARTS_IN_FLIGHT) await Promise.race(sending);
            if (failure !== undefined) throw failure;
            await this.#start();
            const sent = this.#send(part, this.#parts.push({}));
            sending.add(sent);
            sent
              .catch((error: unknown) => (failure ??= toError(error)))
              .finally(() => sending.delete(sent))
              .catch(() => {});
            [part, filled] = [Buffer.allocUnsafeSlow(partBytes), 0];
          }
          const some = piece.subarray(at, at + partBytes - filled);
          part.set(some, filled);
          filled += some.length;
          at += some.length;
        }
      }
      if (this.#parts.length === 0) await this.#put(part.subarray(0, filled));
      else {
        await Promise.all(sending);
        if (failure !== undefined) throw failure;
        if (filled > 0) await this.#send(part.subarray(0, filled), this.#parts.push({}));
        await this.#complete();
      }
    } catch (error) {
      await Promise.allSettled(sending);
      this.#options.signal.throwIfAborted();
      // Nothing but another command helps: S3 would keep the parts, and charge for them.
      if (error instanceof Refusal) await abortUpload(this.#options);
      throw error;
    }
  }

  async #start(): Promise<void> {
    if (this.#parts.length >= MAX_PARTS) {
      throw new Refusal(
        `${this.#options.place.name}: the output is larger than ${size(this.#options.partBytes * MAX_PARTS)}: write it to a file, or in several runs`,
      );
    }
    if (this.#state.uploadId !== undefined) return;
    const { client, object, contentType, signal } = this.#options;
    const { UploadId } = await this.#on(async () =>
      client.send(
        new CreateMultipartUploadCommand({
          ...object,
          ContentType: contentType,
          Metadata: { [WRITE_ID]: this.#state.writeId },
          // The SDK sends a CRC32 with each part unless configured otherwise, and S3 must know beforehand.
          ...((await client.config.requestChecksumCalculation()) === 'WHEN_SUPPORTED' && {
            ChecksumAlgorithm: 'CRC32',
          }),
        }),
        { abortSignal: signal },
      ),
    );
    if (UploadId === undefined)
      throw new Refusal(`${this.#options.place.name}: the server returned no upload id`);
    this.#state.uploadId = UploadId;
    await this.#save();
  }

  /** @param number of the part, from 1 */
  async #send(body: Buffer, number: number): Promise<void> {
    const { client, object, signal } = this.#options;
    const present = this.#present.get(number);
    if (
      present?.Size === body.length &&
      present.ETag === `"${createHash('md5').update(body).digest('hex')}"`
    ) {
      this.#parts[number - 1] = {
        PartNumber: number,
        ETag: present.ETag,
        ChecksumCRC32: present.ChecksumCRC32,
      };
      return;
    }
    const { uploadId: UploadId } = this.#state;
    const { ETag, ChecksumCRC32 } = await this.#on(() =>
      client.send(new UploadPartCommand({ ...object, UploadId, PartNumber: number, Body: body }), {
        abortSignal: signal,
      }),
    );
    this.#parts[number - 1] = { PartNumber: number, ETag, ChecksumCRC32 };
  }

  async #put(body: Buffer): Promise<void> {
    const { client, object, contentType, signal } = this.#options;
    // An earlier, longer output: its parts are not used.
    if (this.#state.uploadId !== undefined) await abortUpload(this.#options);
    const Metadata = { [WRITE_ID]: this.#state.writeId };
    const request = { ...object, Body: body, ContentType: contentType, Metadata, ...this.#condition() };
    await this.#write(() => client.send(new PutObjectCommand(request), { abortSignal: signal }));
  }

  async #complete(): Promise<void> {
    const { client, object } = this.#options;
    const request = {
      ...object,
      UploadId: this.#state.uploadId,
      MultipartUpload: { Parts: this.#parts },
      ...this.#condition(),
    };
    await this.#write(() => client.send(new CompleteMultipartUploadCommand(request)));
  }

  #condition(): { IfNoneMatch?: string } {
    return this.#options.replace ? {} : { IfNoneMatch: '*' };
  }

  /** Makes the object, once: the answer to an earlier attempt may have been lost. */
  async #write(attempt: () => Promise<unknown>): Promise<void> {
    const { place } = this.#options;
    await this.#on(async () => {
      try {
        await attempt();
      } catch (error) {
        const { name, $metadata } = error as S3Failure;
        const status = $metadata?.httpStatusCode;
        if (name !== 'NoSuchUpload' && status !== 412) throw error;
        if (await this.#isWritten()) return;
        if (status !== 412) throw error;
        throw new Refusal(
          `${place.name} has been written by another program meanwhile; --resume --force replaces it`,
        );
      }
    });
  }

  /** Whether the object is there, as written by this upload. */
  async #isWritten(): Promise<boolean> {
    const { client, object, signal } = this.#options;
    return this.#on(async () => {
      try {
        const { Metadata } = await client.send(new HeadObjectCommand(object), { abortSignal: signal });
        return Metadata?.[WRITE_ID] === this.#state.writeId;
      } catch (error) {
        // Without s3:ListBucket, S3 answers "denied" for a missing object.
        if (/^40[34]$/.test(String((error as S3Failure).$metadata?.httpStatusCode))) return false;
        throw error;
      }
    });
  }

  async #listParts(): Promise<ReadonlyMap<number, Part>> {
    const { client, object, signal } = this.#options;
    const { uploadId: UploadId } = this.#state;
    if (UploadId === undefined) return new Map();
    return this.#on(async () => {
      const found = new Map<number, Part>();
      try {
        // Not the SDK's paginator: it goes by the marker, which some servers send behind the last page, too.
        let PartNumberMarker: string | undefined;
        for (;;) {
          const request = new ListPartsCommand({ ...object, UploadId, PartNumberMarker });
          const page = await client.send(request, { abortSignal: signal });
          for (const part of page.Parts ?? []) found.set(part.PartNumber ?? 0, part);
          if (page.IsTruncated !== true) return found;
          PartNumberMarker = page.NextPartNumberMarker;
        }
      } catch (error) {
        if ((error as S3Failure).name !== 'NoSuchUpload') throw error;
        // It was aborted by a rule of the bucket: begin another one.
        delete this.#state.uploadId;
        return new Map();
      }
    });
  }

  /** Retries a request. */
  async #on<T>(request: () => Promise<T>): Promise<T> {
    const { retrier, signal, place } = this.#options;
    return retrier.run(async () => {
      try {
        return await request();
      } catch (error) {
        signal.throwIfAborted();
        throw s3Problem(error, place);
      }
    }, signal);
  }

  async #save(): Promise<void> {
    await writeFile(this.#options.stateFile, JSON.stringify(this.#state));
  }
}

async function readState(file: string): Promise<UploadState | undefined> {
  try {
    const state = JSON.parse(await readFile(file, 'utf8')) as Partial<UploadState> | null;
    if (typeof state?.writeId === 'string') return state as UploadState;
  } catch {
    // Missing, or cut off by a crash: the upload starts anew.
  }
  return undefined;
}
