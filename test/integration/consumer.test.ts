/** How much of its queues a worker prefetches, and which direct calls it answers. */
import { randomBytes } from 'node:crypto';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, inject, test } from 'vitest';
import { loadConfig } from '../../src/shared/runtime/config.ts';
import { callsChannel, cancelChannel } from '../../src/shared/redis/keys.ts';
import { newGroupId, newJobId, type Priority } from '../../src/shared/contract/ids.ts';
import { JOB_NAME, jobOptions, queueName } from '../../src/shared/store/queues.ts';
import { JobRecords } from '../../src/shared/store/jobs/job-records.ts';
import type { Classifier } from '../../src/worker/inference/classifier.ts';
import { Consumer } from '../../src/worker/inference/consumer.ts';
import { eventually } from '../support/processes/stack.ts';

const MODEL = 'held';
const WORKER = 'host:1:a';
const JOBS = 120;
const MAX_ROWS = 32;
const LABELS = 10_000;

let redis: Redis;
let subscriber: Redis;
let prefix: string;
let consumer: Consumer;
/** Texts that are being classified, by lane. */
let inFlight: Record<string, number>;
/** Texts that were classified. */
let classified: number;
/** Lets all texts end, present and future ones. */
let release: () => void;

beforeEach(() => {
  redis = new Redis(inject('redisUrl'), { maxRetriesPerRequest: null });
  subscriber = redis.duplicate();
  prefix = `{test-${randomBytes(5).toString('hex')}}`;
  inFlight = { interactive: 0, low: 0 };
  classified = 0;
  const released = new Promise<void>((resolve) => (release = resolve));
  const classifier: Pick<Classifier, 'classify' | 'labelCount'> = {
    labelCount: LABELS,
    classify: async (_text, _options, lane) => {
      classified++;
      inFlight[lane]!++;
      await released;
      inFlight[lane]!--;
      return { label: 'a', score: 1, truncated: false };
    },
  };
  consumer = new Consumer({
    config: loadConfig({
      REDIS_PREFIX: prefix,
      MODEL_PROCESSES: '1',
      MAX_ROWS_IN_HAND: String(MAX_ROWS),
      ROWS_PER_TURN: '8',
    }),
    redis,
    records: new JobRecords(redis, prefix, 600),
    classifier: classifier as Classifier,
    model: { name: MODEL, revision: 'r1' },
    workerId: WORKER,
    logger: pino({ level: 'silent' }),
  });
});

afterEach(async () => {
  release();
  await consumer.drain();
  subscriber.disconnect();
  redis.disconnect();
});

async function fill(priority: Priority, count: number, more = {}): Promise<void> {
  const queue = new Queue(queueName(priority, MODEL), { connection: redis, prefix });
  await queue.addBulk(
    Array.from({ length: count }, () => {
      const group = newGroupId(priority, MODEL);
      const job = {
        id: newJobId(group),
        owner: 'everybody',
        texts: [{ text: 'a' }, { text: 'b' }],
        top_k: 1,
        created_at: Date.now(),
        ...more,
      };
      return { name: JOB_NAME, data: { v: 2, jobs: [job] }, opts: jobOptions(group, 600) };
    }),
  );
}

/** Once nothing more is fetched. */
async function settled(): Promise<{ interactive: number; low: number }> {
  let last = '';
  for (let same = 0; same < 10;) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    const now = JSON.stringify(inFlight);
    same = now === last ? same + 1 : 0;
    last = now;
  }
  return JSON.parse(last) as { interactive: number; low: number };
}

describe('a worker with long queues', () => {
  test('prefetches no more than its limit, however long both are', async () => {
    await Promise.all([fill('normal', JOBS), fill('low', JOBS)]);
    await consumer.start(subscriber);
    const { interactive, low } = await settled();
    expect(interactive).toBeLessThanOrEqual(MAX_ROWS + 2);
    expect(low).toBeLessThanOrEqual(MAX_ROWS + 2);
  });

  test('prefetches fewer jobs with large results', async () => {
    // 20,000 scores each, which count as 20 texts.
    await fill('normal', JOBS, { top_k: null });
    await consumer.start(subscriber);
    const { interactive } = await settled();
    expect(interactive).toBeGreaterThan(0);
    // Otherwise 32. The first two jobs are fetched before their size is known.
    expect(interactive).toBeLessThanOrEqual(MAX_ROWS / 2);
    release();
    await eventually(async () =>
      (await redis.keys(`${prefix}:job:*`)).length === JOBS && consumer.rowsInFlight === 0 ? true : undefined,
    );
  });

  test.each([
    ['normal', 'low'],
    ['low', 'normal'],
  ] as const)('with as many %s jobs as it may fetch still fetches %s ones', async (first, second) => {
    await fill(first, JOBS);
    await consumer.start(subscriber);
    await settled();
    await fill(second, JOBS);
    const after = await settled();
    expect(Math.min(after.interactive, after.low)).toBeGreaterThanOrEqual(MAX_ROWS / 2);
  });
});

test('all jobs of both queues end', async () => {
  await Promise.all([fill('normal', JOBS), fill('low', JOBS)]);
  await consumer.start(subscriber);
  release();
  await eventually(async () =>
    (await redis.keys(`${prefix}:job:*`)).length === 2 * JOBS && consumer.rowsInFlight === 0
      ? true
      : undefined,
  );
});

test('a job past its expiry expires, and none of its texts is classified', async () => {
  await fill('normal', 1, { expires_at: Date.now() - 1000 });
  release();
  await consumer.start(subscriber);
  const [record] = await eventually(async () => {
    const keys = await redis.keys(`${prefix}:job:*`);
    return keys.length > 0 ? redis.mget(keys) : undefined;
  });
  expect(JSON.parse(record!)).toMatchObject({ status: 'expired', error: { code: 'job_expired' } });
  expect(classified).toBe(0);
});

test.each([
  [10, 'succeeded', undefined, 10],
  [11, 'failed', 'too_many_scores', 0],
])(
  'a job of %d texts with all labels, accepted before the labels were known, has %s',
  async (count, status, code, done) => {
    await fill('normal', 1, { top_k: null, texts: Array.from({ length: count }, () => ({ text: 'a' })) });
    release();
    await consumer.start(subscriber);
    const [record] = await eventually(async () => {
      const keys = await redis.keys(`${prefix}:job:*`);
      return keys.length > 0 ? redis.mget(keys) : undefined;
    });
    const { error, ...job } = JSON.parse(record!) as { status: string; error?: { code: string } };
    expect([job.status, error?.code, classified]).toEqual([status, code, done]);
  },
);

describe('a direct call', () => {
  const ANSWERS = 'answers';
  let answers: string[];
  let listener: Redis;

  beforeEach(async () => {
    answers = [];
    listener = redis.duplicate();
    await listener.subscribe(ANSWERS);
    listener.on('message', (_channel, message: string) => answers.push(message));
    return () => listener.disconnect();
  });

  /** @returns the id of its job */
  async function call(texts = 2): Promise<string> {
    const id = newJobId(newGroupId('normal', MODEL));
    const job = {
      id,
      owner: 'everybody',
      texts: Array.from({ length: texts }, () => ({ text: 'a' })),
      top_k: 1,
      created_at: Date.now(),
      early: ANSWERS,
    };
    await redis.publish(callsChannel(prefix, WORKER), JSON.stringify({ v: 2, jobs: [job] }));
    return id;
  }

  const answered = () => eventually(() => Promise.resolve(answers.length > 0 ? answers : undefined));

  test('is answered, and writes nothing', async () => {
    await consumer.start(subscriber);
    const id = await call();
    release();
    const [answer] = await answered();
    const [answeredId, record] = answer!.split('\n');
    expect(answeredId).toBe(id);
    expect(JSON.parse(record!)).toMatchObject({ status: 'succeeded', revision: 'r1', owner: 'everybody' });
    expect(await redis.keys(`${prefix}:job:*`)).toEqual([]);
    await eventually(() => Promise.resolve(consumer.rowsInFlight === 0 ? true : undefined));
  });

  test('is refused when it would overtake jobs of the queue', async () => {
    await fill('normal', JOBS);
    await consumer.start(subscriber);
    await settled();
    const id = await call();
    expect(await answered()).toEqual([`${id}\n`]);
  });

  test('is refused while a worker holds as many rows of calls as of a queue', async () => {
    await consumer.start(subscriber);
    for (let i = 0; i < MAX_ROWS / 2; i++) await call();
    await eventually(() => Promise.resolve(consumer.rowsInFlight === MAX_ROWS ? true : undefined));
    expect(answers).toEqual([]);
    const id = await call();
    expect(await answered()).toEqual([`${id}\n`]);
  });

  test('is refused by a worker that stops, which finishes earlier ones', async () => {
    await consumer.start(subscriber);
    const id = await call();
    await eventually(() => Promise.resolve(consumer.rowsInFlight > 0 ? true : undefined));
    const drained = consumer.drain();
    const late = await call();
    expect(await answered()).toEqual([`${late}\n`]);
    release();
    await drained;
    await eventually(() => Promise.resolve(answers.length === 2 ? true : undefined));
    expect(answers[1]).toContain(`${id}\n{`);
  });

  test('that is canceled gets no answer', async () => {
    await consumer.start(subscriber);
    const id = await call(16);
    await eventually(() => Promise.resolve(consumer.rowsInFlight > 0 ? true : undefined));
    await redis.publish(cancelChannel(prefix), id);
    await redis.ping();
    release();
    await eventually(() => Promise.resolve(consumer.rowsInFlight === 0 ? true : undefined));
    expect(classified).toBeLessThan(16);
    expect(answers).toEqual([]);
  });

  test('that cannot be read does no harm', async () => {
    await consumer.start(subscriber);
    await redis.publish(callsChannel(prefix, WORKER), '{"v":2,"jobs":[{}');
    await redis.publish(callsChannel(prefix, WORKER), '{"v":2,"jobs":[]}');
    release();
    const id = await call();
    expect((await answered())[0]).toContain(`${id}\n{`);
  });
});
