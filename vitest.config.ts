import path from 'node:path';
import { defineConfig } from 'vitest/config';

/** Only hangs end by it: on a busy machine scenarios with many processes take four times as long. More for `npm run test:fuzz`. */
const TIMEOUT_MS = 180_000 * Math.max(1, Number(process.env.FUZZ_RUNS ?? 1));

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: 'test/support/redis/global-redis.ts',
    testTimeout: TIMEOUT_MS,
    hookTimeout: TIMEOUT_MS,
    // The processes that tests start are up in half the time when Node finds its sources compiled already.
    env: { NODE_COMPILE_CACHE: path.resolve('.amulet/compile-cache') },
    // Integration tests start real model processes: as many files at a time as there are cores to run them on.
    maxWorkers: 2,
    pool: 'forks',
    // .ci/run reads its closing line from the JSON.
    reporters: process.env.CI
      ? ['default', ['json', { outputFile: process.env.TEST_RESULTS ?? '.amulet/test-results.json' }]]
      : ['default'],
  },
});
