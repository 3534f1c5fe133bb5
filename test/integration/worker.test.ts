/** A worker as a process: health, drain, death, and payloads that are none of ours. */
import { constants } from 'node:os';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import type { Job } from '../../src/shared/contract/jobs.ts';
import { standIn } from '../support/models/stand-in.ts';
import { eventually, Stack, type Process } from '../support/processes/stack.ts';
import { longText } from '../support/inputs/texts.ts';

const FAST_TAKEOVER = { LOCK_DURATION_MS: '1500', STALLED_INTERVAL_MS: '1000' };
let stack: Stack;
let redis: Redis;

beforeEach(async () => {
  redis = new Redis(inject('redisUrl'), { maxRetriesPerRequest: null });
  stack = await Stack.start({
    redisUrl: inject('redisUrl'),
    env: { ...standIn({ tokenMs: 0.3 }), ...FAST_TAKEOVER },
  });
});
afterEach(async () => {
  await stack.stop();
  redis.disconnect();
});

const submit = async (body: unknown) => (await stack.post<Job>('/v1/jobs', body)).body.id;
const finished = async (id: string) => (await stack.get<Job>(`/v1/jobs/${id}?wait=60`)).body;

test('/health/live answers while the model works', async () => {
  const id = await submit({ texts: Array.from({ length: 20 }, () => longText(2000)) });
  const [worker] = stack.workers as [Process];
  await stack.busy(worker);
  const during = await stack.workerHealth(worker);
  expect(during).toMatchObject({ status: 'live', jobs_in_hand: 1 });
  expect((await finished(id)).failed_texts).toBe(0);
});

test('/metrics has batches, their padding, and the budgets', async () => {
  const [worker] = stack.workers as [Process];
  const long = await submit({ texts: Array.from({ length: 12 }, () => longText(4000)) });
  await stack.busy(worker);
  // While a long one runs, these wait, and then travel together.
  await finished(await submit({ texts: ['short', 'a much longer film', 'and another one, longer still'] }));
  await finished(long);
  const text = await (await fetch(`${await stack.healthUrl(worker)}/metrics`)).text();
  const value = (name: string) => {
    const line = text.split('\n').find((candidate) => candidate.startsWith(name));
    return Number(line?.slice(line.lastIndexOf(' ') + 1));
  };
  expect(value('amulet_batch_rows_sum')).toBe(12 + 3);
  expect(value('amulet_tokenize_seconds_count')).toBe(12 + 3);
  expect(value('amulet_batch_tokens_total{kind="real"')).toBe(12 * 512 + 3 + 6 + 8);
  expect(value('amulet_batch_tokens_total{kind="padded"')).toBe(12 * 512 + 3 * 8);
  expect(value('amulet_inference_seconds_sum')).toBeGreaterThan(0);
  for (const lane of ['interactive', 'low', 'bulk'])
    expect(value(`amulet_batch_budget_tokens{lane="${lane}"`)).toBe(256);
});

test('SIGTERM drains: jobs in flight are finished, then the process ends with status 0', async () => {
  const [worker] = stack.workers as [Process];
  const ids = await Promise.all(
    Array.from({ length: 5 }, () => submit({ texts: Array.from({ length: 8 }, () => longText(1500)) })),
  );
  await stack.busy(worker);
  expect(await worker.end('SIGTERM')).toBe(0);
  const states = await Promise.all(
    ids.map(async (id) => (await stack.get<Job>(`/v1/jobs/${id}`)).body.status),
  );
  // Whatever it had begun is done; the rest waits for the next worker.
  expect(states.every((state) => state === 'succeeded' || state === 'queued')).toBe(true);
  expect(states).toContain('succeeded');
  stack.workers = [stack.startWorker()];
  for (const id of ids) expect((await finished(id)).status).toBe('succeeded');
});

test('SIGTERM before the worker is ready ends it at once, also as process 1', async () => {
  // By a status of its own, so it listened: a signal without a listener does nothing to the first process of a container.
  let status: number | null = null;
  for (let afterMs = 50; status === null; afterMs += 50) {
    const early = stack.startWorker();
    await new Promise((resolve) => setTimeout(resolve, afterMs));
    status = await early.end('SIGTERM');
  }
  expect(status).toBe(128 + constants.signals.SIGTERM);
});

test('a second signal ends the worker at once', async () => {
  const [worker] = stack.workers as [Process];
  await submit({ texts: Array.from({ length: 256 }, () => longText(4000)) });
  await stack.busy(worker);
  // Repeats within half a second are the same key press.
  while (worker.running) {
    worker.child.kill('SIGTERM');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  expect(worker.child.exitCode).toBe(1);
});

test('kill -9 in the middle of work: another worker takes the job over', async () => {
  const [worker] = stack.workers as [Process];
  const id = await submit({ texts: Array.from({ length: 16 }, () => longText(2000)) });
  await stack.busy(worker);
  await worker.end('SIGKILL');
  // Its model process goes with it, quietly: the output below is shared by both.
  await new Promise((resolve) =>
    worker.child.stderr!.closed ? resolve(undefined) : worker.child.stderr!.once('close', resolve),
  );
  expect(worker.output).not.toContain('EPIPE');
  stack.workers = [stack.startWorker()];
  const job = await finished(id);
  expect(job).toMatchObject({ status: 'succeeded', failed_texts: 0 });
  expect(job.results).toHaveLength(16);
});

test('the model process is killed in the middle of a batch: it restarts and no job fails', async () => {
  const [worker] = stack.workers as [Process];
  const id = await submit({ texts: Array.from({ length: 16 }, () => longText(2000)) });
  await stack.busy(worker);
  process.kill((await stack.workerHealth(worker)).model_pids[0]!, 'SIGKILL');
  expect(await finished(id)).toMatchObject({ status: 'succeeded', failed_texts: 0 });
  expect((await stack.workerHealth(worker)).model_restarts).toBe(1);
});

test('invalid payloads in the queue do not affect other jobs', async () => {
  const queue = new Queue('classify-sst2-minilm', { connection: redis, prefix: stack.prefix });
  const foreign = [
    null,
    'text',
    [],
    { v: 2 },
    { v: 1, texts: [{ text: 5 }] },
    { v: 1, texts: 'x', owner: 'y' },
  ];
  for (const data of foreign) await queue.add('x', data, { attempts: 3 });
  const id = await submit({ text: 'fine' });
  expect((await finished(id)).status).toBe('succeeded');
  await eventually(async () => ((await queue.getFailedCount()) === foreign.length ? true : undefined));
  await queue.close();
});
