/** `npm run docs:settings`: writes the settings into README.md and .env.example. */
import { readFileSync, writeFileSync } from 'node:fs';
import { envExample, withSettingsTable } from './settings-docs.ts';

writeFileSync('README.md', withSettingsTable(readFileSync('README.md', 'utf8')));
writeFileSync('.env.example', envExample());
