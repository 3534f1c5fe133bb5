/**
 * Jobs in, outcomes out: the BullMQ workers of one inference process.
 *
 * A job is settled (settle.lua, once) before BullMQ completes it, so a crash in between only makes it run again, to no
 * effect. What is thrown from a processor is about the infrastructure, and BullMQ retries it.
 */
import { UnrecoverableError, Worker, type Job } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Config } from '../../shared/runtime/config.ts';
import { jobGroupSchema, type JobGroup, type JobPayload } from '../../shared/contract/jobs.ts';
import type { RowResult } from '../../shared/contract/results.ts';
import { toError } from '../../shared/runtime/to-error.ts';
import type { Priority } from '../../shared/contract/ids.ts';
import type { Logger } from '../../shared/runtime/logger.ts';
import { cancelChannel, JOB_ATTEMPTS, queueName } from '../../shared/store/queues.ts';
import { toRecord, type JobRecords, type Outcome } from '../../shared/store/jobs/job-records.ts';
import { redisTime } from '../../shared/redis/time.ts';
import { repeatedWarnings } from '../../shared/runtime/repeated-warnings.ts';
import { scoresOf, tooManyScores, type ScoreRequest } from '../../shared/contract/score-limit.ts';
import { NO_TRACING, type Span, type Tracing } from '../../shared/runtime/tracing.ts';
import { RowDropped, type Lane } from './batcher.ts';
import type { Classifier } from './classifier.ts';
import type { JobRun } from './worker-metrics.ts';

const LANES: Record<Priority, Lane> = { normal: 'interactive', low: 'low' };

/**
 * A job that others took over this often because its worker was gone is given up. One poison text in a batch costs its
 * neighbours a count each, and running again is harmless, so there is no reason to be strict (BullMQ's default is 1).
 */
const MAX_STALLED_COUNT = 10;
/** In the hand, the scores of a job count as so many texts: with thousands of labels, results are what fills the memory. */
const SCORES_PER_ROW = 1000;

export interface ConsumerOptions {
  config: Config;
  /** Patient connection; BullMQ adds blocking ones of its own. */
  redis: Redis;
  records: JobRecords;
  classifier: Classifier;
  model: { name: string; revision: string };
  logger: Logger;
  tracing?: Tracing;
  /** Told of every job that was settled here. */
  onJob?: (job: JobRun) => void;
}

/** What a job has in common with those that came with it. */
interface Turn {
  priority: Priority;
  /** Unix ms. */
  startedAt: number;
  /** Jobs of its group. */
  groupJobs: number;
}

export class Consumer {
  readonly #options: ConsumerOptions;
  readonly #tracing: Tracing;
  readonly #hands: readonly Hand[];
  /** Jobs in hand, by id: aborted when somebody cancels them. */
  readonly #active = new Map<string, AbortController>();

  constructor(options: ConsumerOptions) {
    this.#options = options;
    this.#tracing = options.tracing ?? NO_TRACING;
    this.#hands = (['normal', 'low'] as const).map((priority) => this.#createHand(priority));
  }

  get rowsInHand(): number {
    return this.#hands.reduce((sum, { rows }) => sum + rows, 0);
  }

  get jobsInHand(): number {
    return this.#active.size;
  }

  /** Listens for cancellations on a connection of its own, then starts fetching. */
  async start(subscriber: Redis): Promise<void> {
    await subscriber.subscribe(cancelChannel(this.#options.config.REDIS_PREFIX));
    subscriber.on('message', (_channel: string, id: string) => this.#active.get(id)?.abort());
    for (const { worker } of this.#hands) {
      void worker
        .run()
        .catch((error: unknown) => this.#options.logger.error({ err: toError(error) }, 'queue loop ended'));
    }
  }

  /** Fetches no more jobs and waits for those in hand. */
  async drain(): Promise<void> {
    await Promise.all(this.#hands.map(({ worker }) => worker.close()));
  }

  #createHand(priority: Priority): Hand {
    const { config, redis, model, logger } = this.#options;
    const worker: Worker<unknown> = new Worker<unknown>(
      queueName(priority, model.name),
      async (job: Job<unknown>) => {
        await this.#process(job, priority, hand);
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
        ...(this.#tracing.bullmq && { telemetry: this.#tracing.bullmq }),
      },
    );
    worker.on('error', repeatedWarnings(logger, 'queue'));
    // Jobs that BullMQ itself gives up on never reach the processor.
    worker.on('failed', (job, error) => {
      if (job && (error instanceof UnrecoverableError || job.attemptsMade >= JOB_ATTEMPTS)) {
        void this.#settleFailed(job, error, priority).catch((settleError: unknown) =>
          logger.error({ job: job.id, err: toError(settleError) }, 'a failed job could not be settled'),
        );
      }
    });
    const max = {
      rows: config.MODEL_PROCESSES * config.MAX_ROWS_IN_HAND,
      jobs: config.MODEL_PROCESSES * config.WORKER_CONCURRENCY,
    };
    const hand = new Hand(worker, max, (payload) =>
      Math.max(payload.texts.length, Math.ceil(scoresOf(this.#asked(payload)) / SCORES_PER_ROW)),
    );
    return hand;
  }

  /** Runs the jobs of a group, each on its own: a short one is not kept back by a long one. */
  async #process(bullJob: Job<unknown>, priority: Priority, hand: Hand): Promise<void> {
    const parsed = jobGroupSchema.safeParse(bullJob.data);
    if (!parsed.success) {
      throw new UnrecoverableError('the payload of this job is not one that this version understands');
    }
    const first = bullJob.attemptsStarted <= 1;
    const jobs = first ? parsed.data.jobs : await this.#unsettled(parsed.data);
    const turn: Turn = { priority, startedAt: bullJob.processedOn ?? Date.now(), groupJobs: jobs.length };
    hand.takeGroup(jobs);
    try {
      const outcomes = await Promise.allSettled(
        jobs.map(async (job) => {
          try {
            await this.#runInSpan(job, turn, first);
          } finally {
            hand.leaveJob(job);
          }
        }),
      );
      const failure = outcomes.find((outcome) => outcome.status === 'rejected');
      if (failure) throw failure.reason;
    } finally {
      hand.leaveGroup();
    }
  }

  async #isTooLate({ expires_at: deadline }: JobPayload): Promise<boolean> {
    return deadline !== undefined && deadline < (await redisTime(this.#options.redis));
  }

  /** A group that is run again: those of its jobs that have no outcome yet. */
  async #unsettled({ jobs }: JobGroup): Promise<JobPayload[]> {
    if (jobs.length === 0) return [];
    const records = await this.#options.records.read(jobs.map(({ id }) => id));
    return jobs.filter((_, i) => records[i] === undefined);
  }

  /** Everything about a job, its outcome too, is in its span. */
  async #runInSpan(job: JobPayload, turn: Turn, first: boolean): Promise<void> {
    const { model } = this.#options;
    const attributes = {
      'amulet.job.id': job.id,
      'amulet.model': model.name,
      'amulet.revision': model.revision,
      'amulet.priority': turn.priority,
      'amulet.rows': job.texts.length,
      'amulet.group_jobs': turn.groupJobs,
      'amulet.queue_ms': Math.max(0, turn.startedAt - job.created_at),
    };
    const options = { kind: 'consumer', trace: job.trace, attributes } as const;
    await this.#tracing.span(`classify ${model.name}`, options, async (span) => {
      if (first && (await this.#isTooLate(job))) {
        const expired = { ...FAILED, status: 'expired', startedAt: null, error: EXPIRED } as const;
        await this.#settle(job, expired, turn, span);
        return;
      }
      const problem = tooManyScores(this.#asked(job), this.#options.config.MAX_SCORES_PER_JOB);
      if (problem === undefined) await this.#run(job, turn, span);
      else {
        const { startedAt } = turn;
        const error = { code: 'too_many_scores', message: problem } as const;
        await this.#settle(job, { ...FAILED, startedAt, error }, turn, span);
      }
    });
  }

  /** The scores that a job asks for; the API does not know the labels of a model that no worker has served yet. */
  #asked({ texts, top_k: topK }: JobPayload): ScoreRequest {
    return { texts: texts.length, topK, labels: this.#options.classifier.labelCount };
  }

  async #run(job: JobPayload, turn: Turn, span: Span): Promise<void> {
    const abort = new AbortController();
    this.#active.set(job.id, abort);
    try {
      const results = await this.#classify(job, LANES[turn.priority], abort.signal, span);
      const allFailed = results.every((row) => 'error' in row);
      const outcome: Outcome = {
        status: allFailed ? 'failed' : 'succeeded',
        startedAt: turn.startedAt,
        finishedAt: Date.now(),
        revision: this.#options.model.revision,
        results,
        error: allFailed ? commonError(results) : null,
      };
      await this.#settle(job, outcome, turn, span);
    } catch (error) {
      // Canceled: its outcome is written already.
      if (error instanceof RowDropped) return;
      throw error;
    } finally {
      this.#active.delete(job.id);
    }
  }

  /** The results of a job's texts, in their order; a few at a time, so that jobs interleave. */
  async #classify(payload: JobPayload, lane: Lane, signal: AbortSignal, span: Span): Promise<RowResult[]> {
    const { texts } = payload;
    const results = new Array<RowResult>(texts.length);
    let next = 0;
    let batchRows = 0;
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
            (rows) => (batchRows = Math.max(batchRows, rows)),
          );
        }
      },
    );
    const outcomes = await Promise.allSettled(lines);
    const failure = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failure) throw failure.reason;
    // The largest of the batches that its texts travelled in.
    span.set({ 'amulet.batch_rows': batchRows });
    return results;
  }

  /** @param span its own; the webhook goes on from there */
  async #settle(job: JobPayload, outcome: Outcome, turn: Turn, span?: Span): Promise<void> {
    const finishedAt = Date.now();
    const { webhook } = job;
    const told =
      webhook === undefined || span?.trace === undefined
        ? job
        : { ...job, webhook: { ...webhook, trace: span.trace } };
    const record = toRecord(told, { ...outcome, finishedAt });
    const { settled } = await this.#options.records.settle(job.id, record, job.notify);
    const { status, results } = outcome;
    const rows = job.texts.length;
    const failedRows = results ? results.filter((row) => 'error' in row).length : rows;
    const unknownRows = results?.filter((row) => 'unknown' in row).length ?? 0;
    span?.set({ 'amulet.status': status, 'amulet.failed_rows': failedRows });
    if (outcome.error) span?.fail(outcome.error.code);
    this.#options.logger.debug({ job: job.id, status, rows, settled }, 'job done');
    if (!settled) return;
    this.#options.onJob?.({
      priority: turn.priority,
      status,
      rows,
      failedRows,
      unknownRows,
      queueMs: turn.startedAt - job.created_at,
      totalMs: finishedAt - job.created_at,
    });
  }

  async #settleFailed(bullJob: Job<unknown>, error: Error, priority: Priority): Promise<void> {
    const parsed = jobGroupSchema.safeParse(bullJob.data);
    this.#options.logger.error({ job: bullJob.id, reason: error.message }, 'job failed');
    if (!parsed.success) return;
    const { jobs } = parsed.data;
    const { processedOn } = bullJob;
    const turn: Turn = { priority, startedAt: processedOn ?? Date.now(), groupJobs: jobs.length };
    const outcome: Outcome = {
      ...FAILED,
      startedAt: processedOn ?? null,
      error: { code: 'internal_error', message: error.message },
    };
    await Promise.all(jobs.map((job) => this.#settle(job, outcome, turn)));
  }
}

/**
 * What a worker holds of one queue. Each has a hand of its own, so that a long queue of either priority leaves room for the
 * other. With one limit for both, each took what the other held for room: while both were long, a worker fetched all there
 * was.
 */
class Hand {
  readonly worker: Worker<unknown>;
  readonly #max: { rows: number; jobs: number };
  readonly #rowsOf: (job: JobPayload) => number;
  #rows = 0;
  #jobs = 0;
  #groups = 0;
  /** Running means of a group's rows and jobs, to guess how many groups fill the hand. */
  #rowsPerGroup = 1;
  #jobsPerGroup = 1;

  /** @param rowsOf says how many rows a job counts as */
  constructor(
    worker: Worker<unknown>,
    max: { rows: number; jobs: number },
    rowsOf: (job: JobPayload) => number,
  ) {
    this.worker = worker;
    this.#max = max;
    this.#rowsOf = rowsOf;
  }

  get rows(): number {
    return this.#rows;
  }

  takeGroup(jobs: readonly JobPayload[]): void {
    const rows = jobs.reduce((sum, job) => sum + this.#rowsOf(job), 0);
    this.#groups++;
    this.#rows += rows;
    this.#jobs += jobs.length;
    this.#rowsPerGroup += (rows - this.#rowsPerGroup) / 8;
    this.#jobsPerGroup += (jobs.length - this.#jobsPerGroup) / 8;
    this.#adjustConcurrency();
  }

  leaveJob(job: JobPayload): void {
    this.#rows -= this.#rowsOf(job);
    this.#jobs--;
    this.#adjustConcurrency();
  }

  leaveGroup(): void {
    this.#groups--;
    this.#adjustConcurrency();
  }

  /** Fetches only as many groups as there is room for, in jobs and in rows. */
  #adjustConcurrency(): void {
    const rows = Math.max(0, this.#max.rows - this.#rows) / Math.max(1, this.#rowsPerGroup);
    const jobs = Math.max(0, this.#max.jobs - this.#jobs) / Math.max(1, this.#jobsPerGroup);
    // BullMQ fetches up to its concurrency before it starts the first of them, so growing it in steps of what fits
    // (instead of setting it to the maximum) keeps a queue of big jobs from filling the hand many times over.
    const limit = Math.min(this.#groups + Math.floor(Math.min(rows, jobs)), 2 * this.#groups + 2);
    this.worker.concurrency = Math.max(1, limit);
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
