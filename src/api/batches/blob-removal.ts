/** Deletes the blobs of batches that were removed or have expired, as the store lists them. */
import type { LazyBlobStore } from '../../shared/blobs/blob-store.ts';
import type { WithRedis } from '../../shared/redis/connections.ts';
import type { Logger } from '../../shared/runtime/logger.ts';
import { toError } from '../../shared/runtime/to-error.ts';
import type { BatchStore } from '../../shared/store/batches/batch-store.ts';
import { batchPrefix } from '../../shared/store/batches/layout.ts';

export interface BlobRemovalDeps {
  withRedis: WithRedis;
  batchStore: BatchStore;
  blobs: LazyBlobStore;
  logger: Logger;
}

export class BlobRemoval {
  readonly #deps: BlobRemovalDeps;
  #running: Promise<void> | undefined;

  constructor(deps: BlobRemovalDeps) {
    this.#deps = deps;
  }

  /** One run at a time: a call during a run waits for its end. */
  run(): Promise<void> {
    this.#running ??= this.#removeAll().finally(() => (this.#running = undefined));
    return this.#running;
  }

  /** The same for a caller that does not wait: a failure is logged, and maintenance tries again. */
  runInBackground(): void {
    void this.run().catch((error: unknown) =>
      this.#deps.logger.warn(
        { reason: toError(error).message },
        'blobs of removed batches could not be deleted; maintenance tries again',
      ),
    );
  }

  async #removeAll(): Promise<void> {
    const { withRedis, batchStore, blobs } = this.#deps;
    for (const id of await withRedis(() => batchStore.leftovers())) {
      await (await blobs()).deletePrefix(batchPrefix(id));
      await withRedis(() => batchStore.blobsRemoved(id));
    }
  }
}
