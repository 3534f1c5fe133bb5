/**
 * Deliveries in Redis: a hash for each, from its event until a while after its end. The script that records the outcome of a job
 * or batch creates the hash (contract/events.ts); every later change is here. Lists of deliveries: delivery-lists.ts.
 */
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { deliveryStatusSchema, type Attempt } from '../../contract/webhooks.ts';
import type { DeliveryStatus } from '../../contract/states.ts';
import { deliveryKey, failedDeliveriesKey, outboxKey } from '../../redis/keys.ts';
import { defineScript, isOne } from '../../redis/scripts.ts';
import { DeliveryLists } from './delivery-lists.ts';
import { MAX_LOGGED, parseDeliveryRecord, type DeliveryRecord } from './delivery-record.ts';
import { RedisStore } from '../redis-store.ts';

const FIX_BODY = defineScript(
  new URL('./fix-body.lua', import.meta.url),
  z
    .string()
    .nullable()
    .transform((body) => body ?? undefined),
);

const RECORD_ATTEMPT = defineScript(new URL('./record-attempt.lua', import.meta.url), isOne);

const CANCEL = defineScript(
  new URL('./cancel.lua', import.meta.url),
  z.tuple([deliveryStatusSchema, z.coerce.number(), z.number()]).nullable(),
);

const REDELIVER = defineScript(new URL('./redeliver.lua', import.meta.url), isOne);

/** A delivery's state after an attempt. Times are Unix ms, `keepS` seconds. */
export type AfterAttempt =
  { status: 'pending'; at: number } | { status: 'delivered' | 'failed'; keepS: number };

export class DeliveryStore extends RedisStore {
  readonly lists: DeliveryLists;

  constructor(redis: Redis, prefix: string) {
    super(redis, prefix);
    this.lists = new DeliveryLists(redis, prefix);
  }

  async read(id: string): Promise<DeliveryRecord | undefined> {
    return parseDeliveryRecord(await this.redis.hgetall(deliveryKey(this.prefix, id)));
  }

  /**
   * Fixes the body of a delivery for all its attempts, unless it is fixed already.
   * @returns the fixed body; undefined when the delivery does not exist
   */
  fixBody(id: string, body: string): Promise<string | undefined> {
    return FIX_BODY.run(this.redis, { delivery: deliveryKey(this.prefix, id) }, { body });
  }

  /** @returns false when the delivery has ended or was redelivered since `record` was read */
  recordAttempt(
    id: string,
    { owner, run }: DeliveryRecord,
    attempt: Attempt,
    after: AfterAttempt,
  ): Promise<boolean> {
    return RECORD_ATTEMPT.run(
      this.redis,
      {
        delivery: deliveryKey(this.prefix, id),
        failed: failedDeliveriesKey(this.prefix, owner),
      },
      {
        id,
        run,
        attempt: JSON.stringify(attempt),
        to: after.status,
        now: Date.now(),
        nextOrTtl: after.status === 'pending' ? after.at : after.keepS,
        maxLogged: MAX_LOGGED,
      },
    );
  }

  /**
   * Cancels a pending delivery. An attempt that is under way may still succeed, and is recorded.
   * @param keepS seconds to keep it
   * @returns its status, the run that ended, and whether this call canceled it; undefined when it does not exist
   */
  async cancel(
    id: string,
    keepS: number,
  ): Promise<{ status: DeliveryStatus; run: number; isNew: boolean } | undefined> {
    const ended = await CANCEL.run(this.redis, { delivery: deliveryKey(this.prefix, id) }, { keepS });
    if (!ended) return undefined;
    const [status, run, changed] = ended;
    return { status, run, isNew: changed === 1 };
  }

  /** @returns false when the delivery does not exist */
  redeliver(id: string, owner: string): Promise<boolean> {
    return REDELIVER.run(
      this.redis,
      {
        delivery: deliveryKey(this.prefix, id),
        failed: failedDeliveriesKey(this.prefix, owner),
        outbox: outboxKey(this.prefix),
      },
      { id },
    );
  }

  /** Unix ms of the next attempts of deliveries; undefined where none is planned. */
  async plannedTimes(ids: readonly string[]): Promise<(number | undefined)[]> {
    const times = await Promise.all(ids.map((id) => this.redis.hget(deliveryKey(this.prefix, id), 'next')));
    return times.map((time) => (time === null ? undefined : Number(time)));
  }
}
