/** The settings in docs/settings.md, .env.example and docker-compose.yml match their declarations. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { SETTINGS } from '../../src/shared/runtime/settings/settings.ts';
import { envExample, withComposeSettings, withSettingsTable } from '../../tools/settings-docs/pages.ts';

const HINT = 'run `npm run docs:settings`';

test('docs/settings.md has every setting as declared', () => {
  const page = readFileSync('docs/settings.md', 'utf8');
  expect(withSettingsTable(page) === page, HINT).toBe(true);
  for (const name of Object.keys(SETTINGS)) expect(page).toContain(`| \`${name}\` |`);
});

test('.env.example has every setting as declared', () => {
  expect(readFileSync('.env.example', 'utf8') === envExample(), HINT).toBe(true);
});

test('docker-compose.yml passes on every setting', () => {
  const file = readFileSync('docker-compose.yml', 'utf8');
  expect(withComposeSettings(file) === file, HINT).toBe(true);
});

test('a page without its markers is refused, not overwritten', () => {
  expect(() => withSettingsTable('# Amulet')).toThrow('lost its markers');
  expect(() => withComposeSettings('services:')).toThrow('lost its markers');
});
