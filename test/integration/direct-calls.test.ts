/** Direct calls: `/predict` and `/hf` go past the queue where they can, and through it where they cannot. */
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, inject, test } from 'vitest';
import { callsChannel, cancelChannel, workersKey } from '../../src/shared/redis/keys.ts';
import { eventually, Stack } from '../support/processes/stack.ts';

interface ListedJob {
  id: string;
  status: string;
}

let redis: Redis;
let stack: Stack;

beforeEach(async () => {
  redis = new Redis(inject('redisUrl'));
  stack = await Stack.start({ redisUrl: inject('redisUrl') });
});

afterEach(async () => {
  await stack.stop();
  redis.disconnect();
});

const predict = (text: string) => stack.post<{ label: string }>('/predict', { text });

/** The queue hands out no more jobs. */
const pause = () => redis.hset(`${stack.prefix}:classify-sst2-minilm:meta`, 'paused', 1);

const listed = () =>
  eventually(async () => {
    const { body } = await stack.get<{ jobs: ListedJob[] }>('/v1/jobs');
    return body.jobs.length > 0 ? body.jobs : undefined;
  });

test('are answered without the queue, and their jobs are recorded all the same', async () => {
  await pause();
  expect(await predict('a wonderful film')).toMatchObject({ status: 200, body: { label: 'POSITIVE' } });
  const [job] = await listed();
  expect(job).toMatchObject({ status: 'succeeded', text_count: 1 });
  const { body } = await stack.get<{ results: unknown[] }>(`/v1/jobs/${job!.id}`);
  expect(body.results).toMatchObject([{ label: 'POSITIVE' }]);
  const stats = await stack.get<{ models: unknown[] }>('/v1/stats');
  expect(stats.body.models).toMatchObject([{ texts: { normal: 0, low: 0, ended: 1 } }]);
});

test('that fail name a job that can be read at once', async () => {
  await pause();
  const { status, body } = await stack.post<{ job_id: string; code: string }>('/predict', {
    inputs: 'film '.repeat(900),
    truncate: false,
  });
  expect([status, body.code]).toEqual([422, 'text_too_long']);
  const { body: job } = await stack.get<ListedJob>(`/v1/jobs/${body.job_id}`);
  expect(job.status).toBe('failed');
});

test('of many texts go through the queue', async () => {
  const calls: string[] = [];
  const listener = redis.duplicate();
  listener.on('pmessage', (_pattern, _channel, message: string) => calls.push(message));
  await listener.psubscribe(callsChannel(stack.prefix, '*'));
  const inputs = Array.from({ length: 30 }, (_, i) => [`film ${i}`]);
  expect((await stack.post('/predict', { inputs })).status).toBe(200);
  expect((await predict('a wonderful film')).status).toBe(200);
  await listener.ping();
  listener.disconnect();
  expect(calls.map((call) => (JSON.parse(call) as { jobs: unknown[] }).jobs.length)).toEqual([1]);
});

describe('go through the queue', () => {
  /** Lists a worker beside the one that runs. */
  const list = async (worker: string) => {
    await redis.zadd(workersKey(stack.prefix, 'sst2-minilm'), Date.now() + 60_000, `${worker}@r1`);
    await eventually(async () => {
      const { body } = await stack.get<{ models: { workers: number }[] }>('/v1/models');
      return body.models[0]?.workers === 2 ? true : undefined;
    });
  };

  test('when a worker does not hear them, such as one of an earlier version', async () => {
    await list('earlier');
    for (let i = 0; i < 4; i++) expect((await predict(`a wonderful film, take ${i}`)).status).toBe(200);
  });

  test('when a worker hears them and does not answer, and are canceled there', async () => {
    await list('frozen');
    const asked: string[] = [];
    const canceled: string[] = [];
    const listener = redis.duplicate();
    listener.on('message', (channel: string, message: string) => {
      if (channel === cancelChannel(stack.prefix)) canceled.push(message);
      else asked.push((JSON.parse(message) as { jobs: ListedJob[] }).jobs[0]!.id);
    });
    await listener.subscribe(callsChannel(stack.prefix, 'frozen'), cancelChannel(stack.prefix));
    for (let i = 0; i < 4; i++) expect((await predict(`a wonderful film, take ${i}`)).status).toBe(200);
    // It gets no second call so soon.
    expect(asked).toHaveLength(1);
    await eventually(() => Promise.resolve(canceled.length > 0 ? true : undefined));
    expect(canceled).toEqual(asked);
    listener.disconnect();
  });

  test('when a worker refuses them', async () => {
    await list('busy');
    const asked: string[] = [];
    const listener = redis.duplicate();
    listener.on('message', (_channel: string, message: string) => {
      const { id, early } = (JSON.parse(message) as { jobs: { id: string; early: string }[] }).jobs[0]!;
      asked.push(id);
      void redis.publish(early, `${id}\n`);
    });
    await listener.subscribe(callsChannel(stack.prefix, 'busy'));
    await eventually(async () => {
      expect((await predict('a wonderful film')).status).toBe(200);
      return asked.length > 0 ? true : undefined;
    });
    listener.disconnect();
    // Nothing is left of the calls that were refused.
    const ids = (await listed()).map(({ id }) => id);
    expect(ids.filter((id) => asked.includes(id))).toEqual([]);
  });
});
