import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { SETTINGS } from '../../src/shared/config.ts';
import { envExample, withSettingsTable } from '../support/settings-docs.ts';

const HINT = 'run `npm run docs:settings`';

test('README.md has every setting as it is declared', () => {
  const readme = readFileSync('README.md', 'utf8');
  expect(withSettingsTable(readme) === readme, HINT).toBe(true);
});

test('.env.example has every setting as it is declared', () => {
  expect(readFileSync('.env.example', 'utf8') === envExample(), HINT).toBe(true);
});

describe.each(Object.entries(SETTINGS))('%s', (name, { default: value, doc }) => {
  test('is a row of the table, with its default and meaning', () => {
    const row = `| \`${name}\` | ${value === '' ? '' : `\`${value}\``} | ${doc.replaceAll('|', '\\|')} |`;
    expect(readFileSync('README.md', 'utf8').split('\n'), HINT).toContain(row);
  });
  test('is a comment in .env.example', () => {
    expect(readFileSync('.env.example', 'utf8').split('\n'), HINT).toContain(`# ${name}=${value}`);
  });
});

test('a README without its markers is refused, not overwritten', () => {
  expect(() => withSettingsTable('# Amulet')).toThrow('lost its settings markers');
});
