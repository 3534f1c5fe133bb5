/**
 * Job maintenance: cleans up the job lists of owners and the backlogs of queues, which have no TTL, and removes ended jobs from their
 * queues where another process has not finished that. Any API instance may run it, at any time.
 */
import { parseJobId } from '../../shared/contract/ids.ts';
import { jobListKey, ownersKey } from '../../shared/redis/keys.ts';
import { redisTime } from '../../shared/redis/time.ts';
import type { Deps } from '../deps.ts';

/** Jobs that are checked together. */
const PAGE = 500;
/** Pages with nothing to drop after which a run leaves a list or backlog; the next run continues there. */
const MAX_IDLE_PAGES = 40;
/** Younger jobs may be on their way into their queue. */
const SETTLING_MS = 60_000;

export type JobMaintenanceDeps = Deps<'redis' | 'prefix' | 'records' | 'queues' | 'backlog' | 'resultTtlS'>;

/** Where a job is: in its queue, in its record (also that of a deleted job), or nowhere. */
type State = 'waiting' | 'finished' | 'gone';

/** A set of job ids to clean up, oldest first. */
interface Sweep {
  name: string;
  /** Jobs created after this time (Unix ms) are left alone. */
  before: number;
  page: (after: string | undefined) => Promise<string[]>;
  drop: (ids: string[]) => Promise<unknown>;
  /** Jobs in these states are dropped. */
  dropped: readonly State[];
}

export class JobMaintenance {
  readonly #deps: JobMaintenanceDeps;
  /** Where the last run stopped, by key. */
  readonly #positions = new Map<string, string>();
  #running = false;

  constructor(deps: JobMaintenanceDeps) {
    this.#deps = deps;
  }

  /** Cleans up once, unless a run is under way. The next run continues where this one left long lists. */
  async run(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    try {
      await this.#sweepAll();
    } finally {
      this.#running = false;
    }
  }

  /** Dequeues the jobs that have ended, or are in no queue any more. Others may be ending at this moment. */
  async #dequeueEnded(): Promise<void> {
    const { records, queues } = this.#deps;
    const leaving = await queues.leaving();
    for (let start = 0; start < leaving.length; start += PAGE) {
      const ids = leaving.slice(start, start + PAGE);
      const [waiting, ended] = await Promise.all([
        Promise.all(ids.map((id) => this.#isInQueue(id))),
        Promise.all(ids.map((id) => records.exists(id))),
      ]);
      await Promise.all(
        ids.filter((_, i) => ended[i] === true || waiting[i] === false).map((id) => queues.dequeue(id)),
      );
    }
  }

  async #sweepAll(): Promise<void> {
    await this.#dequeueEnded();
    const { redis, prefix, backlog, resultTtlS } = this.#deps;
    const now = await redisTime(redis);
    for (const owner of await redis.smembers(ownersKey(prefix))) {
      const key = jobListKey(prefix, owner);
      await this.#sweep({
        name: key,
        before: now - resultTtlS * 1000,
        page: (after) =>
          redis.zrangebylex(key, after === undefined ? '-' : `(${after}`, '+', 'LIMIT', 0, PAGE),
        drop: (ids) => redis.zrem(key, ...ids),
        dropped: ['gone'],
      });
    }
    for (const queue of (await backlog.sizes()).keys()) {
      await this.#sweep({
        name: queue,
        before: now - SETTLING_MS,
        page: (after) => backlog.page(queue, after, PAGE),
        drop: (ids) => backlog.purge(queue, ids),
        dropped: ['gone', 'finished'],
      });
    }
  }

  async #sweep({ name, before, page, drop, dropped }: Sweep): Promise<void> {
    // Only pages without drops count: with a fixed number of pages, jobs could come in faster than they are dropped.
    for (let idle = 0; idle < MAX_IDLE_PAGES;) {
      const ids = await page(this.#positions.get(name));
      const old = ids.filter((id) => (parseJobId(id)?.createdAt ?? 0) < before);
      const states = await this.#states(old);
      const over = old.filter((_, i) => dropped.includes(states[i] as State));
      if (over.length > 0) await drop(over);
      else idle++;
      if (old.length < PAGE) {
        this.#positions.delete(name);
        return;
      }
      this.#positions.set(name, old.at(-1) as string);
    }
  }

  async #states(ids: readonly string[]): Promise<State[]> {
    const { records } = this.#deps;
    // The queue first: a job has its record before it leaves the queue.
    const waiting = await Promise.all(ids.map((id) => this.#isInQueue(id)));
    const finished = await Promise.all(ids.map((id) => records.exists(id)));
    return ids.map((_, i) => (waiting[i] ? 'waiting' : finished[i] ? 'finished' : 'gone'));
  }

  /** Whether the job's group is in its queue. */
  async #isInQueue(id: string): Promise<boolean> {
    const { redis, queues } = this.#deps;
    const parts = parseJobId(id);
    if (!parts) return false;
    const queue = await queues.get(parts.priority, parts.model);
    return (await redis.exists(queue.toKey(parts.group))) === 1;
  }
}
