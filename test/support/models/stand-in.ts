/**
 * The stand-in for the shipped model (test/fixtures/stand-in/make.ts), for tests of processes, Redis and storage. Tests that disturb
 * work need work that lasts: its model process then sleeps for as long as a slow model would compute, which costs no CPU time.
 */

export interface StandInOptions {
  /** Time that a run takes for each of its tokens, in milliseconds; an ordinary sentence has twenty. */
  tokenMs?: number;
}

/** Settings of a worker that serves the stand-in; the API ignores them. */
export function standIn({ tokenMs = 0 }: StandInOptions = {}): Record<string, string> {
  const model = { MODEL_DIR: 'test/fixtures/stand-in/sst2-minilm', MODEL_NAME: 'sst2-minilm' };
  if (tokenMs === 0) return model;
  return {
    ...model,
    NODE_OPTIONS: `--import=${new URL('./slow-runs.ts', import.meta.url).href} --disable-warning=ExperimentalWarning`,
    TEST_MODEL_TOKEN_MS: String(tokenMs),
    MODEL_ENV: 'NODE_OPTIONS,TEST_MODEL_TOKEN_MS',
    // Repeated texts must last, too.
    RESULT_CACHE_BYTES: '0',
  };
}
