/** Batches while their model is replaced, and with texts that crash the model. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import type { ChunkPayload } from '../../src/shared/contract/batches.ts';
import type { Model } from '../../src/shared/contract/models.ts';
import { BatchStore } from '../../src/shared/store/batches/batch-store.ts';
import { lazyBlobStore } from '../../src/shared/blobs/open.ts';
import { loadConfig } from '../../src/shared/runtime/config.ts';
import { bulkQueueName } from '../../src/shared/store/queues.ts';
import { ModelRegistry } from '../../src/shared/store/models.ts';
import { BulkConsumer } from '../../src/worker/inference/bulk-consumer.ts';
import type { EnginePool } from '../../src/worker/inference/engine-pool.ts';
import {
  archive,
  BatchCalls,
  DISTURBED,
  expectUndisturbed,
  Inside,
  startBatchStack,
  tellOnFailure,
} from '../support/api/batches.ts';
import { fragileModel } from '../support/models/fragile-model.ts';
import { standIn } from '../support/models/stand-in.ts';
import { eventually, Process, Stack } from '../support/processes/stack.ts';

describe('two revisions of one model', () => {
  const NEW = 'other-revision';
  const input = archive(500);
  const small = archive(100);
  let old: string;
  let folder: string;
  let stack: Stack;
  let calls: BatchCalls;
  let inside: Inside;
  let stop: () => Promise<void>;
  /** By revision. */
  let undisturbed: Record<string, string>;

  beforeAll(async () => {
    folder = relabelled(standIn().MODEL_DIR!, NEW);
    ({ stack, calls, inside, stop } = await startBatchStack({
      redisUrl: inject('redisUrl'),
      env: { ...DISTURBED, REVISION_GRACE_S: '1' },
    }));
    const id = await calls.submit(input.body);
    const { text } = await calls.results(id);
    old = (await calls.get(id)).body.model.revision!;
    const relabel = (results: string) =>
      results.replaceAll('"NEGATIVE"', '"bad"').replaceAll('"POSITIVE"', '"good"');
    undisturbed = { [old]: text, [NEW]: relabel(text) };
  });
  afterAll(async () => {
    await stop();
    rmSync(folder, { recursive: true });
  });
  beforeEach(() => tellOnFailure(() => stack));

  /** A folder with the same weights, other labels and another revision. */
  function relabelled(original: string, revision: string): string {
    const copy = mkdtempSync(path.join(tmpdir(), 'amulet-model-'));
    const config = readFileSync(path.join(original, 'config.json'), 'utf8')
      .replaceAll('"NEGATIVE"', '"bad"')
      .replaceAll('"POSITIVE"', '"good"');
    const files = { 'config.json': { sha256: createHash('sha256').update(config).digest('hex') } };
    for (const name of readdirSync(original)) {
      if (name !== 'config.json') symlinkSync(path.resolve(original, name), path.join(copy, name));
    }
    writeFileSync(path.join(copy, 'config.json'), config);
    writeFileSync(path.join(copy, 'manifest.json'), JSON.stringify({ revision, files }));
    return copy;
  }

  async function startNew(): Promise<void> {
    const env = { ...stack.env, MODEL_DIR: folder, MODEL_NAME: 'sst2-minilm' };
    const worker = new Process('worker/inference/main.ts', env);
    stack.workers.push(worker);
    await worker.ready;
  }

  const expectOneRevision = async (id: string, revision: string, of = input) => {
    const expected = undisturbed[revision]!.split(/(?<=\n)/).slice(0, of.rows);
    await expectUndisturbed(calls, inside, id, of, expected.join(''));
    await eventually(() => {
      const folders = readdirSync(path.join(calls.folder(id), 'results'));
      return Promise.resolve(folders.length === 1 && folders[0] === revision ? true : undefined);
    });
  };

  test('served at once: each batch is labelled by one of them alone', async () => {
    await startNew();
    const { models } = (await calls.call<{ models: Model[] }>('/v1/models')).body;
    expect(models).toMatchObject([{ name: 'sst2-minilm', workers: 2 }]);
    expect(models[0]!.revisions).toEqual(
      expect.arrayContaining([old, NEW].map((revision) => ({ revision, workers: 1 }))),
    );
    for (let batches = 0; batches < 4; batches++) {
      const id = await calls.submit(small.body);
      const { model } = await calls.finished(id);
      await expectOneRevision(id, model.revision!, small);
    }
  });

  test('one gone for good: its batches fail, and can be restarted with the other or resumed when it is back', async () => {
    // Only the old one may begin.
    await Promise.all(stack.workers.splice(1).map((worker) => worker.end()));
    const [first, second] = [await calls.submit(input.body), await calls.submit(input.body)];
    for (const id of [first, second]) await calls.progress(id);
    await stack.workers.pop()!.end('SIGKILL');
    await startNew();
    for (const id of [first, second]) {
      expect(await calls.finished(id)).toMatchObject({
        status: 'failed',
        error: { code: 'revision_gone' },
        model: { revision: old },
      });
      await eventually(async () => ((await inside.chunkJobs(id)).length === 0 ? true : undefined));
    }
    // Without the old weights there is no going on.
    expect((await calls.resume(first)).body).toMatchObject({
      status: 'failed',
      error: { code: 'revision_gone' },
    });
    const restarted = await calls.resume(first, '?restart=true');
    expect([restarted.status, restarted.body.rows.finished]).toEqual([202, 0]);
    expect(await calls.finished(first)).toMatchObject({ status: 'completed', model: { revision: NEW } });
    expect((await calls.results(first)).text).toBe(undisturbed[NEW]);

    stack.workers.push(stack.startWorker());
    await stack.workers.at(-1)!.ready;
    expect((await calls.resume(second)).status).toBe(202);
    await expectOneRevision(second, old);
  });
});

describe('a worker inside the test process', () => {
  const MODEL = { name: 'fragile', revision: 'r1' };
  let stack: Stack;
  let pool: EnginePool;
  let consumer: BulkConsumer;
  let inside: Inside;
  /** Hooks that run before and after the worker reads the state of a batch. */
  let beforeStart = (_id: string): Promise<unknown> => Promise.resolve();
  let afterStart = beforeStart;
  const connections: Redis[] = [];

  beforeAll(async () => {
    stack = await Stack.start({
      redisUrl: inject('redisUrl'),
      workers: 0,
      env: { ...DISTURBED, DEFAULT_MODEL: MODEL.name },
    });
    const logger = pino({ level: 'silent' });
    const { classifier, ...model } = await fragileModel();
    ({ pool } = model);
    connections.push(new Redis(stack.env.REDIS_URL!, { maxRetriesPerRequest: null }));
    connections.push(connections[0]!.duplicate());
    const [redis, subscriber] = connections as [Redis, Redis];
    const { REDIS_PREFIX: prefix, BLOB_URL: url } = stack.env as Record<'REDIS_PREFIX' | 'BLOB_URL', string>;
    const config = loadConfig({ ...stack.env, MODEL_PROCESSES: '2' });
    const batchStore = new BatchStore({ redis, prefix, ttlS: 60, openTtlS: 60 });
    const start = batchStore.chunks.start.bind(batchStore.chunks);
    batchStore.chunks.start = async (id, chunk) => {
      await beforeStart(id);
      const started = await start(id, chunk);
      await afterStart(id);
      return started;
    };
    consumer = new BulkConsumer({
      config,
      redis,
      batchStore,
      blobs: lazyBlobStore(url),
      classifier,
      model: MODEL,
      logger,
      onChunk: () => {},
    });
    const registry = new ModelRegistry(redis, prefix);
    await registry.announce('worker', { ...MODEL, labels: ['a', 'b'], max_tokens: 64, multi_label: false });
    consumer.start(subscriber);
    inside = new Inside(stack);
  });
  afterAll(async () => {
    inside.close();
    await consumer.drain();
    for (const redis of connections) redis.disconnect();
    await pool.stop();
    await stack.stop();
  });

  test('texts that crash the model are error rows in their places; all others are labelled', async () => {
    const texts = Array.from({ length: 200 }, (_, i) =>
      i % 50 === 20 ? `crash ${i}` : i % 50 === 30 ? `throw ${i}` : `text ${i}`,
    );
    const calls = new BatchCalls(stack);
    const id = await calls.submit(texts.map((text, i) => `${JSON.stringify({ id: i, text })}\n`).join(''));
    const { end, text } = await calls.results(id);
    const rows = text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { id: string; label?: string; error?: { code: string } });
    const expected = texts.map((each, i) => ({
      id: String(i),
      error: each.startsWith('crash')
        ? 'poison_input'
        : each.startsWith('throw')
          ? 'inference_failed'
          : undefined,
    }));
    expect(end).toBe('clean');
    expect(rows.map(({ id: row, error }) => ({ id: row, error: error?.code }))).toEqual(expected);
    expect(rows.every(({ label, error }) => (label === undefined) !== (error === undefined))).toBe(true);
    expect((await calls.get(id)).body).toMatchObject({
      status: 'completed',
      rows: { total: 200, finished: 200, failed: 8 },
    });
    expect(pool.restarts).toBeGreaterThanOrEqual(4);
  });

  test('a chunk for a revision that is gone leaves its queue when the batch ends at that moment', async () => {
    const calls = new BatchCalls(stack);
    const { redis, store } = inside;
    const { prefix } = stack;
    await redis.hset(`${prefix}:revisions`, `${MODEL.name}@gone`, Date.now());
    beforeStart = (batch) => redis.hsetnx(`${prefix}:batch:${batch}`, 'revision', 'gone');
    const ended: string[] = [];
    afterStart = async (batch) => {
      if (await store.end(batch, 'failed', { code: 'internal_error', message: 'test' })) ended.push(batch);
    };
    const id = await calls.submit(archive(100).body);
    expect(await calls.finished(id)).toMatchObject({ status: 'failed' });
    expect(ended).toEqual([id]);
    await eventually(async () => ((await inside.chunkJobs(id)).length === 0 ? true : undefined));
  });

  test('a chunk whose worker died after counting it leaves a queue without workers', async () => {
    const calls = new BatchCalls(stack);
    const { redis, store } = inside;
    const { prefix } = stack;
    beforeStart = (batch) => redis.hsetnx(`${prefix}:batch:${batch}`, 'revision', 'gone');
    afterStart = () => Promise.resolve();
    const connection = redis.duplicate({ maxRetriesPerRequest: null });
    connections.push(connection);
    const worker = new Worker<ChunkPayload>(bulkQueueName(MODEL.name, 'gone'), undefined, {
      connection,
      prefix,
      lockDuration: 500,
    });
    const id = await calls.submit(archive(100).body);
    const job = await eventually(() => worker.getNextJob('token'));
    const counted = {
      chunk: job.data.chunk,
      revision: 'gone',
      rows: 1,
      failedRows: 0,
      unknownRows: 0,
      unknownShares: 0,
    };
    expect(await store.chunks.finish(id, 1, counted)).toMatchObject({ outcome: 'counted' });
    await worker.close(true);
    await eventually(async () =>
      (await redis.exists(`${worker.toKey(job.id!)}:lock`)) === 0 ? true : undefined,
    );
    await calls.delete(id);
    await eventually(async () => ((await inside.chunkJobs(id)).length === 0 ? true : undefined));
  });
});
