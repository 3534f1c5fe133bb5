/** Two clients complete one batch at once: what the slower one reads, command by command. */
import { expect, test } from 'vitest';
import { BatchService, type BatchServiceDeps } from '../../src/api/batches/batch-service.ts';
import type { BlobStore } from '../../src/shared/blobs/blob-store.ts';
import type { StoredPart } from '../../src/shared/contract/batches.ts';
import { newBatchId } from '../../src/shared/contract/ids.ts';
import { loadConfig } from '../../src/shared/runtime/config.ts';
import { parseBatchRecord } from '../../src/shared/store/batches/batch-record.ts';
import { encodeManifest } from '../../src/shared/store/batches/layout.ts';

const ID = newBatchId('m');
const PART: StoredPart = {
  number: 1,
  sha256: 'a'.repeat(64),
  bytes: 20,
  rows: 1,
  lines: 1,
  chunks: 1,
  blob: 'p',
};
const CREATED = {
  owner: 'alice',
  status: 'open',
  created: '1',
  spec: JSON.stringify({ format: 'ndjson', text_field: 'text', top_k: 1, first_line: 1, chunk_bytes: 1000 }),
};
const OPEN = parseBatchRecord(CREATED);
const QUEUED = parseBatchRecord({ ...CREATED, status: 'queued', queued: '2', manifest: '1', chunks: '1' });

/** The service over a batch with one part, which another client completes after `commands` commands. */
function service(commands: number) {
  let sent = 0;
  const isOpen = () => sent++ < commands;
  const deps = {
    config: loadConfig({}),
    withRedis: <T>(call: () => Promise<T>) => call(),
    batchStore: {
      read: () => Promise.resolve(isOpen() ? OPEN : QUEUED),
      parts: { list: () => Promise.resolve(isOpen() ? [PART] : []) },
      complete: () =>
        Promise.resolve(isOpen() ? { outcome: 'completed' } : { outcome: 'ended', status: 'queued' }),
      removalTime: () => Promise.resolve(undefined),
    },
    blobs: () =>
      Promise.resolve({
        put: () => Promise.resolve(),
        read: () => Promise.resolve(encodeManifest([PART])),
      } satisfies Partial<BlobStore>),
    queue: { enqueueMissingChunks: () => Promise.resolve() },
    catalog: { workersOf: () => Promise.resolve(1) },
  };
  return new BatchService(deps as unknown as BatchServiceDeps);
}

test.each([0, 1, 2, 3, 4])('after %i commands: complete() answers as if it came later', async (commands) => {
  const parts = [{ number: 1, sha256: PART.sha256 }];
  expect(await service(commands).complete('alice', ID, { parts })).toMatchObject({
    id: ID,
    status: 'queued',
  });
});

test.each([0, 1, 2, 3])('after %i commands: the parts are listed', async (commands) => {
  expect(await service(commands).parts('alice', ID)).toMatchObject([{ number: 1, sha256: PART.sha256 }]);
});
