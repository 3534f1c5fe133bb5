/**
 * Deliveries in Redis: a hash for each, from the moment its event happens until a while after it has ended. The hash is
 * made by the script that fixes the outcome of a job or batch (events.ts); everything after that is here.
 */
import { readFileSync } from 'node:fs';
import type { Redis } from 'ioredis';
import { z } from 'zod';
import {
  attemptSchema,
  batchEvents,
  deliveryStatusSchema,
  isBatchEvent,
  jobEvents,
  type Attempt,
  type Delivery,
} from '../../contract/webhooks.ts';
import type { DeliveryStatus } from '../../contract/states.ts';
import { batchModel, firstEventId, parseJobId } from '../../contract/ids.ts';
import { deliveryKey, deliveryListKey, failedDeliveriesKey, outboxKey, ownersKey } from '../../redis/keys.ts';
import { redisTime } from '../../redis/time.ts';
import { deliveryUrl } from '../../contract/events.ts';

const deliveryRecordSchema = z.object({
  type: z.enum([...jobEvents, ...batchEvents]),
  /** Id of the job or batch. */
  source: z.string(),
  owner: z.string(),
  url: z.string(),
  trace: z.string(),
  /** Unix ms, like the other times. */
  created: z.coerce.number(),
  status: deliveryStatusSchema.default('pending'),
  /** What the body is made of, until it is. */
  snapshot: z.string().optional(),
  body: z.string().optional(),
  /** Counts how often it was asked for again. */
  run: z.coerce.number().default(0),
  /** Attempts of all runs, and of this one. */
  attempts: z.coerce.number().default(0),
  run_attempts: z.coerce.number().default(0),
  next: z.coerce.number().optional(),
  /** When it was last asked for again. */
  asked: z.coerce.number().optional(),
  finished: z.coerce.number().optional(),
});

export type DeliveryRecord = z.output<typeof deliveryRecordSchema> & { log: Attempt[] };

/** Attempts that are remembered of one delivery; those of many redeliveries push out the first ones. */
const MAX_LOGGED = 50;
/** The lists keep ids for so long after a delivery may have ended; what has expired is skipped when they are read. */
/** Ids looked at at once. */
const TRIM_PAGE = 1000;
const LIST_SLACK_MS = 2 * 86_400_000;

const SCRIPTS = { freeze: 1, 'record-attempt': 2, redeliver: 3, cancel: 1, forget: 3 } as const;
type Script = keyof typeof SCRIPTS;
type RunScript = (...args: (string | number)[]) => Promise<unknown>;

/** Which deliveries a list has; default: all. */
export interface DeliveryFilter {
  status?: DeliveryStatus | undefined;
  /** Of the job or batch that they are about. */
  model?: string | undefined;
}

/** Ids on a filtered list that are looked at together, and for one page in all. */
const LIST_PAGE = 200;
const LIST_LOOKS = 2000;

/** What comes after an attempt. Times are Unix ms, `keepS` seconds. */
export type Next = { status: 'pending'; at: number } | { status: 'delivered' | 'failed'; keepS: number };

/** What has to be known of a delivery to plan it. */
export type Announced = Pick<DeliveryRecord, 'url' | 'run' | 'owner'> & { id: string };

export class DeliveryStore {
  readonly #redis: Redis;
  readonly #prefix: string;

  constructor(redis: Redis, prefix: string) {
    for (const [name, numberOfKeys] of Object.entries(SCRIPTS)) {
      redis.defineCommand(commandName(name), {
        numberOfKeys,
        lua: readFileSync(new URL(`./${name}.lua`, import.meta.url), 'utf8'),
      });
    }
    this.#redis = redis;
    this.#prefix = prefix;
  }

  async read(id: string): Promise<DeliveryRecord | undefined> {
    const fields = await this.#redis.hgetall(deliveryKey(this.#prefix, id));
    return fields.owner === undefined ? undefined : parse(fields);
  }

  /**
   * Puts deliveries on the lists of their owners.
   * @returns those that are still to be made; the others have ended, or expired
   */
  async announce(ids: string[]): Promise<Announced[]> {
    const replies = await Promise.all(
      ids.map((id) => this.#redis.hmget(deliveryKey(this.#prefix, id), 'owner', 'url', 'run', 'status')),
    );
    const byOwner = new Map<string, string[]>();
    const pending: Announced[] = [];
    ids.forEach((id, i) => {
      const [owner, url, run, status] = replies[i] ?? [];
      if (typeof owner !== 'string' || typeof url !== 'string') return;
      byOwner.set(owner, [...(byOwner.get(owner) ?? []), id]);
      if ((status ?? 'pending') === 'pending') pending.push({ id, owner, url, run: Number(run ?? 0) });
    });
    await Promise.all(
      [...byOwner].map(([owner, owned]) =>
        this.#redis.zadd(deliveryListKey(this.#prefix, owner), ...owned.flatMap((id) => [0, id])),
      ),
    );
    if (byOwner.size > 0) await this.#redis.sadd(ownersKey(this.#prefix), ...byOwner.keys());
    return pending;
  }

  /**
   * Fixes the body of a delivery for all its attempts, unless it is already.
   * @returns the body from now on; undefined when the delivery is not there
   */
  async freeze(id: string, body: string): Promise<string | undefined> {
    return ((await this.#run('freeze', deliveryKey(this.#prefix, id), body)) as string | null) ?? undefined;
  }

  /** @returns false when the delivery has ended or was asked for again since `record` was read */
  async recordAttempt(
    id: string,
    { owner, run }: DeliveryRecord,
    attempt: Attempt,
    next: Next,
  ): Promise<boolean> {
    const written = await this.#run(
      'record-attempt',
      deliveryKey(this.#prefix, id),
      failedDeliveriesKey(this.#prefix, owner),
      id,
      run,
      JSON.stringify(attempt),
      next.status,
      Date.now(),
      next.status === 'pending' ? next.at : next.keepS,
      MAX_LOGGED,
    );
    return written === 1;
  }

  /**
   * Ends a delivery that is pending. An attempt that is under way may still get through, and is written down.
   * @param keepS seconds to keep it
   * @returns its status from now on, which run has ended, and whether this call ended it; undefined when it is not there
   */
  async cancel(
    id: string,
    keepS: number,
  ): Promise<{ status: DeliveryStatus; run: number; isNew: boolean } | undefined> {
    const ended = (await this.#run('cancel', deliveryKey(this.#prefix, id), keepS)) as
      [string, string, number] | null;
    if (!ended) return undefined;
    const [status, run, changed] = ended;
    return { status: deliveryStatusSchema.parse(status), run: Number(run), isNew: changed === 1 };
  }

  /** False when it is not there. */
  async redeliver(id: string, owner: string): Promise<boolean> {
    const found = await this.#run(
      'redeliver',
      deliveryKey(this.#prefix, id),
      failedDeliveriesKey(this.#prefix, owner),
      outboxKey(this.#prefix),
      id,
    );
    return found === 1;
  }

  /** Deliveries of an owner, newest first, from the one behind `after` on; `failed`: only those that were given up. */
  async list(
    owner: string,
    { failed, limit, after }: { failed: boolean; limit: number; after?: string | undefined },
  ): Promise<{ id: string; record: DeliveryRecord }[]> {
    const key = failed ? failedDeliveriesKey(this.#prefix, owner) : deliveryListKey(this.#prefix, owner);
    const found: { id: string; record: DeliveryRecord }[] = [];
    let from = after;
    while (found.length < limit) {
      const ids = await this.#redis.zrevrangebylex(
        key,
        from === undefined ? '+' : `(${from}`,
        '-',
        'LIMIT',
        0,
        limit,
      );
      if (ids.length === 0) break;
      from = ids.at(-1);
      const records = await Promise.all(ids.map((id) => this.read(id)));
      const gone = ids.filter((_, i) => records[i] === undefined);
      if (gone.length > 0) await this.#redis.zrem(key, ...gone);
      ids.forEach((id, i) => {
        const record = records[i];
        if (record && found.length < limit) found.push({ id, record });
      });
    }
    return found;
  }

  /**
   * Deliveries of an owner with a status, or of a model, newest first, from the one behind `after` on. Those that were given
   * up have a list; of the others at most LIST_LOOKS are looked at.
   * @returns up to `limit`, the last one looked at, and whether there is none behind it
   */
  async filtered(
    owner: string,
    { status, model, limit, after }: DeliveryFilter & { limit: number; after?: string | undefined },
  ): Promise<{ found: { id: string; record: DeliveryRecord }[]; last: string | undefined; atEnd: boolean }> {
    const key =
      status === 'failed' ? failedDeliveriesKey(this.#prefix, owner) : deliveryListKey(this.#prefix, owner);
    const found: { id: string; record: DeliveryRecord }[] = [];
    let last = after;
    let atEnd = false;
    for (let looked = 0; found.length < limit && looked < LIST_LOOKS && !atEnd; looked += LIST_PAGE) {
      const from = last === undefined ? '+' : `(${last}`;
      const ids = await this.#redis.zrevrangebylex(key, from, '-', 'LIMIT', 0, LIST_PAGE);
      const fields = await Promise.all(
        ids.map((id) => this.#redis.hmget(deliveryKey(this.#prefix, id), 'owner', 'status', 'source')),
      );
      const wanted = ids.filter((_, i) => {
        const [known, its, source] = fields[i] ?? [];
        if (typeof known !== 'string' || (status !== undefined && (its ?? 'pending') !== status))
          return false;
        return model === undefined || modelOf(source ?? '') === model;
      });
      // No more are read than there is room for: bodies may have 20 KB each.
      const read = wanted.slice(0, limit - found.length);
      const records = await Promise.all(read.map((id) => this.read(id)));
      read.forEach((id, i) => {
        const record = records[i];
        if (record) found.push({ id, record });
      });
      atEnd = ids.length < LIST_PAGE && read.length === wanted.length;
      last = read.length < wanted.length ? read.at(-1) : (ids.at(-1) ?? last);
    }
    return { found, last, atEnd };
  }

  /**
   * Takes ids off the lists of all owners whose deliveries are gone: of those that are older than any gets that was not asked
   * for again. @param ageMs that one can get
   */
  async trim(ageMs: number): Promise<void> {
    const before = `(${firstEventId((await redisTime(this.#redis)) - ageMs - LIST_SLACK_MS)}`;
    for (const owner of await this.#redis.smembers(ownersKey(this.#prefix))) {
      for (const key of [deliveryListKey(this.#prefix, owner), failedDeliveriesKey(this.#prefix, owner)])
        await this.#trimList(key, before);
    }
  }

  /**
   * Forgets the oldest deliveries of every owner that has more than `most`. Those that are pending stay, however many there
   * are, and count.
   * @returns how many it has forgotten
   */
  async forgetOldest(most: number): Promise<number> {
    let forgotten = 0;
    for (const owner of await this.#redis.smembers(ownersKey(this.#prefix))) {
      const key = deliveryListKey(this.#prefix, owner);
      let excess = (await this.#redis.zcard(key)) - most;
      for (let from = '-'; excess > 0;) {
        const ids = await this.#redis.zrangebylex(key, from, '+', 'LIMIT', 0, Math.min(TRIM_PAGE, excess));
        if (ids.length === 0) break;
        const gone = await Promise.all(
          ids.map((id) =>
            this.#run(
              'forget',
              deliveryKey(this.#prefix, id),
              key,
              failedDeliveriesKey(this.#prefix, owner),
              id,
            ),
          ),
        );
        const count = gone.filter((each) => each === 1).length;
        forgotten += count;
        excess -= count;
        from = `(${ids.at(-1)}`;
      }
    }
    return forgotten;
  }

  async #trimList(key: string, before: string): Promise<void> {
    for (let from = '-'; ;) {
      const ids = await this.#redis.zrangebylex(key, from, before, 'LIMIT', 0, TRIM_PAGE);
      const there = await Promise.all(ids.map((id) => this.#redis.exists(deliveryKey(this.#prefix, id))));
      const gone = ids.filter((_, i) => there[i] === 0);
      if (gone.length > 0) await this.#redis.zrem(key, ...gone);
      if (ids.length < TRIM_PAGE) return;
      from = `(${ids.at(-1)}`;
    }
  }

  /** When the next attempts of deliveries are planned, Unix ms; undefined where none is. */
  async plannedTimes(ids: readonly string[]): Promise<(number | undefined)[]> {
    const times = await Promise.all(ids.map((id) => this.#redis.hget(deliveryKey(this.#prefix, id), 'next')));
    return times.map((time) => (time === null ? undefined : Number(time)));
  }

  #run(script: Script, ...args: (string | number)[]): Promise<unknown> {
    const commands = this.#redis as unknown as Record<string, RunScript>;
    const command = commands[commandName(script)] as RunScript;
    return command.apply(this.#redis, args);
  }
}

const commandName = (script: string): string => `amuletDelivery-${script}`;

const modelOf = (source: string): string | undefined => batchModel(source) ?? parseJobId(source)?.model;

function parse(fields: Record<string, string>): DeliveryRecord {
  const log: Attempt[] = [];
  const record = deliveryRecordSchema.parse(fields);
  for (let n = Math.max(1, record.attempts - MAX_LOGGED + 1); n <= record.attempts; n++) {
    const json = fields[`attempt:${n}`];
    if (json !== undefined) log.push(attemptSchema.parse(JSON.parse(json)));
  }
  return { ...record, log };
}

/** A delivery as it is shown. */
export function toDelivery(id: string, record: DeliveryRecord): Delivery {
  const time = (ms: number | undefined) => (ms === undefined ? null : new Date(ms).toISOString());
  const { type, status, url, created, finished, next, asked, run, log, source } = record;
  return {
    id,
    type,
    status: status satisfies DeliveryStatus,
    url,
    created_at: new Date(created).toISOString(),
    finished_at: time(finished),
    next_attempt_at: time(status === 'pending' ? (next ?? asked ?? created) : undefined),
    redeliveries: run,
    attempts: log,
    urls: {
      self: deliveryUrl(id),
      source: `/v1/${isBatchEvent(type) ? 'batches' : 'jobs'}/${source}`,
    },
  };
}
