/** Keeps what an event is about for as long as it takes to tell of it, and for a reader to fetch it then. */
import { batchModel } from '../../shared/contract/ids.ts';
import type { JobRecords } from '../../shared/store/jobs/job-records.ts';
import type { BatchStore } from '../../shared/store/batches/batch-store.ts';

export class Sources {
  readonly #records: JobRecords;
  readonly #batches: BatchStore;
  readonly #resultTtlMs: number;

  constructor(records: JobRecords, batches: BatchStore, { resultTtlS }: { resultTtlS: number }) {
    this.#records = records;
    this.#batches = batches;
    this.#resultTtlMs = resultTtlS * 1000;
  }

  /** @param attemptAt Unix ms at which somebody may hear of it */
  async keep(source: string, attemptAt: number): Promise<void> {
    const keepUntil = attemptAt + this.#resultTtlMs;
    if (batchModel(source) === undefined) await this.#records.keepUntil(source, keepUntil);
    else await this.#batches.keepUntil(source, keepUntil);
  }

  /** Nobody is told of it any more. A job was kept for as long as that could take; a batch is kept for longer anyway. */
  async release(source: string): Promise<void> {
    if (batchModel(source) !== undefined) return;
    await this.#records.keepNoLongerThan(source, Date.now() + this.#resultTtlMs);
  }
}
