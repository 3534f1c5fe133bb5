/** Reads how much memory Redis uses and may use. */
import type { Redis } from 'ioredis';

export interface RedisMemory {
  usedBytes: number;
  /** 0: Redis has no limit. */
  maxBytes: number;
}

export async function redisMemory(redis: Redis): Promise<RedisMemory> {
  const info = await redis.info('memory');
  const figure = (name: string) => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info)?.[1] ?? 0);
  return { usedBytes: figure('used_memory'), maxBytes: figure('maxmemory') };
}
