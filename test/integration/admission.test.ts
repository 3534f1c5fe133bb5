/** Admission control: new work is refused at the limits of a queue and of Redis, and accepted work continues. */
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Batch } from '../../src/shared/contract/batches.ts';
import type { Job } from '../../src/shared/contract/jobs.ts';
import { newSecret } from '../../src/shared/runtime/webhook-secret.ts';
import { OwnRedis } from '../support/redis/redis.ts';
import { eventually, Stack } from '../support/processes/stack.ts';

interface Refusal {
  code: string;
  detail: string;
}

const submit = async (stack: Stack, body: object, headers: Record<string, string> = {}) => {
  const response = await stack.fetch('/v1/jobs', {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
  return {
    status: response.status,
    headers: response.headers,
    body: (await response.json()) as Job & Refusal,
  };
};

describe('a queue', () => {
  let stack: Stack;
  beforeAll(async () => {
    stack = await Stack.start({
      redisUrl: inject('redisUrl'),
      workers: 0,
      env: { MAX_QUEUED_TEXTS: '10', MAX_QUEUED_BYTES: '1000' },
    });
  });
  afterAll(() => stack.stop());

  test('accepts MAX_QUEUED_TEXTS; other priorities have their own limit, and a repeat needs no room', async () => {
    const nine = Array.from({ length: 9 }, (_, i) => `text ${i}`);
    const first = await submit(stack, { texts: nine }, { 'idempotency-key': 'first' });
    expect(first.status).toBe(202);
    const refused = await submit(stack, { texts: ['a', 'b'] }, { 'idempotency-key': 'second' });
    expect([refused.status, refused.body.code, refused.headers.get('retry-after')]).toEqual([
      429,
      'queue_full',
      '5',
    ]);
    expect(refused.body.detail).toBe(
      '9 texts of priority normal wait for sst2-minilm, of at most 10; this job has 2',
    );
    expect((await submit(stack, { texts: nine }, { 'idempotency-key': 'first' })).body.id).toBe(
      first.body.id,
    );
    expect((await submit(stack, { text: 'fits' })).status).toBe(202);
    expect((await submit(stack, { text: 'does not' })).status).toBe(429);
    expect((await submit(stack, { texts: ['a', 'b'], priority: 'low' })).status).toBe(202);
    // Room is noticed once there is some, and the key of the refused request can be used again.
    await stack.fetch(`/v1/jobs/${first.body.id}`, { method: 'DELETE' });
    await eventually(async () => {
      const again = await submit(stack, { texts: ['a', 'b'] }, { 'idempotency-key': 'second' });
      return again.status === 202 ? true : undefined;
    });
  });

  test('accepts MAX_QUEUED_BYTES, and a single larger job while it is empty', async () => {
    const low = { priority: 'low' };
    for (const { id } of ((await (await stack.fetch('/v1/jobs?limit=100')).json()) as { jobs: Job[] }).jobs)
      await stack.fetch(`/v1/jobs/${id}`, { method: 'DELETE' });
    await eventually(async () =>
      (await submit(stack, { text: 'x'.repeat(1500), ...low })).status === 202 ? true : undefined,
    );
    const refused = await submit(stack, { text: 'y', ...low });
    expect([refused.status, refused.body.code]).toEqual([429, 'queue_full']);
    expect(refused.body.detail).toBe(
      '1500 bytes of text of priority low wait for sst2-minilm, of at most 1000; this job has 1',
    );
  });

  test('accepts a single job of more texts than the limit while it is empty', async () => {
    const eleven = Array.from({ length: 11 }, (_, i) => `text ${i}`);
    // The queue is empty: earlier jobs were deleted.
    expect((await submit(stack, { texts: eleven })).status).toBe(202);
    const refused = await submit(stack, { text: 'one more' });
    expect([refused.status, refused.body.detail]).toEqual([
      429,
      '11 texts of priority normal wait for sst2-minilm, of at most 10; this job has 1',
    ]);
  });
});

test('a nearly full Redis: low-priority jobs are refused first, then all new work; accepted work continues', async () => {
  const redis = await OwnRedis.start();
  const stack = await Stack.start({ redisUrl: redis.url, env: { WEBHOOK_SECRET: newSecret() } });
  const admin = new Redis(redis.url);
  const fill = async (percent: number) => {
    const used = Number(/used_memory:(\d+)/.exec(await admin.info('memory'))?.[1]);
    await admin.config('SET', 'maxmemory', Math.round((used * 100) / percent));
  };
  try {
    const answers = async () => [
      (await submit(stack, { text: 'low', priority: 'low' })).status,
      (await submit(stack, { text: 'normal' })).status,
      (
        await stack.fetch('/v1/batches', {
          method: 'POST',
          headers: { 'content-type': 'text/plain' },
          body: 'a line\n',
        })
      ).status,
    ];
    const become = (wanted: number[]) =>
      eventually(async () => (String(await answers()) === String(wanted) ? true : undefined));
    await become([202, 202, 202]);
    const open = (await (await stack.fetch('/v1/batches?open=true', { method: 'POST' })).json()) as Batch;
    const putPart = (number: number) =>
      stack.fetch(`/v1/batches/${open.id}/parts/${number}`, {
        method: 'PUT',
        headers: { 'content-type': 'application/x-ndjson' },
        body: '{"text":"good"}\n',
      });
    expect((await putPart(1)).status).toBe(201);
    const told = { text: 'good', webhook: { url: 'https://receiver.example/' } };
    const { webhook } = (await stack.post<Job>('/v1/jobs', told, { prefer: 'wait=60' })).body;
    const sendAgain = () => stack.fetch(`${webhook?.delivery}/redeliver`, { method: 'POST' });
    expect((await sendAgain()).status).toBe(202);
    await fill(75);
    await become([429, 202, 202]);
    const { body } = await submit(stack, { text: 'taken' });
    await fill(95);
    await become([429, 429, 429]);
    const { detail } = (await submit(stack, { text: 'x' })).body;
    expect(detail).toMatch(/^Redis uses 9\d % of its memory; new work is accepted up to 80 %$/);
    const job = (await (await stack.fetch(`/v1/jobs/${body.id}?wait=30`)).json()) as Job;
    expect(job.status).toBe('succeeded');
    // Refused requests leave no idempotency keys and no parts; accepted work is completed.
    const before = await admin.dbsize();
    for (let i = 0; i < 20; i++) {
      const { status } = await submit(stack, { text: 'x' }, { 'idempotency-key': `refused ${i}` });
      expect(status).toBe(429);
    }
    expect((await putPart(2)).status).toBe(429);
    expect((await sendAgain()).status).toBe(429);
    // The first part exists already.
    expect((await putPart(1)).status).toBe(200);
    expect(await admin.dbsize()).toBeLessThanOrEqual(before);
    expect((await stack.post(`/v1/batches/${open.id}/complete`, { parts: [{ number: 1 }] })).status).toBe(
      202,
    );
    await eventually(async () =>
      ((await (await stack.fetch(`/v1/batches/${open.id}`)).json()) as Batch).status === 'completed'
        ? true
        : undefined,
    );
  } finally {
    admin.disconnect();
    await stack.stop();
    await redis.stop();
  }
});
