/**
 * Reserves bytes under MAX_BATCH_BYTES and MAX_STORED_BYTES in Redis before an upload stores them, so that concurrent uploads
 * in any number of processes never exceed the limits together.
 *
 * A reservation grows in steps: an upload costs Redis one round trip per step, not per piece, and reserves little more than it
 * has sent. The reservation of a process that dies expires.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { StorageLimits } from '../../shared/store/batches/reservations.ts';
import { AppError } from '../../shared/contract/problems.ts';
import type { Config } from '../../shared/runtime/config.ts';
import type { Deps } from '../deps.ts';
import { limitReached } from './batch-problems.ts';

/** A step is an eighth of the bytes sent, within these bounds. Near a limit, an upload may be refused this much too early. */
const MIN_STEP_BYTES = 64 * 1024;
const MAX_STEP_BYTES = 1024 * 1024;
/** Interval of retries while Redis is away. */
const RETRY_MS = 500;

export interface ReservationDeps extends Deps<'config' | 'withRedis' | 'batchStore'> {
  /** Id of the batch. */
  batch: string;
  /** Size of the whole upload in bytes, if it is known. */
  expectedBytes: number | undefined;
}

export class Reservation {
  /** Its name in Redis. */
  readonly upload: string;
  readonly #deps: ReservationDeps;
  /** How long the reservation outlives this process. */
  readonly #ttlMs: number;
  readonly #renewal: NodeJS.Timeout;
  #bytes = 0;

  constructor(deps: ReservationDeps) {
    this.#deps = deps;
    this.upload = `${deps.batch} ${randomUUID()}`;
    this.#ttlMs = deps.config.UPLOAD_LEASE_S * 1000;
    this.#renewal = setInterval(() => {
      if (this.#bytes > 0) this.#reserve(this.#bytes, this.#bytes).catch(() => {});
    }, this.#ttlMs / 3).unref();
  }

  /**
   * Reserves up to `bytes` in all.
   * @returns undefined when they are reserved already
   * @throws AppError of limitReached(); `redis_unavailable` when Redis stays away, `redis_full`
   */
  cover(bytes: number): Promise<void> | undefined {
    return bytes <= this.#bytes ? undefined : this.#grow(bytes);
  }

  /** Ends the reservation without a command: the script that added the part has ended it in Redis. */
  counted(): void {
    clearInterval(this.#renewal);
    this.#bytes = 0;
  }

  /** Releases what is still reserved. Call it after the last write of the upload. */
  async release(): Promise<void> {
    clearInterval(this.#renewal);
    const { withRedis, batchStore } = this.#deps;
    // If this fails, the reservation expires.
    if (this.#bytes > 0) await withRedis(() => batchStore.reservations.release(this.upload)).catch(() => {});
  }

  async #grow(needed: number): Promise<void> {
    const { expectedBytes = Infinity, config } = this.#deps;
    const step = Math.min(Math.max(MIN_STEP_BYTES, needed / 8), MAX_STEP_BYTES);
    const wanted = Math.max(needed, Math.min(needed + Math.floor(step), expectedBytes));
    const giveUpAt = performance.now() + config.UPLOAD_IDLE_S * 1000;
    for (;;) {
      try {
        const reserved = await this.#reserve(needed, wanted);
        if (reserved.outcome !== 'reserved') throw limitReached(reserved.outcome, config);
        this.#bytes = reserved.bytes;
        return;
      } catch (error) {
        const away = error instanceof AppError && error.code === 'redis_unavailable';
        if (!away || performance.now() >= giveUpAt) throw error;
        // An upload of hours survives a restart of Redis; its sender waits meanwhile.
        await sleep(RETRY_MS);
      }
    }
  }

  #reserve(needed: number, wanted: number) {
    const { withRedis, batchStore, config } = this.#deps;
    const size = { needed, wanted, ttlMs: this.#ttlMs };
    return withRedis(() => batchStore.reservations.reserve(this.upload, size, storageLimits(config)));
  }
}

export function storageLimits({ MAX_BATCH_BYTES, MAX_STORED_BYTES }: Config): StorageLimits {
  return { batchBytes: MAX_BATCH_BYTES, storedBytes: MAX_STORED_BYTES };
}
