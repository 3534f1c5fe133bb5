/**
 * Moves events from the outbox to the queue of deliveries. An event leaves the outbox only after its delivery is in the queue;
 * repeating any step is harmless. Several webhook processes share the outbox as a consumer group, and take over the entries of
 * a process that died.
 */
import { randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import { toError } from '../../shared/runtime/to-error.ts';
import type { Logger } from '../../shared/runtime/logger.ts';
import { outboxKey } from '../../shared/redis/keys.ts';

const GROUP = 'webhooks';
const BATCH = 100;
const BLOCK_MS = 5000;
/** Entries that another process has read and not acknowledged after this time are taken over. */
const TAKE_OVER_MS = 10_000;
const RETRY_MS = 500;

type Entry = [entryId: string, fields: string[] | null];

export interface OutboxOptions {
  /** Connection for the outbox alone: reading blocks it. */
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

  /** Stops reading. Entries that were read are finished, or taken over by another process. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    // The loop may be blocked in a read.
    this.#options.redis.disconnect();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    let lookedForOthers = -Infinity;
    // '>': new entries; '0': this process's own entries, which a failure left unfinished.
    let from: '0' | '>' = '>';
    while (!signal.aborted) {
      try {
        if (performance.now() - lookedForOthers >= TAKE_OVER_MS / 2) {
          await this.#takeOver();
          lookedForOthers = performance.now();
        }
        const entries = await this.#read(from);
        if (entries.length > 0) await this.#enqueue(entries);
        else from = '>';
      } catch (error) {
        if (this.#stopping.signal.aborted) return;
        const { message } = toError(error);
        // No process has read this outbox before, or Redis has lost it.
        if (message.startsWith('NOGROUP') && (await this.#createGroup())) continue;
        this.#options.logger.warn({ reason: message }, 'reading the outbox failed; retrying');
        from = '0';
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  /** Creates the consumer group at the first entry: events may be older than the first webhook process. */
  async #createGroup(): Promise<boolean> {
    try {
      await this.#options.redis.xgroup('CREATE', this.#key, GROUP, '0', 'MKSTREAM');
      return true;
    } catch (error) {
      // Another process has just created it.
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
      if (entries.length > 0) await this.#enqueue(entries);
      if (next === '0-0') break;
      cursor = next;
    }
    await this.#removeDeadConsumers();
  }

  /** Removes the consumers of processes that are gone and have no entries. */
  async #removeDeadConsumers(): Promise<void> {
    const { redis } = this.#options;
    const consumers = (await redis.xinfo('CONSUMERS', this.#key, GROUP)) as (string | number)[][];
    for (const fields of consumers) {
      const [, name, , pending, , idle] = fields as [string, string, string, number, string, number];
      if (name === this.#consumer || pending > 0 || idle < 6 * TAKE_OVER_MS) continue;
      await redis.xgroup('DELCONSUMER', this.#key, GROUP, name);
    }
  }

  async #enqueue(entries: Entry[]): Promise<void> {
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
