/**
 * Runs before every `npm run start…`: reports in one line what a fresh clone lacks, instead of a stack trace. JavaScript, so that
 * an old Node can run it.
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
