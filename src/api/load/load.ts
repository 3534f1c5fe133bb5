/** How much there is to do and how Redis is, read for those who watch the service: a second old is new enough. */
import type { Redis } from 'ioredis';
import { EMPTY_BACKLOG, type Backlog } from '../../shared/store/jobs/backlog.ts';
import type { BatchStore } from '../../shared/store/batches/batch-store.ts';
import type { ModelStats } from '../../shared/contract/models.ts';
import type { Priority } from '../../shared/contract/ids.ts';
import { queueName } from '../../shared/store/queues.ts';
import { redisMemory, type RedisMemory } from '../../shared/redis/memory.ts';
import type { WithRedis } from '../../shared/redis/connections.ts';
import type { Stats } from './stats.ts';

export interface QueueLoad {
  model: string;
  priority: Priority;
  /** Of jobs without an outcome; bytes as UTF-8. */
  texts: number;
  bytes: number;
  /** Age of the oldest of them, 0 when there is none. */
  oldestMs: number;
}

export interface Load {
  queues: QueueLoad[];
  models: ModelStats[];
  redis: RedisMemory & { pingMs: number };
  /** Bytes of batches' input that are stored, and that uploads under way have reserved. */
  storedBytes: number;
  reservedBytes: number;
}

export interface LoadDeps {
  redis: Redis;
  withRedis: WithRedis;
  backlog: Backlog;
  batches: BatchStore;
  stats: Stats;
}

/** All gauges of a scrape are of one reading, and so are those of several scrapers. */
const FRESH_MS = 1000;

/** @returns what reads the load; it rejects while Redis is away */
export function loadReader(deps: LoadDeps): () => Promise<Load> {
  let reading: Promise<Load> | undefined;
  let readAt = -Infinity;
  return () => {
    const now = performance.now();
    if (!reading || now - readAt >= FRESH_MS) {
      readAt = now;
      reading = deps.withRedis(() => readLoad(deps));
      reading.catch(() => {});
    }
    return reading;
  };
}

async function readLoad({ redis, backlog, batches, stats }: LoadDeps): Promise<Load> {
  const start = performance.now();
  await redis.ping();
  const pingMs = performance.now() - start;
  const [models, sizes, memory, storedBytes, reservedBytes] = await Promise.all([
    stats.models(),
    backlog.sizes(),
    redisMemory(redis),
    batches.storedBytes(),
    batches.reservedBytes(),
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
