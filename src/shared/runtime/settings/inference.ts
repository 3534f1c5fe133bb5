/** Settings of models and inference workers. */
import { availableParallelism } from 'node:os';
import { z } from 'zod';
import { NAME, NAME_RULE } from '../../contract/names.ts';
import { setting, text, optionalText, int, list, budget, MINUTES_MS } from './schemas.ts';

export const INFERENCE = {
  DEFAULT_MODEL: setting(
    optionalText.pipe(z.string().regex(NAME, `must be ${NAME_RULE}`).optional()),
    '',
    'Model for requests that name none. Unset: the model of `MODEL_NAME` or `MODEL_DIR`.',
  ),
  MODEL_DIR: setting(
    text,
    'models/sentiment-multilingual',
    'Hugging Face folder that an inference worker loads, or the ONNX file in it.',
  ),
  MODEL_NAME: setting(
    optionalText,
    '',
    "Name under which the worker serves its model. Unset: the folder's name.",
  ),
  MODEL_FILE: setting(
    optionalText,
    '',
    'ONNX file inside `MODEL_DIR`. Unset: `onnx/model_quantized.onnx`, else `onnx/model.onnx`, else `model.onnx`, else the only one.',
  ),
  EXECUTION_PROVIDERS: setting(
    list.refine((names) => names.length > 0, 'must name at least one provider'),
    'cpu',
    'ONNX Runtime execution providers, comma-separated, best first.',
  ),
  MODEL_ENV: setting(
    list,
    '',
    'Environment variables that model processes get besides those of the system, GPU drivers and ONNX Runtime: their names, comma-separated.',
  ),
  INTRA_OP_THREADS: setting(
    int(1, 1024),
    1,
    'Threads of one ONNX Runtime session. 1, with one model process per core, is fastest.',
  ),
  BATCH_INVARIANCE: setting(
    z.enum(['measured', 'strict'], { error: 'must be measured or strict' }),
    'measured',
    'How a worker runs a model whose scores depend on the texts beside them, as with dynamic quantisation. `measured`: it batches texts and shows by how much scores differ (`batch_dependence`); `strict`: it runs such a model one text at a time.',
  ),
  RESULT_CACHE_BYTES: setting(
    int(0, 1e12),
    64_000_000,
    'Memory in which a worker keeps results, in bytes: a text with the same tokens as an earlier one, of any job or batch, need not run again. Those that were not asked for lately make room. Nothing is kept of a model whose scores depend on the texts beside them (`batch_dependence` above 0). 0: every text runs.',
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
    'Most jobs of each priority that a worker holds at a time, and most direct calls of `/predict` and `/hf`, per model process.',
  ),
  MAX_ROWS_IN_HAND: setting(
    int(1, 100_000),
    512,
    'Texts of one priority in flight, per model process, at which a worker fetches no more of its jobs; as many of direct calls.',
  ),
  ROWS_PER_TURN: setting(
    int(1, 100_000),
    16,
    'Most texts of one job in the batcher at a time, so that jobs interleave.',
  ),
  BATCH_TOKENS: setting(
    budget,
    '',
    'Size of an interactive micro-batch, in padded tokens. Unset: measured when a worker starts.',
  ),
  BULK_BATCH_TOKENS: setting(
    budget,
    '',
    'The same for low-priority and bulk micro-batches, whose end an interactive text may have to wait for.',
  ),
  MAX_BATCH_MS: setting(
    int(1, 60_000),
    50,
    'Longest interactive micro-batch that the measurement may choose, in milliseconds.',
  ),
  MAX_BULK_BATCH_MS: setting(
    int(1, 60_000),
    20,
    'Longest low-priority or bulk micro-batch that the measurement may choose, in milliseconds.',
  ),
  RUN_TIMEOUT_MS: setting(
    int(100, 60 * MINUTES_MS),
    MINUTES_MS,
    'Longest run of a micro-batch, in milliseconds; then its model process is killed.',
  ),
  LOCK_DURATION_MS: setting(
    int(1000, 10 * MINUTES_MS),
    15_000,
    'Milliseconds without a sign of life from its worker after which another worker takes over a job.',
  ),
  STALLED_INTERVAL_MS: setting(
    int(500, 10 * MINUTES_MS),
    10_000,
    'Milliseconds between searches for jobs to take over.',
  ),
  SHUTDOWN_TIMEOUT_MS: setting(
    int(0, 10 * MINUTES_MS),
    20_000,
    'Longest drain after the first SIGTERM or SIGINT, in milliseconds.',
  ),
} as const;
