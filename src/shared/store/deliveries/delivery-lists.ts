/**
 * The lists of an owner's deliveries: all of them, and those that failed. A delivery expires by itself; its id stays on the lists
 * until they are read or trimmed.
 */
import type { Redis } from 'ioredis';
import { batchModel, firstEventId, parseJobId } from '../../contract/ids.ts';
import type { DeliveryStatus } from '../../contract/states.ts';
import { deliveryKey, deliveryListKey, failedDeliveriesKey, ownersKey } from '../../redis/keys.ts';
import { defineScript, isOne } from '../../redis/scripts.ts';
import { redisTime } from '../../redis/time.ts';
import { parseDeliveryRecord, type DeliveryRecord } from './delivery-record.ts';

/** Ids that are looked at in one step of trimming. */
const TRIM_PAGE = 1000;
/** A delivery that was not redelivered may have ended this much later than the longest retry schedule says. */
const LIST_SLACK_MS = 2 * 86_400_000;
/** Ids on a filtered list that are looked at in one step, and for one page in all. */
const LIST_PAGE = 200;
const LIST_LOOKS = 2000;

/** Which deliveries a list has; default: all. */
export interface DeliveryFilter {
  status?: DeliveryStatus | undefined;
  /** Of the job or batch that they are about. */
  model?: string | undefined;
}

export interface ListedDelivery {
  id: string;
  record: DeliveryRecord;
}

/** A pending delivery, with the fields that planning its first attempt needs. */
export type PendingDelivery = Pick<DeliveryRecord, 'url' | 'run' | 'owner'> & { id: string };

const REMOVE = defineScript(new URL('./remove.lua', import.meta.url), isOne);

export class DeliveryLists {
  readonly #redis: Redis;
  readonly #prefix: string;

  constructor(redis: Redis, prefix: string) {
    this.#redis = redis;
    this.#prefix = prefix;
  }

  /**
   * Adds deliveries to the lists of their owners.
   * @returns those that are pending; the others have ended or expired
   */
  async add(ids: string[]): Promise<PendingDelivery[]> {
    const replies = await Promise.all(
      ids.map((id) => this.#redis.hmget(deliveryKey(this.#prefix, id), 'owner', 'url', 'run', 'status')),
    );
    const byOwner = new Map<string, string[]>();
    const pending: PendingDelivery[] = [];
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

  /** Deliveries of an owner, newest first, from the one behind `after` on; `failed`: only those that failed. */
  async page(
    owner: string,
    { failed, limit, after }: { failed: boolean; limit: number; after?: string | undefined },
  ): Promise<ListedDelivery[]> {
    const key = failed ? failedDeliveriesKey(this.#prefix, owner) : deliveryListKey(this.#prefix, owner);
    const found: ListedDelivery[] = [];
    let last = after;
    while (found.length < limit) {
      const ids = await this.#idsBefore(key, last, limit);
      if (ids.length === 0) break;
      last = ids.at(-1);
      const records = await this.#readAll(ids);
      const gone = ids.filter((_, i) => records[i] === undefined);
      if (gone.length > 0) await this.#redis.zrem(key, ...gone);
      found.push(...present(ids, records).slice(0, limit - found.length));
    }
    return found;
  }

  /**
   * Deliveries of an owner with a status or of a model, newest first, from the one behind `after` on. Failed ones have a list;
   * of the others at most LIST_LOOKS are looked at.
   * @returns up to `limit`, the last one looked at, and whether it is the owner's last one
   */
  async filtered(
    owner: string,
    { status, model, limit, after }: DeliveryFilter & { limit: number; after?: string | undefined },
  ): Promise<{ found: ListedDelivery[]; last: string | undefined; atEnd: boolean }> {
    const key =
      status === 'failed' ? failedDeliveriesKey(this.#prefix, owner) : deliveryListKey(this.#prefix, owner);
    const found: ListedDelivery[] = [];
    let last = after;
    let atEnd = false;
    for (let looked = 0; found.length < limit && looked < LIST_LOOKS && !atEnd; looked += LIST_PAGE) {
      const ids = await this.#idsBefore(key, last, LIST_PAGE);
      const fields = await Promise.all(
        ids.map((id) => this.#redis.hmget(deliveryKey(this.#prefix, id), 'owner', 'status', 'source')),
      );
      const wanted = ids.filter((_, i) => {
        const [known, its, source] = fields[i] ?? [];
        if (typeof known !== 'string' || (status !== undefined && (its ?? 'pending') !== status))
          return false;
        return model === undefined || modelOf(source ?? '') === model;
      });
      // Reads no more than fit on the page: bodies may have 20 KB each.
      const read = wanted.slice(0, limit - found.length);
      found.push(...present(read, await this.#readAll(read)));
      atEnd = ids.length < LIST_PAGE && read.length === wanted.length;
      last = read.length < wanted.length ? read.at(-1) : (ids.at(-1) ?? last);
    }
    return { found, last, atEnd };
  }

  /**
   * Removes ids of expired deliveries from the lists of all owners.
   * @param ageMs longest life of a delivery that is not redelivered; only older ids are looked at
   */
  async trim(ageMs: number): Promise<void> {
    const before = `(${firstEventId((await redisTime(this.#redis)) - ageMs - LIST_SLACK_MS)}`;
    for (const owner of await this.#redis.smembers(ownersKey(this.#prefix))) {
      await this.#trimList(deliveryListKey(this.#prefix, owner), before);
      await this.#trimList(failedDeliveriesKey(this.#prefix, owner), before);
    }
  }

  /**
   * Removes the oldest deliveries of every owner that has more than `most`. Pending ones count, and always stay.
   * @returns how many were removed
   */
  async removeOldest(most: number): Promise<number> {
    let removed = 0;
    for (const owner of await this.#redis.smembers(ownersKey(this.#prefix))) {
      const list = deliveryListKey(this.#prefix, owner);
      const failed = failedDeliveriesKey(this.#prefix, owner);
      let excess = (await this.#redis.zcard(list)) - most;
      for (let from = '-'; excess > 0;) {
        const ids = await this.#redis.zrangebylex(list, from, '+', 'LIMIT', 0, Math.min(TRIM_PAGE, excess));
        if (ids.length === 0) break;
        const outcomes = await Promise.all(
          ids.map((id) =>
            REMOVE.run(this.#redis, { delivery: deliveryKey(this.#prefix, id), list, failed }, { id }),
          ),
        );
        const count = outcomes.filter(Boolean).length;
        removed += count;
        excess -= count;
        from = `(${ids.at(-1)}`;
      }
    }
    return removed;
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

  #idsBefore(key: string, last: string | undefined, limit: number): Promise<string[]> {
    const from = last === undefined ? '+' : `(${last}`;
    return this.#redis.zrevrangebylex(key, from, '-', 'LIMIT', 0, limit);
  }

  async #readAll(ids: readonly string[]): Promise<(DeliveryRecord | undefined)[]> {
    const fields = await Promise.all(ids.map((id) => this.#redis.hgetall(deliveryKey(this.#prefix, id))));
    return fields.map(parseDeliveryRecord);
  }
}

function present(ids: readonly string[], records: readonly (DeliveryRecord | undefined)[]): ListedDelivery[] {
  return ids.flatMap((id, i) => {
    const record = records[i];
    return record ? [{ id, record }] : [];
  });
}

const modelOf = (source: string): string | undefined => batchModel(source) ?? parseJobId(source)?.model;
