import path from 'node:path';
import { defineConfig, type TestProjectInlineConfiguration } from 'vitest/config';
import { LongestFirst } from './test/support/runner/longest-first.ts';

/** Only hangs end by it: on a busy machine scenarios with many processes take four times as long. More for `npm run test:fuzz`. */
const TIMEOUT_MS = 180_000 * Math.max(1, Number(process.env.FUZZ_RUNS ?? 1));

/** A folder of test/ as a project: `vitest run --project NAME`. */
function project(name: string, options: TestProjectInlineConfiguration['test'] = {}) {
  return {
    test: {
      name,
      include: [`test/${name}/**/*.test.ts`],
      testTimeout: TIMEOUT_MS,
      hookTimeout: TIMEOUT_MS,
      // The processes that tests start are up in half the time when Node finds its sources compiled already.
      env: { NODE_COMPILE_CACHE: path.resolve('.amulet/compile-cache') },
      pool: 'forks' as const,
      ...options,
    },
  };
}

/** One Redis for all files of a project. */
const REDIS = { globalSetup: 'test/support/redis/global-redis.ts' };

/** Files run one after another in the same processes, which have evaluated most of their imports by then. */
const SHARED = { isolate: false };

export default defineConfig({
  test: {
    projects: [
      project('unit', SHARED),
      project('repo', SHARED),
      project('integration', REDIS),
      project('e2e', REDIS),
      project('faults', REDIS),
      project('fuzz', REDIS),
    ],
    // Of the longest files, half compute for only half of their time: three at a time keep two cores busy.
    maxWorkers: 3,
    sequence: { sequencer: LongestFirst },
    // .ci/run reads its closing line from the JSON.
    reporters: process.env.CI
      ? ['default', ['json', { outputFile: process.env.TEST_RESULTS ?? '.amulet/test-results.json' }]]
      : ['default'],
  },
});
