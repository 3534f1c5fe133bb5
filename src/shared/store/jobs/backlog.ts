/**
 * The jobs of each queue that have come in and have no outcome yet: how many texts that are, and how many jobs come before
 * one. BullMQ counts groups of jobs, and tells a place in a queue only by walking through it.
 *
 * A backlog is a sorted set of `<job id> <texts> <bytes>`, all with the same score and so in the order of the ids, which is
 * that of time. add-to-backlog.lua writes a job down just before it goes into its queue, settle.lua takes it out in the step that
 * fixes its outcome, and each changes the totals in the same step. What a crash leaves behind in between, the API finds
 * (src/api/jobs/maintenance.ts).
 */
import { readFileSync } from 'node:fs';
import type { Redis } from 'ioredis';
import { parseJobId } from '../../contract/ids.ts';
import { backlogKey, backlogTotalsKey, jobListKey, ownersKey } from '../../redis/keys.ts';
import { queueName } from '../queues.ts';

/** The function `leave_backlog` for scripts that end jobs. */
export const LEAVE_BACKLOG = readScript('remove-from-backlog');

export interface QueuedJob {
  id: string;
  owner: string;
  texts: number;
  /** Of the texts, as UTF-8. */
  bytes: number;
}

/** What waits in a queue or is worked on. */
export interface BacklogSize {
  texts: number;
  bytes: number;
}

export const EMPTY_BACKLOG: BacklogSize = { texts: 0, bytes: 0 };

interface RedisWithBacklog extends Redis {
  amuletTakeIn(numberOfKeys: number, ...args: (string | number)[]): Promise<[number, number, number]>;
  amuletForgetBacklog(...args: string[]): Promise<null>;
}

export class Backlog {
  readonly #redis: RedisWithBacklog;
  readonly #prefix: string;

  constructor(redis: Redis, prefix: string) {
    redis.defineCommand('amuletTakeIn', { lua: readScript('add-to-backlog') });
    redis.defineCommand('amuletForgetBacklog', {
      numberOfKeys: 2,
      lua: LEAVE_BACKLOG + readScript('purge-backlog'),
    });
    this.#redis = redis as RedisWithBacklog;
    this.#prefix = prefix;
  }

  /**
   * Writes down jobs that are about to go into a queue.
   * @param jobs at least one
   * @returns how many jobs come before the first one, and what the backlog is with all of them
   */
  async takeIn(queue: string, jobs: readonly QueuedJob[]): Promise<{ ahead: number; size: BacklogSize }> {
    const owners = [...new Set(jobs.map(({ owner }) => owner))];
    const [ahead, texts, bytes] = await this.#redis.amuletTakeIn(
      3 + owners.length,
      backlogKey(this.#prefix, queue),
      backlogTotalsKey(this.#prefix),
      ownersKey(this.#prefix),
      ...owners.map((owner) => jobListKey(this.#prefix, owner)),
      queue,
      owners.length,
      ...owners,
      ...jobs.flatMap((job) => [job.id, owners.indexOf(job.owner) + 1, job.texts, job.bytes]),
    );
    return { ahead, size: { texts, bytes } };
  }

  /** Jobs of its queue that came in before a job and have no outcome yet. */
  async ahead(id: string): Promise<number> {
    const parts = parseJobId(id);
    if (!parts) return 0;
    const key = backlogKey(this.#prefix, queueName(parts.priority, parts.model));
    return this.#redis.zlexcount(key, '-', `(${id}`);
  }

  /** The size of every backlog there has been, by queue. */
  async sizes(): Promise<Map<string, BacklogSize>> {
    const sizes = new Map<string, BacklogSize>();
    for (const { what, queue, value } of await this.#totals()) {
      if (what === 'ended') continue;
      sizes.set(queue, { ...(sizes.get(queue) ?? EMPTY_BACKLOG), [what]: value });
    }
    return sizes;
  }

  /** How many texts have had an outcome since there was the first, by queue. */
  async ended(): Promise<Map<string, number>> {
    const totals = await this.#totals();
    return new Map(totals.filter(({ what }) => what === 'ended').map(({ queue, value }) => [queue, value]));
  }

  async #totals(): Promise<{ what: 'texts' | 'bytes' | 'ended'; queue: string; value: number }[]> {
    const totals = await this.#redis.hgetall(backlogTotalsKey(this.#prefix));
    return Object.entries(totals).map(([field, value]) => {
      const [what, queue] = field.split(' ') as ['texts' | 'bytes' | 'ended', string];
      return { what, queue, value: Number(value) };
    });
  }

  /** Unix ms at which the oldest job of a queue without an outcome came in; undefined when there is none. */
  async oldest(queue: string): Promise<number | undefined> {
    const [id] = await this.page(queue, undefined, 1);
    return id === undefined ? undefined : parseJobId(id)?.createdAt;
  }

  /** Ids of the jobs of a backlog, oldest first, from the one behind `after` on. */
  async page(queue: string, after: string | undefined, limit: number): Promise<string[]> {
    const key = backlogKey(this.#prefix, queue);
    const from = after === undefined ? '-' : `(${after}!`;
    const members = await this.#redis.zrangebylex(key, from, '+', 'LIMIT', 0, limit);
    return members.map((member) => member.slice(0, member.indexOf(' ')));
  }

  /** Takes jobs out of the backlog without fixing an outcome. */
  async forget(queue: string, ids: readonly string[]): Promise<void> {
    await this.#redis.amuletForgetBacklog(
      backlogKey(this.#prefix, queue),
      backlogTotalsKey(this.#prefix),
      queue,
      ...ids,
    );
  }
}

function readScript(name: string): string {
  return readFileSync(new URL(`./${name}.lua`, import.meta.url), 'utf8');
}
