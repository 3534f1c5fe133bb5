/** What callers and workers see when Redis is cut off, frozen, black-holed, killed or not there from the start. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Job } from '../../src/shared/contract/jobs.ts';
import { FaultProxy } from '../support/network/proxy.ts';
import { freePort, OwnRedis } from '../support/redis/redis.ts';
import { standIn } from '../support/models/stand-in.ts';
import { tellOnFailure } from '../support/api/batches.ts';
import { eventually, Stack, type Process } from '../support/processes/stack.ts';

let redis: OwnRedis;
let proxy: FaultProxy;
let stack: Stack;

beforeEach(() => tellOnFailure(() => stack));

const TEXT = { text: 'a wonderful film' };
const ID = '019aaf3c5e7b7c3b9d0e5f1a2b3c4d5e-n-sst2-minilm';

/** Every kind of call that needs Redis answers with a 503 problem, instead of hanging or failing otherwise. */
async function expectUnavailable(): Promise<void> {
  const answers = await Promise.all([
    stack.post('/v1/jobs', TEXT),
    stack.post('/predict', TEXT),
    stack.post('/hf/sst2-minilm', { inputs: 'a' }),
    stack.get(`/v1/jobs/${ID}`),
    stack.get(`/v1/jobs/${ID}?wait=60`),
    stack.get('/v1/models'),
  ]);
  for (const { status, headers, body } of answers) {
    expect({ status, code: body.code }).toEqual({ status: 503, code: 'redis_unavailable' });
    expect(headers.get('retry-after')).toBe('1');
  }
  expect((await stack.get('/health/ready')).status).toBe(503);
  expect((await stack.get('/health/live')).status).toBe(200);
  expect((await stack.get('/info')).status).toBe(200);
}

/** Without anybody's help, jobs go through again. */
async function expectRecovery(): Promise<void> {
  const job = await eventually(async () => {
    const { status, body } = await stack.post<Job>('/v1/jobs', TEXT, { Prefer: 'wait=60' });
    return status === 503 ? undefined : body;
  });
  expect(job.status).toBe('succeeded');
}

describe('Redis behind a network that fails', () => {
  beforeAll(async () => {
    redis = await OwnRedis.start();
    proxy = await FaultProxy.start(redis.port);
    // Runs that last for a while, and use no CPU time.
    stack = await Stack.start({ redisUrl: proxy.url, env: standIn({ tokenMs: 0.05 }) });
  });
  afterEach(() => {
    redis.thaw();
    proxy.heal();
    proxy.slowDown(0);
  });
  afterAll(async () => {
    await stack.stop();
    await proxy.stop();
    await redis.stop();
  });

  test('slow: everything takes longer, and nothing fails', async () => {
    // Redis has the scripts by then; sending them takes further turns.
    await expectRecovery();
    // A job takes some ten turns one after the other, and the API gives those of one call 1.5 s, on a busy machine, too.
    proxy.slowDown(50);
    const jobs = await Promise.all(
      Array.from({ length: 20 }, () => stack.post<Job>('/v1/jobs', TEXT, { Prefer: 'wait=60' })),
    );
    for (const { body } of jobs) expect(body).toMatchObject({ status: 'succeeded', failed_texts: 0 });
    expect(await stack.post('/predict', TEXT)).toMatchObject({ status: 200 });
  });

  test('dropped connections', async () => {
    proxy.cut();
    await expectUnavailable();
    proxy.heal();
    await expectRecovery();
  });

  test('frozen', async () => {
    redis.freeze();
    await expectUnavailable();
    redis.thaw();
    await expectRecovery();
  });

  test('black-holed', async () => {
    proxy.blackHole();
    await expectUnavailable();
    proxy.heal();
    await expectRecovery();
  });

  test('half-open: the connections are gone for Redis alone', async () => {
    proxy.halfClose();
    await expectRecovery();
  });

  test('killed and started again: acknowledged jobs are still there', async () => {
    // Killed, it counts as alive for some seconds. Without a live worker, some calls are refused for that reason.
    await eventually(async () => {
      const { body } = await stack.get<{ models: { workers: number }[] }>('/v1/models');
      return body.models.some(({ workers }) => workers > 0) ? true : undefined;
    });
    await stack.workers[0]!.end('SIGKILL');
    const accepted = await Promise.all(Array.from({ length: 20 }, () => stack.post<Job>('/v1/jobs', TEXT)));
    expect(accepted.map(({ status }) => status)).toEqual(accepted.map(() => 202));
    const ids = accepted.map(({ body }) => body.id);
    await redis.kill();
    await expectUnavailable();
    await redis.restart();
    stack.workers = [stack.startWorker()];
    await expectRecovery();
    for (const id of ids)
      expect((await stack.get<Job>(`/v1/jobs/${id}?wait=60`)).body.status).toBe('succeeded');
  });

  test('a waiter whose message was lost in an outage still gets its answer', async () => {
    // A worker that the outage leaves alone: it finishes the job while the API hears nothing.
    await Promise.all(stack.workers.map((worker) => worker.end()));
    stack.workers = [stack.startWorker({ REDIS_URL: redis.url })];
    const [worker] = stack.workers as [Process];
    await worker.ready;
    const texts = Array.from(
      { length: 100 },
      (_, i) => `number ${i} is a wonderful film, ${'long '.repeat(200)}`,
    );
    const waiting = stack.post<Job>('/v1/jobs', { texts }, { Prefer: 'wait=60' });
    await stack.busy(worker);
    proxy.cut();
    await stack.idle(worker);
    proxy.heal();
    // At the end of the wait, a minute later, the job would be read in any case.
    const answer = await Promise.race([waiting, sleep(30_000)]);
    expect(answer).toMatchObject({ status: 200 });
    const { body } = await waiting;
    expect(body).toMatchObject({ status: 'succeeded', failed_texts: 0 });
  });
});

test('absent from the start: the API listens and says so, and everything comes up when Redis does', async () => {
  const port = await freePort();
  redis = await OwnRedis.start();
  stack = new Stack({ redisUrl: `redis://127.0.0.1:${port}`, env: standIn() });
  stack.url = await stack.api.ready;
  await expectUnavailable();
  const late = await FaultProxy.start(redis.port, port);
  await expectRecovery();
  await stack.stop();
  await late.stop();
  await redis.stop();
});

test('full: 503 redis_full, nothing half-written, and reading still works', async () => {
  redis = await OwnRedis.start(['--maxmemory', '6mb']);
  // Without the limits that keep it from becoming full.
  stack = await Stack.start({ redisUrl: redis.url, workers: 0, env: { MAX_REDIS_MEMORY_PERCENT: '0' } });
  const first = await stack.post<Job>('/v1/jobs', TEXT);
  const full = await eventually(async () => {
    const answer = await stack.post('/v1/jobs', {
      texts: Array.from({ length: 256 }, () => 'x'.repeat(5000)),
    });
    return answer.status === 202 ? undefined : answer;
  });
  expect(full).toMatchObject({ status: 503, body: { code: 'redis_full' } });
  expect(full.headers.get('retry-after')).toBe('5');
  expect((await stack.get<Job>(`/v1/jobs/${first.body.id}`)).body.status).toBe('queued');
  await stack.stop();
  await redis.stop();
});
