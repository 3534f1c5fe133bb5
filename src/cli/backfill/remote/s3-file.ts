/** Requests of an object in S3, in ranges, and the list of the objects below a prefix. Loaded only when an address names S3. */
import type { Readable } from 'node:stream';
import { GetObjectCommand, paginateListObjectsV2, type S3Client } from '@aws-sdk/client-s3';
import type { S3Failure } from '../../../shared/blobs/s3-errors.ts';
import { ConnectionError } from '../../../client/errors.ts';
import { s3Url, type S3Address } from './s3-address.ts';
import { s3Problem, type S3Place } from './s3-problems.ts';
import { piecesOf } from './pieces.ts';
import { noBytes, Refusal, type Answer, type RemoteRequests } from './remote-file.ts';

export function s3File(client: S3Client, address: S3Address): RemoteRequests {
  const place: S3Place = {
    name: s3Url(address, address.key),
    bucket: address.bucket,
    actions: 's3:GetObject, and s3:ListBucket to find out whether it exists',
  };
  return {
    name: place.name,
    get: async ({ start, end }, version, signal) => {
      const request = new GetObjectCommand({
        Bucket: address.bucket,
        Key: address.key,
        Range: `bytes=${start}-${end === undefined ? '' : end - 1}`,
        ...(version?.etag !== undefined && { IfMatch: version.etag }),
      });
      try {
        const answer = await client.send(request, { abortSignal: signal });
        const body = answer.Body as Readable;
        const [, from, total] = /^bytes (\d+)-\d+\/(\d+)$/.exec(answer.ContentRange ?? '') ?? [];
        return {
          ranged: from !== undefined,
          from: Number(from ?? 0),
          size: total === undefined ? answer.ContentLength : Number(total),
          version: { etag: answer.ETag, modifiedMs: answer.LastModified?.getTime() },
          gzip: /^(?:x-)?gzip$/i.test((answer.ContentEncoding ?? '').trim()),
          body: piecesOf(body, signal, (error) =>
            error instanceof ConnectionError ? error : s3Problem(error, place),
          ),
          close: () => void body.destroy(),
        };
      } catch (error) {
        signal.throwIfAborted();
        // An empty object has no ranges.
        if ((error as S3Failure).$metadata?.httpStatusCode === 416 && start === 0) return empty();
        throw s3Problem(error, place);
      }
    },
  };
}

const empty = (): Answer => ({
  ranged: true,
  from: 0,
  size: 0,
  version: { etag: undefined, modifiedMs: undefined },
  gzip: false,
  body: noBytes(),
  close: () => {},
});

export interface S3Object {
  key: string;
  size: number;
  etag: string | undefined;
}

/**
 * Lists the objects below a prefix, by their keys. Markers of folders are left out.
 * @throws Refusal for more than `maxObjects`, or for none; ConnectionError and ApiError, which may be temporary
 */
export async function listObjects(
  client: S3Client,
  address: S3Address,
  { maxObjects, signal }: { maxObjects: number; signal: AbortSignal },
): Promise<S3Object[]> {
  const { bucket, key: prefix } = address;
  const place: S3Place = { name: s3Url(address, prefix), bucket, actions: 's3:ListBucket and s3:GetObject' };
  const found: S3Object[] = [];
  try {
    const pages = paginateListObjectsV2(
      { client },
      { Bucket: bucket, Prefix: prefix },
      { abortSignal: signal },
    );
    for await (const { Contents = [] } of pages) {
      for (const { Key: key, Size: size, ETag: etag } of Contents) {
        if (key === undefined || key.endsWith('/')) continue;
        found.push({ key, size: size ?? 0, etag });
      }
      if (found.length > maxObjects)
        throw new Refusal(`${place.name} has more than ${maxObjects} objects: name a longer prefix`);
    }
  } catch (error) {
    signal.throwIfAborted();
    throw s3Problem(error, place);
  }
  // Directory buckets list in another order.
  return found.sort((a, b) => Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)));
}
