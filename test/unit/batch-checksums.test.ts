/** Checksums of results larger than the part that is checked in memory, and plausibility checks of results without a checksum. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openBlobStore } from '../../src/shared/blobs/open.ts';
import { toBuffer } from '../../src/shared/blobs/byte-streams.ts';
import type { BlobStore } from '../../src/shared/blobs/blob-store.ts';
import {
  DamagedResults,
  digestOf,
  encodeChecksum,
  isPlausible,
  readResults,
} from '../../src/shared/store/batches/results.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'amulet-checksums-'));
let store: BlobStore;
beforeAll(async () => {
  store = await openBlobStore(`file:${folder}`);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const ROWS = 4096;
const row = (i: number) => `{"line":${i + 1},"id":"${'x'.repeat(600)}","label":"POSITIVE"}\n`;
const large = Buffer.from(Array.from({ length: ROWS }, (_, i) => row(i)).join(''));
const changed = Buffer.from(large);
changed[changed.length - 5] = 0x58;

async function read(
  stored: Buffer,
  checksum: Buffer | undefined,
): Promise<{ bytes: Buffer[]; error?: string }> {
  await store.put('chunk', stored);
  const known = checksum && digestOf(checksum);
  const bytes: Buffer[] = [];
  try {
    for await (const piece of readResults(store, 'chunk', known, () => Promise.resolve(ROWS)))
      bytes.push(Buffer.from(piece));
    return { bytes };
  } catch (error) {
    expect(error).toBeInstanceOf(DamagedResults);
    return { bytes, error: (error as Error).message };
  }
}

describe.each([
  ['with a checksum', encodeChecksum(large, { failedRows: 3, unknownRows: 0, unknownShares: 0 })],
  ['without one', undefined],
])('2.6 MB of results %s', (_, checksum) => {
  test('are read completely', async () => {
    const { bytes, error } = await read(large, checksum);
    expect(error).toBeUndefined();
    expect(Buffer.concat(bytes).equals(large)).toBe(true);
  });

  test.each([
    ['a byte', large.subarray(0, -1), 'middle of a line'],
    [
      'a row',
      large.subarray(0, large.lastIndexOf('\n', large.length - 2) + 1),
      checksum ? 'not those' : '4095 rows',
    ],
    ['all but exactly 1 MiB', large.subarray(0, 1024 * 1024), 'middle of a line'],
    ['everything', Buffer.alloc(0), 'empty'],
  ])('without %s: no byte is returned', async (__, stored, message) => {
    const { bytes, error } = await read(Buffer.from(stored), checksum);
    expect(bytes).toEqual([]);
    expect(error).toContain(message);
  });

  test.runIf(checksum)('with another last row: no byte is returned', async () => {
    expect(await read(changed, checksum)).toEqual({ bytes: [], error: expect.stringContaining('not those') });
  });
});

test('missing results count as damaged, a failing store does not', async () => {
  const missing = readResults(store, 'nothing', undefined, () => Promise.resolve(1));
  await expect(toBuffer(missing)).rejects.toThrow(DamagedResults);
  const gone = await openBlobStore(`file:${path.join(folder, 'gone')}`);
  rmSync(path.join(folder, 'gone'), { recursive: true });
  await expect(
    toBuffer(readResults(gone, 'chunk', undefined, () => Promise.resolve(1))),
  ).rejects.toMatchObject({
    code: 'blob_store_unavailable',
  });
});

test.each([
  ['the rows in their order', '{"line":3}\n{"line":5}\n', true],
  ['a row too few', '{"line":3}\n', false],
  ['a row too many', '{"line":3}\n{"line":5}\n{"line":6}\n', false],
  ['another line', '{"line":3}\n{"line":6}\n', false],
  ['half a row', '{"line":3}\n{"line":', false],
  ['no last line feed', '{"line":3}\n{"line":5}', false],
  ['no JSON', '{"line":3}\n????\n', false],
  ['null', '{"line":3}\nnull\n', false],
  ['nothing', '', false],
])('%s: plausible or not', (_, text, plausible) => {
  expect(isPlausible(Buffer.from(text), [3, 5])).toBe(plausible);
});
