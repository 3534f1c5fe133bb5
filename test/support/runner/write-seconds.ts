/**
 * Writes seconds.json from the results of a run of all tests, which is best one on a quiet machine:
 * `CI=1 npx vitest run; node test/support/runner/write-seconds.ts .amulet/test-results.json`
 */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

/** Shorter files are ordered by size: a table of them all would change with every run. */
const MIN_SECONDS = 4;

interface Results {
  testResults: { name: string; startTime: number; endTime: number }[];
}

const [file = '.amulet/test-results.json'] = process.argv.slice(2);
const { testResults } = JSON.parse(readFileSync(file, 'utf8')) as Results;
const seconds = testResults
  .map(({ name, startTime, endTime }): [string, number] => [
    path.relative('.', name),
    Math.round((endTime - startTime) / 1000),
  ])
  .filter(([, each]) => each >= MIN_SECONDS)
  .sort(([, a], [, b]) => b - a);
writeFileSync(
  new URL('seconds.json', import.meta.url),
  `${JSON.stringify(Object.fromEntries(seconds), null, 2)}\n`,
);
