/**
 * Registry of models in Redis: which exist, and how many live workers serve each. Workers write it, the API reads it. A hash has
 * every model that was ever served, so jobs for a model without workers are still accepted; a sorted set per model has its live
 * workers with their revisions, by the time at which each counts as dead.
 */
import { modelInfoSchema, type ModelInfo } from '../contract/models.ts';
import { OPTIONS_GENERATION, optionsOfGeneration, type OptionName } from '../contract/options.ts';
import { modelsKey, revisionsKey, workersKey } from '../redis/keys.ts';
import { redisTime } from '../redis/time.ts';
import { RedisStore } from './redis-store.ts';

/** Interval of a worker's heartbeats. */
export const HEARTBEAT_MS = 2000;
/** Time after its last heartbeat at which a worker counts as dead; two heartbeats may be lost. */
export const LIFETIME_MS = 3 * HEARTBEAT_MS;

export class ModelRegistry extends RedisStore {
  /** Registers a worker as live, with its model; to be repeated every HEARTBEAT_MS. */
  async announce(workerId: string, model: ModelInfo): Promise<void> {
    const now = await redisTime(this.redis);
    const key = workersKey(this.prefix, model.name);
    await this.redis
      .multi()
      .hset(modelsKey(this.prefix), model.name, JSON.stringify(model))
      .zadd(key, now + LIFETIME_MS, member(workerId, model.revision))
      .zremrangebyscore(key, '-inf', now - 60_000)
      .hset(revisionsKey(this.prefix), `${model.name}@${model.revision}`, now)
      .exec();
  }

  /** Removes a worker that fetches no more jobs. */
  async withdraw(workerId: string, { name, revision }: Pick<ModelInfo, 'name' | 'revision'>): Promise<void> {
    await this.redis.zrem(workersKey(this.prefix, name), member(workerId, revision));
  }

  /** Unix ms at which a revision of a model last had a worker; undefined: never. */
  async lastSeen(model: string, revision: string): Promise<number | undefined> {
    const seen = await this.redis.hget(revisionsKey(this.prefix), `${model}@${revision}`);
    return seen === null ? undefined : Number(seen);
  }

  /** Removes a model. A worker that still serves it registers it again with its next heartbeat. */
  async remove(model: string): Promise<void> {
    const revisions = Object.keys(await this.redis.hgetall(revisionsKey(this.prefix)));
    const own = revisions.filter((each) => each.startsWith(`${model}@`));
    const forget = this.redis.multi().hdel(modelsKey(this.prefix), model).del(workersKey(this.prefix, model));
    if (own.length > 0) forget.hdel(revisionsKey(this.prefix), ...own);
    await forget.exec();
  }

  /**
   * Every model that was ever served, with its live workers, also by revision. Served models come first, by name; then the others,
   * the most recently served one first.
   */
  async list(): Promise<KnownModel[]> {
    const [stored, now] = await Promise.all([
      this.redis.hgetall(modelsKey(this.prefix)),
      redisTime(this.redis),
    ]);
    const models = Object.values(stored).flatMap((json) => {
      const parsed = modelInfoSchema.safeParse(JSON.parse(json));
      return parsed.success ? [parsed.data] : [];
    });
    const alive = await Promise.all(
      models.map((model) => this.redis.zrangebyscore(workersKey(this.prefix, model.name), now, '+inf')),
    );
    const seen = await Promise.all(
      models.map(async ({ name, revision }, i) =>
        alive[i]?.length ? undefined : await this.lastSeen(name, revision),
      ),
    );
    return models
      .map((model, i) => {
        const members = alive[i] ?? [];
        const workers = members.map(parseMember);
        const counts = {
          workers: members.length,
          revisions: countRevisions(workers),
          workerIds: workers.map(({ id }) => id),
        };
        const generations = workers.map(({ generation }) => generation);
        const last = seen[i];
        return {
          ...model,
          ...counts,
          ...(members.length > 0 && { options: optionsOfGeneration(Math.min(...generations)) }),
          ...(last !== undefined && { last_served_at: new Date(last).toISOString() }),
        };
      })
      .sort((a, b) => {
        const served = Number(b.workers > 0) - Number(a.workers > 0);
        const recent = (b.last_served_at ?? '').localeCompare(a.last_served_at ?? '');
        return served || recent || a.name.localeCompare(b.name);
      });
  }
}

/** A model and its live workers. */
export type KnownModel = ModelInfo & {
  workers: number;
  /** Those that all live workers understand; undefined without any. */
  options?: OptionName[] | undefined;
  revisions: { revision: string; workers: number }[];
  /** Names of the workers. */
  workerIds: string[];
  /** Time at which a worker last served it; only of a model without workers. */
  last_served_at?: string | undefined;
};

/**
 * Member of the set for a worker of this version: `<id>+<generation of options>@<revision>`. Those of earlier versions have no
 * generation, and read all before the last @ as an id. During a rollout, workers of one model have different revisions.
 */
const member = (workerId: string, revision: string): string =>
  `${workerId}+${OPTIONS_GENERATION}@${revision}`;

interface LiveWorker {
  id: string;
  /** 0 for a version before generations. */
  generation: number;
  revision: string;
}

function parseMember(each: string): LiveWorker {
  const at = each.lastIndexOf('@');
  const named = each.slice(0, at);
  const [, id = named, generation = '0'] = /^(.*)\+(\d{1,3})$/s.exec(named) ?? [];
  return { id, generation: Number(generation), revision: each.slice(at + 1) };
}

function countRevisions(workers: readonly LiveWorker[]): KnownModel['revisions'] {
  const counts = new Map<string, number>();
  for (const { revision } of workers) {
    counts.set(revision, (counts.get(revision) ?? 0) + 1);
  }
  return [...counts]
    .map(([revision, workers]) => ({ revision, workers }))
    .sort((a, b) => b.workers - a.workers || a.revision.localeCompare(b.revision));
}
