/**
 * The chunks of a batch in its BullMQ queue: enqueues those that should be there and dequeues those of a batch that has ended.
 * Both can be repeated at any time, by any API instance.
 */
import type { Redis } from 'ioredis';
import { batchModel } from '../../shared/contract/ids.ts';
import { isFinal } from '../../shared/contract/states.ts';
import { redisTime } from '../../shared/redis/time.ts';
import type { Config } from '../../shared/runtime/config.ts';
import { isDone, type BatchRecord } from '../../shared/store/batches/batch-record.ts';
import type { BatchStore } from '../../shared/store/batches/batch-store.ts';
import type { QueueSet } from '../../shared/store/jobs/queue-set.ts';
import { LIFETIME_MS, type ModelRegistry } from '../../shared/store/models.ts';
import { addChunks, chunkJobId, isChunkOf } from '../../shared/store/queues.ts';

export interface BatchQueueDeps {
  config: Config;
  redis: Redis;
  batchStore: BatchStore;
  queues: QueueSet;
  registry: ModelRegistry;
}

/**
 * Chunks per live worker that the API hands out. Workers hand out more by themselves if they can use more; this is to get
 * a batch going.
 */
const FIRST_CHUNKS = 4;

export class BatchQueue {
  readonly #deps: BatchQueueDeps;

  constructor(deps: BatchQueueDeps) {
    this.#deps = deps;
  }

  /** Puts those chunks of a batch into its queue that should be there and are not. */
  async enqueueMissingChunks(id: string): Promise<void> {
    const { batchStore, queues, redis } = this.#deps;
    if ((await batchStore.chunks.claim(id, FIRST_CHUNKS)) === undefined) return;
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
    const bits = await batchStore.chunks.doneBits(id);
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
    const chunks = openChunks(record, await batchStore.chunks.doneBits(id));
    for (const revision of new Set([record.revision, undefined])) {
      const queue = await queues.getBulk(model, revision);
      const jobs = new Set(chunks.map((chunk) => chunkJobId(id, chunk)));
      // Counted, but its worker died before it could say so to the queue, and there may be none to take it over.
      for (const job of await queue.getRanges(['active'])) if (isChunkOf(id, job)) jobs.add(job);
      // One that a worker holds cannot be removed; it finds out by itself.
      await Promise.all([...jobs].map((job) => queue.remove(job).catch(() => 0)));
    }
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
