/** Many callers of one large job share the reads: Redis sends as much for all of them as for a few. */
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { keyLine, newKey } from '../../src/shared/runtime/api-keys.ts';
import type { Job, JobRecord } from '../../src/shared/contract/jobs.ts';
import { JobRecords } from '../../src/shared/store/jobs/job-records.ts';
import { OwnRedis } from '../support/redis/redis.ts';
import { eventually, Stack } from '../support/processes/stack.ts';

const KEYS = { alice: newKey(), bob: newKey() };
const CALLS = 200;
const TEXTS = 256;

let server: OwnRedis;
let redis: Redis;
let stack: Stack;
let records: JobRecords;

beforeAll(async () => {
  server = await OwnRedis.start();
  redis = new Redis(server.url);
  stack = await Stack.start({
    redisUrl: server.url,
    env: {
      API_KEYS: `${keyLine('alice', KEYS.alice)},${keyLine('bob', KEYS.bob)}`,
      // The log line with the port of the metrics.
      LOG_LEVEL: 'info',
      // The callers and the API share the CPU.
      REDIS_TIMEOUT_MS: '20000',
    },
  });
  // The worker has announced its model; jobs submitted from now on stay in the queue.
  await Promise.all(stack.workers.map((worker) => worker.end('SIGKILL')));
  records = new JobRecords(redis, stack.prefix, 600);
});
afterAll(async () => {
  await stack.stop();
  redis.disconnect();
  await server.stop();
});

/** A megabyte of texts. */
const submit = async (): Promise<Job> => {
  const response = await stack.fetch('/v1/jobs', {
    method: 'POST',
    headers: { Authorization: `Bearer ${KEYS.alice}`, 'Content-Type': 'application/json' },
    body: JSON.stringify({ texts: Array(TEXTS).fill('charming '.repeat(500)) }),
  });
  expect(response.status).toBe(202);
  return (await response.json()) as Job;
};
const get = (path: string, key = KEYS.alice) =>
  stack.fetch(path, { headers: { Authorization: `Bearer ${key}` } });

/** A megabyte of labels. */
const outcome: JobRecord = {
  v: 1,
  owner: 'alice',
  status: 'succeeded',
  created: 1,
  started: 2,
  finished: 3,
  results: Array.from({ length: TEXTS }, () => {
    const labels = Array.from({ length: 80 }, (_, i) => ({ label: `label ${i}`, score: 1 / (i + 1) }));
    return { label: 'label 0', score: 1, truncated: false, labels };
  }),
};
const RECORD_BYTES = JSON.stringify(outcome).length;

const sent = async () => Number(/total_net_output_bytes:(\d+)/.exec(await redis.info('stats'))![1]);
const openRequests = async () => {
  const port = /"metrics":(\d+)/.exec(stack.api.output)![1];
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  return Number(/^amulet_open_requests\S* (\d+)$/m.exec(text)![1]);
};

test(`${CALLS} waits for a job read its texts once and its results a few times`, async () => {
  const { id } = await submit();
  const wait = () => get(`/v1/jobs/${id}?wait=60`);
  const before = await sent();
  const first = wait();
  await eventually(async () => ((await openRequests()) === 1 ? true : undefined));
  // Calls with another key learn nothing about the job, even while its owner waits.
  expect((await get(`/v1/jobs/${id}?wait=60`, KEYS.bob)).status).toBe(404);
  const others = Array.from({ length: CALLS - 1 }, wait);
  await eventually(async () => ((await openRequests()) === CALLS ? true : undefined));
  const begun = await sent();
  expect(begun - before).toBeLessThan(5 * RECORD_BYTES);
  await records.settle(id, outcome);
  const bodies = await Promise.all([first, ...others].map(async (each) => (await each).text()));
  expect((await sent()) - begun).toBeLessThan(5 * RECORD_BYTES);
  expect(new Set(bodies).size).toBe(1);
  expect(JSON.parse(bodies[0]!)).toMatchObject({ id, status: 'succeeded', results: outcome.results });
  expect((await first).headers.get('content-type')).toBe('application/json');
});

test('waits that end before the job share reads as well', async () => {
  const { id } = await submit();
  const before = await sent();
  const answers = await Promise.all(
    Array.from({ length: CALLS }, async () => (await get(`/v1/jobs/${id}?wait=3`)).json() as Promise<Job>),
  );
  expect(answers.filter(({ status }) => status !== 'queued')).toEqual([]);
  expect((await sent()) - before).toBeLessThan((CALLS / 2) * 1_150_000);
});

test(`${CALLS} simultaneous calls for a finished job share the reads`, async () => {
  const { id } = await submit();
  await records.settle(id, outcome);
  const before = await sent();
  const bodies = await Promise.all(
    Array.from({ length: CALLS }, async () => (await get(`/v1/jobs/${id}`)).text()),
  );
  expect(new Set(bodies).size).toBe(1);
  expect((await sent()) - before).toBeLessThan((CALLS / 2) * RECORD_BYTES);
});
