/**
 * The BullMQ queues that a process adds to, one per model and priority, opened when first needed. Removes from them the jobs that
 * are canceled or expire.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Queue, Telemetry } from 'bullmq';
import type { Redis } from 'ioredis';
import { jobGroupSchema, type JobGroup } from '../../contract/jobs.ts';
import { parseJobId, type JobIdParts, type Priority } from '../../contract/ids.ts';
import { leavingKey } from '../../redis/keys.ts';
import { defineScript, isOne } from '../../redis/scripts.ts';
import { bulkQueueName, DELIVERIES_QUEUE, openQueue, queueName, type ChunkQueue } from '../queues.ts';
import { RedisStore } from '../redis-store.ts';

export type JobQueue = Queue<JobGroup, undefined>;

const REPLACE_DATA = defineScript(new URL('./replace-job-data.lua', import.meta.url), isOne);

/** Jobs that leave a group together. */
interface Leaving {
  ids: Set<string>;
  left: Promise<void>;
}

export class QueueSet extends RedisStore {
  readonly #telemetry: Telemetry | undefined;
  readonly #queues = new Map<string, Promise<Queue<unknown, undefined>>>();
  /** By group. */
  readonly #leaving = new Map<string, Leaving>();

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
   * Notes that a job will be dequeued. To be sent before its outcome is recorded: when the process or its connection dies in
   * between, the job is found by leaving() and dequeued later.
   */
  async noteLeaving(id: string): Promise<void> {
    // A full Redis refuses this command, and records the outcome of a job all the same.
    await this.redis.sadd(leavingKey(this.prefix), id).catch(() => {});
  }

  /** Jobs that were noted and not dequeued. Those that have no outcome yet may be ending at this moment, or have to stay. */
  leaving(): Promise<string[]> {
    return this.redis.smembers(leavingKey(this.prefix));
  }

  /**
   * Removes a canceled or expired job from its group, and a group without jobs from its queue. A group that a worker has
   * fetched stays: the worker drops the job when it is notified, or finds it settled.
   */
  dequeue(id: string): Promise<void> {
    const parts = parseJobId(id);
    if (!parts) return Promise.resolve();
    const joined = this.#leaving.get(parts.group);
    if (joined) {
      joined.ids.add(id);
      return joined.left;
    }
    const ids = new Set([id]);
    const left = this.#dequeueTogether(parts, ids);
    this.#leaving.set(parts.group, { ids, left });
    return left;
  }

  /** Jobs of a group often expire together: each removed on its own, they would have to wait for each other. */
  async #dequeueTogether(parts: JobIdParts, ids: Set<string>): Promise<void> {
    await nextTurn();
    this.#leaving.delete(parts.group);
    const queue = await this.get(parts.priority, parts.model);
    // Ends: the data changes only by jobs that leave it.
    while (!(await this.#removeFromGroup(queue, parts.group, ids)));
    await this.redis.srem(leavingKey(this.prefix), ...ids);
  }

  /** @returns false when the group changed meanwhile */
  async #removeFromGroup(queue: JobQueue, id: string, leaving: ReadonlySet<string>): Promise<boolean> {
    const key = queue.toKey(id);
    const data = await this.redis.hget(key, 'data');
    const group = data === null ? undefined : parseGroup(data);
    if (data === null || !group) return true;
    const jobs = group.jobs.filter((job) => !leaving.has(job.id));
    // Emptied first: the texts are gone even when the group cannot be removed because a worker holds it.
    const replaced = JSON.stringify({ ...group, jobs });
    if (
      jobs.length < group.jobs.length &&
      !(await REPLACE_DATA.run(this.redis, { job: key }, { seen: data, replaced }))
    )
      return false;
    if (jobs.length === 0) await queue.remove(id);
    return true;
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
