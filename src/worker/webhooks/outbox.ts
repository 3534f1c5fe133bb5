/**
 * From the outbox into the queue of deliveries. An event leaves the outbox only after its delivery is in the queue; to do
 * any of it again does no harm. Several webhook processes share the outbox as a consumer group, and take over what one of
 * them had in hand when it died.
 */
import { randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import { toError } from '../../shared/runtime/to-error.ts';
import type { Logger } from '../../shared/runtime/logger.ts';
import { outboxKey } from '../../shared/redis/keys.ts';

const GROUP = 'webhooks';
const BATCH = 100;
const BLOCK_MS = 5000;
/** What another process has had in hand for so long is taken over. */
const TAKE_OVER_MS = 10_000;
const RETRY_MS = 500;

type Entry = [entryId: string, fields: string[] | null];

export interface OutboxOptions {
  /** A connection of its own: reading blocks. */
  redis: Redis;
  prefix: string;
  logger: Logger;
  /** Puts the deliveries of these events into the queue. */
  enqueue: (ids: string[]) => Promise<void>;
}

export class Outbox {
  readonly #options: OutboxOptions;
  readonly #consumer = randomBytes(6).toString('hex');
  readonly #key: string;
  readonly #stopping = new AbortController();
  #loop: Promise<void> = Promise.resolve();

  constructor(options: OutboxOptions) {
    this.#options = options;
    this.#key = outboxKey(options.prefix);
  }

  start(): void {
    this.#loop = this.#run();
  }

  /** Reads no more. What is in hand is finished, or taken over by another process. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    // It may be blocked in a read.
    this.#options.redis.disconnect();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    let lookedForOthers = -Infinity;
    // Its own entries first: those that a failure left behind.
    let from: '0' | '>' = '>';
    while (!signal.aborted) {
      try {
        if (performance.now() - lookedForOthers >= TAKE_OVER_MS / 2) {
          await this.#takeOver();
          lookedForOthers = performance.now();
        }
        const entries = await this.#read(from);
        if (entries.length > 0) await this.#pass(entries);
        else from = '>';
      } catch (error) {
        if (this.#stopping.signal.aborted) return;
        const { message } = toError(error);
        // No process has read this outbox before, or Redis lost it.
        if (message.startsWith('NOGROUP') && (await this.#createGroup())) continue;
        this.#options.logger.warn({ reason: message }, 'outbox');
        from = '0';
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  /** From its very beginning: events may have come before the first process that reads them. */
  async #createGroup(): Promise<boolean> {
    try {
      await this.#options.redis.xgroup('CREATE', this.#key, GROUP, '0', 'MKSTREAM');
      return true;
    } catch (error) {
      // Another process was faster.
      return toError(error).message.startsWith('BUSYGROUP');
    }
  }

  async #read(from: '0' | '>'): Promise<Entry[]> {
    const { redis } = this.#options;
    const reply = await redis.xreadgroup(
      'GROUP',
      GROUP,
      this.#consumer,
      'COUNT',
      BATCH,
      'BLOCK',
      BLOCK_MS,
      'STREAMS',
      this.#key,
      from,
    );
    return reply?.[0]?.[1] ?? [];
  }

  async #takeOver(): Promise<void> {
    const { redis } = this.#options;
    for (let cursor = '0-0'; ;) {
      const [next, entries] = (await redis.xautoclaim(
        this.#key,
        GROUP,
        this.#consumer,
        TAKE_OVER_MS,
        cursor,
        'COUNT',
        BATCH,
      )) as [string, Entry[]];
      if (entries.length > 0) await this.#pass(entries);
      if (next === '0-0') break;
      cursor = next;
    }
    await this.#forgetOthers();
  }

  /** Names of processes that are gone and have nothing in hand. */
  async #forgetOthers(): Promise<void> {
    const { redis } = this.#options;
    const consumers = (await redis.xinfo('CONSUMERS', this.#key, GROUP)) as (string | number)[][];
    for (const fields of consumers) {
      const [, name, , pending, , idle] = fields as [string, string, string, number, string, number];
      if (name === this.#consumer || pending > 0 || idle < 6 * TAKE_OVER_MS) continue;
      await redis.xgroup('DELCONSUMER', this.#key, GROUP, name);
    }
  }

  async #pass(entries: Entry[]): Promise<void> {
    const { redis, enqueue } = this.#options;
    const ids = entries.flatMap(([, fields]) =>
      fields?.[0] === 'id' && fields[1] !== undefined ? [fields[1]] : [],
    );
    await enqueue(ids);
    const entryIds = entries.map(([entryId]) => entryId);
    await redis
      .multi()
      .xack(this.#key, GROUP, ...entryIds)
      .xdel(this.#key, ...entryIds)
      .exec();
  }
}
