/**
 * The lists of an owner's deliveries: all of them, and those that failed. A delivery expires by itself; its id stays on the lists
 * until they are read or trimmed.
 */
import { batchModel, firstEventId, parseJobId } from '../../contract/ids.ts';
import type { DeliveryStatus } from '../../contract/states.ts';
import { deliveryKey, deliveryListKey, failedDeliveriesKey, ownersKey } from '../../redis/keys.ts';
import { defineScript, isOne } from '../../redis/scripts.ts';
import { redisTime } from '../../redis/time.ts';
import { parseDeliveryRecord, type DeliveryRecord } from './delivery-record.ts';
import { RedisStore } from '../redis-store.ts';

/** Ids that are looked at in one step of trimming. */
const TRIM_PAGE = 1000;
/** A delivery that was not redelivered may have ended this much later than the longest retry schedule says. */
const LIST_SLACK_MS = 2 * 86_400_000;

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

export class DeliveryLists extends RedisStore {
  /**
   * Adds deliveries to the lists of their owners.
   * @returns those that are pending; the others have ended or expired
   */
  async add(ids: string[]): Promise<PendingDelivery[]> {
    const replies = await Promise.all(
      ids.map((id) => this.redis.hmget(deliveryKey(this.prefix, id), 'owner', 'url', 'run', 'status')),
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
        this.redis.zadd(deliveryListKey(this.prefix, owner), ...owned.flatMap((id) => [0, id])),
      ),
    );
    if (byOwner.size > 0) await this.redis.sadd(ownersKey(this.prefix), ...byOwner.keys());
    return pending;
  }

  /**
   * Looks at `count` deliveries of an owner, newest first, from the one behind `after` on. Failed ones have a separate list.
   * @param most of them to read: bodies may have 20 KB each
   * @returns those that match, the last one looked at, and whether it is the owner's last one
   */
  async slice(
    owner: string,
    { status, model }: DeliveryFilter,
    { after, count, most }: { after?: string | undefined; count: number; most: number },
  ): Promise<{ found: ListedDelivery[]; last: string | undefined; atEnd: boolean }> {
    const key =
      status === 'failed' ? failedDeliveriesKey(this.prefix, owner) : deliveryListKey(this.prefix, owner);
    const from = after === undefined ? '+' : `(${after}`;
    const ids = await this.redis.zrevrangebylex(key, from, '-', 'LIMIT', 0, count);
    const fields = await Promise.all(
      ids.map((id) => this.redis.hmget(deliveryKey(this.prefix, id), 'owner', 'status', 'source')),
    );
    const gone = ids.filter((_, i) => typeof fields[i]?.[0] !== 'string');
    if (gone.length > 0) await this.redis.zrem(key, ...gone);
    const wanted = ids.filter((_, i) => {
      const [known, its, source] = fields[i] ?? [];
      if (typeof known !== 'string' || (status !== undefined && (its ?? 'pending') !== status)) return false;
      return model === undefined || modelOf(source ?? '') === model;
    });
    const read = wanted.slice(0, most);
    const records = await Promise.all(read.map((id) => this.redis.hgetall(deliveryKey(this.prefix, id))));
    const found = records
      .map(parseDeliveryRecord)
      .flatMap((record, i) => (record ? [{ id: read[i] as string, record }] : []));
    const isCut = read.length < wanted.length;
    return { found, last: isCut ? read.at(-1) : ids.at(-1), atEnd: !isCut && ids.length < count };
  }

  /**
   * Removes ids of expired deliveries from the lists of all owners.
   * @param ageMs longest life of a delivery that is not redelivered; only older ids are looked at
   */
  async trim(ageMs: number): Promise<void> {
    const before = `(${firstEventId((await redisTime(this.redis)) - ageMs - LIST_SLACK_MS)}`;
    for (const owner of await this.redis.smembers(ownersKey(this.prefix))) {
      await this.#trimList(deliveryListKey(this.prefix, owner), before);
      await this.#trimList(failedDeliveriesKey(this.prefix, owner), before);
    }
  }

  /**
   * Removes the oldest deliveries of every owner that has more than `most`. Pending ones count, and always stay.
   * @returns how many were removed
   */
  async removeOldest(most: number): Promise<number> {
    let removed = 0;
    for (const owner of await this.redis.smembers(ownersKey(this.prefix))) {
      const list = deliveryListKey(this.prefix, owner);
      const failed = failedDeliveriesKey(this.prefix, owner);
      let excess = (await this.redis.zcard(list)) - most;
      for (let from = '-'; excess > 0;) {
        const ids = await this.redis.zrangebylex(list, from, '+', 'LIMIT', 0, Math.min(TRIM_PAGE, excess));
        if (ids.length === 0) break;
        const outcomes = await Promise.all(
          ids.map((id) =>
            REMOVE.run(this.redis, { delivery: deliveryKey(this.prefix, id), list, failed }, { id }),
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
      const ids = await this.redis.zrangebylex(key, from, before, 'LIMIT', 0, TRIM_PAGE);
      const there = await Promise.all(ids.map((id) => this.redis.exists(deliveryKey(this.prefix, id))));
      const gone = ids.filter((_, i) => there[i] === 0);
      if (gone.length > 0) await this.redis.zrem(key, ...gone);
      if (ids.length < TRIM_PAGE) return;
      from = `(${ids.at(-1)}`;
    }
  }
}

const modelOf = (source: string): string | undefined => batchModel(source) ?? parseJobId(source)?.model;
