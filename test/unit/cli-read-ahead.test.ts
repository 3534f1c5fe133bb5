/** Reading planned ranges of a remote file ahead. */
import { expect, test } from 'vitest';
import { readAhead, type PlannedRange } from '../../src/cli/backfill/remote/read-ahead.ts';

const MB = 1024 * 1024;
const PATTERN = Uint8Array.from({ length: 6 * MB }, (_, i) => i & 0xff);

/** A file in which each byte is that of its offset. */
function file() {
  const asked: string[] = [];
  let open = 0;
  let most = 0;
  const slice = async (start: number, end: number) => {
    asked.push(`${start}-${end}`);
    most = Math.max(most, ++open);
    await new Promise((resolve) => setImmediate(resolve));
    open--;
    return PATTERN.subarray(start & 0xff, (start & 0xff) + end - start);
  };
  return { asked, slice, most: () => most };
}

const expectBytes = (bytes: Uint8Array, { start, end }: PlannedRange) => {
  expect(bytes.length).toBe(end - start);
  expect([bytes[0], bytes.at(-1)]).toEqual([start & 0xff, (end - 1) & 0xff]);
};

test('small neighbours are read in one request, whatever is asked of them', async () => {
  const { asked, slice } = file();
  const groups = Array.from({ length: 50 }, (_, i) => [
    { start: i * 10_000 + 5000, end: i * 10_000 + 6000 },
    { start: i * 10_000 + 100, end: i * 10_000 + 4000 },
  ]);
  const read = readAhead(slice, groups);
  for (const ranges of groups)
    for (const { start, end } of ranges) {
      expectBytes(await read(start, end), { start, end });
      expectBytes(await read(start + 10, start + 20), { start: start + 10, end: start + 20 });
    }
  expect(asked).toEqual([`100-${490_000 + 6000}`]);
});

test('a large range or group, and a range that was not planned, are read as they are asked for', async () => {
  const { asked, slice } = file();
  const read = readAhead(slice, [
    [
      { start: 0, end: 5 * MB },
      { start: 6 * MB, end: 6 * MB + 100 },
    ],
    Array.from({ length: 9 }, (_, i) => ({ start: (20 + i) * MB, end: (21 + i) * MB })),
    [{ start: 11 * MB, end: 11 * MB + 100 }],
  ]);
  const wanted = [
    [0, 1000],
    [6 * MB, 6 * MB + 10],
    [1000, 2000],
    [11 * MB, 11 * MB + 10],
    [12 * MB, 12 * MB + 9],
    [20 * MB, 20 * MB + 9],
  ] as const;
  for (const [start, end] of wanted) expectBytes(await read(start, end), { start, end });
  expect(asked).toEqual([
    '0-1000',
    // The planned ones, as wholes, and ahead.
    `${6 * MB}-${6 * MB + 100}`,
    `${11 * MB}-${11 * MB + 100}`,
    '1000-2000',
    `${12 * MB}-${12 * MB + 9}`,
    `${20 * MB}-${20 * MB + 9}`,
  ]);
});

test('many columns in turns, far from each other: each is read once', async () => {
  const { asked, slice } = file();
  const groups = Array.from({ length: 3 }, (_, group) =>
    Array.from({ length: 100 }, (_, column) => {
      const start = (group * 100 + column) * MB;
      return { start, end: start + 50_000 };
    }),
  );
  const read = readAhead(slice, groups);
  for (const ranges of groups)
    for (let part = 0; part < 5; part++)
      for (const { start } of ranges) {
        const [from, to] = [start + part * 10_000, start + (part + 1) * 10_000];
        expectBytes(await read(from, to), { start: from, end: to });
      }
  expect([asked.length, new Set(asked).size]).toEqual([300, 300]);
});

test('columns that are far from each other, in turns: each is read once, a bounded number of bytes ahead', async () => {
  const { asked, slice, most } = file();
  // The text and id of each row group are 1 MB apart.
  const groups = Array.from({ length: 40 }, (_, i) => [
    { start: i * 3 * MB, end: i * 3 * MB + MB },
    { start: i * 3 * MB + 2 * MB, end: i * 3 * MB + 2 * MB + 1000 },
  ]);
  const read = readAhead(slice, groups);
  for (const ranges of groups)
    for (const part of [0, 1, 2]) {
      for (const { start } of ranges)
        expectBytes(await read(start + part * 100, start + part * 100 + 50), {
          start: start + part * 100,
          end: start + part * 100 + 50,
        });
    }
  expect(asked).toHaveLength(80);
  expect(new Set(asked).size).toBe(80);
  expect(most()).toBeLessThanOrEqual(34);
  expect(most()).toBeGreaterThan(10);
});

test('an error is that of whoever asks for the range', async () => {
  let fail = true;
  const slice = async (start: number, end: number) => {
    await Promise.resolve();
    if (fail && start > 0) throw new Error(`no ${start}`);
    return new Uint8Array(end - start);
  };
  const read = readAhead(slice, [[{ start: 0, end: 10 }], [{ start: MB, end: MB + 10 }]]);
  expect(await read(0, 10)).toHaveLength(10);
  await expect(read(MB, MB + 10)).rejects.toThrow(`no ${MB}`);
  fail = false;
});
