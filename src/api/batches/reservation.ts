/**
 * Room for one upload under MAX_BATCH_BYTES and MAX_STORED_BYTES, reserved in Redis before its bytes are stored: however many
 * uploads go on at a time, in however many processes, they never store more than the limits together.
 *
 * It grows in steps, so that an upload costs Redis a round trip per step and not per piece, and holds little more than it has
 * sent. A process that dies leaves a reservation that ends by itself.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { BatchStore } from '../../shared/store/batches/batch-store.ts';
import type { LimitReached, StorageLimits } from '../../shared/store/batches/reservations.ts';
import { AppError } from '../../shared/contract/problems.ts';
import type { WithRedis } from '../../shared/redis/connections.ts';

/** A step is an eighth of what was sent, within these bounds: near a limit, so much is refused too early. */
const MIN_STEP_BYTES = 64 * 1024;
const MAX_STEP_BYTES = 1024 * 1024;
/** How often Redis is asked again while it does not answer. */
const RETRY_MS = 500;

export interface ReservationOptions {
  batchStore: BatchStore;
  withRedis: WithRedis;
  /** Id of the batch. */
  batch: string;
  limits: StorageLimits;
  /** Bytes that the upload will have, if that is known. */
  expectedBytes: number | undefined;
  /** ms for which the reservation outlives this process. */
  ttlMs: number;
  /** Longest wait, in ms, for a Redis that does not answer. */
  patienceMs: number;
  /** What to answer when a limit is reached. */
  refusal: (reached: LimitReached) => AppError;
}

export class Reservation {
  /** Its name in Redis. */
  readonly upload: string;
  readonly #options: ReservationOptions;
  readonly #renewal: NodeJS.Timeout;
  #bytes = 0;

  constructor(options: ReservationOptions) {
    this.#options = options;
    this.upload = `${options.batch} ${randomUUID()}`;
    this.#renewal = setInterval(() => {
      if (this.#bytes > 0) this.#reserve(this.#bytes, this.#bytes).catch(() => {});
    }, options.ttlMs / 3).unref();
  }

  /**
   * Has so many bytes reserved in all.
   * @returns undefined when they are already
   * @throws AppError of `refusal`; `redis_unavailable` when Redis has not answered for long, `redis_full`
   */
  cover(bytes: number): Promise<void> | undefined {
    return bytes <= this.#bytes ? undefined : this.#grow(bytes);
  }

  /** What it was for is counted as stored, in the same step. */
  counted(): void {
    clearInterval(this.#renewal);
    this.#bytes = 0;
  }

  /** Gives back what is not counted. To be called when nothing is stored any more. */
  async release(): Promise<void> {
    clearInterval(this.#renewal);
    const { withRedis, batchStore } = this.#options;
    // If this fails, it ends by itself.
    if (this.#bytes > 0) await withRedis(() => batchStore.reservations.release(this.upload)).catch(() => {});
  }

  async #grow(needed: number): Promise<void> {
    const { expectedBytes = Infinity, patienceMs, refusal } = this.#options;
    const step = Math.min(Math.max(MIN_STEP_BYTES, needed / 8), MAX_STEP_BYTES);
    const wanted = Math.max(needed, Math.min(needed + Math.floor(step), expectedBytes));
    const giveUpAt = performance.now() + patienceMs;
    for (;;) {
      try {
        const reserved = await this.#reserve(needed, wanted);
        if (reserved.outcome !== 'reserved') throw refusal(reserved.outcome);
        this.#bytes = reserved.bytes;
        return;
      } catch (error) {
        const away = error instanceof AppError && error.code === 'redis_unavailable';
        if (!away || performance.now() >= giveUpAt) throw error;
        // An upload of hours does not end because Redis is restarted; its sender waits meanwhile.
        await sleep(RETRY_MS);
      }
    }
  }

  #reserve(needed: number, wanted: number) {
    const { withRedis, batchStore, ttlMs, limits } = this.#options;
    return withRedis(() => batchStore.reservations.reserve(this.upload, { needed, wanted, ttlMs }, limits));
  }
}
