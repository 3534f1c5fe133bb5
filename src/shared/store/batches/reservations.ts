/**
 * Room in the blob store: bytes of input that all batches keep, and bytes that uploads in progress have reserved
 * (reservations.lua).
 */
import { z } from 'zod';
import { reservedBytesKey, storedBytesKey } from '../../redis/keys.ts';
import { defineScript, noReply } from '../../redis/scripts.ts';
import { scriptKeys } from './script-keys.ts';
import { RedisStore } from '../redis-store.ts';

/** Largest input, in bytes without gzip. */
export interface StorageLimits {
  /** Of one batch. */
  batchBytes: number;
  /** Of all batches together, with the uploads in progress. */
  storedBytes: number;
}

const LIMITS = ['too_large', 'busy', 'quota'] as const;
/**
 * The limit that an upload would exceed: that of its batch, the same unless other uploads to the batch fail, or that of all
 * batches.
 */
export type LimitReached = (typeof LIMITS)[number];

const RESERVE = defineScript(
  new URL('./reserve.lua', import.meta.url),
  z.union([z.tuple([z.literal('reserved'), z.number()]), z.tuple([z.enum(LIMITS)])]),
);

const RELEASE = defineScript(new URL('./release.lua', import.meta.url), noReply);

export class Reservations extends RedisStore {
  /** Bytes of input that all batches keep. */
  async storedBytes(): Promise<number> {
    return Number((await this.redis.get(storedBytesKey(this.prefix))) ?? 0);
  }

  /** Bytes that uploads in progress have reserved. */
  async reservedBytes(): Promise<number> {
    return Number((await this.redis.hget(reservedBytesKey(this.prefix), 'total')) ?? 0);
  }

  /**
   * Reserves room for an upload; replaces its earlier reservation.
   * @param upload `<batch id> <any name>`
   * @param needed bytes of the upload in all
   * @param wanted bytes to reserve in all, as far as they are free
   * @param ttlMs ms until the reservation ends, unless it is renewed
   * @returns the reserved bytes, at least `needed`
   */
  async reserve(
    upload: string,
    { needed, wanted, ttlMs }: { needed: number; wanted: number; ttlMs: number },
    limits: StorageLimits,
  ): Promise<{ outcome: 'reserved'; bytes: number } | { outcome: LimitReached }> {
    const [outcome, bytes] = await RESERVE.run(this.redis, this.#keys(upload), {
      upload,
      needed,
      wanted,
      ttlMs,
      maxBatchBytes: limits.batchBytes,
      maxStoredBytes: limits.storedBytes,
    });
    return outcome === 'reserved' ? { outcome, bytes } : { outcome };
  }

  /** Releases the reservation of an upload. */
  async release(upload: string): Promise<void> {
    await RELEASE.run(this.redis, this.#keys(upload), { upload });
  }

  #keys(upload: string): ReturnType<typeof scriptKeys> {
    const [batch = ''] = upload.split(' ', 1);
    return scriptKeys(this.prefix, batch);
  }
}
