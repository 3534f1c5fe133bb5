/** Parts of open batches: a record of each uploaded part, until the input is complete. */
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { MAX_PARTS, storedPartSchema, type StoredPart } from '../../contract/batches.ts';
import type { BatchStatus } from '../../contract/states.ts';
import { batchPartsKey, openBatchesKey } from '../../redis/keys.ts';
import { defineScript } from '../../redis/scripts.ts';
import { redisTime } from '../../redis/time.ts';
import { InputError } from '../../bulk/input.ts';
import { endedReply } from './batch-scripts.ts';
import { MAX_MANIFEST_BYTES } from './layout.ts';
import type { LimitReached, StorageLimits } from './reservations.ts';
import { scriptKeys } from './script-keys.ts';
import { RedisStore } from '../redis-store.ts';

/** Limits that are checked when a part is added. */
export interface PartLimits extends StorageLimits {
  /** Chunks of one batch. */
  batchChunks: number;
  /** Parts of an owner's open batches. */
  openParts: number;
}

export type AddPartOutcome =
  | { outcome: 'added' }
  /** `chunks`: too many chunks in the batch; `parts`: too many parts in the open batches of its owner. */
  | { outcome: LimitReached | 'chunks' | 'parts' }
  | { outcome: 'exists'; part: StoredPart }
  | { outcome: 'ended'; status: BatchStatus | undefined };

const READ_PARTS = defineScript(new URL('./read-parts.lua', import.meta.url), z.array(z.string()).nullable());

const ADD_PART = defineScript(
  new URL('./add-part.lua', import.meta.url),
  z.union([
    endedReply,
    z
      .tuple([z.literal('exists'), z.string()])
      .transform(([outcome, part]) => ({ outcome, part: parsePart(part) })),
    z
      .tuple([z.enum(['added', 'too_large', 'busy', 'quota', 'chunks', 'parts'])])
      .transform(([outcome]) => ({ outcome })),
  ]),
);

export class PartStore extends RedisStore {
  readonly #openTtlMs: number;

  /** @param openTtlMs ms until an open batch expires, unless a part comes */
  constructor(redis: Redis, prefix: string, openTtlMs: number) {
    super(redis, prefix);
    this.#openTtlMs = openTtlMs;
  }

  /**
   * The parts of an open batch, by number.
   * @throws InputError when they are too large to be read
   */
  async list(id: string): Promise<StoredPart[]> {
    const limits = { maxNumber: MAX_PARTS, maxBytes: MAX_MANIFEST_BYTES };
    const parts = await READ_PARTS.run(this.redis, scriptKeys(this.prefix, id), limits);
    if (parts === null) {
      throw new InputError(
        `the parts of this batch list more than ${MAX_MANIFEST_BYTES} bytes of columns: cancel it, and submit the input with fewer columns`,
      );
    }
    return parts.map(parsePart);
  }

  async read(id: string, number: number): Promise<StoredPart | undefined> {
    const json = await this.redis.hget(batchPartsKey(this.prefix, id), String(number));
    return json === null ? undefined : parsePart(json);
  }

  /** @param upload whose reservation ends when the part is added */
  async add(id: string, part: StoredPart, limits: PartLimits, upload: string): Promise<AddPartOutcome> {
    const keys = scriptKeys(this.prefix, id);
    const [now, owner] = await Promise.all([redisTime(this.redis), this.redis.hget(keys.batch, 'owner')]);
    return ADD_PART.run(
      this.redis,
      { ...keys, openBatches: openBatchesKey(this.prefix, owner ?? '') },
      {
        id,
        number: part.number,
        part: JSON.stringify(part),
        bytes: part.bytes,
        rows: part.rows,
        expiresAt: now + this.#openTtlMs,
        maxBatchBytes: limits.batchBytes,
        maxStoredBytes: limits.storedBytes,
        multilineRows: part.multiline_rows ?? 0,
        upload,
        maxOpenParts: limits.openParts,
        chunks: part.chunks,
        maxChunks: limits.batchChunks,
      },
    );
  }
}

function parsePart(json: string): StoredPart {
  return storedPartSchema.parse(JSON.parse(json));
}
