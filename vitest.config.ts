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
      pool: 'forks' as const,
      ...options,
      env: {
        // The processes that tests start are up in half the time when Node finds its sources compiled already.
        NODE_COMPILE_CACHE: path.resolve('.amulet/compile-cache'),
        ...options.env,
      },
    },
  };
}

/** One Redis for all files of a project. */
const REDIS = { globalSetup: 'test/support/redis/global-redis.ts' };

/**
 * Workers serve a stand-in for the shipped model, which is loaded in a third of its CPU time and done with any text at once.
 * Tests of scores name SHIPPED_MODEL, those that interrupt work standIn({ tokenMs }). Files of `faults` choose for
 * themselves; without a choice they have sst2-minilm.
 */
const STAND_IN = {
  ...REDIS,
  env: { MODEL_DIR: path.resolve('test/fixtures/stand-in/sst2-minilm') },
};

/** Files run one after another in the same processes, which have evaluated most of their imports by then. */
const SHARED = { isolate: false };

export default defineConfig({
  test: {
    projects: [
      project('unit', SHARED),
      project('repo', SHARED),
      project('integration', STAND_IN),
      project('e2e', STAND_IN),
      project('faults', { ...REDIS, env: { MODEL_DIR: path.resolve('models/sst2-minilm') } }),
      project('fuzz', STAND_IN),
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
