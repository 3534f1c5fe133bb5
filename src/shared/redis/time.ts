/**
 * The one clock that all processes share. Their own may be wrong, or jump when a virtual machine wakes up: what one writes
 * down for another to compare (lives, deadlines, days of removal) is told by Redis.
 */
import type { Redis } from 'ioredis';

/** Unix ms. */
export async function redisTime(redis: Redis): Promise<number> {
  const [seconds, micros] = await redis.time();
  return Number(seconds) * 1000 + Math.floor(Number(micros) / 1000);
}
