/** What is done with any blob store: to delete every blob below a prefix, and to check whether the store works. */
import { randomUUID } from 'node:crypto';
import { BlobError, BlobNotFound, type BlobStore } from './blob-store.ts';

/** Deletes every blob whose key begins with `prefix` ('' is all), 1,000 at a time. @returns their number */
export async function deletePrefix(store: BlobStore, prefix: string): Promise<number> {
  let count = 0;
  let keys: string[] = [];
  for await (const key of store.list(prefix)) {
    keys.push(key);
    if (keys.length < 1000) continue;
    await store.delete(keys);
    count += keys.length;
    keys = [];
  }
  await store.delete(keys);
  return count + keys.length;
}

/** For start-up: writes, reads, lists and deletes a probe, and sweeps. @throws BlobError that says in one line what is wrong */
export async function checkStore(store: BlobStore): Promise<void> {
  const key = `~check/${randomUUID()}`;
  const body = Buffer.from(key);
  try {
    await store.put(key, body);
    // Some S3-like servers ignore If-None-Match and some file systems have no hard links: a blob could be written twice.
    if (await store.putIfAbsent(key, Buffer.from('again'))) {
      throw new BlobError(
        'blob_store_unavailable',
        `${store.place} overwrites blobs that must be written only once: it ignores If-None-Match`,
      );
    }
    if (!(await store.read(key)).equals(body)) {
      throw new BlobError('blob_store_unavailable', `${store.place} returns other bytes than were written`);
    }
    for await (const _ of store.list('')) break;
  } finally {
    // The first error is the one to report.
    await store.delete([key]).catch(() => {});
  }
  if (await exists(store, key)) {
    throw new BlobError('blob_store_unavailable', `${store.place} does not delete blobs`);
  }
  // A refusal does no harm: an S3 lifecycle rule can do the same.
  await store.sweep().catch(() => 0);
}

async function exists(store: BlobStore, key: string): Promise<boolean> {
  try {
    await store.size(key);
    return true;
  } catch (error) {
    if (error instanceof BlobNotFound) return false;
    throw error;
  }
}
