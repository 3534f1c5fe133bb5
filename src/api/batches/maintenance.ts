/**
 * Maintenance of batches, without a caller: enqueues chunks that a crash kept out of the queue, expires and removes batches, and
 * fails batches whose model revision no worker serves any longer. Every API instance runs it; each step can be repeated.
 */
import type { BatchQueue } from './batch-queue.ts';
import type { BlobRemoval } from './blob-removal.ts';
import type { Deps } from '../deps.ts';

export interface BatchMaintenanceDeps extends Deps<'withRedis' | 'batchStore' | 'blobs'> {
  queue: BatchQueue;
  blobRemoval: BlobRemoval;
}

/** Batches that one run removes, at most. */
const REMOVE_LIMIT = 100;
/** Runs between two sweeps of what crashed writers left in the blob store. */
const SWEEP_EVERY = 60;

export class BatchMaintenance {
  readonly #deps: BatchMaintenanceDeps;
  #runs = 0;

  constructor(deps: BatchMaintenanceDeps) {
    this.#deps = deps;
  }

  /** Runs each step once, also after another has failed. @throws the first failure */
  async run(): Promise<void> {
    const { withRedis, batchStore, blobs, queue, blobRemoval } = this.#deps;
    const failures: unknown[] = [];
    const attempt = (step: () => Promise<unknown>) => step().catch((error: unknown) => failures.push(error));
    // First, because this frees memory, and a full Redis refuses most of the other steps.
    for (const id of await withRedis(() => batchStore.due(REMOVE_LIMIT))) {
      await attempt(() => withRedis(() => this.#endDue(id)));
    }
    for (const id of await withRedis(() => batchStore.running())) {
      await attempt(() => withRedis(() => queue.enqueueMissingChunks(id)));
    }
    await attempt(() => blobRemoval.run());
    if (this.#runs++ % SWEEP_EVERY === SWEEP_EVERY - 1) await attempt(async () => (await blobs()).sweep());
    if (failures.length > 0) throw failures[0];
  }

  async #endDue(id: string): Promise<void> {
    const { batchStore } = this.#deps;
    const record = await batchStore.read(id);
    // An expired batch can be read as long as a finished one; its data is removed at once.
    if (record?.status === 'open') await batchStore.end(id, 'expired', EXPIRED);
    else await batchStore.removeDue(id);
  }
}

const EXPIRED = { code: 'batch_expired', message: 'no part was uploaded in time (OPEN_BATCH_TTL_S)' };
