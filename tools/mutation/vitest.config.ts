/** Vitest inside Stryker: the unit tests of the mutated files, without Redis or child processes. */
import { defineConfig } from 'vitest/config';

const UNIT_TESTS = [
  'api-keys',
  'batcher',
  'batcher-quiet',
  'bulk-input',
  'calibration',
  'classifier',
  'client-retry',
  'contract',
  'model-folder',
  'normalizers',
  'readability',
  'scores',
  'tokenizer',
  'tokenizer-definition',
  'tokenizer-parity',
  'tokenizer-settings',
  'webhook-receivers',
  'webhook-retry-schedule',
  'worker-metrics',
];

export default defineConfig({
  test: {
    include: UNIT_TESTS.map((name) => `test/unit/${name}.test.ts`),
    // Stryker ends hanging tests.
    testTimeout: 60_000,
    // The same mutants must fail in every run, soon.
    env: { FUZZ_SEED: '1', FUZZ_RUNS: '0.2' },
  },
});
