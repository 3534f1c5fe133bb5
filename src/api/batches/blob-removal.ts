/** Deletes the blobs of batches that were removed or have expired, as the store lists them. */
import { deletePrefix } from '../../shared/blobs/store-operations.ts';
import { toError } from '../../shared/runtime/to-error.ts';
import { batchPrefix } from '../../shared/store/batches/layout.ts';
import type { Deps } from '../deps.ts';

export type BlobRemovalDeps = Deps<'withRedis' | 'batchStore' | 'blobs' | 'logger'>;

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
      await deletePrefix(await blobs(), batchPrefix(id));
      await withRedis(() => batchStore.blobsRemoved(id));
    }
  }
}
