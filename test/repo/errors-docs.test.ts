/** docs/errors.md lists every error code once, with its status, and no other code. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { recordErrorCodes, rowErrorCodes, PROBLEMS } from '../../src/shared/contract/problems.ts';

const [problems = '', rows = ''] = readFileSync(
  new URL('../../docs/errors.md', import.meta.url),
  'utf8',
).split('## Rows');

/** Cells of the table in a section, trimmed, without its head. */
function tableOf(section: string): string[][] {
  const lines = section.split('\n').filter((line) => line.startsWith('|'));
  return lines.slice(2).map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

const codeIn = (cell = '') => /^`(\w+)`$/.exec(cell)?.[1];

test('problems: every code has its status, cause and remedy', () => {
  const table = tableOf(problems);
  const documented = table.map(([status, code]) => [codeIn(code), Number(status)]);
  const known = Object.entries(PROBLEMS).map(([code, { status }]) => [code, status]);
  expect(documented.toSorted()).toEqual(known.toSorted());
  // Sorted by status, as readers search.
  const statuses = documented.map(([, status]) => Number(status));
  expect(statuses).toEqual(statuses.toSorted((a, b) => a - b));
  expect(table.filter((cells) => cells.length !== 4 || cells.includes(''))).toEqual([]);
});

test('rows: every code has its cause and remedy', () => {
  const table = tableOf(rows);
  expect(table.map(([code]) => codeIn(code)).toSorted()).toEqual(
    [...rowErrorCodes, ...recordErrorCodes].toSorted(),
  );
  expect(table.filter((cells) => cells.length !== 3 || cells.includes(''))).toEqual([]);
});
