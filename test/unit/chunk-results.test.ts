/** How the results of a chunk come into the blob store: as a whole, or while they are made. */
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { FileBlobs } from '../../src/shared/blobs/file-blobs.ts';
import { diskSpace } from '../../src/shared/runtime/disk-reserve.ts';
import { encodeChecksum } from '../../src/shared/store/batches/results.ts';
import { countOutcomes } from '../../src/worker/inference/chunk-outcomes.ts';
import { portionsOf, storeResults, type ResultsToStore } from '../../src/worker/inference/chunk-results.ts';

const KEY = 'batches/b/results/r/0';
const line = (i: number, score = 0.5) =>
  Buffer.from(
    i % 3 === 0
      ? `{"line":${i},"error":{"code":"poison_input","message":"m"}}\n`
      : `{"line":${i},"label":"a","score":${score},"truncated":false,"unknown":0.25}\n`,
  );
const LINES = Array.from({ length: 100 }, (_, i) => line(i));
const ALL = Buffer.concat(LINES);
const rows = LINES.map((_, i) => ({ line: i, text: 'a' }));

let root: string;
let blobs: FileBlobs;
beforeEach(async () => {
  root = mkdtempSync(path.join(tmpdir(), 'amulet-results-'));
  blobs = await FileBlobs.open(root);
});
afterEach(() => rmSync(root, { recursive: true }));

async function* made(lines: readonly Buffer[], onPiece?: (i: number) => void) {
  for (const [i, each] of lines.entries()) {
    onPiece?.(i);
    yield await Promise.resolve(each);
  }
}
const store = (more: Partial<ResultsToStore>) =>
  storeResults(blobs, {
    key: KEY,
    ndjson: made(LINES),
    rows,
    assertWanted: () => Promise.resolve(),
    ...more,
  });
/** Bytes in temporary files: those of a blob that is being written. */
const underway = () =>
  readdirSync(path.join(root, '~tmp')).reduce(
    (sum, name) => sum + statSync(path.join(root, '~tmp', name)).size,
    0,
  );

test.each([
  ['at the bound', ALL.length],
  ['one byte beyond it', ALL.length - 1],
  ['far beyond it', 1],
])('results %s are the same, and so is what is recorded of them', async (_, bufferedBytes) => {
  const { outcomes, checksum } = await store({ bufferedBytes });
  expect(await blobs.read(KEY)).toEqual(ALL);
  expect(outcomes).toEqual(countOutcomes(ALL));
  expect(outcomes).toMatchObject({ failedRows: 34, unknownRows: 66, unknownShares: 16.5 });
  expect(checksum).toEqual(encodeChecksum(ALL, outcomes));
});

test('results above the limit are written while they are made', async () => {
  let most = 0;
  const ndjson = made(LINES, (i) => {
    const before = LINES.slice(0, i).reduce((sum, { length }) => sum + length, 0);
    most = Math.max(most, before - underway());
  });
  await store({ ndjson, bufferedBytes: 1000 });
  expect(most).toBeLessThan(1000 + 2 * LINES[1]!.length);
});

test('small results that another worker has written are kept', async () => {
  const earlier = LINES.map((_, i) => line(i, 0.75));
  await store({ ndjson: made(earlier) });
  const { checksum } = await store({});
  const there = Buffer.concat(earlier);
  expect(await blobs.read(KEY)).toEqual(there);
  expect(checksum).toEqual(encodeChecksum(there, countOutcomes(there)));
});

test('large results that are already counted are kept, too', async () => {
  await blobs.put(KEY, Buffer.from('counted'));
  const assertWanted = () => Promise.reject(new Error('done elsewhere'));
  await expect(store({ bufferedBytes: 1, assertWanted })).rejects.toThrow('done elsewhere');
  expect((await blobs.read(KEY)).toString()).toBe('counted');
  expect(underway()).toBe(0);
});

test('results are written on a nearly full disk: the work was accepted', async () => {
  const space = await diskSpace(root);
  blobs = await FileBlobs.open(root, Math.round(space!.freeBytes * 1.5));
  await expect(blobs.putStream('uploaded', made(LINES))).rejects.toMatchObject({ code: 'blob_store_full' });
  await store({ bufferedBytes: 1 });
  expect(await blobs.read(KEY)).toEqual(ALL);
});

test('a failure while writing leaves no blob behind', async () => {
  const ndjson = made(LINES, (i) => {
    if (i === 99) throw new Error('the model is gone');
  });
  await expect(store({ ndjson, bufferedBytes: 1 })).rejects.toThrow('the model is gone');
  await expect(blobs.read(KEY)).rejects.toMatchObject({ code: 'blob_not_found' });
  expect(underway()).toBe(0);
});

test.each([
  [20, [100]],
  [21, [95, 5]],
  [2000, Array.from({ length: 100 }, () => 1)],
  [2001, Array.from({ length: 100 }, () => 1)],
])('of a model with %d labels, no more than 2,000 scores are held', (labels, sizes) => {
  expect([...portionsOf(rows, labels, 2000)].map(({ length }) => length)).toEqual(sizes);
  expect([...portionsOf(rows, labels, 2000)].flat()).toEqual(rows);
});
