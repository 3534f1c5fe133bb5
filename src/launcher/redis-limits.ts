/**
 * Limits of the private Redis that depend on what it holds and on its disk.
 *
 * `maxmemory` is there for the API, which refuses new work at MAX_REDIS_MEMORY_PERCENT of it. At `maxmemory` itself Redis
 * refuses workers, too, and accepted work would stand still: so the limit rises with what accepted work needs, and new work
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
 * A rewrite of the append-only file copies every page that is changed meanwhile, so Redis may use twice its `maxmemory`:
 * half of the memory, which leaves the other half to the model processes.
 */
const MEMORY_SHARE = 0.25;
const MIN_BYTES = 64_000_000;
/** `maxmemory` above what is used, as a factor, when the limit is reached. */
const ROOM_TO_FINISH = 1.2;
/** Redis' own default: a rewrite when the file has doubled. */
const REWRITE_PERCENT = 100;

/** `maxmemory` while Redis uses so many bytes. */
export function maxMemory(usedBytes: number, { maxBytes, admissionPercent }: RedisLimits): number {
  const limit = maxBytes || Math.max(MIN_BYTES, Math.floor(memoryBytes() * MEMORY_SHARE));
  // Whatever the factor, what is used must be more than the percentage at which new work is refused.
  const factor = admissionPercent === 0 ? 1 : Math.max(1, Math.min(ROOM_TO_FINISH, 98 / admissionPercent));
  return Math.max(limit, Math.ceil(usedBytes * factor));
}

/** Of the machine, or of the control group that this process is in, if that has less. */
function memoryBytes(): number {
  // 0 or more than there is: without a limit.
  const constrained = process.constrainedMemory();
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
}

/**
 * Brings the limits up to date. To be called now and then.
 * @param dir the folder of the append-only file
 */
export async function adjustLimits(redis: Redis, dir: string, limits: RedisLimits): Promise<void> {
  const usedBytes = Number(/^used_memory:(\d+)/m.exec(await redis.info('memory'))?.[1] ?? 0);
  await redis.config('SET', 'maxmemory', maxMemory(usedBytes, limits));
  const disk = await diskSpace(dir);
  // The new file is no larger than what is in memory. One that does not fit fills the disk, and Redis ends.
  const fits = disk === undefined || disk.freeBytes > usedBytes;
  await redis.config('SET', 'auto-aof-rewrite-percentage', fits ? REWRITE_PERCENT : 0);
}
