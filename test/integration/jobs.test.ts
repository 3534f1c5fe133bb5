/** Jobs through the API: submit, poll, wait, cancel, delete, expire, priority and Idempotency-Key. */
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Job } from '../../src/shared/contract/jobs.ts';
import { standIn } from '../support/models/stand-in.ts';
import { eventually, Stack } from '../support/processes/stack.ts';
import { longText } from '../support/inputs/texts.ts';

let stack: Stack;
let redis: Redis;

beforeAll(async () => {
  redis = new Redis(inject('redisUrl'));
  stack = await Stack.start({ redisUrl: inject('redisUrl'), env: standIn({ tokenMs: 0.3 }) });
});
afterAll(async () => {
  await stack.stop();
  redis.disconnect();
});

const submit = (body: unknown, headers?: Record<string, string>) =>
  stack.post<Job>('/v1/jobs', body, headers);
const finished = (id: string) => stack.get<Job>(`/v1/jobs/${id}?wait=30`).then(({ body }) => body);

describe('submit and poll', () => {
  test('one text: 202 with Location and Retry-After, then a label', async () => {
    const { status, headers, body } = await submit({ text: 'a stirring, funny and moving film' });
    expect(status).toBe(202);
    expect(headers.get('location')).toBe(`/v1/jobs/${body.id}`);
    expect(headers.get('retry-after')).toBe('1');
    expect(body).toMatchObject({
      status: 'queued',
      results: null,
      finished_at: null,
      model: { name: 'sst2-minilm' },
    });

    const job = await finished(body.id);
    expect(job.status).toBe('succeeded');
    expect(job.results).toEqual([{ label: 'POSITIVE', score: expect.any(Number), truncated: false }]);
    expect(job.model.revision).toMatch(/^[0-9a-f]{12}$/);
    expect(job.timings_ms!.total).toBeGreaterThanOrEqual(job.timings_ms!.inference);
    expect(Date.parse(job.finished_at!)).toBeGreaterThanOrEqual(Date.parse(job.created_at));
  });

  test('many texts keep their order and their ids; top_k null gives every label', async () => {
    const texts = Array.from({ length: 256 }, (_, i) => ({
      id: `row-${i}`,
      text: i % 2 ? 'wonderful' : `awful ${i}`,
    }));
    const { body } = await submit({ texts, top_k: null, metadata: { order: 7 } });
    const job = await finished(body.id);
    expect(job.metadata).toEqual({ order: 7 });
    expect(job.failed_texts).toBe(0);
    job.results!.forEach((row, i) => {
      if ('error' in row) throw new Error(row.error.message);
      expect(row.id).toBe(`row-${i}`);
      expect(row.label).toBe(i % 2 ? 'POSITIVE' : 'NEGATIVE');
      expect(row.labels).toHaveLength(2);
      expect(row.labels!.reduce((sum, { score }) => sum + score, 0)).toBeCloseTo(1, 5);
      expect(row.labels![0]).toEqual({ label: row.label, score: row.score });
    });
  });

  test('a text longer than the model reads is cut, and marked as truncated', async () => {
    const { body } = await submit({ texts: [longText(4990), 'short'] });
    const job = await finished(body.id);
    expect(job.results).toMatchObject([{ truncated: true }, { truncated: false }]);
  });

  test('a finished job leaves no texts in Redis', async () => {
    const secret = 'a very particular sentence about a purple giraffe';
    const { body } = await submit({ text: secret });
    await finished(body.id);
    const keys = await redis.keys(`${stack.prefix}:*`);
    const contents = await Promise.all(
      keys.map(async (key) =>
        (await redis.type(key)) === 'string' ? redis.get(key) : JSON.stringify(await redis.dump(key)),
      ),
    );
    expect(contents.join('\n')).not.toContain('purple giraffe');
    expect(keys.filter((key) => key.includes(body.id))).toEqual([`${stack.prefix}:job:${body.id}`]);
  });
});

describe('waiting', () => {
  test('Prefer: wait returns 200 with the finished job', async () => {
    const { status, headers, body } = await submit({ text: 'dull' }, { Prefer: 'respond-async, wait=30' });
    expect(status).toBe(200);
    expect(headers.get('preference-applied')).toBe('wait=30');
    expect(body.status).toBe('succeeded');
  });

  test('a record too large for a message still reaches the waiting caller', async () => {
    const texts = Array.from({ length: 200 }, (_, i) => ({
      id: `a-rather-long-identifier-for-a-row-${i}`,
      text: 'fine',
    }));
    const { status, body } = await submit({ texts, top_k: null }, { Prefer: 'wait=30' });
    expect(status).toBe(200);
    expect(JSON.stringify(body).length).toBeGreaterThan(8192);
  });

  test('a wait that ends before the job returns 202, and the job continues', async () => {
    const idle = await Stack.start({ redisUrl: inject('redisUrl'), workers: 0 });
    try {
      const { status, body } = await idle.post<Job>('/v1/jobs', { text: 'x' }, { Prefer: 'wait=0' });
      expect(status).toBe(202);
      const polled = await idle.get<Job>(`/v1/jobs/${body.id}?wait=1`);
      expect(polled.status).toBe(200);
      expect(polled.headers.get('retry-after')).toBe('1');
      expect(polled.body.status).toBe('queued');
    } finally {
      await idle.stop();
    }
  });

  test('another API instance can wait for the job, too', async () => {
    const other = stack.startApi();
    const url = await other.ready;
    try {
      const { body } = await submit({ texts: Array.from({ length: 100 }, () => longText(900)) });
      const job = (await (await fetch(`${url}/v1/jobs/${body.id}?wait=30`)).json()) as Job;
      expect(job.status).toBe('succeeded');
    } finally {
      await other.end();
    }
  });
});

describe('cancel, delete, expire', () => {
  let idle: Stack;
  beforeAll(async () => {
    idle = await Stack.start({ redisUrl: inject('redisUrl'), workers: 0 });
  });
  afterAll(() => idle.stop());

  test('a queued job is canceled, leaves the queue, and is then deleted', async () => {
    const { body } = await idle.post<Job>('/v1/jobs', { text: 'x', metadata: { a: 1 } });
    const canceled = await idle.fetch(`/v1/jobs/${body.id}`, { method: 'DELETE' });
    expect(canceled.status).toBe(200);
    expect(await canceled.json()).toMatchObject({
      id: body.id,
      status: 'canceled',
      results: null,
      metadata: { a: 1 },
    });
    expect((await idle.get<Job>(`/v1/jobs/${body.id}`)).body.status).toBe('canceled');
    expect(await redis.keys(`${idle.prefix}:classify-*:${body.id}`)).toEqual([]);

    expect((await idle.fetch(`/v1/jobs/${body.id}`, { method: 'DELETE' })).status).toBe(204);
    expect((await idle.get(`/v1/jobs/${body.id}`)).status).toBe(404);
    expect((await idle.fetch(`/v1/jobs/${body.id}`, { method: 'DELETE' })).status).toBe(404);
  });

  test('a finished job is deleted with its results', async () => {
    const { body } = await submit({ text: 'fine' }, { Prefer: 'wait=30' });
    expect((await stack.fetch(`/v1/jobs/${body.id}`, { method: 'DELETE' })).status).toBe(204);
    expect((await stack.get(`/v1/jobs/${body.id}`)).status).toBe(404);
    expect(await redis.get(`${stack.prefix}:job:${body.id}`)).toBe('');
    expect(await redis.ttl(`${stack.prefix}:job:${body.id}`)).toBeGreaterThan(0);
  });

  test('a wait for the job of an earlier request subscribes to its channel, and unsubscribes when the last caller is gone', async () => {
    const body = { text: 'x' };
    const key = { 'Idempotency-Key': 'heard' };
    const { id } = (await idle.post<Job>('/v1/jobs', body, key)).body;
    const listeners = async () =>
      ((await redis.pubsub('NUMSUB', `${idle.prefix}:done:${id}`)) as [string, number])[1];
    const repeat = (waitS: number) =>
      idle.post<Job>('/v1/jobs', body, { ...key, Prefer: `wait=${waitS}` }).then(({ body: job }) => job);

    const alone = repeat(1);
    await eventually(async () => ((await listeners()) === 1 ? true : undefined));
    expect((await alone).status).toBe('queued');
    await eventually(async () => ((await listeners()) === 0 ? true : undefined));

    const shorter = idle.get<Job>(`/v1/jobs/${id}?wait=2`);
    await eventually(async () => ((await listeners()) === 1 ? true : undefined));
    const longer = repeat(60);
    expect((await shorter).body.status).toBe('queued');
    await idle.fetch(`/v1/jobs/${id}`, { method: 'DELETE' });
    expect((await longer).status).toBe('canceled');
    await eventually(async () => ((await listeners()) === 0 ? true : undefined));
  });

  test('a job that is not started in time expires, even without a worker and without a reader', async () => {
    const { body } = await idle.post<Job>('/v1/jobs', { text: 'x', expires_in: 1 });
    const record = await eventually(
      async () => (await redis.get(`${idle.prefix}:job:${body.id}`)) ?? undefined,
    );
    expect(JSON.parse(record)).toMatchObject({ status: 'expired', error: { code: 'job_expired' } });
    expect(await redis.zcard(`${idle.prefix}:deadlines`)).toBe(0);
    expect((await idle.get<Job>(`/v1/jobs/${body.id}`)).body.status).toBe('expired');
  });

  test('a deadline that was met is removed', async () => {
    const { body } = await submit({ text: 'fine', expires_in: 60 }, { Prefer: 'wait=30' });
    expect(body.status).toBe('succeeded');
    expect(await redis.zcard(`${stack.prefix}:deadlines`)).toBe(0);
  });
});

describe('priority', () => {
  test('a low-priority job has a separate queue and is finished as well', async () => {
    const { body } = await submit({ text: 'fine', priority: 'low' });
    expect(body.id).toContain('-l-');
    expect((await finished(body.id)).status).toBe('succeeded');
  });
});

describe('Idempotency-Key', () => {
  const keyed = (body: unknown, key: string) => submit(body, { 'Idempotency-Key': key });

  test('a repeat returns the same job, whether it waits or has finished', async () => {
    const first = await keyed({ text: 'fine' }, 'order 1');
    const again = await keyed({ text: 'fine' }, 'order 1');
    expect(again.body.id).toBe(first.body.id);
    await finished(first.body.id);
    const later = await keyed({ text: 'fine' }, 'order 1');
    expect(later.status).toBe(200);
    expect(later.body).toMatchObject({ id: first.body.id, status: 'succeeded' });
  });

  test('the same key with another body is refused and enqueues nothing', async () => {
    await keyed({ text: 'fine' }, 'order-2');
    const { status, body } = await keyed({ text: 'other' }, 'order-2');
    expect(status).toBe(422);
    expect(body).toMatchObject({ code: 'idempotency_mismatch' });
  });

  test('a hundred simultaneous requests at two API instances create one job', async () => {
    const other = stack.startApi();
    try {
      const url = await other.ready;
      await eventually(async () => ((await fetch(`${url}/health/ready`)).ok ? true : undefined));
      // An API that has just started on a busy machine may answer 503, which callers repeat.
      const submitTo = (api: string) =>
        eventually(async () => {
          const response = await fetch(`${api}/v1/jobs`, {
            method: 'POST',
            headers: { 'content-type': 'application/json', 'idempotency-key': 'order-3' },
            body: JSON.stringify({ text: 'fine' }),
          });
          const body = (await response.json()) as Job;
          if (response.status === 503) return undefined;
          return response.ok ? body.id : body;
        });
      const ids = await Promise.all(
        Array.from({ length: 100 }, (_, i) => submitTo(i % 2 === 0 ? stack.url : url)),
      );
      expect(ids).toEqual(ids.map(() => expect.stringMatching(/^[0-9a-f]{32}-n-/) as string));
      expect(new Set(ids).size).toBe(1);
    } finally {
      await other.end();
    }
  });

  test('a repeat after a crash between reservation and submission adds the job under the reserved id', async () => {
    const { body } = await keyed({ text: 'fine' }, 'order-4');
    await finished(body.id);
    await redis.del(`${stack.prefix}:job:${body.id}`);
    const again = await keyed({ text: 'fine' }, 'order-4');
    expect(again.status).toBe(202);
    expect(again.body.id).toBe(body.id);
    expect((await finished(body.id)).status).toBe('succeeded');
  });
});

test('400 races of DELETE against a running job each end in exactly one state', async () => {
  const TEXTS = 12;
  const outcomes = { canceled: 0, succeeded: 0 };
  const race = async (i: number) => {
    // With three texts a quiet machine finishes the job before its 202 is read, and DELETE never comes first.
    const texts = Array.from({ length: TEXTS }, (_, text) => `text ${text} of job ${i}`);
    const { body } = await submit({ texts });
    // 0 to 250 ms, most of them short: on a busy machine a job takes longer than on a quiet one.
    await new Promise((resolve) => setTimeout(resolve, (i % 40) ** 2 / 6));
    const response = await stack.fetch(`/v1/jobs/${body.id}`, { method: 'DELETE' });
    if (response.status === 204) {
      // The job had finished before: a deleted job stays deleted.
      outcomes.succeeded++;
      expect((await stack.get(`/v1/jobs/${body.id}`)).status).toBe(404);
      return;
    }
    const said = (await response.json()) as Job;
    expect(['canceled', 'succeeded']).toContain(said.status);
    // Longer than any run in flight: a late result must not appear.
    await new Promise((resolve) => setTimeout(resolve, 200));
    const { body: read } = await stack.get<Job>(`/v1/jobs/${body.id}`);
    expect(read).toEqual(said);
    expect(said.status === 'canceled' ? said.results : said.results!.length).toBe(
      said.status === 'canceled' ? null : TEXTS,
    );
    outcomes[said.status as 'canceled' | 'succeeded']++;
  };
  const pending = Array.from({ length: 400 }, (_, i) => i);
  await Promise.all(
    Array.from({ length: 20 }, async () => {
      for (let i = pending.pop(); i !== undefined; i = pending.pop()) await race(i);
    }),
  );
  expect(outcomes.canceled + outcomes.succeeded).toBe(400);
  // It was a race: each side won at least once.
  expect(outcomes.canceled).toBeGreaterThan(0);
  expect(outcomes.succeeded).toBeGreaterThan(0);
});
