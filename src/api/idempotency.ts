/** `Idempotency-Key`: which id a request was given first, so that a repeat after a crash, a timeout or a race gets the same. */
import { createHash } from 'node:crypto';
import type { Redis } from 'ioredis';
import type { Config } from '../shared/runtime/config.ts';
import type { Webhook } from '../shared/contract/webhooks.ts';
import { AppError } from '../shared/contract/problems.ts';
import type { RedisKey } from '../shared/redis/keys.ts';

export class IdempotencyKeys {
  readonly #redis: Redis;
  readonly #prefix: string;
  readonly #ttlS: number;
  readonly #key: RedisKey<[owner: string, hash: string]>;
  readonly #content: string;

  /** @param of the key of what is created, jobs and batches having one each; and what must be the same in a repeat */
  constructor(
    { redis, config }: { redis: Redis; config: Config },
    of: { key: RedisKey<[owner: string, hash: string]>; content: 'body' | 'query' },
  ) {
    this.#redis = redis;
    this.#prefix = config.REDIS_PREFIX;
    this.#key = of.key;
    this.#ttlS = config.IDEMPOTENCY_TTL_S;
    this.#content = of.content;
  }

  /**
   * Reserves an id, whoever else tries in the same moment.
   * @param request what must be the same in a repeat
   * @returns the id reserved earlier under this key, or undefined when `id` is reserved now
   * @throws AppError `idempotency_mismatch` when the key belongs to another request
   */
  async reserve(
    owner: string,
    key: string,
    id: string,
    request: { webhook?: Webhook | undefined },
  ): Promise<string | undefined> {
    const hash = hashOf(request);
    const value = `${hash} ${id}`;
    const earlier = await this.#redis.call(
      'SET',
      this.redisKey(owner, key),
      value,
      'NX',
      'GET',
      'EX',
      this.#ttlS,
    );
    return typeof earlier === 'string' ? this.#idOf(earlier, hash) : undefined;
  }

  /**
   * The id reserved earlier under this key, if there is one.
   * @throws AppError `idempotency_mismatch`
   */
  async find(
    owner: string,
    key: string,
    request: { webhook?: Webhook | undefined },
  ): Promise<string | undefined> {
    const earlier = await this.#redis.get(this.redisKey(owner, key));
    return earlier === null ? undefined : this.#idOf(earlier, hashOf(request));
  }

  #idOf(reservation: string, hash: string): string | undefined {
    const [reservedHash, id] = reservation.split(' ');
    if (reservedHash === hash) return id;
    throw new AppError(
      'idempotency_mismatch',
      `this Idempotency-Key belongs to a request with another ${this.#content}`,
    );
  }

  /** Where the id is kept that was reserved under a key: the last word of a string. */
  redisKey(owner: string, key: string): string {
    return this.#key(this.#prefix, owner, sha256(key));
  }
}

function hashOf({ webhook, ...rest }: { webhook?: Webhook | undefined }): string {
  // A repeat has a trace of its own.
  const request = webhook === undefined ? rest : { ...rest, webhook: { ...webhook, trace: '' } };
  return sha256(JSON.stringify(request));
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
