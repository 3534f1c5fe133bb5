/**
 * The backlog of each queue: jobs that were accepted and have no outcome yet. It answers how many texts wait, and how many jobs
 * come before one. BullMQ counts groups of jobs, and finds a position in a queue only by walking through it.
 *
 * A backlog is a sorted set of `<job id> <texts> <bytes>`, all with the same score and therefore in the order of the ids, which is
 * that of time. add-to-backlog.lua adds a job just before it enters its queue, settle.lua removes it in the step that records its
 * outcome, and each changes the totals in the same step. Jobs that a crash leaves behind in between are purged by the API
 * (src/api/jobs/maintenance.ts).
 */
import { z } from 'zod';
import { parseJobId } from '../../contract/ids.ts';
import { backlogKey, backlogTotalsKey, jobListKey, ownersKey } from '../../redis/keys.ts';
import { defineScript, noReply } from '../../redis/scripts.ts';
import { queueName } from '../queues.ts';
import { RedisStore } from '../redis-store.ts';

export interface QueuedJob {
  id: string;
  owner: string;
  texts: number;
  /** Of the texts, as UTF-8. */
  bytes: number;
}

/** Texts that wait in a queue or are being classified. */
export interface BacklogSize {
  texts: number;
  bytes: number;
}

export const EMPTY_BACKLOG: BacklogSize = { texts: 0, bytes: 0 };

const ADD = defineScript(
  new URL('./add-to-backlog.lua', import.meta.url),
  z.tuple([z.number(), z.number(), z.number()]),
);

const PURGE = defineScript(new URL('./purge-backlog.lua', import.meta.url), noReply);

export class Backlog extends RedisStore {
  /**
   * Adds jobs that are about to enter their queue.
   * @param jobs at least one
   * @returns how many jobs come before the first one, and the size of the backlog with all of them
   */
  async add(queue: string, jobs: readonly QueuedJob[]): Promise<{ ahead: number; size: BacklogSize }> {
    const owners = [...new Set(jobs.map(({ owner }) => owner))];
    const [ahead, texts, bytes] = await ADD.run(
      this.redis,
      {
        backlog: backlogKey(this.prefix, queue),
        totals: backlogTotalsKey(this.prefix),
        owners: ownersKey(this.prefix),
      },
      { queue, ownerCount: owners.length },
      {
        keys: owners.map((owner) => jobListKey(this.prefix, owner)),
        args: [
          ...owners,
          ...jobs.flatMap((job) => [job.id, owners.indexOf(job.owner) + 1, job.texts, job.bytes]),
        ],
      },
    );
    return { ahead, size: { texts, bytes } };
  }

  /** Number of jobs in its queue that come before a job and have no outcome yet. */
  async ahead(id: string): Promise<number> {
    const parts = parseJobId(id);
    if (!parts) return 0;
    const key = backlogKey(this.prefix, queueName(parts.priority, parts.model));
    return this.redis.zlexcount(key, '-', `(${id}`);
  }

  /** Sizes of all backlogs, by queue; a queue stays listed when its backlog is empty. */
  async sizes(): Promise<Map<string, BacklogSize>> {
    const sizes = new Map<string, BacklogSize>();
    for (const { what, queue, value } of await this.#totals()) {
      if (what === 'ended') continue;
      sizes.set(queue, { ...(sizes.get(queue) ?? EMPTY_BACKLOG), [what]: value });
    }
    return sizes;
  }

  /** Number of texts that ever had an outcome, by queue. */
  async ended(): Promise<Map<string, number>> {
    const totals = await this.#totals();
    return new Map(totals.filter(({ what }) => what === 'ended').map(({ queue, value }) => [queue, value]));
  }

  async #totals(): Promise<{ what: 'texts' | 'bytes' | 'ended'; queue: string; value: number }[]> {
    const totals = await this.redis.hgetall(backlogTotalsKey(this.prefix));
    return Object.entries(totals).map(([field, value]) => {
      const [what, queue] = field.split(' ') as ['texts' | 'bytes' | 'ended', string];
      return { what, queue, value: Number(value) };
    });
  }

  /** Unix ms at which the oldest job of a backlog was accepted; undefined when the backlog is empty. */
  async oldest(queue: string): Promise<number | undefined> {
    const [id] = await this.page(queue, undefined, 1);
    return id === undefined ? undefined : parseJobId(id)?.createdAt;
  }

  /** Ids of the jobs of a backlog, oldest first, from the one behind `after` on. */
  async page(queue: string, after: string | undefined, limit: number): Promise<string[]> {
    const key = backlogKey(this.prefix, queue);
    const from = after === undefined ? '-' : `(${after}!`;
    const members = await this.redis.zrangebylex(key, from, '+', 'LIMIT', 0, limit);
    return members.map((member) => member.slice(0, member.indexOf(' ')));
  }

  /** Removes jobs from the backlog without an outcome. */
  async purge(queue: string, ids: readonly string[]): Promise<void> {
    await PURGE.run(
      this.redis,
      { backlog: backlogKey(this.prefix, queue), totals: backlogTotalsKey(this.prefix) },
      { queue },
      { args: ids },
    );
  }
}
