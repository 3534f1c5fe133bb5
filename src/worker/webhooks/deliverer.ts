/**
 * The worker of the delivery queue: enqueues the deliveries of new events, and makes attempt after attempt until a receiver has
 * taken the event or the schedule is over. The state of a delivery is in its hash (delivery-store.ts); its BullMQ job is only the
 * alarm clock that says when to look at it.
 */
import { DelayedError, Job, WaitingError, type Queue } from 'bullmq';
import { deliveryPayloadSchema, type DeliveryPayload } from '../../shared/contract/webhooks.ts';
import type { Config } from '../../shared/runtime/config.ts';
import { openWorker, type OpenWorker, type OpenWorkerOptions } from '../../shared/store/open-worker.ts';
import { deliveryJobId, DELIVERIES_QUEUE, openQueue } from '../../shared/store/queues.ts';
import {
  hostOf,
  isUp,
  makeAttempt,
  neverAttempted,
  type AttemptDeps,
  type AttemptResult,
  type PendingDelivery,
} from './attempt.ts';
import { HostLimiter, type Destination } from './host-limiter.ts';
import { renderBody, type PayloadOptions } from './payload.ts';
import { isOverdue, recordAttempt, type RecordAttemptDeps } from './record-attempt.ts';

/** Time that attempts in flight have after SIGTERM; then they are interrupted, and another process makes them again. */
const DRAIN_MS = 3000;
/** Deliveries that wait in memory for a slot at their receiver. Each is an active job in BullMQ, and takes some 2 KB. */
const QUEUE_LIMIT = 1000;
/**
 * A deferred delivery is resumed when the queue of its host is short. If the process that remembers it is gone, it is processed
 * after this delay instead: longer the more deliveries are deferred there, so that those of a receiver that is down for days do
 * not keep every process busy (0.4 ms of CPU each time, half of it in Redis).
 */
const MIN_DEFER_MS = 30_000;
const MAX_DEFER_MS = 600_000;
const DEFER_MS_PER_DEFERRED = 20;
/** A delivery is never given up because its worker was gone. */
const MAX_STALLED_COUNT = 1_000_000;

export interface DelivererOptions extends AttemptDeps, RecordAttemptDeps {
  config: Config;
  redis: OpenWorkerOptions['redis'];
  payload: PayloadOptions;
}

class Stopping extends Error {}

export class Deliverer {
  readonly #options: DelivererOptions;
  readonly #hosts: HostLimiter;
  readonly #queue: Promise<Queue<DeliveryPayload, undefined>>;
  readonly #worker: OpenWorker;
  readonly #stop = new AbortController();
  #inFlight = 0;

  constructor(options: DelivererOptions) {
    const { config, redis, logger } = options;
    this.#options = options;
    this.#hosts = new HostLimiter({
      perHost: config.WEBHOOK_PER_HOST,
      total: config.WEBHOOK_CONCURRENCY,
      queueLimit: QUEUE_LIMIT,
      resume: (ids) => this.#resume(ids),
    });
    this.#queue = openQueue(DELIVERIES_QUEUE, redis, config.REDIS_PREFIX);
    this.#queue.catch(() => {});
    this.#worker = openWorker(DELIVERIES_QUEUE, (job, token) => this.#process(job, token), {
      redis,
      config,
      logger,
      concurrency: config.WEBHOOK_CONCURRENCY + QUEUE_LIMIT,
      maxStalledCount: MAX_STALLED_COUNT,
    });
    this.#worker.worker.on('failed', (job, error) =>
      logger.error({ job: job?.id, err: error }, 'a delivery could not be processed'),
    );
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get failingHosts(): number {
    return this.#hosts.failing;
  }

  /** Deliveries that wait for an attempt. */
  async pending(): Promise<number> {
    const queue = await this.#queue;
    return queue.getJobCountByTypes('wait', 'delayed', 'active');
  }

  start(): void {
    this.#worker.start();
  }

  /** Starts no more attempts. Those in flight get DRAIN_MS; then they are interrupted, and another process makes them again. */
  async drain(): Promise<void> {
    const closed = this.#worker.worker.close();
    this.#hosts.close(new Stopping('stopping'));
    const timer = setTimeout(() => this.#stop.abort(new Stopping('stopping')), DRAIN_MS);
    await closed;
    clearTimeout(timer);
    await (await this.#queue).close();
  }

  /** Enqueues the deliveries of these events, and adds them to the lists of their owners. Harmless to repeat. */
  async enqueue(ids: string[]): Promise<void> {
    const pending = await this.#options.deliveries.lists.add(ids);
    if (pending.length === 0) return;
    const planned = pending.map(({ id, run, owner, url }) => {
      const to = { owner, host: hostOf(url) };
      return { id, run, to, jobId: deliveryJobId(id, run), full: this.#hosts.isFull(to) };
    });
    const queue = await this.#queue;
    await queue.addBulk(
      planned.map(({ id, run, to, jobId, full }) => ({
        name: 'deliver' as never,
        data: { v: 1, id, run, ...to },
        opts: {
          jobId,
          // To a host whose queue is full: deferred at once, without being processed first.
          delay: full ? this.#deferMs(to) : 0,
          attempts: 1_000_000,
          backoff: { type: 'exponential', delay: 1000, jitter: 0.5 },
          removeOnComplete: true,
          removeOnFail: true,
          stackTraceLimit: 2,
        },
      })),
    );
    for (const { to, jobId, full } of planned) if (full) this.#hosts.defer(to, jobId);
  }

  /**
   * Has deferred deliveries processed now. Some may have been processed already, here or by another process: those that were
   * attempted since wait for their next attempt, and are left alone.
   */
  async #resume(jobIds: string[]): Promise<void> {
    const queue = await this.#queue;
    const times = await this.#options.deliveries.plannedTimes(jobIds.map(eventOf));
    const now = Date.now();
    const waiting = jobIds.filter((_, i) => (times[i] ?? 0) <= now);
    await Promise.allSettled(
      waiting.map((jobId) => new Job(queue, 'deliver', undefined, {}, jobId).promote()),
    );
  }

  /** Delay of a deferred delivery in Redis, randomised so that they do not all end at the same moment. */
  #deferMs(to: Destination): number {
    const longest = Math.max(MIN_DEFER_MS, this.#hosts.deferredAt(to) * DEFER_MS_PER_DEFERRED);
    return Math.round(Math.min(MAX_DEFER_MS, longest) * (0.5 + Math.random() / 2));
  }

  async #process(job: Job<unknown>, token: string | undefined): Promise<void> {
    const parsed = deliveryPayloadSchema.safeParse(job.data);
    if (!parsed.success) {
      this.#options.logger.error(
        { job: job.id },
        'this version does not understand the payload of a delivery',
      );
      return;
    }
    const { id, run, owner, host } = parsed.data;
    const to = { owner, host };
    // Before anything is read: while a receiver is down, thousands of deliveries are processed only to be deferred again.
    const jobId = deliveryJobId(id, run);
    const slot = this.#hosts.acquire(to, jobId);
    if (slot === undefined) {
      if (!isOverdue(id, run, this.#options.config)) {
        await job.moveToDelayed(Date.now() + this.#deferMs(to), token);
        this.#hosts.defer(to, jobId);
        throw new DelayedError();
      }
      const record = await this.#readPending(id, run);
      if (record) await recordAttempt(this.#options, id, record, { attempt: neverAttempted() });
      return;
    }
    try {
      await slot;
      const retryAt = await this.#deliver(id, run, to);
      if (retryAt === undefined) return;
      await job.moveToDelayed(retryAt, token);
      throw new DelayedError();
    } catch (error) {
      if (!(error instanceof Stopping)) throw error;
      await job.moveToWait(token);
      throw new WaitingError();
    }
  }

  /**
   * The delivery with its body, rendered when it is first read; undefined when it has ended, expired, or was requested again
   * since.
   */
  async #readPending(id: string, run: number): Promise<PendingDelivery | undefined> {
    const { deliveries, payload, logger } = this.#options;
    const record = await deliveries.read(id);
    if (record?.status !== 'pending' || record.run !== run) return undefined;
    if (record.body === undefined && record.snapshot === undefined) {
      logger.error({ delivery: id }, 'a delivery has neither body nor snapshot. This is a bug.');
      return undefined;
    }
    const body = record.body ?? (await deliveries.fixBody(id, renderBody(record, payload)));
    return body === undefined ? undefined : { ...record, body };
  }

  /**
   * Makes an attempt in the slot that was acquired at its host, releases the slot, and records the attempt.
   * @returns Unix ms of the next attempt, if there is one
   * @throws Stopping
   */
  async #deliver(id: string, run: number, to: Destination): Promise<number | undefined> {
    let result: AttemptResult | undefined;
    let record: PendingDelivery | undefined;
    this.#inFlight++;
    try {
      record = await this.#readPending(id, run);
      // Too early: another process rescheduled it after this one resumed it, or died between recording an attempt and delaying
      // the job.
      if (record?.next !== undefined && record.next > Date.now()) return record.next;
      if (record) result = await makeAttempt(this.#options, id, record, this.#stop.signal);
    } finally {
      this.#inFlight--;
      const attempt = result && { ms: result.attempt.ms, success: isUp(result.attempt) };
      this.#hosts.release(to, attempt);
    }
    return record && result && recordAttempt(this.#options, id, record, result);
  }
}

const eventOf = (jobId: string): string => jobId.slice(0, jobId.lastIndexOf('.'));
