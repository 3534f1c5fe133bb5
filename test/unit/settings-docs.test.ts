import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { envExample, withSettingsTable } from '../support/settings-docs.ts';

const HINT = 'run `npm run docs:settings`';

test('README.md has every setting as it is declared', () => {
  const readme = readFileSync('README.md', 'utf8');
  expect(withSettingsTable(readme) === readme, HINT).toBe(true);
});

test('.env.example has every setting as it is declared', () => {
  expect(readFileSync('.env.example', 'utf8') === envExample(), HINT).toBe(true);
});
