/**
 * What happens to batches without a caller: chunks that a crash kept out of the queue are put there, what has expired is
 * removed, and a batch whose weights are gone is told so. Any API instance may do it, at any time; all of it is harmless
 * to repeat.
 */
import type { LazyBlobStore } from '../../shared/blobs/blob-store.ts';
import type { WithRedis } from '../../shared/redis/connections.ts';
import type { BatchStore } from '../../shared/store/batches/batch-store.ts';
import type { BatchQueue } from './batch-queue.ts';
import type { BlobRemoval } from './blob-removal.ts';

export interface BatchMaintenanceDeps {
  withRedis: WithRedis;
  batchStore: BatchStore;
  blobs: LazyBlobStore;
  queue: BatchQueue;
  blobRemoval: BlobRemoval;
}

/** Batches that one round removes; the rest comes with the next. */
const REMOVE_LIMIT = 100;
/** Rounds between two sweeps of what crashed writers left in the blob store. */
const SWEEP_EVERY = 60;

export class BatchMaintenance {
  readonly #deps: BatchMaintenanceDeps;
  #round = 0;

  constructor(deps: BatchMaintenanceDeps) {
    this.#deps = deps;
  }

  /** One round of everything; what fails keeps nothing else from being done. @throws the first failure */
  async run(): Promise<void> {
    const { withRedis, batchStore, blobs, queue, blobRemoval } = this.#deps;
    const failures: unknown[] = [];
    const attempt = (step: () => Promise<unknown>) => step().catch((error: unknown) => failures.push(error));
    // First, because a full Redis refuses most of the rest.
    for (const id of await withRedis(() => batchStore.due(REMOVE_LIMIT))) {
      await attempt(() => withRedis(() => this.#endDue(id)));
    }
    for (const id of await withRedis(() => batchStore.running())) {
      await attempt(() => withRedis(() => queue.enqueueMissingChunks(id)));
    }
    await attempt(() => blobRemoval.run());
    if (this.#round++ % SWEEP_EVERY === SWEEP_EVERY - 1) await attempt(async () => (await blobs()).sweep());
    if (failures.length > 0) throw failures[0];
  }

  async #endDue(id: string): Promise<void> {
    const { batchStore } = this.#deps;
    const record = await batchStore.read(id);
    // An expired one can be asked about for as long as a finished one; its data goes at once.
    if (record?.status === 'open') await batchStore.end(id, 'expired', EXPIRED);
    else await batchStore.removeDue(id);
  }
}

const EXPIRED = { code: 'batch_expired', message: 'no part came for too long' };
