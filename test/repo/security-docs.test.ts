/** Every test, source file and setting in the table of SECURITY.md exists. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { SETTINGS } from '../../src/shared/runtime/settings/settings.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
const rows = readFileSync(path.join(ROOT, 'SECURITY.md'), 'utf8')
  .split('\n')
  .filter((line) => line.startsWith('|'))
  .map((line) => line.split('|').map((cell) => cell.trim()))
  // source, attempt, defence, shown by
  .filter((cells) => cells.length === 6)
  .slice(2);

const quoted = (cell: string): string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, what = '']) => what);
const isThere = (file: string) => existsSync(path.join(ROOT, file));

test('the table has rows, and each names a test', () => {
  expect(rows.length).toBeGreaterThan(20);
  expect(rows.filter(([, , , , shown = '']) => quoted(shown).length === 0)).toEqual([]);
});

test('every test exists', () => {
  const named = rows.flatMap(([, , , , shown = '']) => quoted(shown));
  const missing = named.filter((name) => !name.startsWith('npm run ') && !isThere(`test/${name}.test.ts`));
  expect(missing).toEqual([]);
});

test('every source file exists', () => {
  const missing = rows.flatMap(([, , , bound = '']) => {
    // A bare name is a file beside the one before it.
    let folder = '';
    return quoted(bound).flatMap((name) => {
      if (!/^src\/|\.(ts|lua)$/.test(name)) return [];
      const file = name.includes('/') ? name : path.join(folder, name);
      folder = path.dirname(file);
      return isThere(file) ? [] : [file];
    });
  });
  expect(missing).toEqual([]);
});

test('every setting exists', () => {
  const named = rows
    .flatMap(([, , , bound = '']) => quoted(bound))
    .filter((name) => /^[A-Z][A-Z_]+$/.test(name));
  expect(named.length).toBeGreaterThan(0);
  expect(named.filter((name) => !(name in SETTINGS))).toEqual([]);
});
