/** The BullMQ queues that a process adds to, one per model and priority, opened when first needed. */
import type { Queue, Telemetry } from 'bullmq';
import type { Redis } from 'ioredis';
import { jobGroupSchema, type JobGroup } from '../../contract/jobs.ts';
import { parseJobId, type Priority } from '../../contract/ids.ts';
import { defineScript, isOne } from '../../redis/scripts.ts';
import { bulkQueueName, DELIVERIES_QUEUE, openQueue, queueName, type ChunkQueue } from '../queues.ts';
import { RedisStore } from '../redis-store.ts';

export type JobQueue = Queue<JobGroup, undefined>;

const REPLACE_DATA = defineScript(new URL('./replace-job-data.lua', import.meta.url), isOne);

/** Only cancellations and expiries of a group's jobs change it, so few meet at a time. */
const MAX_REPLACE_TRIES = 16;

export class QueueSet extends RedisStore {
  readonly #telemetry: Telemetry | undefined;
  readonly #queues = new Map<string, Promise<Queue<unknown, undefined>>>();

  /** @param telemetry for spans of adding jobs; chunks have none, because a batch may have a million */
  constructor(redis: Redis, prefix: string, telemetry?: Telemetry) {
    super(redis, prefix);
    this.#telemetry = telemetry;
  }

  /** A queue that is ready for commands. A queue that could not be opened is opened anew the next time. */
  get(priority: Priority, model: string): Promise<JobQueue> {
    return this.#open(queueName(priority, model), this.#telemetry) as Promise<JobQueue>;
  }

  /** The queue of the chunks of batches; see bulkQueueName(). */
  getBulk(model: string, revision: string | undefined): Promise<ChunkQueue> {
    return this.#open(bulkQueueName(model, revision)) as Promise<ChunkQueue>;
  }

  /** The queue of webhook deliveries, filled and processed by the webhook processes. */
  getDeliveries(): Promise<Queue<unknown, undefined>> {
    return this.#open(DELIVERIES_QUEUE);
  }

  #open(name: string, telemetry?: Telemetry): Promise<Queue<unknown, undefined>> {
    const known = this.#queues.get(name);
    if (known) return known;
    const opened = openQueue<unknown>(name, this.redis, this.prefix, telemetry);
    this.#queues.set(name, opened);
    opened.catch(() => this.#queues.delete(name));
    return opened;
  }

  /**
   * Removes a canceled or expired job from its group, and a group without jobs from its queue. A group that a worker has
   * fetched stays: the worker drops the job when it is notified, or finds it settled.
   */
  async dequeue(id: string): Promise<void> {
    const parts = parseJobId(id);
    if (!parts) return;
    const queue = await this.get(parts.priority, parts.model);
    const key = queue.toKey(parts.group);
    for (let tries = 0; tries < MAX_REPLACE_TRIES; tries++) {
      const data = await this.redis.hget(key, 'data');
      const group = data === null ? undefined : parseGroup(data);
      if (data === null || !group?.jobs.some((job) => job.id === id)) return;
      const jobs = group.jobs.filter((job) => job.id !== id);
      // Emptied first: the texts are gone even when the group cannot be removed because a worker holds it.
      const replaced = JSON.stringify({ ...group, jobs });
      if (!(await REPLACE_DATA.run(this.redis, { job: key }, { seen: data, replaced }))) continue;
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
