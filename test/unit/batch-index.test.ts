/** The index of a part: 24 bytes a chunk, as workers of every version read them. */
import { expect, test } from 'vitest';
import { countEntries, ENTRY_BYTES, IndexWriter, readEntry } from '../../src/shared/store/batches/layout.ts';

const entries = Array.from({ length: 1000 }, (_, i) => ({
  offset: i * 5_000_000_000,
  bytes: 4_000_000_000 + i,
  rows: 4096 - i,
  firstLine: 1 + i * 3_000_000_000,
}));

test('has the same bytes at every size', () => {
  const index = new IndexWriter();
  expect(index.bytes).toHaveLength(0);
  const expected = new DataView(new ArrayBuffer(entries.length * ENTRY_BYTES));
  for (const [i, entry] of entries.entries()) {
    const at = i * ENTRY_BYTES;
    expected.setFloat64(at, entry.offset, true);
    expected.setFloat64(at + 8, entry.firstLine, true);
    expected.setUint32(at + 16, entry.bytes, true);
    expected.setUint32(at + 20, entry.rows, true);
    index.add(entry);
    const soFar = new Uint8Array(expected.buffer, 0, at + ENTRY_BYTES);
    expect(index.bytes.equals(soFar)).toBe(true);
  }
  expect([index.entries, countEntries(index.bytes)]).toEqual([1000, 1000]);
});

test('is read entry by entry', () => {
  const index = new IndexWriter();
  for (const entry of entries) index.add(entry);
  expect(entries.map((_, i) => readEntry(index.bytes, i))).toEqual(entries);
});
