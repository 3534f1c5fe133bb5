/** Settings of requests and jobs: limits, waiting and retention. */
import { setting, int, MINUTES_MS, DAY_S } from './schemas.ts';

export const JOBS = {
  MAX_BODY_BYTES: setting(
    int(1024, 1e9),
    10_000_000,
    'Largest JSON request body. Calls that need less accept less: 2,560,000 bytes for `POST /v1/batches/{id}/complete`.',
  ),
  MAX_BODIES_BYTES: setting(
    int(1024, 1e12),
    64_000_000,
    'Most bytes of request bodies in flight in an API process, uploads to batches aside; at least twice `MAX_BODY_BYTES`. Beyond it: 503 `bodies_full`. With API keys, a key may hold at most as much as is still free: half of the limit when it is the only one. Plan three to five times as much memory.',
  ),
  BODY_TIMEOUT_S: setting(
    int(1, 3600),
    60,
    'Longest time for a request body to arrive, in seconds; uploads to batches have `UPLOAD_IDLE_S`.',
  ),
  MAX_TEXT_CHARS: setting(int(1, 1e7), 5000, 'Longest text, in Unicode code points.'),
  MAX_TEXTS_PER_JOB: setting(int(1, 100_000), 256, 'Most texts in one job.'),
  MAX_SCORES_PER_JOB: setting(
    int(1, 1e9),
    100_000,
    'Most scores in the results of one job: its texts times the labels asked for (`top_k`, or all of the model). A score takes about 50 bytes. Beyond it: 422 `too_many_scores`; a job that was accepted before its model was known fails with that code.',
  ),
  MAX_QUEUED_TEXTS: setting(
    int(1, 1e9),
    1_000_000,
    'Most texts that wait for a model, per priority; further jobs are refused with 429 `queue_full`.',
  ),
  MAX_QUEUED_BYTES: setting(int(1, 1e12), 500_000_000, 'The same limit in bytes of text.'),
  MAX_REDIS_MEMORY_PERCENT: setting(
    int(0, 100),
    80,
    'Percentage of its `maxmemory` that Redis may use before new work is refused with 429; low-priority jobs are refused 10 points earlier. 0: never.',
  ),
  MAX_ID_CHARS: setting(int(1, 10_000), 128, 'Longest id that a caller may give a text.'),
  MAX_METADATA_BYTES: setting(int(2, 1e6), 4096, 'Largest `metadata` of a job, in bytes of JSON.'),
  MAX_METADATA_DEPTH: setting(
    int(4, 1000),
    50,
    'Deepest nesting of objects and lists in `metadata`. Many parsers stop at 64 levels, and an event adds two.',
  ),
  MAX_WAIT_S: setting(
    int(0, 600),
    60,
    'Longest `Prefer: wait` and `?wait`, in seconds; longer waits are shortened.',
  ),
  MAX_EXPIRES_S: setting(int(1, 30 * DAY_S), 7 * DAY_S, 'Largest `expires_in`, in seconds.'),
  PREDICT_TIMEOUT_MS: setting(
    int(1, 10 * MINUTES_MS),
    30_000,
    'Longest `/predict` or `/hf` call, in milliseconds; then it is answered with 504.',
  ),
  RESULT_TTL_S: setting(int(1, 30 * DAY_S), 3600, 'Seconds for which a finished job can be read.'),
  IDEMPOTENCY_TTL_S: setting(
    int(1, 30 * DAY_S),
    DAY_S,
    'Seconds for which an `Idempotency-Key` is remembered.',
  ),
} as const;
