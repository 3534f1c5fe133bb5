/**
 * Runs before every `npm run start…`: what is missing in a fresh clone is said in a line, not in a stack. JavaScript, so that
 * an old Node can read it.
 */
import { existsSync } from 'node:fs';
import process from 'node:process';
import { URL } from 'node:url';

const EXIT_CONFIG = 78;
const reason = !existsSync(new URL('../node_modules/pino/package.json', import.meta.url))
  ? 'the npm packages are missing: run ./setup first'
  : !process.features.typescript
    ? `needs Node 24, not ${process.version}: run ./setup, which installs it beside the packages`
    : undefined;
if (reason !== undefined) {
  process.stderr.write(`amulet     ${reason}\n`);
  process.exit(EXIT_CONFIG);
}
