/** Load: the size and age of each queue, the stored bytes, and the health of Redis, for /metrics. */
import { EMPTY_BACKLOG } from '../../shared/store/jobs/backlog.ts';
import type { ModelStats } from '../../shared/contract/models.ts';
import type { Priority } from '../../shared/contract/ids.ts';
import { queueName } from '../../shared/store/queues.ts';
import { redisMemory, type RedisMemory } from '../../shared/redis/memory.ts';
import { CachedFor } from '../cached-for.ts';
import type { Stats } from './stats.ts';
import type { Deps } from '../deps.ts';

export interface QueueLoad {
  model: string;
  priority: Priority;
  /** Of the jobs without an outcome; bytes as UTF-8. */
  texts: number;
  bytes: number;
  /** Age of the oldest of these jobs; 0 without any. */
  oldestMs: number;
}

export interface Load {
  queues: QueueLoad[];
  models: ModelStats[];
  redis: RedisMemory & { pingMs: number };
  /** Bytes of stored batch input, and those that running uploads have reserved. */
  storedBytes: number;
  reservedBytes: number;
}

export interface LoadDeps extends Deps<'redis' | 'withRedis' | 'backlog' | 'batchStore'> {
  stats: Stats;
}

/** One reading serves all gauges of a scrape, and several scrapers. */
const FRESH_MS = 1000;

/** @returns a function that reads the load; it rejects while Redis is away */
export function loadReader(deps: LoadDeps): () => Promise<Load> {
  const cached = new CachedFor(FRESH_MS, () => deps.withRedis(() => readLoad(deps)));
  return () => cached.get();
}

async function readLoad({ redis, backlog, batchStore, stats }: LoadDeps): Promise<Load> {
  const start = performance.now();
  await redis.ping();
  const pingMs = performance.now() - start;
  const [models, sizes, memory, storedBytes, reservedBytes] = await Promise.all([
    stats.models(),
    backlog.sizes(),
    redisMemory(redis),
    batchStore.reservations.storedBytes(),
    batchStore.reservations.reservedBytes(),
  ]);
  const known = models.flatMap(({ name }) =>
    (['normal', 'low'] as const).map((priority) => ({ model: name, priority })),
  );
  const queues = await Promise.all(
    known.map(async ({ model, priority }) => {
      const queue = queueName(priority, model);
      const oldest = await backlog.oldest(queue);
      return {
        model,
        priority,
        ...(sizes.get(queue) ?? EMPTY_BACKLOG),
        // Another instance's clock may be ahead.
        oldestMs: oldest === undefined ? 0 : Math.max(0, Date.now() - oldest),
      };
    }),
  );
  return { queues, models, redis: { pingMs, ...memory }, storedBytes, reservedBytes };
}
