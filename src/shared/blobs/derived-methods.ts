/** Methods of a BlobStore that both back ends make of their other methods. */
import { randomUUID } from 'node:crypto';
import { BlobError, BlobNotFound, type BlobStore } from './blob-store.ts';

/** `list` and `delete` in lots; a store's deletePrefix. */
export async function deleteListed(store: BlobStore, prefix: string): Promise<number> {
  let count = 0;
  let lot: string[] = [];
  for await (const key of store.list(prefix)) {
    lot.push(key);
    if (lot.length < 1000) continue;
    await store.delete(lot);
    count += lot.length;
    lot = [];
  }
  await store.delete(lot);
  return count + lot.length;
}

/** A store's check. */
export async function probe(store: BlobStore): Promise<void> {
  const key = `~check/${randomUUID()}`;
  const body = Buffer.from(key);
  try {
    await store.put(key, body);
    // Some S3-like servers ignore If-None-Match and some file systems have no hard links: write-once would be a lie.
    if (await store.putIfAbsent(key, Buffer.from('again'))) {
      throw new BlobError(
        'blob_store_unavailable',
        `${store.place} overwrites blobs that are to be written once: it ignores If-None-Match`,
      );
    }
    if (!(await store.read(key)).equals(body)) {
      throw new BlobError('blob_store_unavailable', `${store.place} does not give back what was written`);
    }
    for await (const _ of store.list('')) break;
  } finally {
    // The first error is the one to tell.
    await store.delete([key]).catch(() => {});
  }
  if (await exists(store, key)) {
    throw new BlobError('blob_store_unavailable', `${store.place} does not delete`);
  }
  // May be forbidden without harm: an S3 lifecycle rule can do the same.
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
