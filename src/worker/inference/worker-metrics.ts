/** Prometheus metrics of an inference worker. */
import { Counter, Gauge, type Registry } from 'prom-client';
import { declareMetrics } from '../../shared/runtime/metrics.ts';
import type { FinalStatus } from '../../shared/contract/states.ts';
import type { Priority } from '../../shared/contract/ids.ts';
import type { Lane } from './batcher.ts';

/** One batch that the model process ran. */
export interface BatchRun {
  rows: number;
  /** Tokens of the rows, and with padding: rows × the longest row. */
  tokens: number;
  paddedTokens: number;
  /** Time inside session.run. */
  sessionMs: number;
  /** Time before the run in which a batch or result was on its way to or from the model process. */
  idleMs: number;
}

/** A job that was settled. */
export interface JobRun extends Omit<ChunkRun, 'ms'> {
  priority: Priority;
  status: FinalStatus;
  /** From submission to start, and to the end; measured with the clocks of two machines. */
  queueMs: number;
  totalMs: number;
}

/** A chunk of a batch. */
export interface ChunkRun {
  rows: number;
  failedRows: number;
  /** Rows that got labels although the model cannot read some of their tokens. */
  unknownRows: number;
  /** From reading the chunk to counting its results. */
  ms: number;
}

/** State of a worker at the time of a scrape. */
export interface WorkerState {
  texts: number;
  chunks: number;
  restarts: number;
  /** Rows whose result was kept, that joined an equal row in flight, and that were given to the model. */
  rows: { hit: number; shared: number; miss: number };
  /** Bytes of kept results. */
  cachedBytes: number;
}

const JOB_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1800];

export type WorkerMetrics = ReturnType<typeof createWorkerMetrics>;

/** Declares the metrics of a worker. @returns functions that count what has happened */
export function createWorkerMetrics(registry: Registry, state: () => WorkerState) {
  const { counter, histogram, gauge } = declareMetrics(registry);
  const jobs = counter('amulet_jobs_total', 'Jobs that the worker settled', ['priority', 'status']);
  const texts = counter(
    'amulet_texts_total',
    'Texts of the jobs that the worker settled: with labels (succeeded), or with an error (failed)',
    ['priority', 'outcome'],
  );
  const queue = histogram(
    'amulet_queue_seconds',
    'Time of each job from its submission to its start',
    JOB_SECONDS,
    ['priority'],
  );
  const total = histogram(
    'amulet_job_seconds',
    'Time of each job from its submission to its outcome',
    JOB_SECONDS,
    ['priority'],
  );
  const batchRows = histogram(
    'amulet_batch_rows',
    'Rows of each batch that the model ran',
    [1, 2, 4, 8, 16, 32, 64],
  );
  const batchTokens = counter(
    'amulet_batch_tokens_total',
    'Tokens that the model ran: of texts (real), and with the padding around them (padded)',
    ['kind'],
  );
  const session = histogram(
    'amulet_inference_seconds',
    'Time of each batch inside the model',
    [0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 5],
  );
  const encoding = histogram(
    'amulet_tokenize_seconds',
    'Time to tokenize each text',
    [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05],
  );
  const handover = counter(
    'amulet_model_idle_seconds_total',
    'Time that the model process was idle while a batch was on its way to or from it',
  );
  const budget = new Gauge({
    name: 'amulet_batch_budget_tokens',
    help: 'Most padded tokens of a batch, as calibrated or set',
    labelNames: ['lane'],
    registers: [registry],
  });
  const bulkRows = counter(
    'amulet_bulk_rows_total',
    'Rows of batches that were classified: with labels (succeeded), or with an error (failed)',
    ['outcome'],
  );
  const chunks = histogram(
    'amulet_bulk_chunk_seconds',
    'Time of each chunk of a batch, from reading it to having counted it',
    [0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 60],
  );
  const unknown = counter(
    'amulet_unknown_texts_total',
    'Texts of jobs and rows of batches that got labels although the model cannot read some of their tokens',
    ['source'],
  );
  // Most jobs have no text that failed or is partly unknown: their series begin at 0 here, so that nothing need be added to them.
  for (const source of ['job', 'batch']) unknown.inc({ source }, 0);
  for (const priority of ['normal', 'low'])
    for (const outcome of ['succeeded', 'failed']) texts.inc({ priority, outcome }, 0);
  gauge(
    'amulet_texts_in_hand',
    'Texts of jobs that the worker has fetched and not settled',
    () => state().texts,
  );
  gauge(
    'amulet_bulk_chunks_in_hand',
    'Chunks of batches that the worker has fetched and not finished',
    () => state().chunks,
  );
  new Counter({
    name: 'amulet_model_restarts_total',
    help: 'Restarts of model processes that died',
    registers: [registry],
    collect() {
      this.reset();
      this.inc(state().restarts);
    },
  });
  new Counter({
    name: 'amulet_result_cache_rows_total',
    help: 'Rows that found their result (hit), got that of an equal row in flight (shared), or went to the model (miss)',
    labelNames: ['outcome'],
    registers: [registry],
    collect() {
      this.reset();
      for (const [outcome, rows] of Object.entries(state().rows)) this.inc({ outcome }, rows);
    },
  });
  gauge(
    'amulet_result_cache_bytes',
    'Memory of the results that the worker keeps',
    () => state().cachedBytes,
  );
  return {
    jobDone({ priority, status, rows, failedRows, unknownRows, queueMs, totalMs }: JobRun): void {
      jobs.inc({ priority, status });
      if (rows > failedRows) texts.inc({ priority, outcome: 'succeeded' }, rows - failedRows);
      if (failedRows > 0) texts.inc({ priority, outcome: 'failed' }, failedRows);
      if (unknownRows > 0) unknown.inc({ source: 'job' }, unknownRows);
      queue.observe({ priority }, Math.max(0, queueMs) / 1000);
      total.observe({ priority }, Math.max(0, totalMs) / 1000);
    },
    batchRan({ rows, tokens, paddedTokens, sessionMs, idleMs }: BatchRun): void {
      batchRows.observe(rows);
      batchTokens.inc({ kind: 'real' }, tokens);
      batchTokens.inc({ kind: 'padded' }, paddedTokens);
      session.observe(sessionMs / 1000);
      handover.inc(idleMs / 1000);
    },
    textEncoded: (ms: number): void => encoding.observe(ms / 1000),
    chunkDone({ rows, failedRows, unknownRows, ms }: ChunkRun): void {
      unknown.inc({ source: 'batch' }, unknownRows);
      bulkRows.inc({ outcome: 'succeeded' }, rows - failedRows);
      bulkRows.inc({ outcome: 'failed' }, failedRows);
      chunks.observe(ms / 1000);
    },
    budgets(budgets: Record<Lane, number>): void {
      for (const [lane, tokens] of Object.entries(budgets)) budget.set({ lane }, tokens);
    },
  };
}
