/** docs/errors.md has every code, once, with its status, and nothing else. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { recordErrorCodes } from '../../src/shared/bulk/input.ts';
import { rowErrorCodes } from '../../src/shared/contract/results.ts';
import { PROBLEMS } from '../../src/shared/contract/problems.ts';

const [problems = '', rows = ''] = readFileSync(
  new URL('../../docs/errors.md', import.meta.url),
  'utf8',
).split('## Rows');

/** The lines of the table in a section, without its head; cells trimmed. */
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

test('problems: every code with its status, when it comes and what to do', () => {
  const table = tableOf(problems);
  const documented = table.map(([status, code]) => [codeIn(code), Number(status)]);
  const known = Object.entries(PROBLEMS).map(([code, { status }]) => [code, status]);
  expect(documented.toSorted()).toEqual(known.toSorted());
  // By status, as a reader looks for them.
  const statuses = documented.map(([, status]) => Number(status));
  expect(statuses).toEqual(statuses.toSorted((a, b) => a - b));
  expect(table.filter((cells) => cells.length !== 4 || cells.includes(''))).toEqual([]);
});

test('rows: every code, when it comes and what to do', () => {
  const table = tableOf(rows);
  expect(table.map(([code]) => codeIn(code)).toSorted()).toEqual(
    [...rowErrorCodes, ...recordErrorCodes].toSorted(),
  );
  expect(table.filter((cells) => cells.length !== 3 || cells.includes(''))).toEqual([]);
});
