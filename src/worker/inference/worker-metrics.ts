/** Prometheus metrics of an inference worker. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
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
export interface JobRun {
  priority: Priority;
  status: FinalStatus;
  rows: number;
  failedRows: number;
  /** Rows that got labels although the model's vocabulary lacks some of their tokens. */
  unknownRows: number;
  /** From submission to start, and to the end; measured with the clocks of two machines. */
  queueMs: number;
  totalMs: number;
}

/** A chunk of a batch. */
export interface ChunkRun {
  rows: number;
  failedRows: number;
  /** Rows that got labels although the model's vocabulary lacks some of their tokens. */
  unknownRows: number;
  /** From reading the chunk to counting its results. */
  ms: number;
}

/** State of a worker at the time of a scrape. */
export interface WorkerState {
  texts: number;
  chunks: number;
  restarts: number;
}

const JOB_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1800];

export class WorkerMetrics {
  readonly #jobs: Counter<'priority' | 'status'>;
  readonly #texts: Counter<'priority' | 'outcome'>;
  readonly #queue: Histogram<'priority'>;
  readonly #total: Histogram<'priority'>;
  readonly #rows: Histogram;
  readonly #tokens: Counter<'kind'>;
  readonly #session: Histogram;
  readonly #encoding: Histogram;
  readonly #handover: Counter;
  readonly #budget: Gauge<'lane'>;
  readonly #bulkRows: Counter<'outcome'>;
  readonly #chunks: Histogram;
  readonly #unknown: Counter<'source'>;

  constructor(registry: Registry, state: () => WorkerState) {
    const registers = [registry];
    this.#jobs = new Counter({
      name: 'amulet_jobs_total',
      help: 'Jobs that the worker settled',
      labelNames: ['priority', 'status'],
      registers,
    });
    this.#texts = new Counter({
      name: 'amulet_texts_total',
      help: 'Texts of the jobs that the worker settled: with labels (succeeded), or with an error (failed)',
      labelNames: ['priority', 'outcome'],
      registers,
    });
    this.#queue = new Histogram({
      name: 'amulet_queue_seconds',
      help: 'Time of each job from its submission to its start',
      labelNames: ['priority'],
      buckets: JOB_SECONDS,
      registers,
    });
    this.#total = new Histogram({
      name: 'amulet_job_seconds',
      help: 'Time of each job from its submission to its outcome',
      labelNames: ['priority'],
      buckets: JOB_SECONDS,
      registers,
    });
    this.#rows = new Histogram({
      name: 'amulet_batch_rows',
      help: 'Rows of each batch that the model ran',
      buckets: [1, 2, 4, 8, 16, 32, 64],
      registers,
    });
    this.#tokens = new Counter({
      name: 'amulet_batch_tokens_total',
      help: 'Tokens that the model ran: of texts (real), and with the padding around them (padded)',
      labelNames: ['kind'],
      registers,
    });
    this.#session = new Histogram({
      name: 'amulet_inference_seconds',
      help: 'Time of each batch inside the model',
      buckets: [0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 5],
      registers,
    });
    this.#encoding = new Histogram({
      name: 'amulet_tokenize_seconds',
      help: 'Time to tokenize each text',
      buckets: [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05],
      registers,
    });
    this.#handover = new Counter({
      name: 'amulet_model_idle_seconds_total',
      help: 'Time that the model process was idle while a batch was on its way to or from it',
      registers,
    });
    this.#budget = new Gauge({
      name: 'amulet_batch_budget_tokens',
      help: 'Most padded tokens of a batch, as calibrated or set',
      labelNames: ['lane'],
      registers,
    });
    this.#bulkRows = new Counter({
      name: 'amulet_bulk_rows_total',
      help: 'Rows of batches that were classified: with labels (succeeded), or with an error (failed)',
      labelNames: ['outcome'],
      registers,
    });
    this.#chunks = new Histogram({
      name: 'amulet_bulk_chunk_seconds',
      help: 'Time of each chunk of a batch, from reading it to having counted it',
      buckets: [0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 60],
      registers,
    });
    this.#unknown = new Counter({
      name: 'amulet_unknown_texts_total',
      help: "Texts of jobs and rows of batches that got labels although the model's vocabulary lacks some of their tokens",
      labelNames: ['source'],
      registers,
    });
    new Gauge({
      name: 'amulet_texts_in_hand',
      help: 'Texts of jobs that the worker has fetched and not settled',
      registers,
      collect() {
        this.set(state().texts);
      },
    });
    new Gauge({
      name: 'amulet_bulk_chunks_in_hand',
      help: 'Chunks of batches that the worker has fetched and not finished',
      registers,
      collect() {
        this.set(state().chunks);
      },
    });
    new Counter({
      name: 'amulet_model_restarts_total',
      help: 'Restarts of model processes that died',
      registers,
      collect() {
        this.reset();
        this.inc(state().restarts);
      },
    });
  }

  jobDone({ priority, status, rows, failedRows, unknownRows, queueMs, totalMs }: JobRun): void {
    this.#unknown.inc({ source: 'job' }, unknownRows);
    this.#jobs.inc({ priority, status });
    this.#texts.inc({ priority, outcome: 'succeeded' }, rows - failedRows);
    this.#texts.inc({ priority, outcome: 'failed' }, failedRows);
    this.#queue.observe({ priority }, Math.max(0, queueMs) / 1000);
    this.#total.observe({ priority }, Math.max(0, totalMs) / 1000);
  }

  batchRan({ rows, tokens, paddedTokens, sessionMs, idleMs }: BatchRun): void {
    this.#rows.observe(rows);
    this.#tokens.inc({ kind: 'real' }, tokens);
    this.#tokens.inc({ kind: 'padded' }, paddedTokens);
    this.#session.observe(sessionMs / 1000);
    this.#handover.inc(idleMs / 1000);
  }

  textEncoded(ms: number): void {
    this.#encoding.observe(ms / 1000);
  }

  chunkDone({ rows, failedRows, unknownRows, ms }: ChunkRun): void {
    this.#unknown.inc({ source: 'batch' }, unknownRows);
    this.#bulkRows.inc({ outcome: 'succeeded' }, rows - failedRows);
    this.#bulkRows.inc({ outcome: 'failed' }, failedRows);
    this.#chunks.observe(ms / 1000);
  }

  budgets(budgets: Record<Lane, number>): void {
    for (const [lane, tokens] of Object.entries(budgets)) this.#budget.set({ lane }, tokens);
  }
}
