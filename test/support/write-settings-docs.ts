/** `npm run docs:settings`: writes the settings into docs/settings.md and .env.example. */
import { readFileSync, writeFileSync } from 'node:fs';
import { envExample, withSettingsTable } from './settings-docs.ts';

writeFileSync('docs/settings.md', withSettingsTable(readFileSync('docs/settings.md', 'utf8')));
writeFileSync('.env.example', envExample());
