/**
 * The clock of Redis, which all processes share. Their own clocks may be wrong, or jump when a virtual machine wakes up: times that
 * one process stores for another to compare (leases, deadlines, expiry) come from Redis.
 */
import type { Redis } from 'ioredis';

/** Unix ms. */
export async function redisTime(redis: Redis): Promise<number> {
  const [seconds, micros] = await redis.time();
  return Number(seconds) * 1000 + Math.floor(Number(micros) / 1000);
}
