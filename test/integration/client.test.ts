/** The typed client against real processes, over a failing network. */
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { AmuletClient, type BatchRow } from '../../src/client/index.ts';
import { newKey, keyLine } from '../../src/shared/runtime/api-keys.ts';
import { FaultProxy } from '../support/network/proxy.ts';
import { freePort } from '../support/redis/redis.ts';
import { Stack } from '../support/processes/stack.ts';

const apiKey = newKey();
let stack: Stack;
let proxy: FaultProxy;
/** Over the proxy; ends a silent request soon, but retries. */
let amulet: AmuletClient;

beforeAll(async () => {
  const port = await freePort();
  stack = await Stack.start({
    redisUrl: inject('redisUrl'),
    // Many chunks, so that there is a middle of the work.
    env: { PORT: String(port), API_KEYS: keyLine('client', apiKey), BULK_CHUNK_BYTES: '2000' },
  });
});
afterAll(() => stack.stop());
beforeEach(async () => {
  proxy = await FaultProxy.start(Number(new URL(stack.url).port));
  amulet = new AmuletClient({ url: `http://127.0.0.1:${proxy.port}`, apiKey, timeoutMs: 700 });
});
afterEach(() => proxy.stop());

const collect = async <T>(source: AsyncIterable<T>): Promise<T[]> => {
  const items: T[] = [];
  for await (const item of source) items.push(item);
  return items;
};

describe('jobs', () => {
  test('one text, and several texts of which one fails', async () => {
    const one = await amulet.classify({ id: 'r1', text: 'utterly charming' });
    expect(one).toMatchObject({ id: 'r1', label: 'POSITIVE', truncated: false });
    expect(one.score).toBeGreaterThan(0.9);
    const several = await amulet.classify(['utterly charming', { id: 'b', text: 'a tedious mess' }], {
      top_k: null,
    });
    expect(several).toMatchObject([
      { label: 'POSITIVE', labels: [{ label: 'POSITIVE' }, { label: 'NEGATIVE' }] },
      { id: 'b', label: 'NEGATIVE' },
    ]);
  });

  test('a partly unknown text is reported; an unreadable one is an error', async () => {
    const [part, none] = await amulet.classify(['what a joy 😀', '😀']);
    expect(part).toMatchObject({ label: 'POSITIVE', unknown: 0.25 });
    expect(none).toMatchObject({ error: { code: 'unreadable_text' } });
    await expect(amulet.classify('😡')).rejects.toMatchObject({
      name: 'ClassificationError',
      code: 'unreadable_text',
      message: expect.stringContaining('use a model that reads this script') as string,
    });
  });

  test('submit, wait, get, list, cancel', async () => {
    const metadata = { from: 'a test' };
    const submitted = await amulet.submit(['a', 'b'], { metadata, expires_in: 60, priority: 'low' });
    const job = await amulet.wait(submitted);
    expect(job).toMatchObject({ id: submitted.id, status: 'succeeded', metadata, failed_texts: 0 });
    expect(await amulet.wait(job)).toBe(job);
    expect(await amulet.get(job.id)).toEqual(job);
    const { results: _, ...listed } = job;
    expect(await collect(amulet.jobs())).toContainEqual(listed);

    expect(await amulet.cancel(job)).toBeUndefined();
    await expect(amulet.get(job.id)).rejects.toMatchObject({ status: 404, code: 'job_not_found' });
  });

  test('errors give their reason', async () => {
    await expect(amulet.submit(['', 'b'])).rejects.toMatchObject({
      name: 'ApiError',
      status: 422,
      code: 'invalid_request',
      errors: [{ path: 'texts.0' }],
      requestId: expect.stringMatching(/./),
    });
    const stranger = new AmuletClient({ url: stack.url });
    await expect(stranger.models()).rejects.toMatchObject({ status: 401, code: 'unauthorized' });
    expect(await amulet.models()).toMatchObject([{ name: 'sst2-minilm', default: true }]);
  });

  test('lost responses: one job for any number of retries', async () => {
    const metadata = { lost: true };
    const lost = proxy.trap('Idempotency-Key', { pass: true });
    const submitting = amulet.submit('utterly charming', { metadata });
    await lost;
    proxy.heal();
    const job = await amulet.wait(await submitting);
    expect(job.results).toMatchObject([{ label: 'POSITIVE' }]);
    const jobs = await collect(amulet.jobs());
    expect(jobs.filter((each) => each.metadata?.lost)).toMatchObject([{ id: job.id }]);
  });

  test('waiting ends at its timeout, by a signal, and survives cut connections', async () => {
    const worker = stack.workers[0]!.child;
    worker.kill('SIGSTOP');
    const job = await amulet.submit('utterly charming');
    try {
      await expect(amulet.wait(job, { timeoutMs: 100 })).rejects.toMatchObject({
        name: 'WaitTimeoutError',
        latest: { id: job.id },
      });
      await expect(amulet.classify('a', { timeoutMs: 1100 })).rejects.toMatchObject({ code: 'wait_timeout' });
      const signal = AbortSignal.timeout(100);
      await expect(amulet.wait(job.id, { signal })).rejects.toMatchObject({ name: 'TimeoutError' });
      await expect(amulet.classify('a', { signal: AbortSignal.abort('no') })).rejects.toBe('no');
      const waiting = amulet.wait(job.id);
      await new Promise((resolve) => setTimeout(resolve, 100));
      proxy.cut();
      proxy.heal();
      worker.kill('SIGCONT');
      expect(await waiting).toMatchObject({ status: 'succeeded' });
    } finally {
      worker.kill('SIGCONT');
    }
  });

  test('a job canceled by another caller', async () => {
    const worker = stack.workers[0]!.child;
    worker.kill('SIGSTOP');
    try {
      const idempotencyKey = 'canceled-1';
      const job = await amulet.submit('utterly charming', { idempotencyKey });
      expect(await amulet.cancel(job.id)).toMatchObject({ id: job.id, status: 'canceled' });
      await expect(amulet.classify('utterly charming', { idempotencyKey })).rejects.toMatchObject({
        name: 'ClassificationError',
        code: 'job_canceled',
        job: { id: job.id },
      });
    } finally {
      worker.kill('SIGCONT');
    }
  });
});

describe('batches', () => {
  const ROWS = 400;
  function* rows() {
    for (let id = 0; id < ROWS; id++)
      yield { id, text: id % 100 === 99 ? '' : `a ${id % 2 ? 'fine' : 'bad'} film` };
  }

  test('rows: results as they are finished, each once, despite cut connections', async () => {
    const batch = await amulet.batch(rows(), { metadata: { n: 1 }, top_k: null });
    const seen: BatchRow[] = [];
    for await (const row of batch.results()) {
      seen.push(row);
      if (seen.length % 150 !== 0) continue;
      proxy.cut();
      setTimeout(() => proxy.heal(), 100);
    }
    expect(seen.map(({ line }) => line)).toEqual(Array.from({ length: ROWS }, (_, i) => i + 1));
    expect(seen[1]).toMatchObject({ id: '1', label: 'POSITIVE', labels: [{}, {}] });
    expect(seen[99]).toMatchObject({ id: '99', error: { code: 'invalid_text' } });
    const rest = await collect(batch.results({ after: ROWS - 2 }));
    expect(rest).toEqual(seen.slice(-2));

    const found = await collect(amulet.batches());
    expect(found).toMatchObject([
      { id: batch.id, rows: { total: ROWS, finished: ROWS, failed: 4 }, metadata: { n: 1 } },
    ]);
    expect(await amulet.batchById(batch.id).progress()).toEqual(found[0]);
    expect(await batch.cancel()).toBeUndefined();
    await expect(batch.progress()).rejects.toMatchObject({ code: 'batch_not_found' });
  });

  test('a file in several parts, one of which is lost in transit', async () => {
    const filling = 'x'.repeat(900_000);
    const records = Array.from({ length: 12 }, (_, i) => `${i},"${filling}","utterly\n charming"`);
    const csv = gzipSync(`id,filling,review\r\n${records.join('\r\n')}`);
    const lost = proxy.trap('/parts/2', { pass: true });
    const submitting = amulet.batch(csv, { format: 'csv', text_field: 'review' });
    await lost;
    proxy.cut();
    proxy.heal();
    const batch = await submitting;
    const progress: number[] = [];
    const ended = await batch.wait({ onProgress: ({ rows: { finished } }) => progress.push(finished) });
    expect(ended).toMatchObject({
      status: 'completed',
      input: { format: 'csv', parts: 3 },
      rows: { total: 12 },
    });
    expect(progress.at(-1)).toBe(12);
    const lines = await collect(batch.results());
    expect(lines.map(({ line, id }) => [line, id])).toEqual(records.map((_, i) => [2 + 2 * i, String(i)]));
  });

  test('results of a canceled batch end with an error', async () => {
    const worker = stack.workers[0]!.child;
    worker.kill('SIGSTOP');
    try {
      const batch = await amulet.batch(rows());
      await expect(batch.wait({ timeoutMs: 50 })).rejects.toMatchObject({ code: 'wait_timeout' });
      const reading = collect(batch.results());
      expect(await batch.cancel()).toMatchObject({ status: 'canceled' });
      await expect(reading).rejects.toMatchObject({
        name: 'BatchError',
        code: 'batch_canceled',
        batch: { id: batch.id },
      });
      expect(await batch.wait()).toMatchObject({ status: 'canceled' });
    } finally {
      worker.kill('SIGCONT');
    }
  });

  test('a failed input leaves nothing behind; with an idempotency key it can be supplied again', async () => {
    await expect(amulet.batch([])).rejects.toBeInstanceOf(RangeError);
    const stop = new AbortController();
    async function* stuck() {
      yield Buffer.alloc(5_000_000, '{"text":"good"}\n');
      stop.abort('enough');
      await new Promise(() => {});
    }
    await expect(amulet.batch(stuck(), { signal: stop.signal })).rejects.toBe('enough');
    await expect(amulet.batch(rows(), { model: 'none' })).rejects.toMatchObject({ code: 'model_not_found' });
    async function* breaking(records: number) {
      for (let i = 0; i < records; i++)
        yield Buffer.from(`{"text":"good","filling":"${'x'.repeat(900_000)}"}\n`);
      yield await Promise.reject(new Error('the database is away'));
    }
    await expect(amulet.batch(breaking(6))).rejects.toThrow('the database is away');
    expect((await collect(amulet.batches()))[0]).toMatchObject({ status: 'canceled', input: { parts: 1 } });

    const idempotencyKey = 'archive-1';
    await expect(amulet.batch(breaking(6), { idempotencyKey })).rejects.toThrow('the database is away');
    const whole = Buffer.from(`{"text":"good","filling":"${'x'.repeat(900_000)}"}\n`.repeat(7));
    const batch = await amulet.batch(whole, { idempotencyKey });
    expect(await amulet.batch(whole, { idempotencyKey })).toMatchObject({ id: batch.id });
    expect(await collect(batch.results())).toHaveLength(7);
  });
});
