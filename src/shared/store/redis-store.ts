/** RedisStore: a class that keeps state in Redis, with a connection and the prefix of its keys. */
import type { Redis } from 'ioredis';

export abstract class RedisStore {
  protected readonly redis: Redis;
  protected readonly prefix: string;

  constructor(redis: Redis, prefix: string) {
    this.redis = redis;
    this.prefix = prefix;
  }
}
