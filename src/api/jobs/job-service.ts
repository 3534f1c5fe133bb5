/**
 * The life of a job as callers see it: submit, read, wait, cancel, expire. No HTTP in here.
 *
 * Every public method runs under one Redis deadline and throws AppErrors.
 */
import type { Redis } from 'ioredis';
import type { Backlog } from '../../shared/store/jobs/backlog.ts';
import type { Config } from '../../shared/runtime/config.ts';
import { isFinal, type JobStatus } from '../../shared/contract/states.ts';
import {
  jobGroupSchema,
  type Job,
  type JobList,
  type JobPayload,
  type JobRecord,
} from '../../shared/contract/jobs.ts';
import type { Webhook } from '../../shared/contract/webhooks.ts';
import { AppError } from '../../shared/contract/problems.ts';
import { newGroupId, newJobId, parseJobId, shownId, type Priority } from '../../shared/contract/ids.ts';
import { jobListKey } from '../../shared/redis/keys.ts';
import { cancelChannel } from '../../shared/store/queues.ts';
import {
  selfUrl,
  toJob,
  toRecord,
  type JobRecords,
  type Outcome,
} from '../../shared/store/jobs/job-records.ts';
import { redisTime } from '../../shared/redis/time.ts';
import type { WithRedis } from '../../shared/redis/connections.ts';
import { tooManyScores } from '../../shared/contract/score-limit.ts';
import type { Tracing } from '../../shared/runtime/tracing.ts';
import { showWebhook } from '../../shared/contract/events.ts';
import type { Admission } from '../load/admission.ts';
import type { KnownModel, ModelCatalog } from '../model-catalog.ts';
import { IdempotencyKeys } from '../idempotency.ts';
import { sizeOf, type Added, type GroupCommit, type NewPayload } from './group-commit.ts';
import type { QueueSet } from '../../shared/store/jobs/queue-set.ts';
import { SharedReads } from './shared-reads.ts';
import type { Waiters } from './waiters.ts';

export interface JobServiceDeps {
  config: Config;
  redis: Redis;
  withRedis: WithRedis;
  records: JobRecords;
  queues: QueueSet;
  groupCommit: GroupCommit;
  backlog: Backlog;
  admission: Admission;
  catalog: ModelCatalog;
  waiters: Waiters;
  tracing: Tracing;
  /** Told of every job that was taken in. */
  onSubmit: (model: string, priority: Priority, texts: number) => void;
}

export interface NewJob {
  texts: { id?: string | undefined; text: string }[];
  topK: number | null;
  model?: string | undefined;
  metadata?: Record<string, unknown> | undefined;
  priority?: Priority;
  /** Seconds within which it must be started. */
  expiresIn?: number | undefined;
  apply?: JobPayload['apply'];
  truncate?: JobPayload['truncate'];
  webhook?: Webhook | undefined;
  /** Refuse with `no_worker` when nobody serves the model just now. */
  needsWorker?: boolean;
  idempotencyKey?: string | undefined;
}

/** Which jobs a list has; default: all. */
export interface JobFilter {
  status?: JobStatus | undefined;
  model?: string | undefined;
}

/** A job that was taken in, now or by an earlier request with the same idempotency key. */
export interface Submitted {
  job: Job;
  /** An earlier request made it. */
  replayed: boolean;
}

/** What is known of a job that has no record yet. */
interface Unfinished {
  status: JobStatus;
  payload: NewPayload;
  /** Unix ms; null while it waits. */
  startedAt: number | null;
}

/** With so many jobs that somebody waits for, every worker has more than it can batch at once. */
const BUSY_JOBS_PER_WORKER = 8;

/** Jobs that a sweep looks at together. */
const SWEEP_LIMIT = 200;
/** A sweep that takes longer leaves the rest to the next one. */
const SWEEP_MS = 800;
/** Ids on a list that are looked at together where the first ones were not enough, and for one page in all. */
const LIST_PAGE = 200;
const LIST_LOOKS = 2000;

export class JobService {
  readonly #deps: JobServiceDeps;
  readonly #idempotencyKeys: IdempotencyKeys;
  readonly #reads = new SharedReads((id) => this.#read(id));

  constructor(deps: JobServiceDeps) {
    this.#deps = deps;
    this.#idempotencyKeys = new IdempotencyKeys(deps, { kind: 'idem', content: 'body' });
  }

  /**
   * Takes a job in. Once this resolves, the job is in Redis and will reach a final state.
   *
   * With an idempotency key the id is reserved first, so a repeat after a crash, a timeout or a race adds under the same
   * id, which BullMQ does once only.
   *
   * @param own the caller will wait for it with waitOwn()
   */
  async submit(owner: string, input: NewJob, own = false): Promise<Submitted> {
    let abandoned = false;
    let expected: string | undefined;
    const submitted = this.#deps.withRedis(async () => {
      const { catalog, config, redis, records, groupCommit, admission, waiters } = this.#deps;
      const model = await catalog.resolve(input.model);
      if (input.needsWorker && model.workers === 0) {
        throw new AppError('no_worker', await catalog.noWorkerFor(model.name), { retryAfterS: 2 });
      }
      assertScores(input, model, config.MAX_SCORES_PER_JOB);
      const priority = input.priority ?? 'normal';
      const payload = await this.#payload(owner, input, own);
      const admit = () => admission.admit(priority, model.name, sizeOf(payload.texts));
      let id: string;
      let added: Promise<Added>;
      let announced = own;
      if (input.idempotencyKey === undefined) {
        await admit();
        const { workers } = model;
        const busyWorkers = waiters.size > BUSY_JOBS_PER_WORKER * workers;
        ({ id, added } = groupCommit.add(priority, model.name, payload, { workers, busyWorkers }));
      } else {
        const fresh = newJobId(newGroupId(priority, model.name));
        const { idempotencyKey, ...request } = input;
        // Refused below, a request must not leave its key in a Redis that is nearly full.
        const reserved = (await admission.hasRoom(priority))
          ? await this.#idempotencyKeys.reserve(owner, idempotencyKey, fresh, request)
          : await this.#idempotencyKeys.find(owner, idempotencyKey, request);
        if (reserved !== undefined) {
          const known = await this.#find(reserved);
          if (known === 'deleted')
            throw new AppError('job_not_found', `job ${reserved} of this Idempotency-Key was deleted`);
          if (known) return { job: await this.#show(reserved, known), replayed: true };
        }
        await admit();
        // Whoever reserved it may be adding it, too, and have it announced elsewhere.
        if (reserved !== undefined) announced = false;
        id = reserved ?? fresh;
        const group = parseJobId(id)?.group ?? id;
        added = groupCommit.addAlone(priority, model.name, group, { id, ...payload });
      }
      if (announced) {
        waiters.expect(id);
        expected = id;
      }
      let ahead: number;
      try {
        const { expires_at } = payload;
        [{ ahead }] = await Promise.all([
          added,
          expires_at === undefined ? Promise.resolve(0) : redis.zadd(records.deadlinesKey, expires_at, id),
        ]);
      } catch (error) {
        waiters.forget(id);
        throw error;
      }
      this.#deps.onSubmit(model.name, priority, payload.texts.length);
      // Added after the deadline: the caller has its 503 already, and nobody will come to wait.
      if (abandoned) waiters.forget(id);
      const job = await this.#show(id, { status: 'queued', payload, startedAt: null }, ahead);
      return { job, replayed: false };
    });
    return submitted.catch((error: unknown) => {
      abandoned = true;
      // It may have been added all the same, but the caller does not know its id.
      if (expected !== undefined) this.#deps.waiters.forget(expected);
      throw error;
    });
  }

  /** @throws AppError `job_not_found` when it is unknown, past its retention, deleted, or another owner's */
  async get(owner: string, id: string): Promise<Job> {
    return this.#deps.withRedis(async () => this.#show(id, await this.#findOwn(owner, id)));
  }

  /** An owner's jobs that are still known, newest first, from the one behind `after` on. */
  async list(
    owner: string,
    limit: number,
    after?: string,
    { status, model }: JobFilter = {},
  ): Promise<JobList> {
    return this.#deps.withRedis(async () => {
      const { redis, config } = this.#deps;
      const key = jobListKey(config.REDIS_PREFIX, owner);
      const jobs: Job[] = [];
      let from = after;
      let atEnd = false;
      // Some of a page may be gone, or not wanted; one more than asked for tells whether there is another page.
      for (let looked = 0; jobs.length <= limit && looked < LIST_LOOKS && !atEnd;) {
        const below = from === undefined ? '+' : `(${from}`;
        const isFirst = looked === 0 && status === undefined && model === undefined;
        const count = isFirst ? limit + 1 : Math.max(limit + 1, LIST_PAGE);
        const ids = await redis.zrevrangebylex(key, below, '-', 'LIMIT', 0, count);
        atEnd = ids.length < count;
        if (ids.length === 0) break;
        looked += ids.length;
        from = ids.at(-1);
        const wanted = model === undefined ? ids : ids.filter((id) => parseJobId(id)?.model === model);
        jobs.push(...(await this.#showAll(wanted, status)));
      }
      const shown = jobs.slice(0, limit);
      return {
        jobs: shown.map(({ results: _, ...job }) => job),
        // Where many are gone or not wanted, a page may be short, or empty, and have a next one all the same.
        next: jobs.length > limit ? (shown.at(-1)?.id ?? null) : atEnd ? null : (from ?? null),
      };
    });
  }

  /** Those jobs that are still known, and have the status. */
  async #showAll(ids: string[], status: JobStatus | undefined): Promise<Job[]> {
    const { records } = this.#deps;
    if (ids.length === 0) return [];
    if (status !== undefined && isFinal(status)) {
      // One that waits is not looked for in its queue: it is not what is asked for.
      const found = await records.readWithStatus(ids, status);
      return [...found].map(([id, record]) => toJob(id, record));
    }
    const candidates = status === undefined ? ids : await records.withoutOutcome(ids);
    const finished = await records.read(candidates);
    const found = await Promise.all(candidates.map(async (id, i) => finished[i] ?? this.#find(id)));
    const known = found.flatMap((job, i) =>
      job === undefined || job === 'deleted' ? [] : [this.#show(candidates[i] as string, job)],
    );
    const shown = await Promise.all(known);
    return status === undefined ? shown : shown.filter((job) => job.status === status);
  }

  /** The job once it is final, or as it is after `timeoutMs`; undefined when the caller hung up. */
  async wait(owner: string, id: string, timeoutMs: number, signal?: AbortSignal): Promise<Job | undefined> {
    const { withRedis, waiters } = this.#deps;
    let own = false;
    // Where somebody waits already, the owner is known, and waiters look up whether it has ended.
    if (timeoutMs <= 0 || !waiters.waitsFor(id, owner)) {
      const found = await withRedis(() => this.#findOwn(owner, id));
      if ('v' in found) return this.#show(id, found);
      own = found.payload.notify === waiters.channel;
    }
    const outcome = await waiters.wait(id, { owner, own, timeoutMs, signal });
    if (outcome === 'deleted') throw notFound(id);
    if (outcome) return this.#show(id, outcome);
    return signal?.aborted === true ? undefined : this.get(owner, id);
  }

  /**
   * Waits for a job that was submitted with `own`. A repeat of an earlier request may have been taken in by any instance.
   * @returns undefined after `timeoutMs`, when the caller hung up, and at shutdown
   */
  async waitOwn(
    owner: string,
    id: string,
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<Job | undefined> {
    const { waiters } = this.#deps;
    const outcome = await waiters.wait(id, { owner, own: waiters.expects(id), timeoutMs, signal });
    if (outcome === 'deleted') throw notFound(id);
    return outcome && this.#show(id, outcome);
  }

  /** Waits end early because the server shuts down. */
  get stopping(): boolean {
    return this.#deps.waiters.closed;
  }

  /**
   * Cancels a job that is not final; deletes one that is.
   * @returns the canceled job (or, when it finished at the same moment, the finished one); undefined when deleted
   */
  async cancel(owner: string, id: string): Promise<Job | undefined> {
    return this.#deps.withRedis(async () => {
      const { records } = this.#deps;
      const found = await this.#findOwn(owner, id);
      if ('v' in found) {
        await records.delete(id);
        return undefined;
      }
      return this.#show(id, await this.#end(id, found, { status: 'canceled', error: CANCELED }));
    });
  }

  /** Settles the jobs whose time to start has passed. Any API instance may do it, at any time. */
  async sweepExpired(): Promise<void> {
    await this.#deps.withRedis(async () => {
      const { redis, records } = this.#deps;
      const { deadlinesKey } = records;
      const until = performance.now() + SWEEP_MS;
      let due: string[];
      do {
        const now = await redisTime(redis);
        due = await redis.zrangebyscore(deadlinesKey, '-inf', now, 'LIMIT', 0, SWEEP_LIMIT);
        // Looking at one expires it, if it still waits.
        await Promise.all(due.map((id) => this.#find(id)));
        if (due.length > 0) await redis.zrem(deadlinesKey, ...due);
      } while (due.length === SWEEP_LIMIT && performance.now() < until);
    });
  }

  async #payload(owner: string, input: NewJob, own: boolean): Promise<NewPayload> {
    const { texts, topK, apply, truncate, metadata, webhook, expiresIn } = input;
    const trace = this.#deps.tracing.current();
    return {
      owner,
      texts: texts.map(({ id, text }) => (id === undefined ? { text } : { id, text })),
      top_k: topK,
      ...(apply === undefined ? {} : { apply }),
      ...(truncate === undefined ? {} : { truncate }),
      ...(metadata === undefined ? {} : { metadata }),
      ...(webhook === undefined ? {} : { webhook }),
      created_at: Date.now(),
      ...(expiresIn === undefined
        ? {}
        : { expires_at: (await redisTime(this.#deps.redis)) + expiresIn * 1000 }),
      ...(own ? { notify: this.#deps.waiters.channel } : {}),
      ...(trace === undefined ? {} : { trace }),
    };
  }

  async #findOwn(owner: string, id: string): Promise<JobRecord | Unfinished> {
    const found = await this.#find(id);
    if (found === undefined || found === 'deleted') throw notFound(id);
    if (('v' in found ? found.owner : found.payload.owner) !== owner) throw notFound(id);
    return found;
  }

  /** A job: its record, else what waits in BullMQ. One that turns out to have ended is settled on the way. */
  #find(id: string): Promise<JobRecord | Unfinished | 'deleted' | undefined> {
    return this.#reads.read(id);
  }

  async #read(id: string): Promise<JobRecord | Unfinished | 'deleted' | undefined> {
    const { redis, records, queues, catalog } = this.#deps;
    const parts = parseJobId(id);
    if (!parts) return undefined;
    const [record] = await records.read([id]);
    if (record) return record;
    // Ids come from outside: only models that exist get a queue object.
    const known = await catalog.resolve(parts.model).catch((error: unknown) => {
      if (error instanceof AppError && error.code === 'model_not_found') return undefined;
      throw error;
    });
    if (!known) return undefined;
    const queue = await queues.get(parts.priority, parts.model);
    const job = await queue.getJob(parts.group);
    const payload = jobGroupSchema.safeParse(job?.data).data?.jobs.find((member) => member.id === id);
    const state = job && payload ? await job.getState() : 'unknown';
    if (!job || !payload || state === 'unknown' || state === 'completed') {
      // It may have been settled and removed since we looked.
      return (await records.read([id]))[0];
    }
    const active = state === 'active';
    const unfinished: Unfinished = {
      status: active ? 'processing' : 'queued',
      payload,
      startedAt: active ? (job.processedOn ?? null) : null,
    };
    if (state === 'failed') {
      return this.#end(id, unfinished, {
        status: 'failed',
        error: { code: 'internal_error', message: job.failedReason },
      });
    }
    const neverStarted = job.processedOn === undefined;
    const deadline = neverStarted ? payload.expires_at : undefined;
    if (deadline !== undefined && deadline < (await redisTime(redis))) {
      return this.#end(id, unfinished, { status: 'expired', error: EXPIRED });
    }
    return unfinished;
  }

  /** Settles a job that no worker will finish, and takes it out of its queue. Whoever settled first wins. */
  async #end(
    id: string,
    { payload, startedAt }: Unfinished,
    outcome: Pick<Outcome, 'status' | 'error'>,
  ): Promise<JobRecord> {
    const { records, redis, queues, config } = this.#deps;
    const record = toRecord(payload, {
      ...outcome,
      startedAt,
      finishedAt: Date.now(),
      revision: null,
      results: null,
    });
    const settled = await records.settle(id, record, payload.notify);
    if (!settled.settled) {
      if (settled.existing === 'deleted') throw notFound(id);
      return settled.existing;
    }
    await redis.publish(cancelChannel(config.REDIS_PREFIX), id);
    await queues.takeOut(id);
    return record;
  }

  /** @param known how many jobs are ahead of it, if that was just found out */
  async #show(id: string, found: JobRecord | Unfinished, known?: number): Promise<Job> {
    if ('v' in found) return toJob(id, found);
    const { status, payload, startedAt } = found;
    const parts = parseJobId(id);
    const name = parts?.model ?? '';
    const ahead = status === 'queued' ? (known ?? (await this.#deps.backlog.ahead(id))) : undefined;
    return {
      id,
      status,
      model: { name, revision: null, workers: await this.#deps.catalog.workersOf(name) },
      created_at: new Date(payload.created_at).toISOString(),
      started_at: startedAt === null ? null : new Date(startedAt).toISOString(),
      finished_at: null,
      expires_at: payload.expires_at === undefined ? null : new Date(payload.expires_at).toISOString(),
      priority: parts?.priority ?? 'normal',
      text_count: payload.texts.length,
      results: null,
      failed_texts: 0,
      ...(ahead === undefined ? {} : { ahead }),
      error: null,
      metadata: payload.metadata ?? null,
      webhook: showWebhook('job', payload.webhook, undefined),
      timings_ms: null,
      urls: { self: selfUrl(id) },
    };
  }
}

/** Seconds after which asking for an unfinished job again makes sense. */
export const POLL_AFTER_S = 1;

export function isFinished(job: Job): boolean {
  return isFinal(job.status);
}

const CANCELED = { code: 'job_canceled', message: 'the job was canceled' };
const EXPIRED = { code: 'job_expired', message: 'the job was not started within expires_in' };

/** Where the model is not known yet, the worker looks. @throws AppError `too_many_scores` */
function assertScores({ texts, topK }: NewJob, { labels }: KnownModel, limit: number): void {
  if (labels === undefined) return;
  const problem = tooManyScores({ texts: texts.length, topK, labels: labels.length }, limit);
  if (problem !== undefined) throw new AppError('too_many_scores', problem);
}

function notFound(id: string): AppError {
  const why =
    parseJobId(id) === undefined
      ? 'the id of a job looks like 019aaf3c5e7b7c3b9d0e5f1a2b3c4d5e-n-sst2-minilm'
      : 'finished jobs are kept for a limited time';
  return new AppError('job_not_found', `there is no job ${shownId(id)}; ${why}`);
}
