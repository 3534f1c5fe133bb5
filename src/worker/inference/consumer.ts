/**
 * Jobs in, outcomes out: the BullMQ workers of one inference process.
 *
 * A job is settled (settle.lua, once) before BullMQ completes it, so a crash in between only makes it run again, to no
 * effect. What is thrown from a processor is about the infrastructure, and BullMQ retries it.
 */
import { UnrecoverableError, Worker, type Job } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Config } from '../../shared/config.ts';
import { jobPayloadSchema, type JobPayload, type RowResult } from '../../shared/contract.ts';
import { toError } from '../../shared/errors.ts';
import type { Priority } from '../../shared/ids.ts';
import type { Logger } from '../../shared/logger.ts';
import { cancelChannel, JOB_ATTEMPTS, queueName } from '../../shared/queues.ts';
import { toRecord, type JobRecords, type Outcome } from '../../shared/records.ts';
import { RowDropped, type Lane } from './batcher.ts';
import type { Classifier } from './classifier.ts';

const LANES: Record<Priority, Lane> = { normal: 'interactive', low: 'low' };

/**
 * A job that others took over this often because its worker was gone is given up. One poison text in a batch costs its
 * neighbours a count each, and running again is harmless, so there is no reason to be strict (BullMQ's default is 1).
 */
const MAX_STALLED_COUNT = 10;

export interface ConsumerOptions {
  config: Config;
  /** Patient connection; BullMQ adds blocking ones of its own. */
  redis: Redis;
  records: JobRecords;
  classifier: Classifier;
  model: { name: string; revision: string };
  logger: Logger;
}

export class Consumer {
  readonly #options: ConsumerOptions;
  readonly #workers: Worker<unknown>[];
  /** Jobs in hand, by id: aborted when somebody cancels them. */
  readonly #active = new Map<string, AbortController>();
  #rowsInHand = 0;
  /** Running mean of texts per job, to guess how many jobs fill the hand. */
  #rowsPerJob = 1;

  constructor(options: ConsumerOptions) {
    this.#options = options;
    this.#workers = (['normal', 'low'] as const).map((priority) => this.#createWorker(priority));
  }

  get rowsInHand(): number {
    return this.#rowsInHand;
  }

  get jobsInHand(): number {
    return this.#active.size;
  }

  /** Listens for cancellations on a connection of its own, then starts fetching. */
  async start(subscriber: Redis): Promise<void> {
    await subscriber.subscribe(cancelChannel(this.#options.config.REDIS_PREFIX));
    subscriber.on('message', (_channel: string, id: string) => this.#active.get(id)?.abort());
    for (const worker of this.#workers) {
      void worker
        .run()
        .catch((error: unknown) => this.#options.logger.error({ err: toError(error) }, 'queue loop ended'));
    }
  }

  /** Fetches no more jobs and waits for those in hand. */
  async drain(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.close()));
  }

  #createWorker(priority: Priority): Worker<unknown> {
    const { config, redis, model, logger } = this.#options;
    const worker: Worker<unknown> = new Worker<unknown>(
      queueName(priority, model.name),
      async (job: Job<unknown>) => {
        await this.#process(job, LANES[priority]);
      },
      {
        connection: redis,
        prefix: config.REDIS_PREFIX,
        autorun: false,
        concurrency: 1,
        lockDuration: config.LOCK_DURATION_MS,
        stalledInterval: config.STALLED_INTERVAL_MS,
        maxStalledCount: MAX_STALLED_COUNT,
        runRetryDelay: 500,
      },
    );
    worker.on('error', (error) => logger.warn({ reason: error.message }, 'queue'));
    // Jobs that BullMQ itself gives up on never reach the processor.
    worker.on('failed', (job, error) => {
      if (job && (error instanceof UnrecoverableError || job.attemptsMade >= JOB_ATTEMPTS)) {
        void this.#settleFailed(job, error).catch((settleError: unknown) =>
          logger.error({ job: job.id, err: toError(settleError) }, 'a failed job could not be settled'),
        );
      }
    });
    return worker;
  }

  async #process(job: Job<unknown>, lane: Lane): Promise<void> {
    const id = job.id;
    const parsed = jobPayloadSchema.safeParse(job.data);
    if (id === undefined || !parsed.success) {
      throw new UnrecoverableError('the payload of this job is not one that this version understands');
    }
    const payload = parsed.data;
    const startedAt = job.processedOn ?? Date.now();
    if (payload.expires_at !== undefined && startedAt > payload.expires_at && job.attemptsStarted <= 1) {
      await this.#settle(id, payload, { ...FAILED, status: 'expired', startedAt: null, error: EXPIRED });
      return;
    }
    const rows = payload.texts.length;
    const abort = new AbortController();
    this.#active.set(id, abort);
    this.#take(rows);
    try {
      const results = await this.#classify(payload, lane, abort.signal);
      const allFailed = results.every((row) => 'error' in row);
      await this.#settle(id, payload, {
        status: allFailed ? 'failed' : 'succeeded',
        startedAt,
        finishedAt: Date.now(),
        revision: this.#options.model.revision,
        results,
        error: allFailed ? commonError(results) : null,
      });
    } catch (error) {
      // Canceled: its outcome is written already.
      if (error instanceof RowDropped) return;
      throw error;
    } finally {
      this.#active.delete(id);
      this.#take(-rows);
    }
  }

  /** The results of a job's texts, in their order; a few at a time, so that jobs interleave. */
  async #classify(payload: JobPayload, lane: Lane, signal: AbortSignal): Promise<RowResult[]> {
    const { texts } = payload;
    const results = new Array<RowResult>(texts.length);
    let next = 0;
    const lines = Array.from(
      { length: Math.min(this.#options.config.ROWS_PER_TURN, texts.length) },
      async () => {
        for (let i = next++; i < texts.length; i = next++) {
          if (signal.aborted) throw new RowDropped('canceled');
          results[i] = await this.#options.classifier.classify(
            texts[i] as JobPayload['texts'][number],
            payload,
            lane,
            signal,
          );
        }
      },
    );
    const outcomes = await Promise.allSettled(lines);
    const failure = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failure) throw failure.reason;
    return results;
  }

  async #settle(id: string, payload: JobPayload, outcome: Outcome): Promise<void> {
    const record = toRecord(payload, { ...outcome, finishedAt: Date.now() });
    const { settled } = await this.#options.records.settle(id, record, payload.notify);
    this.#options.logger.debug(
      { job: id, status: outcome.status, rows: payload.texts.length, settled },
      'job done',
    );
  }

  async #settleFailed(job: Job<unknown>, error: Error): Promise<void> {
    const parsed = jobPayloadSchema.safeParse(job.data);
    this.#options.logger.error({ job: job.id, reason: error.message }, 'job failed');
    if (job.id === undefined || !parsed.success) return;
    await this.#settle(job.id, parsed.data, {
      ...FAILED,
      startedAt: job.processedOn ?? null,
      error: { code: 'internal_error', message: error.message },
    });
  }

  /** Keeps count of the rows in hand, and fetches only as many jobs as there is room for. */
  #take(rows: number): void {
    const { WORKER_CONCURRENCY, MAX_ROWS_IN_HAND } = this.#options.config;
    this.#rowsInHand += rows;
    if (rows > 0) this.#rowsPerJob += (rows - this.#rowsPerJob) / 8;
    const room = Math.max(0, MAX_ROWS_IN_HAND - this.#rowsInHand);
    // BullMQ fetches up to its concurrency before it starts the first of them, so growing it in steps of what fits
    // (instead of setting it to the maximum) keeps a queue of big jobs from filling the hand many times over.
    const wanted = this.#active.size + Math.floor(room / this.#rowsPerJob);
    const limit = Math.min(WORKER_CONCURRENCY, wanted, 2 * this.#active.size + 2);
    for (const worker of this.#workers) worker.concurrency = Math.max(1, limit);
  }
}

/** The error of a job whose texts all failed: theirs, when they agree. */
function commonError(results: RowResult[]): { code: string; message: string } {
  const codes = new Set(results.map((row) => ('error' in row ? row.error.code : '')));
  const [code] = codes;
  return {
    code: codes.size === 1 && code ? code : 'inference_failed',
    message: 'every text of this job failed',
  };
}

const FAILED = { status: 'failed', startedAt: null, finishedAt: 0, revision: null, results: null } as const;
const EXPIRED = { code: 'job_expired', message: 'the job was not started within expires_in' };
