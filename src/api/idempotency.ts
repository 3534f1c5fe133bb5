/** `Idempotency-Key`: keeps the id that a request was given first, so that a repeat after a crash, a timeout or a race gets it again. */
import { createHash } from 'node:crypto';
import type { Redis } from 'ioredis';
import type { Webhook } from '../shared/contract/webhooks.ts';
import { AppError } from '../shared/contract/problems.ts';
import type { RedisKey } from '../shared/redis/keys.ts';
import type { Deps } from './deps.ts';

export class IdempotencyKeys {
  readonly #redis: Redis;
  readonly #prefix: string;
  readonly #ttlS: number;
  readonly #key: RedisKey<[owner: string, hash: string]>;
  readonly #content: string;

  /**
   * @param key the Redis key of what is created: jobs and batches have one each
   * @param content names what a repeat must have in common with the first request, for the error
   */
  constructor(
    { redis, config }: Deps<'redis' | 'config'>,
    { key, content }: { key: RedisKey<[owner: string, hash: string]>; content: 'body' | 'query' },
  ) {
    this.#redis = redis;
    this.#prefix = config.REDIS_PREFIX;
    this.#key = key;
    this.#ttlS = config.IDEMPOTENCY_TTL_S;
    this.#content = content;
  }

  /**
   * Reserves an id; of several at once, only one reserves its own.
   * @param request must be the same in a repeat
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
      `this Idempotency-Key was used for a request with another ${this.#content}`,
    );
  }

  /** Redis key of a reservation, a string `<hash of the request> <id>`. */
  redisKey(owner: string, key: string): string {
    return this.#key(this.#prefix, owner, sha256(key));
  }
}

function hashOf({ webhook, ...rest }: { webhook?: Webhook | undefined }): string {
  // Each repeat has another trace.
  const request = webhook === undefined ? rest : { ...rest, webhook: { ...webhook, trace: '' } };
  return sha256(JSON.stringify(request));
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
