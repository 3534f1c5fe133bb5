/**
 * Batches in Redis, from creation to removal: a hash of a few hundred bytes each. Its parts are in
 * part-store.ts, its chunks in chunk-store.ts, room for uploads in reservations.ts; texts and results are in the blob store
 * (layout.ts). Every change that must happen once, or in order, is a script.
 */
import type { Redis } from 'ioredis';
import type { BatchSpec } from '../../contract/batches.ts';
import {
  BATCH_TRANSITIONS,
  batchStatuses,
  type BatchStatus,
  type FinalBatchStatus,
} from '../../contract/states.ts';
import type { Webhook } from '../../contract/webhooks.ts';
import { eventId } from '../../contract/ids.ts';
import {
  batchKey,
  batchLeftoversKey,
  batchListKey,
  batchProgressChannel,
  batchRemovalKey,
  deliveryKey,
  openBatchesKey,
  runningBatchesKey,
} from '../../redis/keys.ts';
import { redisTime } from '../../redis/time.ts';
import { parseBatchRecord, type BatchProblem, type BatchRecord } from './batch-record.ts';
import {
  COMPLETE,
  CREATE,
  END,
  REMOVE,
  REPORT_DAMAGE,
  REPORT_PROBLEM,
  RESUME,
  type CompleteOutcome,
} from './batch-scripts.ts';
import { ChunkStore } from './chunk-store.ts';
import { PartStore } from './part-store.ts';
import { Reservations } from './reservations.ts';
import { scriptKeys } from './script-keys.ts';
import { RedisStore } from '../redis-store.ts';

export interface BatchStoreOptions {
  redis: Redis;
  prefix: string;
  /** Seconds to keep a batch after its end. */
  ttlS: number;
  /** Seconds until an open batch expires, unless a part comes. */
  openTtlS: number;
}

export interface NewBatchRecord {
  owner: string;
  spec: BatchSpec;
  webhook?: Webhook | undefined;
  /** Key of the string whose last word reserves the id. */
  reservation?: string | undefined;
  limits?: BatchLimits;
}

/** How many batches an owner may have. */
export interface BatchLimits {
  open: number;
  /** In any state. */
  kept: number;
}

const UNLIMITED: BatchLimits = { open: Number.MAX_SAFE_INTEGER, kept: Number.MAX_SAFE_INTEGER };

export interface ResumeOptions {
  /** Start from the first chunk, with the weights that are served now. */
  restart?: boolean;
  /** Chunks with damaged results, whose blobs are deleted. */
  damaged?: readonly { chunk: number; rows: number }[];
}

export class BatchStore extends RedisStore {
  readonly chunks: ChunkStore;
  readonly parts: PartStore;
  readonly reservations: Reservations;
  readonly #ttlMs: number;
  readonly #openTtlMs: number;

  constructor({ redis, prefix, ttlS, openTtlS }: BatchStoreOptions) {
    super(redis, prefix);
    this.#ttlMs = ttlS * 1000;
    this.#openTtlMs = openTtlS * 1000;
    this.parts = new PartStore(redis, prefix, this.#openTtlMs);
    this.chunks = new ChunkStore(redis, prefix, this.#ttlMs);
    this.reservations = new Reservations(redis, prefix);
  }

  /**
   * Creates a batch, unless one with this id exists.
   * @returns `unreserved` when the id is no longer reserved, because its batch was removed just now; `open` or `kept` when its
   *   owner has as many batches as `limits` permit
   */
  async create(
    id: string,
    { owner, spec, webhook, reservation, limits = UNLIMITED }: NewBatchRecord,
  ): Promise<'created' | 'unreserved' | keyof BatchLimits> {
    const fields = {
      owner,
      spec: JSON.stringify(spec),
      status: 'open' satisfies BatchStatus,
      bytes: 0,
      parts: 0,
      rows: 0,
      chunks: 0,
      next: 0,
      chunks_done: 0,
      finished_rows: 0,
      failed_rows: 0,
      ...(webhook === undefined ? {} : { webhook: JSON.stringify(webhook) }),
      ...(reservation === undefined ? {} : { reservation }),
    };
    return CREATE.run(
      this.redis,
      {
        ...this.#keys(id),
        list: batchListKey(this.prefix, owner),
        reservation: reservation ?? batchKey(this.prefix, id),
        openBatches: openBatchesKey(this.prefix, owner),
      },
      { id, expiresAt: await this.#openUntil(), maxOpen: limits.open, maxKept: limits.kept },
      { args: Object.entries(fields).flat() },
    );
  }

  /** Removes batches that are no longer open from an owner's open ones: an API of an earlier version did not. */
  async forgetClosed(owner: string): Promise<void> {
    const open = openBatchesKey(this.prefix, owner);
    const ids = Object.keys(await this.redis.hgetall(open));
    const statuses = await Promise.all(ids.map((id) => this.redis.hget(batchKey(this.prefix, id), 'status')));
    const closed = ids.filter((_, i) => statuses[i] !== 'open');
    if (closed.length > 0) await this.redis.hdel(open, ...closed);
  }

  async read(id: string): Promise<BatchRecord | undefined> {
    const fields = await this.redis.hgetall(batchKey(this.prefix, id));
    return fields.status === undefined ? undefined : parseBatchRecord(fields);
  }

  /**
   * Looks at `limit` batches of an owner, newest first, from the one behind `after` on.
   * @param wanted which of them are read
   * @returns those, the last one looked at, and whether it is the owner's last one
   */
  async page(
    owner: string,
    limit: number,
    after?: string,
    wanted: (id: string) => boolean = () => true,
  ): Promise<{ found: { id: string; record: BatchRecord }[]; last: string | undefined; atEnd: boolean }> {
    const from = after === undefined ? '+' : `(${after}`;
    const list = batchListKey(this.prefix, owner);
    const ids = await this.redis.zrevrangebylex(list, from, '-', 'LIMIT', 0, limit);
    const read = ids.filter(wanted);
    const records = await Promise.all(read.map((id) => this.read(id)));
    const found = read.flatMap((id, i) => {
      const record = records[i];
      return record ? [{ id, record }] : [];
    });
    return { found, last: ids.at(-1), atEnd: ids.length < limit };
  }

  /**
   * Closes an open batch: its input is complete.
   * @param manifest name of the blob that lists the parts
   */
  async complete(
    id: string,
    { parts, chunks, manifest }: { parts: number; chunks: number; manifest: string },
  ): Promise<CompleteOutcome> {
    return COMPLETE.run(
      this.redis,
      { ...this.#keys(id), openBatches: await this.#openKeyOf(id) },
      { id, partCount: parts, chunks, manifest },
    );
  }

  /** Records what delays a batch at the moment; the next finished chunk removes it. */
  async reportProblem(id: string, problem: BatchProblem): Promise<void> {
    await REPORT_PROBLEM.run(this.redis, this.#keys(id), { code: problem.code, problem: withTime(problem) });
  }

  /**
   * Records that blobs of a batch are damaged. The first report stays until the batch is resumed.
   * @param results of which chunk, if a chunk's results are damaged; ignored when that chunk is already being done again
   */
  async reportDamage(
    id: string,
    problem: BatchProblem,
    results?: { chunk: number; revision: string },
  ): Promise<void> {
    await REPORT_DAMAGE.run(this.redis, this.#keys(id), {
      damage: withTime(problem),
      chunk: results?.chunk ?? '',
      revision: results?.revision ?? '',
    });
  }

  /**
   * Ends a batch that is not completed. The data of an expired one is in `leftovers`.
   * @returns false when BATCH_TRANSITIONS does not permit this end, or when the batch is to expire before its time
   */
  async end(
    id: string,
    status: Exclude<FinalBatchStatus, 'completed'>,
    error: BatchProblem,
  ): Promise<boolean> {
    const from = batchStatuses.filter((each) => BATCH_TRANSITIONS[each].includes(status));
    const event = eventId(id, Date.now());
    const keys = this.#keys(id);
    const { batch } = keys;
    // A worker only ends batches as failed, and its Redis user has no right to the keys of the other ends.
    const others =
      status === 'failed'
        ? { leftovers: batch, stored: batch, openBatches: batch }
        : { openBatches: await this.#openKeyOf(id) };
    return END.run(
      this.redis,
      { ...keys, delivery: deliveryKey(this.prefix, event), ...others },
      {
        id,
        to: status,
        error: JSON.stringify(error),
        keepMs: this.#ttlMs,
        from: ` ${from.join(' ')} `,
        channel: this.progressChannel,
        event,
      },
    );
  }

  /**
   * Resumes a failed batch. Chunks with damaged results are done again, also of a batch that is completed.
   * @returns false when the batch has neither failed nor damaged results
   */
  resume(id: string, { restart = false, damaged = [] }: ResumeOptions = {}): Promise<boolean> {
    return RESUME.run(
      this.redis,
      this.#keys(id),
      { id, restart: restart ? '1' : '' },
      { args: damaged.flatMap(({ chunk, rows }) => [chunk, rows]) },
    );
  }

  /** Removes a batch. Its blobs are in `leftovers` afterwards. */
  remove(id: string): Promise<boolean> {
    return this.#remove(id, '');
  }

  /** Removes a batch, unless its removal is no longer due: it may have been completed or resumed just now. */
  async removeDue(id: string): Promise<boolean> {
    return this.#remove(id, await redisTime(this.redis));
  }

  /** @param dueBy Unix ms by which its removal must be due; '' = remove it in any case */
  async #remove(id: string, dueBy: number | ''): Promise<boolean> {
    const keys = this.#keys(id);
    const [owner, reservation] = await this.redis.hmget(keys.batch, 'owner', 'reservation');
    return REMOVE.run(
      this.redis,
      {
        ...keys,
        list: batchListKey(this.prefix, owner ?? ''),
        reservation: reservation ?? keys.batch,
        openBatches: openBatchesKey(this.prefix, owner ?? ''),
      },
      { id, dueBy },
    );
  }

  /** Batches that were removed or have expired, and whose blobs may still exist. */
  leftovers(): Promise<string[]> {
    return this.redis.smembers(batchLeftoversKey(this.prefix));
  }

  async blobsRemoved(id: string): Promise<void> {
    await this.redis.srem(batchLeftoversKey(this.prefix), id);
  }

  /** Batches that are queued or processing. */
  running(): Promise<string[]> {
    return this.redis.smembers(runningBatchesKey(this.prefix));
  }

  /** Batches that are due to expire or to be removed. */
  async due(limit: number): Promise<string[]> {
    const now = await redisTime(this.redis);
    return this.redis.zrangebyscore(batchRemovalKey(this.prefix), '-inf', now, 'LIMIT', 0, limit);
  }

  /** Unix ms at which a batch is removed; undefined while it is queued or processing. */
  async removalTime(id: string): Promise<number | undefined> {
    const score = await this.redis.zscore(batchRemovalKey(this.prefix), id);
    return score === null ? undefined : Number(score);
  }

  /** Postpones the expiry of an open batch: an upload is in progress. */
  async keepOpen(id: string): Promise<void> {
    await this.keepUntil(id, await this.#openUntil());
  }

  /** Keeps a batch that has ended until then (Unix ms) at least. */
  async keepUntil(id: string, time: number): Promise<void> {
    await this.redis.zadd(batchRemovalKey(this.prefix), 'XX', 'GT', time, id);
  }

  get progressChannel(): string {
    return batchProgressChannel(this.prefix);
  }

  #keys(id: string): ReturnType<typeof scriptKeys> {
    return scriptKeys(this.prefix, id);
  }

  async #openUntil(): Promise<number> {
    return (await redisTime(this.redis)) + this.#openTtlMs;
  }

  /** Key of the open batches of a batch's owner. */
  async #openKeyOf(id: string): Promise<string> {
    return openBatchesKey(this.prefix, (await this.redis.hget(batchKey(this.prefix, id), 'owner')) ?? '');
  }
}

/** A problem as JSON, with the time of its report. */
function withTime(problem: BatchProblem): string {
  return JSON.stringify({ ...problem, since: new Date().toISOString() });
}
