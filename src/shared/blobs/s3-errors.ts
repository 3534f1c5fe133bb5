/** Translates errors of the AWS SDK into BlobErrors: one line, without credentials. */
import { toError } from '../runtime/to-error.ts';
import { BlobError, BlobNotFound } from './blob-store.ts';

/** The fields that distinguish errors of the SDK. */
export interface S3Failure extends Error {
  $metadata?: { httpStatusCode?: number; attempts?: number };
  code?: string;
}

/**
 * @param place the bucket, for the message
 * @param key set when a 404 may be about this blob
 */
export function translateS3Error(
  thrown: unknown,
  { place, key }: { place: string; key: string | undefined },
): unknown {
  if (thrown instanceof BlobError) return thrown;
  const error = toError(thrown) as S3Failure;
  const status = error.$metadata?.httpStatusCode;
  if (error.name === 'NoSuchKey' && key !== undefined) return new BlobNotFound(key, place);
  // Only the harmless part is copied: errors of the SDK carry requests, signatures and key ids.
  const reason = describeS3Error(error);
  const cause = new Error(reason);
  if (
    status === 507 ||
    /^(XMinioStorageFull|StorageFull|QuotaExceeded|XMinioAdminBucketQuotaExceeded)$/.test(error.name)
  ) {
    return new BlobError('blob_store_full', `${place} is full (${reason})`, cause);
  }
  return new BlobError('blob_store_unavailable', `${place} cannot be used: ${reason}`, cause);
}

const REASONS: Record<string, string> = {
  NoSuchBucket: 'there is no such bucket',
  NotFound: 'there is no such bucket',
  AccessDenied: 'access denied',
  Forbidden: 'access denied',
  InvalidAccessKeyId: 'the access key is unknown',
  SignatureDoesNotMatch: 'the secret key is wrong',
  CredentialsProviderError: 'the AWS SDK found no credentials',
};

/** The reason in one line, without credentials. */
export function describeS3Error(error: S3Failure): string {
  const plain = REASONS[error.name];
  if (plain !== undefined) return plain;
  // Node's AggregateError of several addresses has a code but no message.
  const what = error.message === '' ? (error.code ?? error.name) : error.message;
  const name = error.name === 'Error' || what.includes(error.name) ? '' : `${error.name}: `;
  return `${name}${what}`.replace(/\s+/g, ' ').slice(0, 300);
}
