/** `npm run docs:settings`: writes the settings into docs/settings.md, .env.example and docker-compose.yml. */
import { readFileSync, writeFileSync } from 'node:fs';
import { envExample, withComposeSettings, withSettingsTable } from './pages.ts';

writeFileSync('docs/settings.md', withSettingsTable(readFileSync('docs/settings.md', 'utf8')));
writeFileSync('.env.example', envExample());
writeFileSync('docker-compose.yml', withComposeSettings(readFileSync('docker-compose.yml', 'utf8')));
