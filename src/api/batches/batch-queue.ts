/**
 * Enqueues the chunks of a batch that should be in its BullMQ queue, and dequeues the chunks of a batch that has ended. Every API
 * instance may do either, at any time and repeatedly.
 */
import { chunkVersion } from '../../shared/contract/batches.ts';
import { batchModel } from '../../shared/contract/ids.ts';
import { isFinal } from '../../shared/contract/states.ts';
import { redisTime } from '../../shared/redis/time.ts';
import { isDone, type BatchRecord } from '../../shared/store/batches/batch-record.ts';
import { LIFETIME_MS } from '../../shared/store/models.ts';
import { addChunks, chunkJobId, isChunkOf } from '../../shared/store/queues.ts';
import type { Deps } from '../deps.ts';

export type BatchQueueDeps = Deps<'config' | 'redis' | 'batchStore' | 'queues' | 'registry'>;

/**
 * Chunks per live worker that the API enqueues, to start a batch. Workers that can use more enqueue them when they finish a
 * chunk.
 */
const FIRST_CHUNKS = 4;

export class BatchQueue {
  readonly #deps: BatchQueueDeps;

  constructor(deps: BatchQueueDeps) {
    this.#deps = deps;
  }

  /** Enqueues the chunks of a batch that should be in its queue and are not; fails a batch whose model revision is gone. */
  async enqueueMissingChunks(id: string): Promise<void> {
    const { batchStore, queues, redis } = this.#deps;
    if ((await batchStore.chunks.claim(id, FIRST_CHUNKS)) === undefined) return;
    const record = await batchStore.read(id);
    const model = batchModel(id);
    if (!record || model === undefined) return;
    if (await this.#revisionIsGone(model, record)) {
      await batchStore.end(id, 'failed', {
        code: 'revision_gone',
        message: `the batch was started with revision ${record.revision} of ${model}, which no worker serves any longer`,
      });
      // No worker would remove them from the queue of a revision that none serves.
      await this.dequeueChunks(id, record);
      return;
    }
    const bits = await batchStore.chunks.doneBits(id);
    const open = openChunks(record, bits);
    if (open.length === 0) return;
    // A chunk that a worker is moving between the two queues may be found in neither; it then runs twice, which is harmless.
    const names = new Set([record.revision, undefined]);
    let missing = open;
    for (const revision of names) {
      const queue = await queues.getBulk(model, revision);
      const there = await Promise.all(
        missing.map((chunk) => redis.exists(queue.toKey(chunkJobId(id, chunk)))),
      );
      missing = missing.filter((_, i) => there[i] === 0);
    }
    const payload = { v: chunkVersion(record.spec), batch: id };
    await addChunks(await queues.getBulk(model, record.revision), payload, missing);
    // Another request that ended the batch meanwhile could not find these chunks yet.
    const { status } = (await batchStore.read(id)) ?? record;
    if (isFinal(status)) await this.dequeueChunks(id, record);
  }

  /** Removes the chunks of a batch that has ended from its queues. Workers skip the chunks that they hold. */
  async dequeueChunks(id: string, record: BatchRecord): Promise<void> {
    const { batchStore, queues } = this.#deps;
    const model = batchModel(id);
    if (model === undefined || record.manifest === undefined) return;
    const chunks = openChunks(record, await batchStore.chunks.doneBits(id));
    for (const revision of new Set([record.revision, undefined])) {
      const queue = await queues.getBulk(model, revision);
      const jobs = new Set(chunks.map((chunk) => chunkJobId(id, chunk)));
      // A done chunk is still active when its worker died before it told the queue, and no other worker may be there.
      for (const job of await queue.getRanges(['active'])) if (isChunkOf(id, job)) jobs.add(job);
      // A chunk that a worker holds cannot be removed; the worker notices the end of the batch.
      await Promise.all([...jobs].map((job) => queue.remove(job).catch(() => 0)));
    }
  }

  /** Whether workers serve the model, but no longer this revision. Without any worker, the revision may come back. */
  async #revisionIsGone(model: string, { revision }: BatchRecord): Promise<boolean> {
    if (revision === undefined) return false;
    const { registry, redis, config } = this.#deps;
    const seen = await registry.lastSeen(model, revision);
    // A live worker renews its registration only from time to time.
    const graceMs = Math.max(config.REVISION_GRACE_S * 1000, LIFETIME_MS);
    if (seen !== undefined && (await redisTime(redis)) - seen < graceMs) return false;
    const models = await registry.list();
    return models.some(({ name, workers }) => name === model && workers > 0);
  }
}

/** Chunks that were enqueued and are not done. */
function openChunks({ next }: BatchRecord, bits: Buffer): number[] {
  const open: number[] = [];
  for (let chunk = 0; chunk < next; chunk++) {
    // Skips whole bytes whose eight chunks are done, as most are.
    if ((chunk & 7) === 0 && bits[chunk >> 3] === 0xff) chunk += 7;
    else if (!isDone(bits, chunk)) open.push(chunk);
  }
  return open;
}
