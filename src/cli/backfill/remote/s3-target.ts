/** An object of S3 as the place of the finished output. Loaded only when --out names one. */
import { createReadStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import {
  AbortMultipartUploadCommand,
  CreateMultipartUploadCommand,
  HeadObjectCommand,
} from '@aws-sdk/client-s3';
import { ApiError, ConnectionError } from '../../../client/errors.ts';
import { GaveUpError, Retrier } from '../../../client/retry.ts';
import type { S3Failure } from '../../../shared/blobs/s3-errors.ts';
import { toError } from '../../../shared/runtime/to-error.ts';
import { CliError, EXIT, UnwritableOutputError, UsageError } from '../../terminal/exit.ts';
import { duration } from '../../terminal/units.ts';
import type { Target } from '../output/target.ts';
import { Refusal, type RemoteOptions } from './remote-file.ts';
import { parseS3Address, s3Url } from './s3-address.ts';
import { connectS3 } from './s3-client.ts';
import { s3Problem } from './s3-problems.ts';
import { abortUpload, PART_BYTES, uploadObject } from './s3-upload.ts';

/** @param working path that the names of the files of an unfinished run begin with */
export async function openS3Target(
  word: string,
  working: string,
  { signal, retryTimeoutMs, partBytes = PART_BYTES }: RemoteOptions & { partBytes?: number },
): Promise<Target> {
  const address = parseS3Address(word);
  const { bucket, key } = address;
  if (key === '' || key.endsWith('/'))
    throw new UsageError(`--out ${word}: there must be the key of an object, not a prefix`);
  const client = await connectS3(address);
  const object = { Bucket: bucket, Key: key };
  const place = { name: s3Url(address, key), bucket, actions: 's3:PutObject and s3:AbortMultipartUpload' };
  const stateFile = `${working}.upload.json`;

  /** Before the run: a wrong bucket or a missing permission would otherwise show once everything is labelled. */
  const opening = async <T>(request: () => Promise<T>): Promise<T> => {
    try {
      return await request();
    } catch (error) {
      signal.throwIfAborted();
      const problem = s3Problem(error, place);
      const { message } = toError(problem);
      if (problem instanceof Refusal) throw new UsageError(`--out ${message}`);
      if (problem instanceof ConnectionError || problem instanceof ApiError)
        throw new CliError(EXIT.temporary, `--out ${place.name} cannot be reached: ${message}`, [], error);
      throw problem;
    }
  };
  await opening(async () => {
    const { UploadId } = await client.send(new CreateMultipartUploadCommand(object), { abortSignal: signal });
    await client.send(new AbortMultipartUploadCommand({ ...object, UploadId }));
  });

  const upload = async (bytes: AsyncIterable<Uint8Array>, replace: boolean): Promise<void> => {
    const retrier = new Retrier({ retryTimeoutMs, signal });
    const contentType = contentTypeOf(key);
    const options = { client, object, place, contentType, replace, retrier, signal, stateFile, partBytes };
    try {
      await uploadObject(bytes, options);
    } catch (error) {
      signal.throwIfAborted();
      const { message } = toError(error);
      if (error instanceof Refusal) {
        const hint = `The rows are in ${working}.partial: --resume writes them once the cause is gone.`;
        throw new CliError(EXIT.failed, message, [hint], error);
      }
      const isGivenUp = error instanceof GaveUpError;
      if (!isGivenUp && !(error instanceof ConnectionError) && !(error instanceof ApiError)) throw error;
      const reason = isGivenUp
        ? `gave up after ${duration(retryTimeoutMs / 1000)} without success: ${message}`
        : message;
      throw new UnwritableOutputError(`${place.name} cannot be written: ${reason}`, { cause: error });
    }
  };
  return {
    name: place.name,
    exists: () =>
      opening(async () => {
        try {
          await client.send(new HeadObjectCommand(object), { abortSignal: signal });
          return true;
        } catch (error) {
          // Without s3:ListBucket, S3 answers "denied" for a missing object; writing it is conditional anyway.
          if (/^40[34]$/.test(String((error as S3Failure).$metadata?.httpStatusCode))) return false;
          throw error;
        }
      }),
    put: upload,
    take: async (file, replace) => {
      await upload(createReadStream(file, { highWaterMark: READ_BYTES }), replace);
      await rm(file, { force: true });
    },
    discard: () => abortUpload({ client, object, stateFile }),
    settled: () => rm(stateFile, { force: true }),
  };
}

const READ_BYTES = 1024 * 1024;

const CONTENT_TYPES: Record<string, string> = {
  csv: 'text/csv; charset=utf-8',
  tsv: 'text/tab-separated-values; charset=utf-8',
  parquet: 'application/vnd.apache.parquet',
  pq: 'application/vnd.apache.parquet',
  gz: 'application/gzip',
  zst: 'application/zstd',
};

function contentTypeOf(key: string): string {
  return CONTENT_TYPES[/\.([a-z]+)$/i.exec(key)?.[1]?.toLowerCase() ?? ''] ?? 'application/x-ndjson';
}
