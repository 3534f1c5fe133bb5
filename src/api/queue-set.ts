/** The BullMQ Queue objects of the API, one per model and priority, made when first needed. */
import { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import type { JobPayload } from '../shared/contract.ts';
import type { Priority } from '../shared/ids.ts';
import { NO_EVENTS, queueName } from '../shared/queues.ts';

export type JobQueue = Queue<JobPayload, undefined>;

export class QueueSet {
  readonly #redis: Redis;
  readonly #prefix: string;
  readonly #queues = new Map<string, Promise<JobQueue>>();

  constructor(redis: Redis, prefix: string) {
    this.#redis = redis;
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
