/**
 * Jobs while processes die, freeze, lose the network or have a wrong clock: what was acknowledged ends once, with one result.
 * Each test is one scenario. It uses the API, the Redis and the healthy workers that the test before it left.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { JobMaintenance } from '../../src/api/jobs/maintenance.ts';
import { parseJobId } from '../../src/shared/contract/ids.ts';
import type { Job } from '../../src/shared/contract/jobs.ts';
import type { Model } from '../../src/shared/contract/models.ts';
import { loadConfig } from '../../src/shared/runtime/config.ts';
import { Backlog } from '../../src/shared/store/jobs/backlog.ts';
import { QueueSet } from '../../src/shared/store/jobs/queue-set.ts';
import { JobRecords } from '../../src/shared/store/jobs/job-records.ts';
import { ModelRegistry } from '../../src/shared/store/models.ts';
import { Consumer } from '../../src/worker/inference/consumer.ts';
import { tellOnFailure } from '../support/api/batches.ts';
import { fragileModel } from '../support/models/fragile-model.ts';
import { standIn } from '../support/models/stand-in.ts';
import { nothingLeft } from '../support/redis/invariants.ts';
import { FaultProxy } from '../support/network/proxy.ts';
import { OwnRedis } from '../support/redis/redis.ts';
import { eventually, Stack, type Process, type ProcessOptions } from '../support/processes/stack.ts';
import { longText } from '../support/inputs/texts.ts';

const FAST_TAKEOVER = {
  ...standIn({ tokenMs: 0.2 }),
  LOCK_DURATION_MS: '1500',
  STALLED_INTERVAL_MS: '1000',
  RESULT_TTL_S: '600',
};
/** Jobs that a worker has its hands full with for a while: two seconds. */
const TWENTY = Array.from({ length: 20 }, (_, i) => ({
  texts: [`good ${longText(1000)}`, `bad ${longText(800)}`],
  metadata: { number: i },
}));

/** Without TLS: the proxy looks into what is said. */
let own: OwnRedis;
let redisUrl: string;
let stack: Stack;
let proxy: FaultProxy;
let redis: Redis;

/** Workers with settings of a test, which the next one cannot use. */
const special = new Set<Process>();

beforeAll(async () => {
  own = await OwnRedis.start();
  redisUrl = own.url;
  stack = await Stack.start({ redisUrl, workers: 0, env: FAST_TAKEOVER });
});
afterAll(async () => {
  await stack.stop();
  await own.stop();
});

beforeEach(async () => {
  redis = new Redis(redisUrl, { maxRetriesPerRequest: null });
  proxy = await FaultProxy.start(own.port);
  tellOnFailure(() => stack);
});
afterEach(async () => {
  const specials = stack.workers.filter((worker) => special.has(worker));
  await Promise.all(specials.map((worker) => worker.end('SIGKILL')));
  stack.workers = stack.workers.filter((worker) => worker.running);
  await proxy.stop();
  redis.disconnect();
});

const addWorker = async (env?: Record<string, string>, options?: ProcessOptions): Promise<Process> => {
  const worker = stack.startWorker(env, options);
  if (env !== undefined || options !== undefined) special.add(worker);
  stack.workers.push(worker);
  await worker.ready;
  return worker;
};
/** Has so many workers run, those of the test before among them. */
const start = async (workers: number) => {
  await Promise.all(stack.workers.splice(workers).map((worker) => worker.end()));
  while (stack.workers.length < workers) await addWorker();
};
const submit = async (body: object, headers?: Record<string, string>): Promise<Job> => {
  const { status, body: job } = await stack.post<Job>('/v1/jobs', body, headers);
  expect([200, 202]).toContain(status);
  return job;
};
const read = async (id: string) => (await stack.get<Job>(`/v1/jobs/${id}`)).body;
const finished = (id: string) =>
  eventually(async () => {
    const { status, body } = await stack.get<Job>(`/v1/jobs/${id}?wait=30`);
    return status === 200 && body.finished_at !== null ? body : undefined;
  });

/** Every job has succeeded with all its rows, and reads the same twice; nothing is left of the work on it. */
async function expectAllSucceeded(ids: string[]): Promise<Job[]> {
  const jobs: Job[] = [];
  for (const id of ids) {
    const job = await finished(id);
    expect(job).toMatchObject({ id, status: 'succeeded', failed_texts: 0 });
    jobs.push(job);
  }
  await nothingLeft(redisUrl, stack.prefix);
  for (const job of jobs) expect(await read(job.id)).toEqual(job);
  return jobs;
}

describe('a call of /predict goes to another worker', () => {
  test('when its worker is killed', async () => {
    await start(0);
    const doomed = await addWorker(standIn({ tokenMs: 2 }));
    // The API knows the worker now.
    await stack.get('/v1/models');
    const call = stack.post('/predict', { text: longText(1000) });
    await stack.busy(doomed);
    await doomed.end('SIGKILL');
    await addWorker();
    expect(await call).toMatchObject({ status: 200 });
    await nothingLeft(redisUrl, stack.prefix);
  });

  test('when its worker is frozen', async () => {
    await start(2);
    await stack.get('/v1/models');
    const [frozen] = stack.workers;
    frozen!.child.kill('SIGSTOP');
    try {
      for (let i = 0; i < 3; i++)
        expect((await stack.post('/predict', { text: `wonderful film ${i}` })).status).toBe(200);
    } finally {
      frozen!.child.kill('SIGCONT');
    }
    await stack.idle(frozen!);
    await nothingLeft(redisUrl, stack.prefix);
  });
});

test('an API loses Redis between the outcome of a canceled job and its way out of the queue: maintenance ends it', async () => {
  await start(0);
  const cut = new Stack({
    redisUrl: proxy.url,
    workers: 0,
    env: { ...FAST_TAKEOVER, REDIS_PREFIX: stack.prefix },
  });
  const queues = new QueueSet(redis, stack.prefix);
  try {
    cut.url = await cut.api.ready;
    await eventually(async () => ((await cut.fetch('/v1/models')).ok ? true : undefined));
    const { id } = await submit({ text: 'a secret' });
    const told = proxy.trap(':canceled', { pass: false });
    const call = cut.fetch(`/v1/jobs/${id}`, { method: 'DELETE' });
    await told;
    await call;
    expect((await read(id)).status).toBe('canceled');
    const queue = await queues.get('normal', 'sst2-minilm');
    const { group } = parseJobId(id)!;
    expect((await queue.getJob(group))?.data.jobs).toMatchObject([{ texts: [{ text: 'a secret' }] }]);
    await new JobMaintenance({
      redis,
      prefix: stack.prefix,
      records: new JobRecords(redis, stack.prefix, 600),
      queues,
      backlog: new Backlog(redis, stack.prefix),
      resultTtlS: 600,
    }).run();
    expect(await queue.getJob(group)).toBeUndefined();
    await nothingLeft(redisUrl, stack.prefix);
  } finally {
    await queues.close();
    await cut.stop();
  }
});

describe('a worker is killed', () => {
  test('with twenty jobs in flight, twice', async () => {
    await start(1);
    const ids = await Promise.all(TWENTY.map(async (body) => (await submit(body)).id));
    for (let i = 0; i < 2; i++) {
      const worker = stack.workers[i]!;
      await stack.busy(worker);
      await worker.end('SIGKILL');
      await addWorker();
    }
    const jobs = await expectAllSucceeded(ids);
    // All have the same texts: a job that got the rows of another would stand out only by its metadata.
    expect(jobs.map(({ metadata }) => metadata?.number)).toEqual(TWENTY.map((_, i) => i));
    expect(new Set(jobs.map(({ results }) => JSON.stringify(results))).size).toBe(1);
  });

  test('between storing a result and finishing the job: the result stays unchanged', async () => {
    await start(0);
    const worker = await addWorker({ REDIS_URL: proxy.url });
    const finishing = proxy.trap(':completed', { pass: false });
    const { id } = await submit({ text: 'a wonderful film' });
    await finishing;
    await worker.end('SIGKILL');
    const settled = await read(id);
    expect(settled).toMatchObject({ status: 'succeeded', results: [{ label: 'POSITIVE' }] });
    await addWorker();
    expect(await expectAllSucceeded([id])).toEqual([settled]);
  });

  test('while it finishes the job: the job does not run again', async () => {
    await start(0);
    const worker = await addWorker({ REDIS_URL: proxy.url });
    const finishing = proxy.trap(':completed', { pass: true });
    const { id } = await submit({ text: 'a wonderful film' });
    await finishing;
    await worker.end('SIGKILL');
    await addWorker();
    await expectAllSucceeded([id]);
  });
});

describe('a worker is away for longer than its lock lasts', () => {
  test('because it was frozen: another runs its jobs; when it wakes up, it changes nothing', async () => {
    await start(1);
    const [frozen] = stack.workers as [Process];
    const ids = await Promise.all(TWENTY.map(async (body) => (await submit(body)).id));
    await stack.busy(frozen);
    frozen.child.kill('SIGSTOP');
    await addWorker();
    const jobs = await expectAllSucceeded(ids);
    frozen.child.kill('SIGCONT');
    await stack.idle(frozen);
    for (const job of jobs) expect(await read(job.id)).toEqual(job);
    // It is as good as before.
    await stack.workers[1]!.end();
    await expectAllSucceeded([(await submit({ text: 'fine' })).id]);
  });

  test('because its network was down: the same', async () => {
    await start(0);
    const cutOff = await addWorker({ REDIS_URL: proxy.url });
    const ids = await Promise.all(TWENTY.map(async (body) => (await submit(body)).id));
    await stack.busy(cutOff);
    proxy.blackHole();
    await addWorker();
    const jobs = await expectAllSucceeded(ids);
    proxy.heal();
    await stack.workers[1]!.end();
    await expectAllSucceeded([(await submit({ text: 'fine' })).id]);
    for (const job of jobs) expect(await read(job.id)).toEqual(job);
  });
});

describe('an API is killed before it has answered', () => {
  const body = { text: 'a wonderful film' };
  test.each([
    ['the job is in Redis: a repeat finds it', true],
    ['the job is not in Redis: a repeat makes it', false],
  ])('%s', async (name, pass) => {
    const key = { 'Idempotency-Key': name };
    await start(1);
    const before = await redis.keys(`${stack.prefix}:job:*`);
    const doomed = stack.startApi({ REDIS_URL: proxy.url });
    const url = await doomed.ready;
    await eventually(async () => ((await fetch(`${url}/health/ready`)).ok ? true : undefined));
    const enqueuing = proxy.trap(':classify-sst2-minilm:wait', { pass });
    const answer = fetch(`${url}/v1/jobs`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...key },
      body: JSON.stringify(body),
    }).catch(() => undefined);
    await enqueuing;
    await doomed.end('SIGKILL');
    expect(await answer).toBeUndefined();

    const { id } = await submit(body, key);
    await expectAllSucceeded([id]);
    expect((await submit(body, key)).id).toBe(id);
    // One job, and one only.
    expect(await redis.keys(`${stack.prefix}:job:*`)).toHaveLength(before.length + 1);
  });
});

describe('a text that crashes the model every time', () => {
  test('fails only its own row: neighbours, other jobs and the worker continue', async () => {
    await start(0);
    const { pool, classifier } = await fragileModel();
    const model = { name: 'fragile', revision: 'r1' };
    const registry = new ModelRegistry(redis, stack.prefix);
    await registry.announce('worker', { ...model, labels: ['a', 'b'], max_tokens: 64, multi_label: false });
    const subscriber = redis.duplicate();
    const consumer = new Consumer({
      config: loadConfig({ ...stack.env, MODEL_PROCESSES: '2' }),
      redis,
      records: new JobRecords(redis, stack.prefix, 600),
      classifier,
      model,
      workerId: 'worker',
      logger: pino({ level: 'silent' }),
    });
    await consumer.start(subscriber);
    try {
      const jobs = await Promise.all([
        submit({ texts: ['one', 'crash a', 'two', 'throw b', 'three'], model: 'fragile' }),
        submit({ text: 'crash c', model: 'fragile' }),
        ...Array.from({ length: 10 }, (_, i) => submit({ text: `other ${i}`, model: 'fragile' })),
      ]);
      const [mixed, poison, ...others] = await Promise.all(jobs.map(({ id }) => finished(id)));
      expect(mixed).toMatchObject({ status: 'succeeded', failed_texts: 2 });
      expect(mixed!.results).toMatchObject([
        { label: 'a' },
        { error: { code: 'poison_input' } },
        { label: 'a' },
        { error: { code: 'inference_failed' } },
        { label: 'a' },
      ]);
      expect(poison).toMatchObject({ status: 'failed', error: { code: 'poison_input' } });
      for (const other of others) expect(other).toMatchObject({ status: 'succeeded', failed_texts: 0 });
      // Nobody took a job away from a worker whose model was being started again.
      expect(pool.restarts).toBeGreaterThanOrEqual(2);
      expect(consumer.jobsInFlight).toBe(0);
      await nothingLeft(redisUrl, stack.prefix);
    } finally {
      await consumer.drain();
      subscriber.disconnect();
      await pool.stop();
    }
  });
});

test('a native crash of the model process in the middle of a batch loses no row', async () => {
  await start(1);
  const [worker] = stack.workers as [Process];
  const ids = await Promise.all(TWENTY.map(async (body) => (await submit(body)).id));
  await stack.busy(worker);
  const { model_pids: pids } = await stack.workerHealth(worker);
  for (const pid of pids) process.kill(pid, 'SIGSEGV');
  await expectAllSucceeded(ids);
  expect(worker.running).toBe(true);
});

test('a paused queue: jobs are accepted and wait; they can be canceled, expire, and continue', async () => {
  await start(1);
  const queue = new Queue('classify-sst2-minilm', { connection: redis, prefix: stack.prefix });
  try {
    await queue.pause();
    // What was being waited for when the queue was paused is still done.
    await submit({ text: 'first' });
    const [waiting, canceled, expiring] = await Promise.all([
      submit({ text: 'waits' }),
      submit({ text: 'is canceled' }),
      submit({ text: 'expires', expires_in: 1 }),
    ]);
    await stack.fetch(canceled.urls.self, { method: 'DELETE' });
    expect(await finished(expiring.id)).toMatchObject({ status: 'expired' });
    expect(await read(canceled.id)).toMatchObject({ status: 'canceled' });
    expect(await read(waiting.id)).toMatchObject({ status: 'queued' });
    await queue.resume();
    await expectAllSucceeded([waiting.id]);
    expect(await read(canceled.id)).toMatchObject({ status: 'canceled' });
  } finally {
    await queue.close();
  }
});

test('everything is restarted, one after the other, under load: no job is lost, and callers see 503 at most', async () => {
  await start(2);
  const second = stack.startApi();
  const urls = [stack.url, await second.ready];
  let apis = [stack.api, second];
  const ids = new Set<string>();
  const statuses = new Set<number>();
  let stopping = false;
  let number = 0;
  const client = async () => {
    while (!stopping) {
      const key = `job-${number++}`;
      const job = await eventually(async () => {
        const url = urls[Math.floor(Math.random() * urls.length)]!;
        const response = await fetch(`${url}/v1/jobs`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', 'Idempotency-Key': key },
          body: JSON.stringify({ text: `text ${key}` }),
        }).catch(() => undefined);
        if (response) statuses.add(response.status);
        return response?.ok === true ? ((await response.json()) as Job) : undefined;
      });
      ids.add(job.id);
      // Faster callers would only take the machine from the processes that start.
      await sleep(100);
    }
  };
  const clients = Promise.all(Array.from({ length: 4 }, client));
  for (const i of [0, 1]) {
    const worker = stack.workers[i]!;
    const next = stack.startWorker();
    await next.ready;
    stack.workers[i] = next;
    expect(await worker.end('SIGTERM')).toBe(0);
  }
  for (const i of [0, 1]) {
    const next = stack.startApi();
    const url = await next.ready;
    await eventually(async () => ((await fetch(`${url}/health/ready`)).ok ? true : undefined));
    const old = apis[i]!;
    urls[i] = url;
    apis = apis.map((api) => (api === old ? next : api));
    expect(await old.end('SIGTERM')).toBe(0);
  }
  stopping = true;
  await clients;
  stack.api = apis[0]!;
  stack.url = urls[0]!;
  await apis[1]!.end();
  expect([...statuses].filter((status) => ![200, 202, 503].includes(status))).toEqual([]);
  expect(ids.size).toBeGreaterThan(50);
  await expectAllSucceeded([...ids]);
});

describe('a clock that is wrong', () => {
  const DAY_MS = 86_400_000;
  const preload = [new URL('../support/processes/clock-jump.ts', import.meta.url)];
  const jump = async ({ child }: Process, clockJumpMs: number) => {
    const done = new Promise<void>((resolve) => {
      child.on('message', (message: { clock?: number }) => {
        if (message.clock !== undefined) resolve();
      });
    });
    child.send({ clockJumpMs });
    await done;
  };

  test('a day ahead or behind, of a worker: it counts as alive, and nothing expires', async () => {
    await start(0);
    const wrong = { 'a-day-ahead': DAY_MS, 'a-day-behind': -DAY_MS };
    const workers: Process[] = [];
    for (const [name, ms] of Object.entries(wrong)) {
      const worker = await addWorker({ MODEL_NAME: name }, { preload });
      workers.push(worker);
      await jump(worker, ms);
    }
    const served = async () => {
      const { body } = await stack.get<{ models: Model[] }>('/v1/models');
      return body.models.filter(({ name }) => name in wrong).sort((a, b) => (a.name < b.name ? -1 : 1));
    };
    // Several signs of life.
    await sleep(6500);
    expect(await served()).toMatchObject(Object.keys(wrong).map((name) => ({ name, workers: 1 })));
    const ids: string[] = [];
    for (const model of Object.keys(wrong)) {
      expect((await stack.post('/predict', { text: 'fine', model })).status).toBe(200);
      ids.push((await submit({ text: 'fine', expires_in: 15, model })).id);
    }
    await expectAllSucceeded(ids);
    // Killed, they are soon forgotten.
    await Promise.all(workers.map((worker) => worker.end('SIGKILL')));
    await eventually(async () =>
      (await served()).filter((model) => model.workers === 0).length === workers.length ? true : undefined,
    );
  });

  test('of an API that jumps a day ahead: waiting jobs do not expire, and finished ones stay', async () => {
    await start(1);
    const queue = new Queue('classify-sst2-minilm', { connection: redis, prefix: stack.prefix });
    const wrong = stack.startApi({}, { preload });
    try {
      await wrong.ready;
      const done = await finished((await submit({ text: 'done' })).id);
      const batch = (await (
        await stack.fetch('/v1/batches', {
          method: 'POST',
          headers: { 'content-type': 'text/plain' },
          body: 'a\nb\n',
        })
      ).json()) as { urls: { self: string } };
      const batchStatus = async () =>
        (await (await stack.fetch(batch.urls.self)).json()) as { status?: string };
      await eventually(async () => ((await batchStatus()).status === 'completed' ? true : undefined));
      await queue.pause();
      await submit({ text: 'the one that was being waited for' });
      const waiting = await submit({ text: 'waits', expires_in: 60 });
      await jump(wrong, 30 * DAY_MS);
      // It looks after what has expired every second.
      await sleep(3000);
      expect(await read(waiting.id)).toMatchObject({ status: 'queued' });
      expect(await read(done.id)).toEqual(done);
      expect(await batchStatus()).toMatchObject({ status: 'completed' });
      await queue.resume();
      await expectAllSucceeded([waiting.id, done.id]);
    } finally {
      await wrong.end();
      await queue.close();
    }
  });
});
