/** The BullMQ queues as the API sees them, one per model and priority, made when first needed. */
import { readFileSync } from 'node:fs';
import type { Queue, Telemetry } from 'bullmq';
import type { Redis } from 'ioredis';
import { jobGroupSchema, type JobGroup } from '../../contract/jobs.ts';
import { parseJobId, type Priority } from '../../contract/ids.ts';
import { bulkQueueName, DELIVERIES_QUEUE, openQueue, queueName, type ChunkQueue } from '../queues.ts';

export type JobQueue = Queue<JobGroup, undefined>;

interface RedisWithTakeOut extends Redis {
  amuletTakeOut(key: string, seen: string, wanted: string): Promise<number>;
}

/** A group is changed by nobody but its jobs' cancellations and expiries. */
const MAX_TAKE_OUT_TRIES = 16;

export class QueueSet {
  readonly #redis: RedisWithTakeOut;
  readonly #prefix: string;
  readonly #telemetry: Telemetry | undefined;
  readonly #queues = new Map<string, Promise<Queue<unknown, undefined>>>();

  /** @param telemetry for spans of adding jobs; chunks of batches have none, a batch may have a million */
  constructor(redis: Redis, prefix: string, telemetry?: Telemetry) {
    redis.defineCommand('amuletTakeOut', {
      numberOfKeys: 1,
      lua: readFileSync(new URL('./replace-job-data.lua', import.meta.url), 'utf8'),
    });
    this.#redis = redis as RedisWithTakeOut;
    this.#prefix = prefix;
    this.#telemetry = telemetry;
  }

  /** A queue that is ready for commands; one that could not be opened is not kept. */
  get(priority: Priority, model: string): Promise<JobQueue> {
    return this.#open(queueName(priority, model), this.#telemetry) as Promise<JobQueue>;
  }

  /** The queue of the chunks of batches; see bulkQueueName(). */
  getBulk(model: string, revision: string | undefined): Promise<ChunkQueue> {
    return this.#open(bulkQueueName(model, revision)) as Promise<ChunkQueue>;
  }

  /** The queue of webhook deliveries, which the webhook processes fill and work on. */
  getDeliveries(): Promise<Queue<unknown, undefined>> {
    return this.#open(DELIVERIES_QUEUE);
  }

  #open(name: string, telemetry?: Telemetry): Promise<Queue<unknown, undefined>> {
    const known = this.#queues.get(name);
    if (known) return known;
    const opened = openQueue<unknown>(name, this.#redis, this.#prefix, telemetry);
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
