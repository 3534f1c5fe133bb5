/** Settings of requests and jobs: limits, waiting and retention. */
import { setting, int, MINUTES_MS, DAY_S } from './schemas.ts';

export const JOBS = {
  MAX_BODY_BYTES: setting(
    int(1024, 1e9),
    10_000_000,
    'Largest request body of a call that takes JSON. One that needs less takes less: 2,560,000 bytes for `POST /v1/batches/{id}/complete`.',
  ),
  MAX_BODIES_BYTES: setting(
    int(1024, 1e12),
    64_000_000,
    'Bytes that bodies of requests in flight may have in an API process, uploads to batches aside; twice `MAX_BODY_BYTES` where that is more. Beyond it: 503 `bodies_full`. With API keys, a key may hold at most as much as is free: half of it when it is the only one. Plan memory of three to five times as much.',
  ),
  BODY_TIMEOUT_S: setting(
    int(1, 3600),
    60,
    'Longest time that a request body, other than an upload to a batch, may take to come, in seconds.',
  ),
  MAX_TEXT_CHARS: setting(int(1, 1e7), 5000, 'Longest text, in Unicode code points.'),
  MAX_TEXTS_PER_JOB: setting(int(1, 100_000), 256, 'Most texts in one job.'),
  MAX_SCORES_PER_JOB: setting(
    int(1, 1e9),
    100_000,
    'Most scores in the results of one job: its texts times the labels asked for, `top_k` or all of the model. Each takes about 50 bytes. Beyond it: 422 `too_many_scores`; a job that was taken in before the model was known fails with that code.',
  ),
  MAX_QUEUED_TEXTS: setting(
    int(1, 1e9),
    1_000_000,
    'Texts that may wait for a model, of each priority; anything beyond is refused with 429 `queue_full`.',
  ),
  MAX_QUEUED_BYTES: setting(int(1, 1e12), 500_000_000, 'The same in bytes of text.'),
  MAX_REDIS_MEMORY_PERCENT: setting(
    int(0, 100),
    80,
    'New work is refused with 429 while Redis uses more of its `maxmemory`; low-priority jobs 10 points earlier. 0: never.',
  ),
  MAX_ID_CHARS: setting(int(1, 10_000), 128, 'Longest id that a caller may give a text.'),
  MAX_METADATA_BYTES: setting(int(2, 1e6), 4096, 'Largest `metadata` of a job, as JSON in bytes.'),
  MAX_METADATA_DEPTH: setting(
    int(4, 1000),
    50,
    'Most objects and lists within each other in `metadata`. Many parsers stop at 64 levels, and an event adds two.',
  ),
  MAX_WAIT_S: setting(
    int(0, 600),
    60,
    'Longest `Prefer: wait` and `?wait`, in seconds; longer ones are shortened.',
  ),
  MAX_EXPIRES_S: setting(int(1, 30 * DAY_S), 7 * DAY_S, 'Largest `expires_in`, in seconds.'),
  PREDICT_TIMEOUT_MS: setting(
    int(1, 10 * MINUTES_MS),
    30_000,
    'Longest `/predict` or `/hf` call before a 504.',
  ),
  RESULT_TTL_S: setting(int(1, 30 * DAY_S), 3600, 'How long a finished job can be read, in seconds.'),
  IDEMPOTENCY_TTL_S: setting(
    int(1, 30 * DAY_S),
    DAY_S,
    'How long an `Idempotency-Key` is remembered, in seconds.',
  ),
} as const;
