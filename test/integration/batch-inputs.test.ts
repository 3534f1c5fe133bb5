/** The manifests and indexes of batches that a worker caches: each is read once, and their number is bounded. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { encodeManifest, indexKey, IndexWriter, manifestKey } from '../../src/shared/store/batches/layout.ts';
import { BatchStore } from '../../src/shared/store/batches/batch-store.ts';
import { lazyBlobStore } from '../../src/shared/blobs/open.ts';
import type { BlobStore } from '../../src/shared/blobs/blob-store.ts';
import { newBatchId } from '../../src/shared/contract/ids.ts';
import { BatchInputs } from '../../src/worker/inference/batch-inputs.ts';

const PARTS = 100;
const CHUNKS = 10;
const INDEX_BYTES = 24 * CHUNKS;
const spec = { format: 'csv', text_field: 'text', top_k: 1, first_line: 1, chunk_bytes: 1000 } as const;

let redis: Redis;
let batchStore: BatchStore;
let folder: string;
let blobs: BlobStore;
/** Keys in the order in which they were read. */
let read: string[];
beforeAll(async () => {
  redis = new Redis(inject('redisUrl'));
  batchStore = new BatchStore({ redis, prefix: `{test-inputs-${process.pid}}`, ttlS: 60, openTtlS: 60 });
  folder = mkdtempSync(path.join(tmpdir(), 'amulet-inputs-'));
  const store = await lazyBlobStore(`file:${folder}`)();
  const readBlob = store.read.bind(store);
  store.read = (...args) => {
    read.push(args[0]);
    return readBlob(...args);
  };
  blobs = store;
});
afterAll(() => {
  redis.disconnect();
  rmSync(folder, { recursive: true });
});

/** A batch whose input is whole, with columns as version 0.1 kept them. */
async function batch(columns: string[]): Promise<string> {
  const id = newBatchId('sst2-minilm');
  await batchStore.create(id, { owner: 'alice', spec });
  const parts = Array.from({ length: PARTS }, (_, i) => ({
    number: i + 1,
    blob: `batches/${id}/parts/${i + 1}-x`,
    sha256: '',
    bytes: 100 * CHUNKS,
    rows: CHUNKS,
    lines: CHUNKS,
    chunks: CHUNKS,
    columns,
  }));
  const index = new IndexWriter();
  for (let i = 0; i < CHUNKS; i++) index.add({ offset: 100 * i, bytes: 100, rows: 1, firstLine: i + 1 });
  for (const part of parts.slice(0, 2)) await blobs.put(indexKey(part.blob), index.bytes);
  await blobs.put(manifestKey(id, 'm'), encodeManifest(parts));
  const limits = { batchBytes: 1e9, storedBytes: 1e9, batchChunks: 1e6, openParts: 1e6 };
  await batchStore.parts.add(id, parts[0]!, limits, `${id} upload`);
  await batchStore.complete(id, { parts: 1, chunks: PARTS * CHUNKS, manifest: 'm' });
  return id;
}

test('are read once; the least recently used are dropped first', async () => {
  const ids = await Promise.all([batch(['text']), batch(['text']), batch(['text'])]);
  const perBatch = PARTS * 600;
  const inputs = new BatchInputs(
    { batchStore, blobs: () => Promise.resolve(blobs) },
    { batches: 10, bytes: 2 * perBatch + INDEX_BYTES },
  );
  read = [];
  const [a, b, c] = ids.map((id) => manifestKey(id, 'm')) as [string, string, string];
  const [first] = await Promise.all([inputs.get(ids[0]), inputs.get(ids[0])]);
  await inputs.get(ids[0]);
  const [one, two] = first!.manifest.parts;
  await inputs.index(ids[0], one!);
  await inputs.index(ids[0], one!);
  await inputs.get(ids[1]);
  expect(read).toEqual([a, indexKey(one!.blob), b]);
  expect(inputs.bytes).toBe(2 * perBatch + INDEX_BYTES);
  // An index too many: the other batch goes, and is read again.
  await inputs.index(ids[0], two!);
  expect(inputs.bytes).toBe(perBatch + 2 * INDEX_BYTES);
  read = [];
  await inputs.get(ids[1]);
  await inputs.get(ids[2]);
  await inputs.get(ids[1]);
  expect(read).toEqual([b, c]);
  expect(inputs.bytes).toBe(2 * perBatch);
  expect(await inputs.get(newBatchId('sst2-minilm'))).toBeUndefined();
});

test('of an ended batch are dropped', async () => {
  const id = await batch(['text']);
  const inputs = new BatchInputs({ batchStore, blobs: () => Promise.resolve(blobs) });
  await inputs.get(id);
  inputs.drop(id);
  expect(inputs.bytes).toBe(0);
  read = [];
  await inputs.get(id);
  expect(read).toEqual([manifestKey(id, 'm')]);
});

test('share the columns of their parts', async () => {
  const id = await batch(Array.from({ length: 200 }, (_, i) => (i === 0 ? 'text' : `column ${i}`)));
  read = [];
  const input = await new BatchInputs({ batchStore, blobs: () => Promise.resolve(blobs) }).get(id);
  const columns = new Set(input!.manifest.parts.map((part) => part.columns));
  expect(columns.size).toBe(1);
  expect([...columns][0]).toHaveLength(200);
});
