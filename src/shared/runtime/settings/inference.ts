/** Settings of models and inference workers. */
import { availableParallelism } from 'node:os';
import { z } from 'zod';
import { NAME, NAME_RULE } from '../../contract/names.ts';
import { setting, text, optionalText, int, list, budget, MINUTES_MS } from './schemas.ts';

export const INFERENCE = {
  DEFAULT_MODEL: setting(
    optionalText.pipe(z.string().regex(NAME, `must be ${NAME_RULE}`).optional()),
    '',
    'Model of a request that names none. Unset: the one that `MODEL_NAME` or `MODEL_DIR` names.',
  ),
  MODEL_DIR: setting(
    text,
    'models/sst2-minilm',
    'The Hugging Face folder that an inference worker loads, or the ONNX file in it.',
  ),
  MODEL_NAME: setting(optionalText, '', "Name the worker serves its model under. Unset: the folder's name."),
  MODEL_FILE: setting(
    optionalText,
    '',
    'ONNX file inside `MODEL_DIR`. Unset: `onnx/model_quantized.onnx`, else `onnx/model.onnx`, else `model.onnx`, else the only one there is.',
  ),
  EXECUTION_PROVIDERS: setting(
    list.refine((names) => names.length > 0, 'must name at least one provider'),
    'cpu',
    'ONNX Runtime execution providers, comma-separated, best first.',
  ),
  MODEL_ENV: setting(
    list,
    '',
    'Names of environment variables that model processes get beside those of the system, GPU drivers and ONNX Runtime, comma-separated.',
  ),
  INTRA_OP_THREADS: setting(
    int(1, 1024),
    1,
    'Threads of one session. 1 with one model process per core is fastest.',
  ),
  BATCH_INVARIANCE: setting(
    z.enum(['measured', 'strict'], { error: 'must be measured or strict' }),
    'measured',
    'What a worker does with a model whose scores depend on the texts beside them, as with dynamic quantisation. `measured`: it batches texts and shows by how much scores differ (`batch_dependence`); `strict`: it runs such a model one text at a time.',
  ),
  MODEL_PROCESSES: setting(
    int(0, 1024).transform((count) => count || availableParallelism()),
    0,
    'Model processes of one worker; 0 = one per core.',
  ),
  WORKERS: setting(int(1, 1024), 1, 'Inference workers that `npm start` runs.'),
  WORKER_HOST: setting(text, '127.0.0.1', "Address of an inference worker's health endpoints."),
  WORKER_PORT: setting(
    int(0, 65_535),
    3100,
    "Port of an inference worker's health endpoints; `npm start` counts up from it. 0 = any free port.",
  ),
  WORKER_CONCURRENCY: setting(
    int(1, 4096),
    64,
    'Most jobs of each priority that a worker holds at a time, per model process.',
  ),
  MAX_ROWS_IN_HAND: setting(
    int(1, 100_000),
    512,
    'Texts of a priority in hand, per model process, at which a worker fetches no more of its jobs.',
  ),
  ROWS_PER_TURN: setting(
    int(1, 100_000),
    16,
    'Texts of one job in the batcher at a time, so that jobs interleave.',
  ),
  BATCH_TOKENS: setting(
    budget,
    '',
    'Budget of one interactive batch, in padded tokens. Unset: measured when a worker starts.',
  ),
  BULK_BATCH_TOKENS: setting(
    budget,
    '',
    'The same for low-priority and bulk batches: what an urgent text waits for.',
  ),
  MAX_BATCH_MS: setting(int(1, 60_000), 50, 'Longest interactive batch that the measurement may choose.'),
  MAX_BULK_BATCH_MS: setting(
    int(1, 60_000),
    20,
    'Longest low-priority or bulk batch that the measurement may choose.',
  ),
  RUN_TIMEOUT_MS: setting(
    int(100, 60 * MINUTES_MS),
    MINUTES_MS,
    'A batch that runs longer gets its process killed.',
  ),
  LOCK_DURATION_MS: setting(
    int(1000, 10 * MINUTES_MS),
    15_000,
    'After this long without a sign of life, a job is taken over.',
  ),
  STALLED_INTERVAL_MS: setting(
    int(500, 10 * MINUTES_MS),
    10_000,
    'How often workers look for jobs to take over.',
  ),
  SHUTDOWN_TIMEOUT_MS: setting(
    int(0, 10 * MINUTES_MS),
    20_000,
    'Longest drain after the first SIGTERM or SIGINT.',
  ),
} as const;
