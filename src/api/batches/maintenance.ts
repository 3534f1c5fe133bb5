/**
 * What happens to batches without a caller: chunks that a crash kept out of the queue are put there, what has expired is
 * removed, and a batch whose weights are gone is told so. Any API instance may do it, at any time; all of it is harmless
 * to repeat.
 */
import type { Redis } from 'ioredis';
import { batchPrefix } from '../../shared/store/batches/layout.ts';
import { isFinal } from '../../shared/contract/states.ts';
import { isDone, type BatchRecord, type BatchStore } from '../../shared/store/batches/batch-store.ts';
import type { LazyBlobStore } from '../../shared/blobs/blob-store.ts';
import type { Config } from '../../shared/runtime/config.ts';
import { toError } from '../../shared/runtime/to-error.ts';
import { batchModel } from '../../shared/contract/ids.ts';
import type { Logger } from '../../shared/runtime/logger.ts';
import { addChunks, chunkJobId, isChunkOf } from '../../shared/store/queues.ts';
import { redisTime } from '../../shared/redis/time.ts';
import type { WithRedis } from '../../shared/redis/connections.ts';
import { LIFETIME_MS, type ModelRegistry } from '../../shared/store/models.ts';
import type { QueueSet } from '../../shared/store/jobs/queue-set.ts';

export interface BatchMaintenanceDeps {
  config: Config;
  redis: Redis;
  withRedis: WithRedis;
  batchStore: BatchStore;
  blobs: LazyBlobStore;
  queues: QueueSet;
  registry: ModelRegistry;
  logger: Logger;
}

/**
 * Chunks per live worker that the API hands out. Workers hand out more by themselves if they can use more; this is to get
 * a batch going.
 */
const FIRST_CHUNKS = 4;
/** Batches that one round removes; the rest comes with the next. */
const REMOVE_LIMIT = 100;
/** Rounds between two sweeps of what crashed writers left in the blob store. */
const SWEEP_EVERY = 60;

export class BatchMaintenance {
  readonly #deps: BatchMaintenanceDeps;
  #round = 0;
  #removing: Promise<void> | undefined;

  constructor(deps: BatchMaintenanceDeps) {
    this.#deps = deps;
  }

  /** One round of everything; what fails keeps nothing else from being done. @throws the first failure */
  async run(): Promise<void> {
    const { withRedis, batchStore, blobs } = this.#deps;
    const failures: unknown[] = [];
    const attempt = (step: () => Promise<unknown>) => step().catch((error: unknown) => failures.push(error));
    // First, because a full Redis refuses most of the rest.
    for (const id of await withRedis(() => batchStore.due(REMOVE_LIMIT))) {
      await attempt(() => withRedis(() => this.#endDue(id)));
    }
    for (const id of await withRedis(() => batchStore.running())) {
      await attempt(() => withRedis(() => this.enqueueMissingChunks(id)));
    }
    await attempt(() => this.removeBlobs());
    if (this.#round++ % SWEEP_EVERY === SWEEP_EVERY - 1) await attempt(async () => (await blobs()).sweep());
    if (failures.length > 0) throw failures[0];
  }

  /** Puts those chunks of a batch into its queue that should be there and are not. */
  async enqueueMissingChunks(id: string): Promise<void> {
    const { batchStore, queues, redis } = this.#deps;
    const handed = await batchStore.handOut(id, FIRST_CHUNKS);
    if (handed.outcome !== 'more') return;
    const record = await batchStore.read(id);
    const model = batchModel(id);
    if (!record || model === undefined) return;
    if (await this.#revisionIsGone(model, record)) {
      await batchStore.end(id, 'failed', {
        code: 'revision_gone',
        message: `it was begun with revision ${record.revision} of ${model}, which no worker serves any more`,
      });
      // Nobody else would.
      await this.dequeueChunks(id, record);
      return;
    }
    const bits = await batchStore.doneBits(id);
    const open = openChunks(record, bits);
    if (open.length === 0) return;
    // A chunk that a worker moves between the two queues just now may be found in neither: it is then run twice.
    const names = new Set([record.revision, undefined]);
    let missing = open;
    for (const revision of names) {
      const queue = await queues.getBulk(model, revision);
      const there = await Promise.all(
        missing.map((chunk) => redis.exists(queue.toKey(chunkJobId(id, chunk)))),
      );
      missing = missing.filter((_, i) => there[i] === 0);
    }
    await addChunks(await queues.getBulk(model, record.revision), id, missing);
    // Ended just now, by one who could not find these yet.
    const { status } = (await batchStore.read(id)) ?? record;
    if (isFinal(status)) await this.dequeueChunks(id, record);
  }

  /** Takes the chunks of a batch that has ended out of its queues. Workers skip those that they have in hand. */
  async dequeueChunks(id: string, record: BatchRecord): Promise<void> {
    const { batchStore, queues } = this.#deps;
    const model = batchModel(id);
    if (model === undefined || record.manifest === undefined) return;
    const chunks = openChunks(record, await batchStore.doneBits(id));
    for (const revision of new Set([record.revision, undefined])) {
      const queue = await queues.getBulk(model, revision);
      const jobs = new Set(chunks.map((chunk) => chunkJobId(id, chunk)));
      // Counted, but its worker died before it could say so to the queue, and there may be none to take it over.
      for (const job of await queue.getRanges(['active'])) if (isChunkOf(id, job)) jobs.add(job);
      // One that a worker holds cannot be removed; it finds out by itself.
      await Promise.all([...jobs].map((job) => queue.remove(job).catch(() => 0)));
    }
  }

  removeBlobsSoon(): void {
    void this.removeBlobs().catch((error: unknown) =>
      this.#deps.logger.warn({ reason: toError(error).message }, 'blobs of removed batches stay for now'),
    );
  }

  /** Removes the blobs of batches that were removed. */
  removeBlobs(): Promise<void> {
    this.#removing ??= this.#removeBlobs().finally(() => (this.#removing = undefined));
    return this.#removing;
  }

  async #removeBlobs(): Promise<void> {
    const { withRedis, batchStore, blobs } = this.#deps;
    for (const id of await withRedis(() => batchStore.leftovers())) {
      await (await blobs()).deletePrefix(batchPrefix(id));
      await withRedis(() => batchStore.blobsRemoved(id));
    }
  }

  async #endDue(id: string): Promise<void> {
    const { batchStore } = this.#deps;
    const record = await batchStore.read(id);
    // An expired one can be asked about for as long as a finished one; its data goes at once.
    if (record?.status === 'open') await batchStore.end(id, 'expired', EXPIRED);
    else await batchStore.removeDue(id);
  }

  /** Other weights have taken its place: while there is no worker at all, it may come back. */
  async #revisionIsGone(model: string, { revision }: BatchRecord): Promise<boolean> {
    if (revision === undefined) return false;
    const { registry, redis, config } = this.#deps;
    const seen = await registry.lastSeen(model, revision);
    // A live worker repeats its sign only now and then.
    const graceMs = Math.max(config.REVISION_GRACE_S * 1000, LIFETIME_MS);
    if (seen !== undefined && (await redisTime(redis)) - seen < graceMs) return false;
    const models = await registry.list();
    return models.some(({ name, workers }) => name === model && workers > 0);
  }
}

/** Chunks that were handed out and are not done. */
function openChunks({ next }: BatchRecord, bits: Buffer): number[] {
  const open: number[] = [];
  for (let chunk = 0; chunk < next; chunk++) {
    // Eight at a time while all are done, which most are.
    if ((chunk & 7) === 0 && bits[chunk >> 3] === 0xff) chunk += 7;
    else if (!isDone(bits, chunk)) open.push(chunk);
  }
  return open;
}

const EXPIRED = { code: 'batch_expired', message: 'no part came for too long' };
