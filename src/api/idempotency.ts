/** `Idempotency-Key`: keeps the id that a request was given first, so that a repeat after a crash, a timeout or a race gets it again. */
import { createHash } from 'node:crypto';
import type { Webhook } from '../shared/contract/webhooks.ts';
import { AppError } from '../shared/contract/problems.ts';
import type { RedisKey } from '../shared/redis/keys.ts';
import type { Deps } from './deps.ts';

export interface IdempotencyKind {
  /** The Redis key of what is created: jobs and batches have one each. */
  key: RedisKey<[owner: string, hash: string]>;
  /** Names what a repeat must have in common with the first request, for the error. */
  content: 'body' | 'query';
}

export class IdempotencyKeys {
  readonly #deps: Deps<'redis' | 'config'>;
  readonly #kind: IdempotencyKind;

  constructor(deps: Deps<'redis' | 'config'>, kind: IdempotencyKind) {
    this.#deps = deps;
    this.#kind = kind;
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
    const { redis, config } = this.#deps;
    const where = this.redisKey(owner, key);
    const earlier = await redis.call('SET', where, value, 'NX', 'GET', 'EX', config.IDEMPOTENCY_TTL_S);
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
    const earlier = await this.#deps.redis.get(this.redisKey(owner, key));
    return earlier === null ? undefined : this.#idOf(earlier, hashOf(request));
  }

  #idOf(reservation: string, hash: string): string | undefined {
    const [reservedHash, id] = reservation.split(' ');
    if (reservedHash === hash) return id;
    throw new AppError(
      'idempotency_mismatch',
      `this Idempotency-Key was used for a request with another ${this.#kind.content}`,
    );
  }

  /** Redis key of a reservation, a string `<hash of the request> <id>`. */
  redisKey(owner: string, key: string): string {
    return this.#kind.key(this.#deps.config.REDIS_PREFIX, owner, sha256(key));
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
