/** What is said about the first rows of an input before it is uploaded, and that nothing is said of ordinary texts. */
import { describe, expect, test } from 'vitest';
import type { BatchOptions } from '../../src/client/batches.ts';
import { firstRows } from '../../src/cli/backfill/input/first-rows.ts';
import { suspicions } from '../../src/cli/backfill/input/suspicions.ts';
import { goEmotions } from '../support/inputs/texts.ts';

function look(content: string, options: BatchOptions, whole = true): string[] {
  const beginning = { head: Buffer.from(content), whole };
  return suspicions(firstRows(beginning, options), beginning, options);
}
const ndjson = (rows: readonly object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
const times = <T>(count: number, make: (i: number) => T): T[] =>
  Array.from({ length: count }, (_, i) => make(i));

describe('said, with the option that helps', () => {
  test('a column of numbers', () => {
    const table = `id,text,review\n${times(30, (i) => `${i},"${i % 5}.0","quite a long review ${i}"\n`).join('')}`;
    expect(look(table, { format: 'csv' })).toEqual([
      'the texts of the first 30 rows are numbers, such as "0.0"; is it --text-field review?',
    ]);
  });

  test('dates are numbers', () => {
    expect(look(times(9, (i) => `2024-05-0${i + 1} 12:00:00\n`).join(''), { format: 'lines' })).toEqual([
      'the texts of the first 9 rows are numbers, such as "2024-05-01 12:00:00"',
    ]);
  });

  test('one text over and over', () => {
    const rows = times(40, (i) => ({
      text: i % 4 === 0 ? `words ${i}` : 'N/A',
      body: `a much longer text ${i}`,
    }));
    expect(look(ndjson(rows), { format: 'ndjson' })).toEqual([
      '30 of the first 40 rows have the same text, "N/A"; is it --text-field body?',
    ]);
  });

  test('binary data', () => {
    expect(
      look(ndjson(times(8, (i) => ({ text: `\u0001\u0002${i}\u0007x` }))), { format: 'ndjson' }),
    ).toEqual(['the texts of the first 8 rows look like binary data: they have control characters']);
    const image = 'iVBORw0KGgoAAAANSUhEUgAAAAUA'.repeat(10);
    expect(look(ndjson(times(8, () => ({ text: image }))), { format: 'ndjson' })).toEqual([
      'the texts of the first 8 rows look like base64',
    ]);
  });

  test('rows that will be errors', () => {
    const rows = times(10, (i) => (i % 2 ? { text: `good ${i}` } : { text: i }));
    expect(look(ndjson(rows), { format: 'ndjson' })).toEqual([
      '5 of the first 10 rows are errors; line 1: the field "text" is not a string',
    ]);
  });
});

describe('nothing is said of', () => {
  test.each<[string, string, BatchOptions]>([
    ['few rows', '1\n2\n3\n', { format: 'lines' }],
    ['ordinary texts', goEmotions().slice(0, 500).join('\n'), { format: 'lines' }],
    [
      'a popular text',
      ndjson(times(100, (i) => ({ text: i % 3 ? `text ${i}` : 'thanks' }))),
      { format: 'ndjson' },
    ],
    ['an empty input', '', { format: 'ndjson' }],
    ['a header alone', 'id,text\n', { format: 'csv' }],
  ])('%s', (_, content, options) => {
    expect(look(content, options)).toEqual([]);
  });
});

test('the first rows are those of the server, without one that is cut', () => {
  const csv = '\n\ufeffid,text\r\n1,"two\nlines"\n\n2,b\n3,cut';
  const { rows, columns } = firstRows({ head: Buffer.from(csv), whole: false }, { format: 'csv' });
  expect(columns).toEqual(['id', 'text']);
  expect(rows).toEqual([
    { line: 3, id: '1', text: 'two\nlines' },
    { line: 6, id: '2', text: 'b' },
  ]);
  expect(firstRows({ head: Buffer.from(csv), whole: true }, { format: 'csv' }).rows).toHaveLength(3);
});
