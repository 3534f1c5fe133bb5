/** Keeps a job or batch readable until its webhook is delivered, and for as long again as any result. */
import { batchModel } from '../../shared/contract/ids.ts';
import type { JobRecords } from '../../shared/store/jobs/job-records.ts';
import type { BatchStore } from '../../shared/store/batches/batch-store.ts';

export class SourceRetention {
  readonly #records: JobRecords;
  readonly #batchStore: BatchStore;
  readonly #resultTtlMs: number;

  constructor(records: JobRecords, batchStore: BatchStore, { resultTtlS }: { resultTtlS: number }) {
    this.#records = records;
    this.#batchStore = batchStore;
    this.#resultTtlMs = resultTtlS * 1000;
  }

  /** @param attemptAt Unix ms of the next attempt to deliver the webhook */
  async extendRetention(source: string, attemptAt: number): Promise<void> {
    const keepUntil = attemptAt + this.#resultTtlMs;
    if (batchModel(source) === undefined) await this.#records.keepUntil(source, keepUntil);
    else await this.#batchStore.keepUntil(source, keepUntil);
  }

  /** Ends the longer retention of a job after the last attempt. A batch is kept for longer than that anyway. */
  async endRetention(source: string): Promise<void> {
    if (batchModel(source) !== undefined) return;
    await this.#records.keepNoLongerThan(source, Date.now() + this.#resultTtlMs);
  }
}
