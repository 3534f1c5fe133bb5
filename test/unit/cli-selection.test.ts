/** Rows selected from an input: their lines stay those of the input, and the same ones are selected again. */
import { describe, expect, test } from 'vitest';
import { selectRows } from '../../src/cli/backfill/input/selection.ts';
import type { InputSpec } from '../../src/shared/bulk/input.ts';
import type { ReadingOptions } from '../../src/cli/backfill/input/reading.ts';

async function* inPieces(text: string, size: number): AsyncGenerator<Buffer> {
  const bytes = Buffer.from(text);
  for (let from = 0; from < bytes.length; from += size) yield Buffer.from(bytes.subarray(from, from + size));
  await Promise.resolve();
}

async function select(
  text: string,
  reading: ReadingOptions,
  { size = 1 << 16, format = 'lines' }: { size?: number; format?: InputSpec['format'] } = {},
): Promise<string> {
  const pieces: Uint8Array[] = [];
  for await (const piece of selectRows(inPieces(text, size), { format }, reading)) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

/** Rows with their line numbers, from 0. */
const numbered = (text: string): [number, string][] =>
  text.split('\n').flatMap((row, line): [number, string][] => (row === '' ? [] : [[line, row]]));

describe.each([1, 3, 1 << 16])('in pieces of %i bytes', (size) => {
  test.each<[string, number, string]>([
    ['a\nb\nc\n', 2, 'a\nb\n'],
    ['a\n\n\r\nb\nc\n', 2, 'a\n\n\r\nb\n'],
    ['a\nb', 2, 'a\nb'],
    ['a\n', 5, 'a\n'],
    ['', 1, ''],
  ])('--limit: %j', async (text, limit, expected) => {
    expect(await select(text, { limit }, { size })).toBe(expected);
  });

  test('--limit: a row of CSV over several lines is one', async () => {
    expect(await select('"a\nb",1\n"c\n",2\nd,3\n', { limit: 2 }, { size, format: 'csv' })).toBe(
      '"a\nb",1\n"c\n",2\n',
    );
  });

  test('--sample of more rows than there are: all of them', async () => {
    expect(await select('a\n\nb\n"c\nd"', { sample: 9 }, { size, format: 'csv' })).toBe('a\n\nb\n"c\nd"\n');
  });

  test('--sample: rows stay on their lines', async () => {
    const text = Array.from({ length: 500 }, (_, i) => (i % 7 === 0 ? '' : `row ${i}`)).join('\n');
    const rows = numbered(await select(text, { sample: 20 }, { size }));
    expect(rows).toHaveLength(20);
    for (const [line, row] of rows) expect(row).toBe(`row ${line}`);
  });
});

test('--sample: the same rows each time, from all of the input', async () => {
  const text = Array.from({ length: 20_000 }, (_, i) => `row ${i}\n`).join('');
  const first = await select(text, { sample: 1000 });
  expect(await select(text, { sample: 1000 }, { size: 10_000 })).toBe(first);
  const tenths = new Array<number>(10).fill(0);
  for (const [line] of numbered(first)) tenths[Math.floor(line / 2000)]! += 1;
  expect(tenths.reduce((sum, count) => sum + count)).toBe(1000);
  // Seven standard deviations.
  for (const count of tenths) expect(Math.abs(count - 100)).toBeLessThan(70);
});

test('a sample is limited in bytes, and so is a record of it', async () => {
  const long = 'x'.repeat(1_000_000);
  await expect(select(`${long}\n`.repeat(70), { sample: 70 })).rejects.toThrow(
    /^--sample 70: .*choose fewer$/,
  );
  await expect(select(`"${long.repeat(70)}`, { sample: 1 }, { format: 'csv' })).rejects.toThrow(
    /^the record that begins on line 1 has no end/,
  );
});
