/** The BullMQ queues as the API sees them, one per model and priority, made when first needed. */
import { readFileSync } from 'node:fs';
import { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { jobGroupSchema, type JobGroup } from '../shared/contract.ts';
import { parseJobId, type Priority } from '../shared/ids.ts';
import { NO_EVENTS, queueName } from '../shared/queues.ts';

export type JobQueue = Queue<JobGroup, undefined>;

interface RedisWithTakeOut extends Redis {
  amuletTakeOut(key: string, seen: string, wanted: string): Promise<number>;
}

/** A group is changed by nobody but its jobs' cancellations and expiries. */
const MAX_TAKE_OUT_TRIES = 16;

export class QueueSet {
  readonly #redis: RedisWithTakeOut;
  readonly #prefix: string;
  readonly #queues = new Map<string, Promise<JobQueue>>();

  constructor(redis: Redis, prefix: string) {
    redis.defineCommand('amuletTakeOut', {
      numberOfKeys: 1,
      lua: readFileSync(new URL('../shared/take-out.lua', import.meta.url), 'utf8'),
    });
    this.#redis = redis as RedisWithTakeOut;
    this.#prefix = prefix;
  }

  /** A queue that is ready for commands. A Queue whose first connection failed stays broken, so those are not kept. */
  get(priority: Priority, model: string): Promise<JobQueue> {
    const name = queueName(priority, model);
    const known = this.#queues.get(name);
    if (known) return known;
    const opened = this.#open(name);
    this.#queues.set(name, opened);
    opened.catch(() => this.#queues.delete(name));
    return opened;
  }

  /**
   * Takes a job that no worker is to run out of its group, and with the last of them the group out of its queue. What a
   * worker holds already stays; it drops the job when it hears of it, or finds it settled.
   */
  async takeOut(id: string): Promise<void> {
    const parts = parseJobId(id);
    if (!parts) return;
    const queue = await this.get(parts.priority, parts.model);
    const key = queue.toKey(parts.group);
    for (let tries = 0; tries < MAX_TAKE_OUT_TRIES; tries++) {
      const data = await this.#redis.hget(key, 'data');
      const group = data === null ? undefined : parseGroup(data);
      if (data === null || !group?.jobs.some((job) => job.id === id)) return;
      const jobs = group.jobs.filter((job) => job.id !== id);
      // Empty first: the text is gone even when the group cannot be removed because a worker holds it.
      const replaced = await this.#redis.amuletTakeOut(key, data, JSON.stringify({ ...group, jobs }));
      if (replaced === 0) continue;
      if (jobs.length === 0) await queue.remove(parts.group).catch(() => 0);
      return;
    }
  }

  async #open(name: string): Promise<JobQueue> {
    const queue: JobQueue = new Queue(name, {
      connection: this.#redis,
      prefix: this.#prefix,
      streams: NO_EVENTS,
    });
    // Connection errors are reported once, by the connection itself.
    queue.on('error', () => {});
    await queue.waitUntilReady();
    return queue;
  }

  async close(): Promise<void> {
    for (const opening of this.#queues.values()) {
      const queue = await opening.catch(() => undefined);
      await queue?.close();
    }
  }
}

function parseGroup(data: string): JobGroup | undefined {
  return jobGroupSchema.safeParse(JSON.parse(data)).data;
}
