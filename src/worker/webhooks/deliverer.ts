/**
 * Deliveries: from the outbox into a queue, and attempt after attempt until a receiver has taken the event or the schedule
 * is over. What is true of a delivery stands in its hash (delivery-store.ts); the BullMQ job is only the alarm clock that
 * says when to look at it.
 */
import { DelayedError, Job, WaitingError, Worker, type Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { Webhook } from 'standardwebhooks';
import type { Config } from '../../shared/runtime/config.ts';
import { deliveryPayloadSchema, type Attempt, type DeliveryPayload } from '../../shared/contract/webhooks.ts';
import { toError } from '../../shared/runtime/to-error.ts';
import type { Logger } from '../../shared/runtime/logger.ts';
import { eventTime } from '../../shared/contract/ids.ts';
import { deliveryJobId, DELIVERIES_QUEUE, openQueue } from '../../shared/store/queues.ts';
import { repeatedWarnings } from '../../shared/runtime/repeated-warnings.ts';
import type { DeliveryRecord, DeliveryStore, Next } from '../../shared/store/deliveries/delivery-store.ts';
import type { Secrets } from '../../shared/store/deliveries/secrets.ts';
import type { Span, Tracing } from '../../shared/runtime/tracing.ts';
import { deliveryWindowMs } from '../../shared/store/deliveries/retry-window.ts';
import { childTrace, traceHeaders } from '../../shared/runtime/trace-context.ts';
import { Hosts, type Destination } from './host-limiter.ts';
import { isLarge, pointsToSource, renderBody, type PayloadOptions } from './payload.ts';
import { parseRetryAfter, retryDelayMs } from './retry-schedule.ts';
import { Blocked, TimedOut, type Reply, type SafeFetch } from './safe-fetch.ts';
import type { Sources } from './retention.ts';

/** After SIGTERM, attempts under way may go on for so long; then they are broken off, and made again by another process. */
const DRAIN_MS = 3000;
/** Deliveries that wait for a place in memory, each an active job in BullMQ: some 2 KB. */
const WAITING_ROOM = 1000;
/**
 * A parked delivery is called when there is room for it. If the process that knows of it is gone, it comes after so long: the
 * longer the more are parked there, so that those of a receiver that is down for days do not keep everybody busy with
 * coming and going (0.4 ms of CPU each, half of it in Redis).
 */
const MIN_ASIDE_MS = 30_000;
const MAX_ASIDE_MS = 600_000;
const ASIDE_PER_PARKED_MS = 20;
const MAX_STALLED_COUNT = 1_000_000;
/** Of why an attempt failed: it is kept with each attempt. */
const MAX_REASON_CHARS = 500;

export interface DelivererOptions {
  config: Config;
  /** Patient connection; BullMQ adds a blocking one of its own. */
  redis: Redis;
  deliveries: DeliveryStore;
  secrets: Secrets;
  safeFetch: SafeFetch;
  sources: Sources;
  payload: PayloadOptions;
  version: string;
  tracing: Tracing;
  logger: Logger;
  onAttempt: (attempt: { outcome: Attempt['outcome']; ms: number; final: boolean }) => void;
}

/** How an attempt went, and what it says about the next one. */
interface Result {
  attempt: Attempt;
  retryAfterS?: number | undefined;
}

type PendingDelivery = DeliveryRecord & { body: string };

class Stopping extends Error {}

export class Deliverer {
  readonly #options: DelivererOptions;
  readonly #hosts: Hosts;
  readonly #queue: Promise<Queue<DeliveryPayload, undefined>>;
  readonly #worker: Worker<unknown>;
  readonly #stop = new AbortController();
  #inFlight = 0;

  constructor(options: DelivererOptions) {
    const { config, redis, logger } = options;
    this.#options = options;
    this.#hosts = new Hosts({
      perHost: config.WEBHOOK_PER_HOST,
      total: config.WEBHOOK_CONCURRENCY,
      room: WAITING_ROOM,
      call: (ids) => this.#call(ids),
    });
    this.#queue = openQueue(DELIVERIES_QUEUE, redis, config.REDIS_PREFIX);
    this.#queue.catch(() => {});
    this.#worker = new Worker<unknown>(
      DELIVERIES_QUEUE,
      (job: Job<unknown>, token?: string) => this.#process(job, token),
      {
        connection: redis,
        prefix: config.REDIS_PREFIX,
        autorun: false,
        concurrency: config.WEBHOOK_CONCURRENCY + WAITING_ROOM,
        lockDuration: config.LOCK_DURATION_MS,
        stalledInterval: config.STALLED_INTERVAL_MS,
        maxStalledCount: MAX_STALLED_COUNT,
        runRetryDelay: 500,
      },
    );
    this.#worker.on('error', repeatedWarnings(logger, 'delivery queue'));
    this.#worker.on('failed', (job, error) =>
      logger.error({ job: job?.id, err: error }, 'delivery not looked at'),
    );
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get failingHosts(): number {
    return this.#hosts.failing;
  }

  /** Deliveries that wait for an attempt, or for their turn. */
  async pending(): Promise<number> {
    const queue = await this.#queue;
    return queue.getJobCountByTypes('wait', 'delayed', 'active');
  }

  start(): void {
    void this.#worker
      .run()
      .catch((error: unknown) =>
        this.#options.logger.error({ err: toError(error) }, 'delivery queue loop ended'),
      );
  }

  /** Starts no more attempts. Those under way have a moment; then they are broken off, and others make them again. */
  async drain(): Promise<void> {
    const closed = this.#worker.close();
    this.#hosts.close(new Stopping('stopping'));
    const timer = setTimeout(() => this.#stop.abort(new Stopping('stopping')), DRAIN_MS);
    await closed;
    clearTimeout(timer);
    await (await this.#queue).close();
  }

  /** Puts the deliveries of these events into the queue, and on the lists of their owners. Harmless to repeat. */
  async enqueue(ids: string[]): Promise<void> {
    const pending = await this.#options.deliveries.announce(ids);
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
          // Straight to where it would be put aside to: it does not have to be looked at before.
          delay: full ? this.#asideMs(to) : 0,
          attempts: 1_000_000,
          backoff: { type: 'exponential', delay: 1000, jitter: 0.5 },
          removeOnComplete: true,
          removeOnFail: true,
          stackTraceLimit: 2,
        },
      })),
    );
    for (const { to, jobId, full } of planned) if (full) this.#hosts.park(to, jobId);
  }

  /**
   * Has parked deliveries come now. Some may have come already, to this process or another: those that have been attempted
   * since are delayed again, for a reason.
   */
  async #call(jobIds: string[]): Promise<void> {
    const queue = await this.#queue;
    const times = await this.#options.deliveries.plannedTimes(jobIds.map(eventOf));
    const now = Date.now();
    const waiting = jobIds.filter((_, i) => (times[i] ?? 0) <= now);
    await Promise.allSettled(
      waiting.map((jobId) => new Job(queue, 'deliver', undefined, {}, jobId).promote()),
    );
  }

  /** Not all at the same moment. */
  #asideMs(to: Destination): number {
    const longest = Math.max(MIN_ASIDE_MS, this.#hosts.parkedAt(to) * ASIDE_PER_PARKED_MS);
    return Math.round(Math.min(MAX_ASIDE_MS, longest) * (0.5 + Math.random() / 2));
  }

  async #process(job: Job<unknown>, token: string | undefined): Promise<void> {
    const parsed = deliveryPayloadSchema.safeParse(job.data);
    if (!parsed.success) {
      this.#options.logger.error({ job: job.id }, 'the payload is not one that this version understands');
      return;
    }
    const { id, run, owner, host } = parsed.data;
    const to = { owner, host };
    // Before anything is read: while a receiver is down, thousands come by only to hear that it is not their turn yet.
    const jobId = deliveryJobId(id, run);
    const turn = this.#hosts.enter(to, jobId);
    if (turn === undefined) {
      if (!this.#isTooOld(id, run)) {
        await job.moveToDelayed(Date.now() + this.#asideMs(to), token);
        this.#hosts.park(to, jobId);
        throw new DelayedError();
      }
      const record = await this.#readPending(id, run);
      if (record) await this.#finish(id, record, { attempt: turnNeverCame() });
      return;
    }
    try {
      await turn;
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

  /** The delivery with its body, frozen when it is first read; undefined when it has ended, expired, or was asked for again since. */
  async #readPending(id: string, run: number): Promise<PendingDelivery | undefined> {
    const { deliveries, payload, logger } = this.#options;
    const record = await deliveries.read(id);
    if (record?.status !== 'pending' || record.run !== run) return undefined;
    if (record.body === undefined && record.snapshot === undefined) {
      logger.error({ delivery: id }, 'a delivery has nothing to say. This is a bug.');
      return undefined;
    }
    const body = record.body ?? (await deliveries.freeze(id, renderBody(record, payload)));
    return body === undefined ? undefined : { ...record, body };
  }

  /**
   * Makes an attempt, in the place that was taken at its host, and writes it down.
   * @returns Unix ms of the next one, if there is one
   * @throws Stopping
   */
  async #deliver(id: string, run: number, to: Destination): Promise<number | undefined> {
    let result: Result | undefined;
    let record: PendingDelivery | undefined;
    this.#inFlight++;
    try {
      record = await this.#readPending(id, run);
      // Called too early: by a process that looked before another put it off, or as one that died after an attempt left it.
      if (record?.next !== undefined && record.next > Date.now()) return record.next;
      if (record) result = await this.#attemptInSpan(id, record);
    } finally {
      this.#inFlight--;
      const attempt = result && { ms: result.attempt.ms, success: isUp(result.attempt) };
      this.#hosts.leave(to, attempt);
    }
    return record && result && this.#finish(id, record, result);
  }

  /** @throws Stopping */
  async #attemptInSpan(id: string, record: PendingDelivery): Promise<Result> {
    const { type, source, url, trace, attempts } = record;
    const attributes = {
      'http.request.method': 'POST',
      // Of the URL no more: receivers put secrets into paths.
      'server.address': hostOf(url),
      'amulet.delivery.id': id,
      'amulet.event.type': type,
      'amulet.event.source': source,
      'amulet.attempt': attempts + 1,
    };
    const options = { kind: 'client', trace, attributes } as const;
    return this.#options.tracing.span(`deliver ${type}`, options, async (span) => {
      const result = await this.#attempt(id, record, span);
      const { status, outcome } = result.attempt;
      span.set({
        'amulet.outcome': outcome,
        ...(status === null ? {} : { 'http.response.status_code': status }),
      });
      if (outcome !== 'delivered') span.fail(outcome);
      return result;
    });
  }

  /** One request. @throws Stopping; everything else is a result */
  async #attempt(id: string, { url, owner, trace, body }: PendingDelivery, span: Span): Promise<Result> {
    const { config, secrets, safeFetch, version } = this.#options;
    const known = await secrets.of(owner);
    // Not before: Redis may have been away for long, and receivers refuse what was signed five minutes ago.
    const at = new Date();
    const start = performance.now();
    const signatures = known.map(({ secret }) => new Webhook(secret).sign(id, at, body));
    const base = { at: at.toISOString(), status: null, reason: null, response: null };
    const ms = () => Math.round(performance.now() - start);
    if (signatures.length === 0) {
      const reason = 'there is no secret to sign it with: set WEBHOOK_SECRET';
      return { attempt: { ...base, outcome: 'blocked', reason, ms: ms() } };
    }
    try {
      const reply = await safeFetch.post({
        url,
        body,
        headers: {
          'content-type': 'application/json',
          'user-agent': `Amulet/${version}`,
          'webhook-id': id,
          'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
          'webhook-signature': signatures.join(' '),
          ...traceHeaders(span.trace ?? childTrace(trace)),
        },
        timeoutMs: config.WEBHOOK_TIMEOUT_MS,
        signal: this.#stop.signal,
      });
      const retryAfterS = parseRetryAfter(reply.retryAfter, Date.now());
      const { outcome, reason } = classify(reply, retryAfterS);
      return {
        attempt: { ...base, outcome, status: reply.status, reason, response: reply.body, ms: ms() },
        retryAfterS,
      };
    } catch (error) {
      if (error instanceof Stopping) throw error;
      const outcome =
        error instanceof Blocked ? 'blocked' : error instanceof TimedOut ? 'timeout' : 'connection';
      return { attempt: { ...base, outcome, reason: reasonOf(error), ms: ms() } };
    }
  }

  /** Writes down an attempt. @returns Unix ms of the next one, if there is one */
  async #finish(
    id: string,
    record: DeliveryRecord,
    { attempt, retryAfterS }: Result,
  ): Promise<number | undefined> {
    const { config, deliveries, sources, logger, onAttempt } = this.#options;
    const failures = record.run_attempts + 1;
    const { outcome } = attempt;
    const delayMs =
      outcome === 'delivered' || this.#isTooOld(id, record.run)
        ? undefined
        : retryDelayMs(config.WEBHOOK_RETRY_S, failures, { outcome, retryAfterS });
    const next: Next =
      outcome === 'delivered'
        ? { status: 'delivered', keepS: config.WEBHOOK_DELIVERED_TTL_S }
        : delayMs === undefined
          ? { status: 'failed', keepS: config.WEBHOOK_TTL_S }
          : { status: 'pending', at: Math.round(Date.now() + delayMs) };
    // What the receiver is to fetch must not be gone before it hears of it.
    if (next.status !== 'pending') {
      if (isLarge(record)) await sources.release(record.source);
    } else if (pointsToSource(record)) await sources.keep(record.source, next.at);
    const written = await deliveries.recordAttempt(id, record, attempt, next);
    onAttempt({ outcome, ms: attempt.ms, final: written && next.status !== 'pending' });
    const { type, source } = record;
    const reason = attempt.reason ?? `the receiver answered ${attempt.status}`;
    const fields = { delivery: id, type, source, outcome, reason, attempt: failures, status: next.status };
    if (next.status === 'failed')
      logger.warn(fields, `gave up delivery ${id} of ${source} after ${failures} attempts`);
    else logger.debug(fields, 'delivery attempt');
    return written && next.status === 'pending' ? next.at : undefined;
  }

  /** Older than any delivery gets whose receiver has turns for it. One that was asked for again has all the time it needs. */
  #isTooOld(id: string, run: number): boolean {
    const { WEBHOOK_RETRY_S } = this.#options.config;
    return run === 0 && Date.now() - eventTime(id) > deliveryWindowMs(WEBHOOK_RETRY_S);
  }
}

const eventOf = (jobId: string): string => jobId.slice(0, jobId.lastIndexOf('.'));

function classify(
  { status }: Reply,
  retryAfterS: number | undefined,
): { outcome: Attempt['outcome']; reason: string | null } {
  if (status >= 200 && status < 300) return { outcome: 'delivered', reason: null };
  if (status >= 300 && status < 400) return { outcome: 'redirect', reason: 'redirects are not followed' };
  if (status === 410) return { outcome: 'gone', reason: 'the receiver wants no more of this' };
  if (status === 429 || (status === 503 && retryAfterS !== undefined)) {
    const reason = retryAfterS === undefined ? null : `not again within ${Math.ceil(retryAfterS)} s`;
    return { outcome: 'throttled', reason };
  }
  return { outcome: status >= 500 ? 'server_error' : 'rejected', reason: null };
}

/** Whether an attempt shows that its receiver works: one that refuses an event does. */
function isUp({ outcome }: Attempt): boolean {
  return ['delivered', 'rejected', 'redirect', 'gone'].includes(outcome);
}

function turnNeverCame(): Attempt {
  const reason = 'its receiver failed for so long that its turn never came';
  return { at: new Date().toISOString(), outcome: 'timeout', status: null, reason, response: null, ms: 0 };
}

/** A final dot makes no other host. */
function hostOf(url: string): string {
  return URL.canParse(url) ? new URL(url).host.replace(/\.(?=:|$)/, '') : url;
}

/** In words, cut off where they are the receiver's: a certificate may have thousands of names, and errors list them. */
function reasonOf(thrown: unknown): string {
  const error = toError(thrown);
  // Several addresses were tried.
  const messages =
    error instanceof AggregateError ? error.errors.map((each) => toError(each).message) : [error.message];
  const reason = messages.join('; ') || ((error as NodeJS.ErrnoException).code ?? error.name);
  const whole = reason.toWellFormed().replaceAll('\0', '\u{fffd}');
  return whole.length <= MAX_REASON_CHARS ? whole : `${whole.slice(0, MAX_REASON_CHARS).toWellFormed()}…`;
}
