/**
 * Says no before there is no room. A queue without an end turns an hour of trouble into a day of stale answers, and a full
 * Redis refuses outcomes as well as jobs; so what cannot be worked on soon is refused while everything else still works.
 *
 * The limits hold for each queue, of a model and priority, so that nobody's backlog shuts out others. They are looked at
 * before jobs are added and not while, which would cost every job a round trip: all instances of the API together can go
 * beyond them by what they take in within FRESH_MS.
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

/** What is known of Redis is asked for again after so long. */
const FRESH_MS = 500;
/** When a refused caller may try again, in seconds. */
const RETRY_S = 5;
/** Low-priority jobs are refused when Redis has this much less room, in percent, so that the others find some. */
const LOW_MARGIN = 10;

export interface AdmissionDeps {
  config: Pick<Config, 'MAX_QUEUED_TEXTS' | 'MAX_QUEUED_BYTES' | 'MAX_REDIS_MEMORY_PERCENT'>;
  redis: Redis;
  backlog: Backlog;
  /** Of the disk that Redis writes to, if it is one of this machine. */
  redisDisk?: DiskReserve | undefined;
}

interface Seen {
  sizes: Map<string, BacklogSize>;
  /** Of what Redis may use; 0 when it has no limit. */
  memoryPercent: number;
  /** Its disk has less than its reserve left. */
  diskShort: boolean;
}

export class Admission {
  readonly #deps: AdmissionDeps;
  #seen: Seen = { sizes: new Map(), memoryPercent: 0, diskShort: false };
  #seenAt = -Infinity;
  #looking: Promise<Seen> | undefined;

  constructor(deps: AdmissionDeps) {
    this.#deps = deps;
  }

  /** @throws AppError `queue_full` or `redis_disk_full` when a job of so many texts and bytes cannot be taken just now */
  async admit(priority: Priority, model: string, { texts, bytes }: BacklogSize): Promise<void> {
    const { MAX_QUEUED_TEXTS, MAX_QUEUED_BYTES, MAX_REDIS_MEMORY_PERCENT } = this.#deps.config;
    const seen = await this.#recent();
    refuseWithoutRoom(seen, MAX_REDIS_MEMORY_PERCENT, marginOf(priority));
    const { sizes } = seen;
    const queue = queueName(priority, model);
    const waiting = sizes.get(queue) ?? EMPTY_BACKLOG;
    // What is larger than the whole limit is taken alone, or it would be told to try again for ever.
    if (waiting.texts > 0 && waiting.texts + texts > MAX_QUEUED_TEXTS) {
      throw full(
        `${waiting.texts} texts of priority ${priority} wait for ${model}; at most ${MAX_QUEUED_TEXTS} may`,
      );
    }
    if (waiting.bytes > 0 && waiting.bytes + bytes > MAX_QUEUED_BYTES) {
      throw full(
        `${waiting.bytes} bytes of priority ${priority} wait for ${model}; at most ${MAX_QUEUED_BYTES} may`,
      );
    }
    // Until Redis is asked again, what was let in counts.
    sizes.set(queue, { texts: waiting.texts + texts, bytes: waiting.bytes + bytes });
  }

  /**
   * For whatever else keeps something in Redis: batches, their parts, webhooks that are sent again. What finishes work that was
   * taken in does not ask.
   * @throws AppError `queue_full` or `redis_disk_full` when Redis has too little room left for new work
   */
  async requireRoom(): Promise<void> {
    refuseWithoutRoom(await this.#recent(), this.#deps.config.MAX_REDIS_MEMORY_PERCENT, 0);
  }

  /** Whether Redis has room for new jobs. */
  async hasRoom(priority: Priority): Promise<boolean> {
    const { memoryPercent, diskShort } = await this.#recent();
    return (
      !diskShort && !isAbove(this.#deps.config.MAX_REDIS_MEMORY_PERCENT, marginOf(priority), memoryPercent)
    );
  }

  async #recent(): Promise<Seen> {
    if (performance.now() - this.#seenAt < FRESH_MS) return this.#seen;
    // Requests that come meanwhile share the answer.
    this.#looking ??= this.#look().finally(() => (this.#looking = undefined));
    return this.#looking;
  }

  async #look(): Promise<Seen> {
    const { redis, backlog, redisDisk } = this.#deps;
    const [sizes, { usedBytes, maxBytes }, shortage] = await Promise.all([
      backlog.sizes(),
      redisMemory(redis),
      redisDisk?.shortage('new'),
    ]);
    const memoryPercent = maxBytes === 0 ? 0 : (usedBytes / maxBytes) * 100;
    this.#seen = { sizes, memoryPercent, diskShort: shortage !== undefined };
    this.#seenAt = performance.now();
    return this.#seen;
  }
}

const marginOf = (priority: Priority): number => (priority === 'low' ? LOW_MARGIN : 0);

/** @param limit in percent of Redis' memory; 0: none @param margin how much sooner than at the limit */
const isAbove = (limit: number, margin: number, percent: number): boolean =>
  limit !== 0 && percent > limit - margin;

/** @throws AppError `redis_disk_full`, `queue_full` */
function refuseWithoutRoom({ memoryPercent: percent, diskShort }: Seen, limit: number, margin: number): void {
  if (diskShort) throw redisDiskFull();
  if (!isAbove(limit, margin, percent)) return;
  throw full(
    `Redis uses ${Math.round(percent)} % of its memory; new work is taken up to ${limit - margin} %`,
  );
}

function full(detail: string): AppError {
  return new AppError('queue_full', detail, { retryAfterS: RETRY_S });
}
