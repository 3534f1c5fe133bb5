/** The keys of a batch, by the names that they have in its scripts; each script gets those that its header names. */
import { batchModel } from '../../contract/ids.ts';
import {
  batchChecksumsKey,
  batchDoneKey,
  batchKey,
  batchLeftoversKey,
  batchPartsKey,
  batchRemovalKey,
  outboxKey,
  reservedBytesKey,
  runningBatchesKey,
  storedBytesKey,
  uploadsKey,
  workersKey,
} from '../../redis/keys.ts';

export const scriptKeys = (prefix: string, id: string) => ({
  batch: batchKey(prefix, id),
  parts: batchPartsKey(prefix, id),
  done: batchDoneKey(prefix, id),
  checksums: batchChecksumsKey(prefix, id),
  running: runningBatchesKey(prefix),
  removal: batchRemovalKey(prefix),
  leftovers: batchLeftoversKey(prefix),
  stored: storedBytesKey(prefix),
  uploads: uploadsKey(prefix),
  reserved: reservedBytesKey(prefix),
  outbox: outboxKey(prefix),
  workers: workersKey(prefix, batchModel(id) ?? ''),
});
