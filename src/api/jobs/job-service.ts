/**
 * Jobs after their submission: read, list, wait, cancel, expire. No HTTP in here.
 *
 * Every public method but readAndSettle(), which others call, runs under one Redis deadline and throws AppErrors.
 */
import { parseJobId, shownId } from '../../shared/contract/ids.ts';
import type { Job, JobList, JobRecord } from '../../shared/contract/jobs.ts';
import { AppError } from '../../shared/contract/problems.ts';
import { isFinal, type JobStatus } from '../../shared/contract/states.ts';
import { cancelChannel, jobListKey } from '../../shared/redis/keys.ts';
import { redisTime } from '../../shared/redis/time.ts';
import { toError } from '../../shared/runtime/to-error.ts';
import { toJob, toRecord } from '../../shared/store/jobs/job-records.ts';
import { toPage, type ListOptions } from '../list-page.ts';
import type { FoundJob, JobEnd, JobReader, UnfinishedJob } from './job-reader.ts';
import type { Deps } from '../deps.ts';
import type { WaitLimits } from './waiters.ts';

export interface JobServiceDeps extends Deps<
  'redis' | 'prefix' | 'withRedis' | 'records' | 'queues' | 'waiters' | 'logger'
> {
  reader: JobReader;
}

/** Jobs that one query of a sweep finds. */
const SWEEP_LIMIT = 200;
/** A sweep that takes longer leaves the rest to the next one. */
const SWEEP_MS = 800;
/** Jobs of the list that one page may look at. */
const MAX_LOOKED = 2000;

const CANCELED = { code: 'job_canceled', message: 'the job was canceled' };

export class JobService {
  readonly #deps: JobServiceDeps;

  constructor(deps: JobServiceDeps) {
    this.#deps = deps;
  }

  /** @throws AppError `job_not_found` when it is unknown, past its retention, deleted, or another owner's */
  async get(owner: string, id: string): Promise<Job> {
    const { withRedis, reader } = this.#deps;
    return withRedis(async () => reader.show(id, await this.#ownedBy(owner, id)));
  }

  /** An owner's jobs that are still known, newest first, without their results. */
  async list(owner: string, { limit, after, status, model }: ListOptions<JobStatus>): Promise<JobList> {
    const { redis, prefix, withRedis } = this.#deps;
    const key = jobListKey(prefix, owner);
    const filtered = status !== undefined || model !== undefined;
    const page = { limit, after, filtered, maxLooked: MAX_LOOKED };
    return withRedis(async () => {
      const { entries, next } = await toPage(page, async (from, count) => {
        const below = from === undefined ? '+' : `(${from}`;
        const ids = await redis.zrevrangebylex(key, below, '-', 'LIMIT', 0, count);
        const wanted = model === undefined ? ids : ids.filter((id) => parseJobId(id)?.model === model);
        return { found: await this.#showAll(wanted, status), last: ids.at(-1), atEnd: ids.length < count };
      });
      return { jobs: entries.map(({ results: _, ...job }) => job), next };
    });
  }

  /** The jobs that are still known, and have the status if one is given. */
  async #showAll(ids: string[], status: JobStatus | undefined): Promise<Job[]> {
    const { records, reader } = this.#deps;
    if (ids.length === 0) return [];
    if (status !== undefined && isFinal(status)) {
      // Jobs that wait are not looked up in their queues: none of them has this status.
      const found = await records.readWithStatus(ids, status);
      return [...found].map(([id, record]) => toJob(id, record));
    }
    const candidates = status === undefined ? ids : await records.withoutOutcome(ids);
    const finished = await records.read(candidates);
    const found = await Promise.all(candidates.map(async (id, i) => finished[i] ?? this.readAndSettle(id)));
    const shown = await Promise.all(
      found.flatMap((job, i) =>
        job === undefined || job === 'deleted' ? [] : [reader.show(candidates[i] as string, job)],
      ),
    );
    return status === undefined ? shown : shown.filter((job) => job.status === status);
  }

  /** The job once it is final, or as it is after `timeoutMs`; undefined when the caller hung up. */
  async wait(owner: string, id: string, { timeoutMs, signal }: WaitLimits): Promise<Job | undefined> {
    const { withRedis, waiters, reader, records } = this.#deps;
    let notify: string | undefined;
    // While another caller of this owner waits, the owner is known, and waiters look up whether the job has ended.
    if (timeoutMs <= 0 || !waiters.waitsFor(id, owner)) {
      const found = await withRedis(() => this.#ownedBy(owner, id));
      if ('v' in found) return reader.show(id, found);
      notify = found.payload.notify;
    }
    const announcedOn = records.announcedOn(id, notify);
    const outcome = await waiters.wait(id, { owner, announcedOn, timeoutMs, signal });
    if (outcome === 'deleted') throw jobNotFound(id);
    if (outcome) return reader.show(id, outcome);
    return signal?.aborted === true ? undefined : this.get(owner, id);
  }

  /** Whether waits end early because the server shuts down. */
  get stopping(): boolean {
    return this.#deps.waiters.closed;
  }

  /**
   * Cancels a job that is not final; deletes one that is.
   * @returns the canceled job (or, when it finished at the same moment, the finished one); undefined when deleted
   */
  async cancel(owner: string, id: string): Promise<Job | undefined> {
    const { withRedis, records, reader } = this.#deps;
    return withRedis(async () => {
      const found = await this.#ownedBy(owner, id);
      if ('v' in found) {
        await records.delete(id);
        return undefined;
      }
      const ended = await this.#settle(id, found, { status: 'canceled', error: CANCELED });
      if (ended === 'deleted') throw jobNotFound(id);
      return reader.show(id, ended);
    });
  }

  /** Settles the jobs whose time to start has passed. Any API instance may do it, at any time. */
  async expireOverdue(): Promise<void> {
    const { redis, records, withRedis } = this.#deps;
    await withRedis(async () => {
      const { deadlinesKey } = records;
      const until = performance.now() + SWEEP_MS;
      let due: string[];
      do {
        const now = await redisTime(redis);
        due = await redis.zrangebyscore(deadlinesKey, '-inf', now, 'LIMIT', 0, SWEEP_LIMIT);
        await Promise.all(due.map((id) => this.readAndSettle(id)));
        if (due.length > 0) await redis.zrem(deadlinesKey, ...due);
      } while (due.length === SWEEP_LIMIT && performance.now() < until);
    });
  }

  /** Reads a job, and settles it first if no worker will finish it: callers see its end before a sweep has found it. */
  async readAndSettle(id: string): Promise<FoundJob> {
    const found = await this.#deps.reader.read(id);
    if (found === undefined || found === 'deleted' || 'v' in found || found.settleAs === undefined)
      return found;
    return this.#settle(id, found, found.settleAs);
  }

  async #ownedBy(owner: string, id: string): Promise<JobRecord | UnfinishedJob> {
    const found = await this.readAndSettle(id);
    if (found === undefined || found === 'deleted') throw jobNotFound(id);
    if (('v' in found ? found.owner : found.payload.owner) !== owner) throw jobNotFound(id);
    return found;
  }

  /** Settles a job that no worker will finish, and removes it from its queue. The first to settle a job wins. */
  async #settle(
    id: string,
    { payload, startedAt }: UnfinishedJob,
    end: JobEnd,
  ): Promise<JobRecord | 'deleted'> {
    const { records, redis, queues, prefix, logger } = this.#deps;
    const record = toRecord(payload, { ...end, started: startedAt ?? undefined, finished: Date.now() });
    // Sent in this order.
    const [, settled] = await Promise.all([
      queues.noteLeaving(id),
      records.settle(id, record, { notify: payload.notify }),
    ]);
    // The job has its outcome. What fails now is repeated by the maintenance.
    await Promise.all([
      ...(settled.settled ? [redis.publish(cancelChannel(prefix), id)] : []),
      queues.dequeue(id),
    ]).catch((error: unknown) =>
      logger.warn({ job: id, reason: toError(error).message }, 'a job that has ended is dequeued later'),
    );
    return settled.settled ? record : settled.existing;
  }
}

/** Seconds after which asking for an unfinished job again makes sense. */
export const POLL_AFTER_S = 1;

export function jobNotFound(id: string): AppError {
  const why =
    parseJobId(id) === undefined
      ? 'the id of a job looks like 019aaf3c5e7b7c3b9d0e5f1a2b3c4d5e-n-sentiment-multilingual'
      : 'finished jobs are kept for a limited time';
  return new AppError('job_not_found', `there is no job ${shownId(id)}; ${why}`);
}
