/** Keeps what an event is about for as long as it may take to tell of it, and for a reader to fetch it then. */
import { batchModel } from '../../shared/ids.ts';
import type { JobRecords } from '../../shared/records.ts';
import type { BatchStore } from '../../shared/batches/store.ts';

/** @param until Unix ms at which the next attempt is planned */
export type KeepSource = (source: string, until: number) => Promise<void>;

export function keepSources(
  records: JobRecords,
  batches: BatchStore,
  { resultTtlS }: { resultTtlS: number },
): KeepSource {
  return async (source, until) => {
    const keepUntil = until + resultTtlS * 1000;
    if (batchModel(source) === undefined) await records.keepUntil(source, keepUntil);
    else await batches.keepUntil(source, keepUntil);
  };
}
