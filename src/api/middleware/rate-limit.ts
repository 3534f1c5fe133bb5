/** Rate limit: requests per minute and API key, counted in Redis for all API instances together. */
import type { Context } from 'hono';
import { RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible';
import type { ApiKey } from '../../shared/runtime/api-keys.ts';
import { AppError } from '../../shared/contract/problems.ts';
import { rateKey } from '../../shared/redis/keys.ts';
import type { AppEnv } from '../env.ts';
import type { Deps } from '../deps.ts';
import { setHeader } from './response-headers.ts';

const WINDOW_S = 60;

export interface RateLimitDeps extends Deps<'redis' | 'withRedis' | 'prefix'> {
  /** Requests per minute of a key whose line has no limit; 0: no limit. */
  perMinute: number;
}

/** Sets `RateLimit-Limit`, `-Remaining` and `-Reset`. Rejects with `rate_limited` when no request is left. */
export type RateLimit = (c: Context<AppEnv>, key: ApiKey) => Promise<void>;

export function rateLimit({ redis, withRedis, prefix, perMinute }: RateLimitDeps): RateLimit {
  const limiters = new Map<number, RateLimiterRedis>();
  const limiterOf = (points: number) => {
    const known = limiters.get(points);
    if (known) return known;
    const made = new RateLimiterRedis({
      storeClient: redis,
      keyPrefix: '',
      points,
      duration: WINDOW_S,
      // A key over its limit causes no more calls of Redis.
      inMemoryBlockOnConsumed: points + 1,
    });
    limiters.set(points, made);
    return made;
  };
  return async (c, key) => {
    const points = key.perMinute ?? perMinute;
    if (points === 0) return;
    const { state, over } = await withRedis(async () => {
      try {
        return { state: await limiterOf(points).consume(rateKey(prefix, key.name)), over: false };
      } catch (thrown) {
        // Over the limit, the library rejects with the state.
        if (thrown instanceof RateLimiterRes) return { state: thrown, over: true };
        throw thrown;
      }
    });
    const resetS = Math.ceil(state.msBeforeNext / 1000);
    setHeader(c, 'RateLimit-Limit', String(points));
    setHeader(c, 'RateLimit-Remaining', String(over ? 0 : state.remainingPoints));
    setHeader(c, 'RateLimit-Reset', String(resetS));
    if (!over) return;
    throw new AppError('rate_limited', `this key may make at most ${points} requests per minute`, {
      retryAfterS: resetS,
    });
  };
}
