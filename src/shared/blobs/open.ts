/** Opens the blob store that BLOB_URL names. The back end is loaded only when it is chosen. */
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { MinFree } from '../runtime/disk-reserve.ts';
import type { Logger } from '../runtime/logger.ts';
import { StartupError } from '../runtime/startup-error.ts';
import { toError } from '../runtime/to-error.ts';
import type { BlobStore, LazyBlobStore } from './blob-store.ts';
import { checkStore } from './store-operations.ts';
import { parseS3Url } from './s3-url.ts';
import { sweepTemporary, temporaryFolder } from './temporary-files.ts';

/**
 * Opens the store that a URL names: `file:PATH` (relative to the working folder, or absolute), or
 * `s3://BUCKET/PREFIX?region=…&endpoint=…&forcePathStyle=true`, where everything after the bucket is optional; credentials come
 * from the AWS SDK's default chain. A missing folder is created, a missing bucket is not. The store owns everything in it.
 *
 * @param minFree bytes to keep free on the disk of a folder; ignored for a bucket
 * @throws StartupError when the URL is wrong
 * @throws BlobError `blob_store_unavailable` when the folder cannot be created or the SDK not be loaded
 */
export async function openBlobStore(url: string, minFree: MinFree = 0): Promise<BlobStore> {
  if (url.startsWith('file:')) {
    const { FileBlobs } = await import('./file-blobs.ts');
    return FileBlobs.open(folderOf(url), minFree);
  }
  if (url.startsWith('s3:')) {
    const options = parseS3Url(url);
    // Loading the SDK takes 200 ms and 30 MB, which an installation without S3 is spared.
    const { S3Blobs } = await import('./s3-blobs.ts');
    return S3Blobs.open(options);
  }
  throw new StartupError('BLOB_URL must begin with file: or s3://');
}

/** The folder of a store; undefined for a bucket. @throws StartupError when the URL is wrong */
export function blobFolder(url: string): string | undefined {
  return url.startsWith('file:') ? folderOf(url) : undefined;
}

/** Removes temporary files of killed writers from a store's folder, before any process writes. A bucket needs no such thing. */
export async function sweepTemporaryFiles(url: string): Promise<void> {
  const folder = blobFolder(url);
  if (folder === undefined) return;
  await sweepTemporary(temporaryFolder(folder));
}

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

/** For start-up: logs whether the store works. @throws StartupError when its URL is wrong */
export async function reportBlobStore(blobs: LazyBlobStore, logger: Logger): Promise<void> {
  try {
    const store = await blobs();
    await checkStore(store);
    logger.info({ place: store.place }, 'blob store works');
  } catch (error) {
    if (error instanceof StartupError) throw error;
    logger.warn(
      { reason: toError(error).message },
      'blob store does not work: batches are refused until it does',
    );
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
