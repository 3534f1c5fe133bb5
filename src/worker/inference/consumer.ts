/**
 * Consumes the job queues of one model: fetches groups of jobs, classifies their texts and settles each job. Answers the direct calls
 * that API instances send past the queue (src/api/jobs/direct-calls.ts).
 *
 * A job is settled (settle.lua, once) before BullMQ completes it. A crash in between makes it run again, without effect. An
 * error that a processor throws is one of the infrastructure, and BullMQ retries the group.
 */
import { UnrecoverableError, type Job } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Config } from '../../shared/runtime/config.ts';
import {
  jobGroupSchema,
  type JobGroup,
  type JobPayload,
  type JobRecord,
} from '../../shared/contract/jobs.ts';
import type { RowResult } from '../../shared/contract/results.ts';
import { toError } from '../../shared/runtime/to-error.ts';
import type { Priority } from '../../shared/contract/ids.ts';
import type { Logger } from '../../shared/runtime/logger.ts';
import { openWorker, type OpenWorker } from '../../shared/store/open-worker.ts';
import { callsChannel, cancelChannel } from '../../shared/redis/keys.ts';
import { JOB_ATTEMPTS, queueName } from '../../shared/store/queues.ts';
import { toRecord, type JobRecords, type Outcome } from '../../shared/store/jobs/job-records.ts';
import { redisTime } from '../../shared/redis/time.ts';
import { unfitThreshold } from '../../shared/contract/options.ts';
import { scoresOf, tooManyScores, type ScoreRequest } from '../../shared/contract/score-limit.ts';
import { NO_TRACING, type Span, type Tracing } from '../../shared/runtime/tracing.ts';
import { RowDropped, type DropSignal, type Lane } from './batcher.ts';
import { Cancellation } from './cancellation.ts';
import type { Classifier } from './classifier.ts';
import { PrefetchLimiter, type PrefetchLimiterOptions } from './prefetch-limiter.ts';
import type { JobRun } from './worker-metrics.ts';

const LANES: Record<Priority, Lane> = { normal: 'interactive', low: 'low' };

/**
 * For the prefetch limit, this many scores of a job count as a text: with thousands of labels, results are what fills the
 * memory.
 */
const SCORES_PER_ROW = 1000;

export interface ConsumerOptions {
  config: Config;
  /** Patient connection; BullMQ opens others that block. */
  redis: Redis;
  records: JobRecords;
  classifier: Classifier;
  model: { name: string; revision: string };
  /** Name of this worker, which direct calls come by. */
  workerId: string;
  logger: Logger;
  tracing?: Tracing;
  /** Called for every job that was settled here. */
  onJob?: (job: JobRun) => void;
}

/** Properties that all jobs of a group share. */
interface Run {
  priority: Priority;
  /** Unix ms. */
  startedAt: number;
  /** Number of jobs in the group. */
  groupJobs: number;
  /** Its outcomes are announced to their callers, and not recorded. */
  direct?: boolean;
}

/** One queue, and the limit on what is fetched from it. */
interface JobQueue extends OpenWorker {
  limiter: PrefetchLimiter;
}

export class Consumer {
  readonly #options: ConsumerOptions;
  readonly #tracing: Tracing;
  readonly #queues: readonly JobQueue[];
  /** Jobs in flight by id, to abort them when they are canceled. */
  readonly #active = new Map<string, Cancellation>();
  /** Direct calls in flight. */
  readonly #calls = new Set<Promise<void>>();
  #callRows = 0;
  #draining = false;

  constructor(options: ConsumerOptions) {
    this.#options = options;
    this.#tracing = options.tracing ?? NO_TRACING;
    this.#queues = (['normal', 'low'] as const).map((priority) => this.#openQueue(priority));
  }

  /** Rows of the jobs that were fetched and not settled. */
  get rowsInFlight(): number {
    return this.#queues.reduce((sum, { limiter }) => sum + limiter.rows, this.#callRows);
  }

  get jobsInFlight(): number {
    return this.#active.size;
  }

  /** Listens for cancellations and direct calls, then starts fetching. @param subscriber connection for subscriptions alone */
  async start(subscriber: Redis): Promise<void> {
    const { config, workerId } = this.#options;
    const calls = callsChannel(config.REDIS_PREFIX, workerId);
    await subscriber.subscribe(cancelChannel(config.REDIS_PREFIX));
    // Calls that are not heard come through the queue.
    await subscriber.subscribe(calls).catch(() => {});
    subscriber.on('message', (channel: string, message: string) => {
      if (channel === calls) this.#answer(message);
      else this.#active.get(message)?.abort();
    });
    for (const { start } of this.#queues) start();
  }

  /** Fetches no more jobs, refuses direct calls, and waits for those in flight. */
  async drain(): Promise<void> {
    this.#draining = true;
    await Promise.all([...this.#queues.map(({ worker }) => worker.close()), ...this.#calls]);
  }

  #answer(message: string): void {
    const call = this.#call(message).catch((error: unknown) =>
      this.#options.logger.warn({ reason: toError(error).message }, 'a direct call failed'),
    );
    this.#calls.add(call);
    void call.finally(() => this.#calls.delete(call));
  }

  /** Runs the job of a direct call, unless this worker has too much to do. */
  async #call(message: string): Promise<void> {
    const job = readCall(message);
    if (!job) {
      // Not with the reason, which may quote a text.
      this.#options.logger.warn('cannot read a direct call');
      return;
    }
    const rows = this.#rowsToPrefetch(job);
    if (!this.#hasRoomForCall(rows)) {
      await this.#options.records.announce(job);
      return;
    }
    this.#callRows += rows;
    try {
      const run: Run = { priority: 'normal', startedAt: Date.now(), groupJobs: 1, direct: true };
      await this.#runInSpan(job, run, false);
    } catch (error) {
      await this.#options.records.announce(job);
      throw error;
    } finally {
      this.#callRows -= rows;
    }
  }

  /** Direct calls have the limits of a queue for themselves, and do not overtake one. */
  #hasRoomForCall(rows: number): boolean {
    if (this.#draining || this.#queues[0]?.limiter.queueIsShort !== true) return false;
    const { maxRows, maxJobs } = this.#limits;
    return this.#callRows + rows <= maxRows && this.#calls.size < maxJobs;
  }

  /** Of rows and jobs that this worker has fetched from one queue, and of those of direct calls. */
  get #limits(): Pick<PrefetchLimiterOptions, 'maxRows' | 'maxJobs'> {
    const { MODEL_PROCESSES, MAX_ROWS_IN_HAND, WORKER_CONCURRENCY } = this.#options.config;
    return {
      maxRows: MODEL_PROCESSES * MAX_ROWS_IN_HAND,
      maxJobs: MODEL_PROCESSES * WORKER_CONCURRENCY,
    };
  }

  #openQueue(priority: Priority): JobQueue {
    const { config, redis, model, logger } = this.#options;
    const limiter = new PrefetchLimiter({
      ...this.#limits,
      setConcurrency: (groups) => (opened.worker.concurrency = groups),
    });
    const opened = openWorker(
      queueName(priority, model.name),
      (job) => this.#process(job, priority, limiter),
      {
        redis,
        config,
        logger,
        concurrency: 1,
        ...(this.#tracing.bullmq && { telemetry: this.#tracing.bullmq }),
      },
    );
    // BullMQ fails some groups without calling the processor.
    opened.worker.on('failed', (job, error) => {
      if (job && (error instanceof UnrecoverableError || job.attemptsMade >= JOB_ATTEMPTS)) {
        void this.#settleFailed(job, error, priority).catch((settleError: unknown) =>
          logger.error({ job: job.id, err: toError(settleError) }, 'a failed job could not be settled'),
        );
      }
    });
    return { ...opened, limiter };
  }

  /** Runs the jobs of a group side by side, so that a short job need not wait for a long one. */
  async #process(bullJob: Job<unknown>, priority: Priority, limiter: PrefetchLimiter): Promise<void> {
    const parsed = jobGroupSchema.safeParse(bullJob.data);
    if (!parsed.success) {
      throw new UnrecoverableError('this version does not understand the payload of the job');
    }
    const first = bullJob.attemptsStarted <= 1;
    const jobs = first ? parsed.data.jobs : await this.#unsettled(parsed.data);
    const run: Run = { priority, startedAt: bullJob.processedOn ?? Date.now(), groupJobs: jobs.length };
    const rows = jobs.map((job) => this.#rowsToPrefetch(job));
    limiter.acquire(rows);
    try {
      await allEnded(
        jobs.map(async (job, i) => {
          try {
            await this.#runInSpan(job, run, first);
          } finally {
            limiter.releaseJob(rows[i] as number);
          }
        }),
      );
    } finally {
      limiter.releaseGroup();
    }
  }

  /** How many rows a job counts as for the prefetch limit. */
  #rowsToPrefetch(job: JobPayload): number {
    return Math.max(job.texts.length, Math.ceil(scoresOf(this.#scoreRequest(job)) / SCORES_PER_ROW));
  }

  /** The jobs of a group that have no outcome yet; some may have one when the group is run again. */
  async #unsettled({ jobs }: JobGroup): Promise<JobPayload[]> {
    if (jobs.length === 0) return [];
    const records = await this.#options.records.read(jobs.map(({ id }) => id));
    return jobs.filter((_, i) => records[i] === undefined);
  }

  /** Runs a job and settles it, all inside its span. */
  async #runInSpan(job: JobPayload, run: Run, first: boolean): Promise<void> {
    const { model } = this.#options;
    const attributes = {
      'amulet.job.id': job.id,
      'amulet.model': model.name,
      'amulet.revision': model.revision,
      'amulet.priority': run.priority,
      'amulet.rows': job.texts.length,
      'amulet.group_jobs': run.groupJobs,
      'amulet.queue_ms': Math.max(0, run.startedAt - job.created_at),
    };
    const options = { kind: 'consumer', trace: job.trace, attributes } as const;
    await this.#tracing.span(`classify ${model.name}`, options, async (span) => {
      const { expires_at: deadline } = job;
      if (first && deadline !== undefined && deadline < (await redisTime(this.#options.redis))) {
        await this.#settle(job, { status: 'expired', error: EXPIRED }, run, span);
        return;
      }
      const error = this.#refusal(job);
      if (error === undefined) await this.#run(job, run, span);
      else await this.#settle(job, { status: 'failed', started: run.startedAt, error }, run, span);
    });
  }

  /** What a job asks for that it cannot have. The API does not know it of a model that no worker has served yet. */
  #refusal(job: JobPayload): Outcome['error'] {
    const { classifier, config } = this.#options;
    const scores = tooManyScores(this.#scoreRequest(job), config.MAX_SCORES_PER_JOB);
    if (scores !== undefined) return { code: 'too_many_scores', message: scores };
    const unfit = job.threshold === undefined ? undefined : unfitThreshold(job, classifier.model);
    return unfit === undefined ? undefined : { code: 'invalid_request', message: `threshold ${unfit}` };
  }

  /** The scores that a job asks for. */
  #scoreRequest({ texts, top_k: topK }: JobPayload): ScoreRequest {
    return { texts: texts.length, topK, labels: this.#options.classifier.labelCount };
  }

  async #run(job: JobPayload, run: Run, span: Span): Promise<void> {
    const cancellation = new Cancellation();
    this.#active.set(job.id, cancellation);
    try {
      const results = await this.#classify(job, LANES[run.priority], cancellation, span);
      const allFailed = results.every((row) => 'error' in row);
      const ended = { started: run.startedAt, revision: this.#options.model.revision, results };
      const outcome = allFailed
        ? { status: 'failed' as const, ...ended, error: commonError(results) }
        : { status: 'succeeded' as const, ...ended };
      await this.#settle(job, outcome, run, span);
    } catch (error) {
      // Canceled: the API has settled it already.
      if (error instanceof RowDropped) return;
      throw error;
    } finally {
      this.#active.delete(job.id);
    }
  }

  /** The results of a job's texts, in order. A few texts at a time, so that jobs interleave. */
  async #classify(payload: JobPayload, lane: Lane, signal: DropSignal, span: Span): Promise<RowResult[]> {
    const { texts } = payload;
    const results = new Array<RowResult>(texts.length);
    let next = 0;
    let batchRows = 0;
    const line = async () => {
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
    };
    const lines = Math.min(this.#options.config.ROWS_PER_TURN, texts.length);
    await (lines === 1 ? line() : allEnded(Array.from({ length: lines }, line)));
    // Size of the largest batch that one of its texts was in.
    span.set({ 'amulet.batch_rows': batchRows });
    return results;
  }

  /** @param span of the job; becomes the parent of the webhook's span */
  async #settle(job: JobPayload, outcome: Omit<Outcome, 'finished'>, run: Run, span?: Span): Promise<void> {
    const finished = Date.now();
    const { webhook } = job;
    const traced =
      webhook === undefined || span?.trace === undefined
        ? job
        : { ...job, webhook: { ...webhook, trace: span.trace } };
    const record = toRecord(traced, { ...outcome, finished });
    const settled = await this.#record(job, record, run);
    const { status, results } = outcome;
    const rows = job.texts.length;
    const failedRows = results ? results.filter((row) => 'error' in row).length : rows;
    const unknownRows = results?.filter((row) => 'unknown' in row).length ?? 0;
    span?.set({ 'amulet.status': status, 'amulet.failed_rows': failedRows });
    if (outcome.error) span?.fail(outcome.error.code);
    this.#options.logger.debug({ job: job.id, status, rows, settled }, 'job done');
    if (!settled) return;
    this.#options.onJob?.({
      priority: run.priority,
      status,
      rows,
      failedRows,
      unknownRows,
      queueMs: run.startedAt - job.created_at,
      totalMs: finished - job.created_at,
    });
  }

  /** @returns whether it is the job's outcome: another one may be recorded already */
  async #record(job: JobPayload, record: JobRecord, { direct }: Run): Promise<boolean> {
    const { records } = this.#options;
    if (!direct) return (await records.settle(job.id, record, job)).settled;
    await records.announce(job, record);
    return true;
  }

  async #settleFailed(bullJob: Job<unknown>, error: Error, priority: Priority): Promise<void> {
    const parsed = jobGroupSchema.safeParse(bullJob.data);
    this.#options.logger.error({ job: bullJob.id, reason: error.message }, 'job failed');
    if (!parsed.success) return;
    const { jobs } = parsed.data;
    const { processedOn } = bullJob;
    const run: Run = { priority, startedAt: processedOn ?? Date.now(), groupJobs: jobs.length };
    const problem = { code: 'internal_error', message: error.message };
    const outcome = { status: 'failed', started: processedOn, error: problem } as const;
    await Promise.all(jobs.map((job) => this.#settle(job, outcome, run)));
  }
}

function readCall(message: string): JobPayload | undefined {
  try {
    return jobGroupSchema.parse(JSON.parse(message)).jobs[0];
  } catch {
    return undefined;
  }
}

/** Waits until all have ended. @throws the first error, in the order of the promises */
async function allEnded(promises: readonly Promise<void>[]): Promise<void> {
  const outcomes = await Promise.allSettled(promises);
  const failure = outcomes.find((outcome) => outcome.status === 'rejected');
  if (failure) throw failure.reason;
}

/** The error of a job whose texts all failed: with their code, when all have the same. */
function commonError(results: RowResult[]): { code: string; message: string } {
  const codes = new Set(results.map((row) => ('error' in row ? row.error.code : '')));
  const [code] = codes;
  return {
    code: codes.size === 1 && code ? code : 'inference_failed',
    message: 'every text of this job failed',
  };
}

const EXPIRED = { code: 'job_expired', message: 'the job was not started within expires_in' };
