/**
 * Fills Node's compile cache, for `./setup` and the image: a process that finds its modules there does not load the TypeScript
 * compiler, which takes 23 MB, and starts with half the CPU time. JavaScript, so that it is not a module of the cache itself.
 */
import { readdirSync } from 'node:fs';
import process from 'node:process';
import { fileURLToPath, URL } from 'node:url';

const SRC = new URL('./', import.meta.url);
/** Of the browser, which loads them from the API. */
const PAGES = 'api/pages/client/';
/** Exported by no module. All modules are compiled before this is noticed, and none is run. */
const MISSING = 'notThere';

const files = readdirSync(fileURLToPath(SRC), { recursive: true })
  .map((file) => String(file).replaceAll('\\', '/'))
  .filter((file) => file.endsWith('.ts') && !file.endsWith('.d.ts') && !file.startsWith(PAGES));
const program = [
  ...files.map((file) => `import ${JSON.stringify(new URL(file, SRC).href)};`),
  `import { ${MISSING} } from 'node:process';`,
].join('\n');
try {
  await import(`data:text/javascript,${encodeURIComponent(program)}`);
} catch (error) {
  if (!(error instanceof SyntaxError && error.message.includes(MISSING))) throw error;
}
// The cache is written now, when the process ends.
process.exit();
