/**
 * A Redis and a blob store that the previous version left in the middle of its work are taken over: jobs that wait in both
 * priorities, a batch that is half done, an open batch, deliveries that are pending, in the outbox and failed.
 */
import { randomBytes } from 'node:crypto';
import { cpSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import type { Batch } from '../../src/shared/contract/batches.ts';
import type { Job } from '../../src/shared/contract/jobs.ts';
import type { Delivery } from '../../src/shared/contract/webhooks.ts';
import { newSecret } from '../../src/shared/runtime/webhook-secret.ts';
import { BatchCalls } from '../support/api/batches.ts';
import { eventually, SHIPPED_MODEL, Stack } from '../support/processes/stack.ts';
import { whatIsLeft } from '../support/redis/invariants.ts';
import { Receiver } from '../support/webhooks/receiver.ts';

const FIXTURE = new URL('../fixtures/previous-version/', import.meta.url);

interface StoredKey {
  ttlMs: number;
  string?: string;
  base64?: string;
  hash?: Record<string, string>;
  list?: string[];
  set?: string[];
  /** Members, each followed by its score. */
  zset?: string[];
  stream?: [id: string, fields: string[]][];
  /** Consumer groups of the stream, with the last id that each has read. */
  groups?: [name: string, last: string][];
}

interface Recording {
  recordedAt: number;
  ids: {
    failed: string;
    pending: string[];
    announced: string[];
    waiting: string[];
    batch: string;
    open: string;
  };
  rows: Batch['rows'];
  keys: Record<string, StoredKey>;
}

let stack: Stack;
let receiver: Receiver;
let redis: Redis;
let calls: BatchCalls;
let recording: Recording;

beforeAll(async () => {
  receiver = await Receiver.start();
  const prefix = `{taken-over-${randomBytes(5).toString('hex')}}`;
  const text = readFileSync(new URL('redis.json', FIXTURE), 'utf8');
  const { recordedAt } = JSON.parse(text) as Recording;
  const age = Date.now() - recordedAt;
  /** The recording as if it had been made just now, with the prefix and receiver of this test. */
  const adapt = (recorded: string): string => {
    const isNear = (ms: number) => Math.abs(ms - recordedAt) < 2 * 86_400_000;
    return (
      recorded
        .replaceAll('{previous}', prefix)
        .replaceAll('127.0.0.1:9/', `127.0.0.1:${receiver.port}/`)
        // The time that ids of jobs, batches and events begin with.
        .replaceAll(/(?<![0-9a-f])0[0-9a-f]{11}(?=[0-9a-f]{10})/g, (digits) => {
          const ms = Number.parseInt(digits, 16);
          return isNear(ms) ? (ms + age).toString(16).padStart(12, '0') : digits;
        })
        .replaceAll(/(?<!\d)\d{13}(?!\d)/g, (digits) =>
          isNear(Number(digits)) ? String(Number(digits) + age) : digits,
        )
    );
  };
  recording = JSON.parse(adapt(text)) as Recording;
  redis = new Redis(inject('redisUrl'));
  stack = new Stack({
    redisUrl: inject('redisUrl'),
    workers: 0,
    env: {
      ...SHIPPED_MODEL,
      REDIS_PREFIX: prefix,
      WEBHOOK_SECRET: newSecret(),
      WEBHOOK_SCHEMES: 'http',
      WEBHOOK_ALLOW: `127.0.0.1:${receiver.port}`,
      BULK_CHUNK_BYTES: '1000',
    },
  });
  for (const [key, stored] of Object.entries(recording.keys)) await restore(key, stored);
  copyBlobs(stack.blobFolder, adapt);
  stack.workers = [stack.startWorker()];
  stack.webhooks = stack.startWebhooks();
  stack.url = await stack.api.ready;
  await Promise.all([stack.workers[0]!.ready, stack.webhooks.ready]);
  calls = new BatchCalls(stack);
});
afterAll(async () => {
  redis.disconnect();
  await stack.stop();
  await receiver.stop();
});

async function restore(key: string, stored: StoredKey): Promise<void> {
  const { string, base64, hash, list, set, zset, stream, groups = [], ttlMs } = stored;
  if (string !== undefined) await redis.set(key, string);
  if (base64 !== undefined) await redis.set(key, Buffer.from(base64, 'base64'));
  if (hash) await redis.hset(key, hash);
  if (list) await redis.rpush(key, ...list);
  if (set) await redis.sadd(key, ...set);
  for (let i = 0; zset && i < zset.length; i += 2) await redis.zadd(key, zset[i + 1]!, zset[i]!);
  for (const [id, fields] of stream ?? []) await redis.xadd(key, id, ...fields);
  for (const [name, last] of groups) await redis.xgroup('CREATE', key, name, last, 'MKSTREAM');
  if (ttlMs > 0) await redis.pexpire(key, ttlMs);
}

/** Blobs are named after the ids of their batches, and manifests name blobs. */
function copyBlobs(folder: string, adapt: (text: string) => string): void {
  cpSync(new URL('blobs', FIXTURE), folder, { recursive: true });
  const batches = path.join(folder, 'batches');
  for (const id of readdirSync(batches)) {
    for (const file of readdirSync(path.join(batches, id))) {
      if (!file.startsWith('manifest-')) continue;
      const manifest = path.join(batches, id, file);
      writeFileSync(manifest, adapt(readFileSync(manifest, 'utf8')));
    }
    renameSync(path.join(batches, id), path.join(batches, adapt(id)));
  }
}

const jobWhen = (id: string, met: (job: Job) => boolean) =>
  eventually(async () => {
    const { body } = await calls.call<Job>(`/v1/jobs/${id}`);
    return met(body) ? body : undefined;
  });
const labelsOf = ({ results }: Job) =>
  results?.map((result) => ('error' in result ? result.error.code : result.label));
const received = (name: string) => receiver.received.filter(({ path: to }) => to === `/${name}`);

test('jobs that wait in both priorities end with their own results', async () => {
  const ended = await Promise.all(
    recording.ids.waiting.map((id) =>
      jobWhen(id, ({ status }) => status !== 'queued' && status !== 'processing'),
    ),
  );
  expect(ended.map((job) => [job.status, job.priority, labelsOf(job)])).toEqual([
    ['succeeded', 'normal', ['POSITIVE']],
    ['succeeded', 'normal', ['NEGATIVE', 'POSITIVE']],
    ['succeeded', 'normal', ['NEGATIVE']],
    ['succeeded', 'low', ['POSITIVE']],
    ['succeeded', 'low', ['NEGATIVE']],
  ]);
  expect(ended[1]).toMatchObject({ metadata: { page: 7 }, results: [{ id: 'a' }, { id: 'b' }] });
});

test('a repeat with an Idempotency-Key of the previous version finds its job', async () => {
  const { status, headers, body } = await stack.post<Job>(
    '/v1/jobs',
    { text: 'dull', expires_in: 86_400 },
    { 'Idempotency-Key': 'again' },
  );
  expect([status, headers.get('idempotent-replayed'), body.id]).toEqual([
    200,
    'true',
    recording.ids.waiting[2],
  ]);
});

test('a batch that is half done is completed; rows that were counted are neither lost nor counted again', async () => {
  const { batch: id } = recording.ids;
  expect(recording.rows).toMatchObject({ total: 201, failed: 0 });
  expect(recording.rows.finished).toBeGreaterThan(0);
  expect(recording.rows.finished).toBeLessThan(201);
  const batch = await calls.finished(id);
  // The version before counted no labels.
  expect(batch).toMatchObject({
    labels: null,
    errors: null,
    status: 'completed',
    problem: null,
    rows: { total: 201, finished: 201, failed: 1 },
  });
  const { end, text } = await calls.results(id);
  expect(end).toBe('clean');
  const rows = text
    .trimEnd()
    .split('\n')
    .map(
      (line) => JSON.parse(line) as { line: number; id: string; label?: string; error?: { code: string } },
    );
  expect(rows.map(({ line }) => line)).toEqual(Array.from({ length: 201 }, (_, i) => i + 1));
  expect(rows.map((row) => row.id)).toEqual([...Array.from({ length: 200 }, (_, i) => `r${i}`), 'blank']);
  expect(rows.filter(({ label }) => label === undefined).map((row) => row.id)).toEqual(['blank']);
  // The same texts, all of them classified by this version.
  const input = readFileSync(path.join(calls.folder(id), 'parts', partOf(id)), 'utf8');
  const again = await calls.submit(input);
  await calls.finished(again);
  const fresh = (await calls.results(again)).text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { label?: string });
  expect(rows.map(({ label }) => label)).toEqual(fresh.map(({ label }) => label));
});

const partOf = (id: string) =>
  readdirSync(path.join(calls.folder(id), 'parts')).find((name) => name.endsWith('.data'))!;

test('an open batch takes another part and is completed', async () => {
  const { open: id } = recording.ids;
  expect((await calls.putPart(id, 2, '{"text":"its second part"}\n')).status).toBe(201);
  await calls.complete(id, [{ number: 1 }, { number: 2 }]);
  expect(await calls.finished(id)).toMatchObject({
    status: 'completed',
    rows: { total: 2, finished: 2, failed: 0 },
  });
});

test('pending deliveries and events are delivered once; a failed delivery stays failed until it is redelivered', async () => {
  const names = ['pending-1', 'pending-2', 'outbox-1', 'outbox-2', 'waiting', 'batch'];
  await eventually(() =>
    Promise.resolve(names.every((name) => received(name).length > 0) ? true : undefined),
  );
  const events = (name: string) =>
    received(name).map(({ body }) => {
      const { type, data } = JSON.parse(body) as { type: string; data: { id: string } };
      return [type, data.id];
    });
  const { pending, announced, waiting, batch } = recording.ids;
  expect(names.map(events)).toEqual([
    [['job.succeeded', pending[0]]],
    [['job.succeeded', pending[1]]],
    [['job.succeeded', announced[0]]],
    [['job.succeeded', announced[1]]],
    [['job.succeeded', waiting[1]]],
    [['batch.completed', batch]],
  ]);
  // Their first attempts were made by the previous version.
  const deliveries = async (query = '') =>
    (await calls.call<{ deliveries: Delivery[] }>(`/v1/webhooks${query}`)).body.deliveries;
  const delivered = await eventually(async () => {
    const found = await deliveries('?status=delivered');
    return found.length === names.length ? found : undefined;
  });
  const attempts = (id: string) =>
    delivered.find(({ urls }) => urls.source === `/v1/jobs/${id}`)?.attempts.map(({ outcome }) => outcome);
  expect(pending.map(attempts)).toEqual([
    ['connection', 'delivered'],
    ['connection', 'delivered'],
  ]);
  const [failed, ...others] = await deliveries('?status=failed');
  expect(others).toEqual([]);
  expect(failed).toMatchObject({ urls: { source: `/v1/jobs/${recording.ids.failed}` } });
  expect(failed!.attempts.map(({ outcome }) => outcome)).toEqual(['connection', 'connection']);
  expect(received('failed')).toEqual([]);
  expect((await calls.call(`/v1/webhooks/${failed!.id}/redeliver`, { method: 'POST' })).status).toBe(202);
  await eventually(() => Promise.resolve(received('failed').length === 1 ? true : undefined));
});

test('nothing is left over in Redis', async () => {
  await eventually(async () =>
    (await whatIsLeft(inject('redisUrl'), stack.prefix)).length === 0 ? true : undefined,
  );
  expect(await whatIsLeft(inject('redisUrl'), stack.prefix)).toEqual([]);
});
