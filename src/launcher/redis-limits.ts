/**
 * Memory and disk limits of the private Redis, which depend on how much it holds.
 *
 * `maxmemory` exists for the API, which refuses new work at MAX_REDIS_MEMORY_PERCENT of it. At `maxmemory` itself Redis would
 * refuse workers too, and accepted work would stand still: so the limit rises with what accepted work needs, and new work
 * stays refused meanwhile.
 */
import { totalmem } from 'node:os';
import type { Redis } from 'ioredis';
import { diskSpace } from '../shared/runtime/disk-reserve.ts';

export interface RedisLimits {
  /** `maxmemory` in bytes; 0: a quarter of the memory of the machine, or of the container. */
  maxBytes: number;
  /** MAX_REDIS_MEMORY_PERCENT. */
  admissionPercent: number;
}

/**
 * During a rewrite of the append-only file Redis copies every page that changes, so it may use twice its `maxmemory`: half of
 * the memory. The other half is left to the model processes.
 */
const MEMORY_SHARE = 0.25;
const MIN_BYTES = 64_000_000;
/** `maxmemory` as a multiple of the memory in use, once that reaches the limit. */
const ROOM_TO_FINISH = 1.2;
/** Default of Redis: rewrite the file when it has doubled. */
const REWRITE_PERCENT = 100;

/** @returns `maxmemory` for a Redis that uses this many bytes */
export function maxMemory(usedBytes: number, { maxBytes, admissionPercent }: RedisLimits): number {
  const limit = maxBytes || Math.max(MIN_BYTES, Math.floor(memoryBytes() * MEMORY_SHARE));
  // Whatever the factor, memory in use must stay above the percentage at which new work is refused.
  const factor = admissionPercent === 0 ? 1 : Math.max(1, Math.min(ROOM_TO_FINISH, 98 / admissionPercent));
  return Math.max(limit, Math.ceil(usedBytes * factor));
}

/** Memory of the machine, or of this process's control group if that has less. */
function memoryBytes(): number {
  // 0, or more than the machine has: no limit.
  const constrained = process.constrainedMemory();
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
}

/**
 * Updates the limits; called every few seconds.
 * @param dir the folder of the append-only file
 */
export async function adjustLimits(redis: Redis, dir: string, limits: RedisLimits): Promise<void> {
  const usedBytes = Number(/^used_memory:(\d+)/m.exec(await redis.info('memory'))?.[1] ?? 0);
  await redis.config('SET', 'maxmemory', maxMemory(usedBytes, limits));
  const disk = await diskSpace(dir);
  // The new file is at most as large as the data in memory. If it did not fit, it would fill the disk and end Redis.
  const fits = disk === undefined || disk.freeBytes > usedBytes;
  await redis.config('SET', 'auto-aof-rewrite-percentage', fits ? REWRITE_PERCENT : 0);
}
