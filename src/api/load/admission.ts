/**
 * Admission control: refuses new work before Redis runs out of room. An unbounded queue turns an hour of trouble into a day of
 * stale answers, and a full Redis refuses outcomes as well as jobs; so work that cannot be done soon is refused early.
 *
 * The limits hold per queue (model and priority), so that one backlog does not shut out the others. They are compared with sizes
 * up to FRESH_MS old, because an exact check would cost every job a round trip: all API instances together can exceed them by
 * what they accept within FRESH_MS.
 */
import type { Redis } from 'ioredis';
import { EMPTY_BACKLOG, type Backlog, type BacklogSize } from '../../shared/store/jobs/backlog.ts';
import type { Config } from '../../shared/runtime/config.ts';
import type { DiskReserve } from '../../shared/runtime/disk-reserve.ts';
import { AppError } from '../../shared/contract/problems.ts';
import type { Priority } from '../../shared/contract/ids.ts';
import { queueName } from '../../shared/store/queues.ts';
import { redisDiskFull } from '../../shared/redis/connections.ts';
import { redisMemory } from '../../shared/redis/memory.ts';
import { CachedFor } from '../cached-for.ts';

/** How long sizes and memory use, once read, are relied on. */
const FRESH_MS = 500;
/** Seconds after which a refused caller may try again. */
const RETRY_S = 5;
/** Percent of Redis' memory that low-priority jobs leave free for the others. */
const LOW_MARGIN = 10;

export interface AdmissionDeps {
  config: Pick<Config, 'MAX_QUEUED_TEXTS' | 'MAX_QUEUED_BYTES' | 'MAX_REDIS_MEMORY_PERCENT'>;
  redis: Redis;
  backlog: Backlog;
  /** The disk that Redis writes to, if it belongs to this machine. */
  redisDisk?: DiskReserve | undefined;
}

interface RedisLoad {
  sizes: Map<string, BacklogSize>;
  /** Memory in use, in percent of maxmemory; 0 without a limit. */
  memoryPercent: number;
  /** The disk of Redis has less room than its reserve. */
  diskShort: boolean;
}

export class Admission {
  readonly #deps: AdmissionDeps;
  readonly #load = new CachedFor(FRESH_MS, () => this.#readLoad());

  constructor(deps: AdmissionDeps) {
    this.#deps = deps;
  }

  /** @throws AppError `queue_full` or `redis_disk_full` while a job of this size cannot be accepted */
  async admit(priority: Priority, model: string, { texts, bytes }: BacklogSize): Promise<void> {
    const { MAX_QUEUED_TEXTS, MAX_QUEUED_BYTES, MAX_REDIS_MEMORY_PERCENT } = this.#deps.config;
    const load = await this.#load.get();
    refuseWithoutRoom(load, MAX_REDIS_MEMORY_PERCENT, marginOf(priority));
    const { sizes } = load;
    const queue = queueName(priority, model);
    const waiting = sizes.get(queue) ?? EMPTY_BACKLOG;
    // A job larger than the whole limit is accepted into an empty queue; refused, it would be retried for ever.
    if (waiting.texts > 0 && waiting.texts + texts > MAX_QUEUED_TEXTS) {
      throw full(
        `${waiting.texts} texts of priority ${priority} wait for ${model}, of at most ${MAX_QUEUED_TEXTS}; this job has ${texts}`,
      );
    }
    if (waiting.bytes > 0 && waiting.bytes + bytes > MAX_QUEUED_BYTES) {
      throw full(
        `${waiting.bytes} bytes of text of priority ${priority} wait for ${model}, of at most ${MAX_QUEUED_BYTES}; this job has ${bytes}`,
      );
    }
    // Counts what was admitted since the sizes were read.
    sizes.set(queue, { texts: waiting.texts + texts, bytes: waiting.bytes + bytes });
  }

  /**
   * For everything else that writes new data to Redis: batches, their parts, webhooks that are sent again. Writes that finish
   * accepted work do not ask.
   * @throws AppError `queue_full` or `redis_disk_full` while Redis has too little room for new work
   */
  async requireRoom(): Promise<void> {
    refuseWithoutRoom(await this.#load.get(), this.#deps.config.MAX_REDIS_MEMORY_PERCENT, 0);
  }

  /** Whether Redis has room for new jobs. */
  async hasRoom(priority: Priority): Promise<boolean> {
    const { memoryPercent, diskShort } = await this.#load.get();
    return (
      !diskShort && !isAbove(this.#deps.config.MAX_REDIS_MEMORY_PERCENT, marginOf(priority), memoryPercent)
    );
  }

  async #readLoad(): Promise<RedisLoad> {
    const { redis, backlog, redisDisk } = this.#deps;
    const [sizes, { usedBytes, maxBytes }, shortage] = await Promise.all([
      backlog.sizes(),
      redisMemory(redis),
      redisDisk?.shortage('new'),
    ]);
    const memoryPercent = maxBytes === 0 ? 0 : (usedBytes / maxBytes) * 100;
    return { sizes, memoryPercent, diskShort: shortage !== undefined };
  }
}

const marginOf = (priority: Priority): number => (priority === 'low' ? LOW_MARGIN : 0);

/** @param limit in percent of Redis' memory; 0: no limit @param margin percent below the limit */
const isAbove = (limit: number, margin: number, percent: number): boolean =>
  limit !== 0 && percent > limit - margin;

/** @throws AppError `redis_disk_full`, `queue_full` */
function refuseWithoutRoom(
  { memoryPercent: percent, diskShort }: RedisLoad,
  limit: number,
  margin: number,
): void {
  if (diskShort) throw redisDiskFull();
  if (!isAbove(limit, margin, percent)) return;
  throw full(
    `Redis uses ${Math.round(percent)} % of its memory; new work is accepted up to ${limit - margin} %`,
  );
}

function full(detail: string): AppError {
  return new AppError('queue_full', detail, { retryAfterS: RETRY_S });
}
