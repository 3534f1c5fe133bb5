/**
 * Drives every script that changes a state of a job, batch or delivery from every state, and compares the outcome with
 * JOB_TRANSITIONS, BATCH_TRANSITIONS and DELIVERY_TRANSITIONS: no script makes another change, and no entry of a table is unused.
 */
import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import type { JobRecord } from '../../src/shared/contract/jobs.ts';
import { eventId, newBatchId, newGroupId, newJobId } from '../../src/shared/contract/ids.ts';
import { newDelivery } from '../../src/shared/contract/events.ts';
import {
  BATCH_TRANSITIONS,
  batchStatuses,
  DELIVERY_TRANSITIONS,
  deliveryStatuses,
  isFinal,
  JOB_TRANSITIONS,
  jobStatuses,
  type BatchStatus,
  type DeliveryStatus,
  type FinalStatus,
  type JobStatus,
} from '../../src/shared/contract/states.ts';
import { batchKey, batchRemovalKey, deliveryKey } from '../../src/shared/redis/keys.ts';
import { BatchStore } from '../../src/shared/store/batches/batch-store.ts';
import { encodeChecksum } from '../../src/shared/store/batches/results.ts';
import { DeliveryStore } from '../../src/shared/store/deliveries/delivery-store.ts';
import { JobRecords } from '../../src/shared/store/jobs/job-records.ts';

const MODEL = 'm';
const DAY_MS = 86_400_000;
const ERROR = { code: 'internal_error', message: 'test' };
let redis: Redis;
let prefix: string;

beforeAll(() => {
  redis = new Redis(inject('redisUrl'));
});
beforeEach(() => {
  prefix = `{test-${randomBytes(5).toString('hex')}}`;
});
afterEach(async () => {
  const keys = await redis.keys(`${prefix}*`);
  if (keys.length > 0) await redis.del(...keys);
});
afterAll(() => redis.disconnect());

type Moves<S extends string> = Partial<Record<S, S>>;

/** Every pair of a table, and every pair that operations made, as `from → to`. */
const pairsOf = (table: Readonly<Record<string, readonly string[]>>) =>
  Object.entries(table)
    .flatMap(([from, targets]) => targets.map((to) => `${from} → ${to}`))
    .sort();
const pairsMade = (operations: { moves: Moves<string> }[]) =>
  [
    ...new Set(
      operations.flatMap(({ moves }) => Object.entries(moves).map(([from, to]) => `${from} → ${to}`)),
    ),
  ].sort();

describe('jobs', () => {
  const recordOf = (status: FinalStatus, started: boolean): JobRecord => ({
    v: 1,
    owner: 'alice',
    status,
    created: 1,
    ...(started ? { started: 2 } : {}),
    finished: 3,
    texts: 1,
  });
  const finals = jobStatuses.filter(isFinal);
  const cases = jobStatuses.flatMap((from) => finals.map((to) => [from, to] as [JobStatus, FinalStatus]));

  test.each(cases)('settle.lua, %s → %s', async (from, to) => {
    const records = new JobRecords(redis, prefix, 60);
    const id = newJobId(newGroupId('normal', MODEL));
    if (isFinal(from)) await records.settle(id, recordOf(from, true));
    const settle = async () => records.settle(id, recordOf(to, from !== 'queued'));
    if (JOB_TRANSITIONS[from].includes(to)) {
      expect(await settle()).toEqual({ settled: true });
      expect((await records.read([id]))[0]).toMatchObject({ status: to });
    } else if (isFinal(from)) {
      expect(await settle()).toMatchObject({ settled: false, existing: { status: from } });
      expect((await records.read([id]))[0]).toMatchObject({ status: from });
    } else {
      await expect(settle()).rejects.toThrow('a job that was not started cannot become succeeded');
      expect(await records.read([id])).toEqual([undefined]);
    }
  });

  test.each(finals)('settle.lua leaves a deleted job deleted: %s', async (to) => {
    const records = new JobRecords(redis, prefix, 60);
    const id = newJobId(newGroupId('normal', MODEL));
    await records.settle(id, recordOf('succeeded', true));
    await records.delete(id);
    expect(await records.settle(id, recordOf(to, true))).toEqual({ settled: false, existing: 'deleted' });
  });
});

describe('batches', () => {
  interface Operation {
    name: string;
    /** Of a batch in each state, the state afterwards; states that are not listed stay. */
    moves: Moves<BatchStatus>;
    damaged?: boolean;
    run: (store: BatchStore, id: string) => Promise<unknown>;
  }
  const spec = { format: 'lines', text_field: 'text', top_k: 1, chunk_bytes: 1000, first_line: 1 } as const;
  const counts = { failedRows: 0, unknownRows: 0, unknownShares: 0 };
  const checksum = encodeChecksum(Buffer.from('results'), counts);
  const finished = (chunk: number) => ({ chunk, revision: 'r1', rows: 1, checksum, ...counts });
  const limits = { batchBytes: 1e6, storedBytes: 1e6, batchChunks: 1e6, openParts: 1e6 };
  const part = (number: number) => ({
    number,
    blob: 'p',
    bytes: 10,
    rows: 3,
    chunks: 3,
    sha256: '',
    lines: 3,
  });
  const unreserved = 'no such reservation';

  const operations: Operation[] = [
    { name: 'create.lua', moves: {}, run: (store, id) => store.create(id, { owner: 'alice', spec }) },
    {
      name: 'create.lua without its reservation',
      moves: {},
      run: (store, id) => store.create(id, { owner: 'alice', spec, reservation: `${prefix}:${unreserved}` }),
    },
    { name: 'add-part.lua', moves: {}, run: (store, id) => store.parts.add(id, part(2), limits, `${id} u`) },
    {
      name: 'complete.lua',
      moves: { open: 'queued' },
      run: (store, id) => store.complete(id, { parts: 1, chunks: 3, manifest: '1' }),
    },
    { name: 'claim-chunks.lua', moves: {}, run: (store, id) => store.chunks.claim(id, 2) },
    {
      name: 'start-chunk.lua',
      moves: { queued: 'processing' },
      run: (store, id) => store.chunks.start(id, 1),
    },
    {
      name: 'finish-chunk.lua, one of several',
      moves: {},
      run: (store, id) => store.chunks.finish(id, 2, finished(1)),
    },
    {
      name: 'finish-chunk.lua, the last one',
      moves: { queued: 'completed', processing: 'completed' },
      run: async (store, id) => {
        await store.chunks.finish(id, 2, finished(1));
        await store.chunks.finish(id, 2, finished(2));
      },
    },
    { name: 'report-problem.lua', moves: {}, run: (store, id) => store.reportProblem(id, ERROR) },
    {
      name: 'report-damage.lua',
      moves: {},
      run: (store, id) => store.reportDamage(id, ERROR, { chunk: 0, revision: 'r1' }),
    },
    {
      name: 'end.lua, failed',
      moves: { queued: 'failed', processing: 'failed' },
      run: (store, id) => store.end(id, 'failed', ERROR),
    },
    {
      name: 'end.lua, canceled',
      moves: { open: 'canceled', queued: 'canceled', processing: 'canceled' },
      run: (store, id) => store.end(id, 'canceled', ERROR),
    },
    {
      name: 'end.lua, expired, its time being up',
      moves: { open: 'expired' },
      run: async (store, id) => {
        await redis.zadd(batchRemovalKey(prefix), 0, id);
        await store.end(id, 'expired', ERROR);
      },
    },
    { name: 'end.lua, expired, too early', moves: {}, run: (store, id) => store.end(id, 'expired', ERROR) },
    { name: 'resume.lua', moves: { failed: 'queued' }, run: (store, id) => store.resume(id) },
    {
      name: 'resume.lua, restart',
      moves: { failed: 'queued' },
      run: (store, id) => store.resume(id, { restart: true }),
    },
    {
      name: 'resume.lua, damaged results',
      damaged: true,
      moves: { completed: 'queued', failed: 'queued' },
      run: (store, id) => store.resume(id, { damaged: [{ chunk: 0, rows: 1 }] }),
    },
    {
      name: 'resume.lua, damaged results, restart',
      damaged: true,
      moves: { processing: 'queued', completed: 'queued', failed: 'queued' },
      run: (store, id) => store.resume(id, { restart: true, damaged: [{ chunk: 0, rows: 1 }] }),
    },
    {
      name: 'remove.lua, too early',
      moves: {},
      run: async (store, id) => {
        await redis.zadd(batchRemovalKey(prefix), Date.now() + DAY_MS, id);
        await store.removeDue(id);
      },
    },
  ];

  /** A batch of three chunks in a state, the first of them counted unless it is open. */
  async function batchIn(status: BatchStatus, store: BatchStore, damaged: boolean): Promise<string> {
    const id = newBatchId(MODEL);
    await store.create(id, { owner: 'alice', spec });
    await store.parts.add(id, part(1), limits, `${id} upload`);
    if (status !== 'open') {
      await store.complete(id, { parts: 1, chunks: 3, manifest: '1' });
      await store.chunks.start(id, 0);
      await store.chunks.finish(id, 2, finished(0));
      await redis.hset(batchKey(prefix, id), 'status', status, ...(damaged ? ['damaged', '0'] : []));
    }
    return id;
  }

  test.each(
    operations.flatMap((operation) =>
      batchStatuses.map((from) => [operation.name, from, operation] as const),
    ),
  )('%s of a batch that is %s', async (_, from, { run, moves, damaged = false }) => {
    const store = new BatchStore({ redis, prefix, ttlS: 60, openTtlS: 60 });
    const id = await batchIn(from, store, damaged);
    await run(store, id);
    const { status, started } = (await store.read(id))!;
    expect(status).toBe(moves[from] ?? from);
    // Also when the last chunk was under way while the batch failed and was resumed.
    if (status === 'completed') expect(started).toBeDefined();
  });

  test.each(batchStatuses)('remove.lua removes a batch that is %s', async (from) => {
    const store = new BatchStore({ redis, prefix, ttlS: 60, openTtlS: 60 });
    const id = await batchIn(from, store, false);
    expect(await store.remove(id)).toBe(true);
    expect(await store.read(id)).toBeUndefined();
  });

  test('the scripts make the changes of BATCH_TRANSITIONS and no others', () => {
    expect(pairsMade(operations)).toEqual(pairsOf(BATCH_TRANSITIONS));
  });

  test('a chunk that is counted after a restart starts the batch', async () => {
    const store = new BatchStore({ redis, prefix, ttlS: 60, openTtlS: 60 });
    const id = await batchIn('failed', store, false);
    await store.resume(id, { restart: true });
    for (const chunk of [0, 1, 2]) await store.chunks.finish(id, 2, finished(chunk));
    expect(await store.read(id)).toMatchObject({
      status: 'completed',
      started: expect.any(Number) as number,
    });
  });
});

describe('deliveries', () => {
  interface Operation {
    name: string;
    moves: Moves<DeliveryStatus>;
    run: (store: DeliveryStore, id: string) => Promise<unknown>;
  }
  const attempt = {
    at: '2026-01-02T03:04:05.006Z',
    outcome: 'server_error',
    status: 500,
    reason: null,
    response: '',
    ms: 1,
  } as const;
  const recordAttempt =
    (to: 'pending' | 'delivered' | 'failed') => async (store: DeliveryStore, id: string) => {
      const after = to === 'pending' ? { status: to, at: Date.now() } : { status: to, keepS: 60 };
      await store.recordAttempt(id, (await store.read(id))!, attempt, after);
    };
  const operations: Operation[] = [
    { name: 'fix-body.lua', moves: {}, run: (store, id) => store.fixBody(id, 'body') },
    { name: 'record-attempt.lua, another follows', moves: {}, run: recordAttempt('pending') },
    {
      name: 'record-attempt.lua, delivered',
      moves: { pending: 'delivered', canceled: 'delivered' },
      run: recordAttempt('delivered'),
    },
    { name: 'record-attempt.lua, failed', moves: { pending: 'failed' }, run: recordAttempt('failed') },
    { name: 'cancel.lua', moves: { pending: 'canceled' }, run: (store, id) => store.cancel(id, 60) },
    {
      name: 'redeliver.lua',
      moves: { delivered: 'pending', failed: 'pending', canceled: 'pending' },
      run: (store, id) => store.redeliver(id, 'alice'),
    },
  ];

  async function deliveryIn(status: DeliveryStatus, store: DeliveryStore): Promise<string> {
    const job = newJobId(newGroupId('normal', MODEL));
    const id = eventId(job, Date.now());
    const webhook = { url: 'https://hooks.example/', trace: 'trace' };
    await redis.hset(deliveryKey(prefix, id), [
      ...newDelivery('job.succeeded', job, 'alice', webhook, Date.now()),
      'snapshot',
      '{}',
    ]);
    await store.lists.add([id]);
    await store.fixBody(id, 'body');
    await redis.hset(deliveryKey(prefix, id), 'status', status);
    return id;
  }

  test.each(
    operations.flatMap((operation) =>
      deliveryStatuses.map((from) => [operation.name, from, operation] as const),
    ),
  )('%s of a delivery that is %s', async (_, from, { run, moves }) => {
    const store = new DeliveryStore(redis, prefix);
    const id = await deliveryIn(from, store);
    await run(store, id);
    expect((await store.read(id))!.status).toBe(moves[from] ?? from);
  });

  test.each(deliveryStatuses)('remove.lua leaves only pending deliveries: %s', async (from) => {
    const store = new DeliveryStore(redis, prefix);
    const id = await deliveryIn(from, store);
    await store.lists.removeOldest(0);
    expect((await store.read(id))?.status).toBe(from === 'pending' ? 'pending' : undefined);
  });

  test('the scripts make the changes of DELIVERY_TRANSITIONS and no others', () => {
    expect(pairsMade(operations)).toEqual(pairsOf(DELIVERY_TRANSITIONS));
  });
});
