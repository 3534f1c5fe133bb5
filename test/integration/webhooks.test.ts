/** Webhooks from submission to receiver, through real processes. */
import { Redis } from 'ioredis';
import { Webhook } from 'standardwebhooks';
import { Webhook as SvixWebhook } from 'svix';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Batch } from '../../src/shared/contract/batches.ts';
import type { Delivery } from '../../src/shared/contract/webhooks.ts';
import type { Job } from '../../src/shared/contract/jobs.ts';
import type { WebhookEvent } from '../../src/shared/contract/webhook-events.ts';
import { newSecret } from '../../src/shared/runtime/webhook-secret.ts';
import { BatchCalls, type Problem } from '../support/api/batches.ts';
import { answer, Receiver, type Received } from '../support/webhooks/receiver.ts';
import { eventually, Stack } from '../support/processes/stack.ts';

const SECRETS = [newSecret(), newSecret()] as const;
let receiver: Receiver;
let stack: Stack;
let calls: BatchCalls;

beforeAll(async () => {
  receiver = await Receiver.start();
  stack = await Stack.start({
    redisUrl: inject('redisUrl'),
    webhooks: true,
    env: {
      WEBHOOK_SECRET: SECRETS.join(','),
      WEBHOOK_SCHEMES: 'http,https',
      WEBHOOK_ALLOW: `127.0.0.1:${receiver.port}`,
      WEBHOOK_RETRY_S: '0.2,0.3,0.4',
      WEBHOOK_TIMEOUT_MS: '1000',
      PUBLIC_URL: 'https://amulet.example/',
    },
  });
  calls = new BatchCalls(stack);
});
afterAll(async () => {
  await stack.stop();
  await receiver.stop();
});

let paths = 0;
const newPath = () => `/hook-${paths++}`;

async function submit(
  path: string,
  body: Record<string, unknown> = {},
  headers: Record<string, string> = {},
) {
  const { events, ...rest } = body;
  const answered = await calls.call<Job>('/v1/jobs', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...headers },
    body: JSON.stringify({
      text: 'a joy from start to finish',
      webhook: { url: receiver.url(path), ...(events === undefined ? {} : { events }) },
      ...rest,
    }),
  });
  expect(answered).toMatchObject({ status: 202 });
  return answered.body;
}

const arrived = (path: string, count = 1): Promise<Received[]> =>
  eventually(() => {
    const received = receiver.at(path);
    return Promise.resolve(received.length >= count ? received : undefined);
  });

const parse = ({ body }: Received) => JSON.parse(body) as WebhookEvent;

/** The delivery of a finished job once it has come to an end. */
async function delivery(self: string, status: Delivery['status'] = 'delivered'): Promise<Delivery> {
  const url = await eventually(
    async () => (await calls.call<Job | Batch>(self)).body.webhook?.delivery ?? undefined,
  );
  return eventually(async () => {
    const { body } = await calls.call<Delivery>(url);
    return body.status === status ? body : undefined;
  });
}

describe('a job', () => {
  test('is pushed in full, signed, with the trace of its request', async () => {
    const path = newPath();
    const trace = '4bf92f3577b34da6a3ce929d0e0e4736';
    const job = await submit(
      path,
      {
        texts: [
          { id: 'a', text: 'a joy' },
          { id: 'b', text: 'what a mess' },
        ],
        text: undefined,
        metadata: { order: 7 },
      },
      { traceparent: `00-${trace}-00f067aa0ba902b7-01` },
    );
    const [received] = (await arrived(path)) as [Received];
    const { headers, body } = received;
    const event = parse(received);
    const { body: finished } = await calls.call<Job>(job.urls.self);
    const { webhook, ...shown } = finished;
    expect(event).toEqual({
      type: 'job.succeeded',
      timestamp: finished.finished_at,
      thin: false,
      data: { ...shown, urls: { self: `https://amulet.example${job.urls.self}` } },
    });
    expect(event.data).toMatchObject({ metadata: { order: 7 }, results: [{ id: 'a' }, { id: 'b' }] });
    expect(headers['content-type']).toBe('application/json');
    expect(headers.traceparent).toMatch(new RegExp(`^00-${trace}-(?!00f067aa0ba902b7)[0-9a-f]{16}-01$`));
    // Either secret verifies, with either library.
    const signed = {
      'webhook-id': headers['webhook-id'] as string,
      'webhook-timestamp': headers['webhook-timestamp'] as string,
      'webhook-signature': headers['webhook-signature'] as string,
    };
    for (const secret of SECRETS) {
      expect(new Webhook(secret).verify(body, signed)).toEqual(event);
      new SvixWebhook(secret).verify(body, signed);
    }
    expect(() => new Webhook(newSecret()).verify(body, signed)).toThrow();
    expect(() => new Webhook(SECRETS[0]).verify(`${body} `, signed)).toThrow();
    expect(webhook).toEqual({
      url: receiver.url(path),
      events: ['job.succeeded', 'job.failed', 'job.canceled', 'job.expired'],
      delivery: `/v1/webhooks/${signed['webhook-id']}`,
    });
    expect(await delivery(job.urls.self)).toMatchObject({
      id: signed['webhook-id'],
      type: 'job.succeeded',
      status: 'delivered',
      url: receiver.url(path),
      next_attempt_at: null,
      redeliveries: 0,
      attempts: [{ outcome: 'delivered', status: 204, reason: null }],
      urls: { source: job.urls.self },
    });
  });

  test('above 20 KB is pushed without its results', async () => {
    const path = newPath();
    const texts = Array.from({ length: 256 }, (_, i) => ({ id: `${i}`.padStart(100, 'x'), text: 'fine' }));
    const job = await submit(path, { texts, text: undefined });
    const [received] = (await arrived(path)) as [Received];
    const event = parse(received);
    expect(received.body.length).toBeLessThan(2000);
    expect(event).toMatchObject({
      thin: true,
      data: {
        id: job.id,
        status: 'succeeded',
        failed_texts: 0,
        urls: { self: `https://amulet.example${job.urls.self}` },
      },
    });
    expect(event.data).not.toHaveProperty('results');
  });

  test('canceled and expired jobs are delivered, too; with `events` only those events', async () => {
    await stack.workers.pop()!.end();
    const [wanted, unwanted, expiring] = [newPath(), newPath(), newPath()];
    const canceled = await submit(wanted, { events: ['job.canceled'] });
    const silent = await submit(unwanted, { events: ['job.succeeded'] });
    await submit(expiring, { expires_in: 1 });
    for (const { urls } of [canceled, silent]) {
      expect((await calls.call<Job>(urls.self, { method: 'DELETE' })).body.status).toBe('canceled');
    }
    expect((await arrived(wanted)).map(parse)).toMatchObject([
      { type: 'job.canceled', data: { id: canceled.id, results: null, error: { code: 'job_canceled' } } },
    ]);
    expect((await arrived(expiring)).map(parse)).toMatchObject([{ type: 'job.expired' }]);
    expect((await calls.call<Job>(silent.urls.self)).body.webhook).toMatchObject({ delivery: null });
    expect(receiver.at(unwanted)).toEqual([]);
    stack.workers.push(stack.startWorker());
    await stack.workers.at(-1)!.ready;
  });
});

describe('a batch', () => {
  const input = '{"text":"a joy"}\n{"text":"a mess"}\nnot JSON\n';
  const submitBatch = (path: string, query = '') =>
    calls.post(input, `?webhook=${encodeURIComponent(receiver.url(path))}${query}`);

  test('completed', async () => {
    const path = newPath();
    const { body: batch } = await submitBatch(path, `&metadata=${encodeURIComponent('{"a":[1]}')}`);
    const [received] = (await arrived(path)) as [Received];
    expect(parse(received)).toMatchObject({
      type: 'batch.completed',
      thin: false,
      data: {
        id: batch.id,
        status: 'completed',
        rows: { total: 3, finished: 3, failed: 1 },
        metadata: { a: [1] },
        urls: { results: `https://amulet.example/v1/batches/${batch.id}/results` },
      },
    });
    expect(await delivery(batch.urls.self)).toMatchObject({ urls: { source: batch.urls.self } });
  });

  test('canceled; events that were not requested are not delivered', async () => {
    const [wanted, unwanted] = [newPath(), newPath()];
    const query = (path: string, events: string) =>
      `?open=true&webhook=${encodeURIComponent(receiver.url(path))}&webhook_events=${events}`;
    const open = (q: string) => calls.call<Batch>(`/v1/batches${q}`, { method: 'POST' });
    const { body: first } = await open(query(wanted, 'batch.canceled,batch.failed'));
    const { body: second } = await open(query(unwanted, 'batch.completed'));
    for (const { id } of [second, first]) await calls.delete(id);
    expect((await arrived(wanted)).map(parse)).toMatchObject([
      {
        type: 'batch.canceled',
        data: { id: first.id, status: 'canceled', error: { code: 'batch_canceled' } },
      },
    ]);
    expect(receiver.at(unwanted)).toEqual([]);
  });
});

describe('attempts', () => {
  test('are repeated with the same id and body and a new signature, until one succeeds', async () => {
    const path = newPath();
    let count = 0;
    receiver.behave = (received, response) => {
      if (received.path !== path) {
        answer(204)(received, response);
        return;
      }
      const replies = [
        answer(500, {}, 'x'.repeat(5000)),
        answer(302, { location: '/elsewhere' }),
        answer(200),
      ];
      replies[count++]!(received, response);
    };
    const job = await submit(path);
    const all = await arrived(path, 3);
    expect(new Set(all.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
    expect(new Set(all.map(({ body }) => body)).size).toBe(1);
    for (const { headers, body } of all) {
      new Webhook(SECRETS[1]).verify(body, headers as Record<string, string>);
    }
    const { attempts } = await delivery(job.urls.self);
    expect(attempts).toMatchObject([
      { outcome: 'server_error', status: 500, response: 'x'.repeat(2048) },
      { outcome: 'redirect', status: 302 },
      { outcome: 'delivered', status: 200 },
    ]);
    expect(receiver.at('/elsewhere')).toEqual([]);
  });

  test('end with the schedule; the failed delivery is listed, and can be sent again', async () => {
    const path = newPath();
    receiver.behave = (received, response) => answer(received.path === path ? 404 : 204)(received, response);
    const job = await submit(path);
    const failed = await delivery(job.urls.self, 'failed');
    // The log says which one, and why.
    const line = await eventually(() =>
      Promise.resolve(/.*gave up delivery (evt_\w+) of .*/.exec(stack.webhooks?.output ?? '') ?? undefined),
    );
    expect(line[1]).toMatch(/^evt_/);
    expect(JSON.parse(line[0])).toMatchObject({ level: 40, reason: expect.stringMatching(/\S/) });
    expect(failed.attempts.map(({ outcome }) => outcome)).toEqual(Array(4).fill('rejected'));
    const list = async (query: string) =>
      (await calls.call<{ deliveries: Delivery[] }>(`/v1/webhooks${query}`)).body.deliveries.map(
        ({ id }) => id,
      );
    expect(await list('?status=failed')).toContain(failed.id);
    receiver.behave = answer(204);
    const again = await calls.call<Delivery>(`${failed.urls.self}/redeliver`, { method: 'POST' });
    expect([again.status, again.body.status, again.body.redeliveries]).toEqual([202, 'pending', 1]);
    const { attempts } = await delivery(job.urls.self);
    expect(attempts.map(({ outcome }) => outcome)).toEqual([
      ...Array<string>(4).fill('rejected'),
      'delivered',
    ]);
    expect(
      new Set(receiver.at(path).map(({ body, headers }) => `${String(headers['webhook-id'])} ${body}`)).size,
    ).toBe(1);
    expect(await list('?status=failed')).not.toContain(failed.id);
    expect(await list('?limit=100')).toContain(failed.id);
  });

  test('410 ends them', async () => {
    const path = newPath();
    receiver.behave = (received, response) => answer(received.path === path ? 410 : 204)(received, response);
    const job = await submit(path);
    const { attempts } = await delivery(job.urls.self, 'failed');
    expect(attempts).toMatchObject([{ outcome: 'gone', status: 410 }]);
    receiver.behave = answer(204);
  });

  test('that wait for their next attempt can be canceled, and sent again later', async () => {
    const path = newPath();
    receiver.behave = (received, response) =>
      (received.path === path ? answer(429, { 'retry-after': '3600' }) : answer(204))(received, response);
    const job = await submit(path);
    const { id, urls } = await delivery(job.urls.self, 'pending');
    await eventually(async () =>
      (await calls.call<Delivery>(urls.self)).body.attempts[0] ? true : undefined,
    );
    const listed = async (query: string) =>
      (await calls.call<{ deliveries: Delivery[] }>(`/v1/webhooks${query}`)).body.deliveries.map(
        (each) => each.id,
      );
    expect(await listed('?status=pending')).toEqual([id]);

    const cancel = () => calls.call<Delivery & Problem>(`${urls.self}/cancel`, { method: 'POST' });
    const { status, body } = await cancel();
    expect([status, body]).toMatchObject([
      200,
      {
        id,
        status: 'canceled',
        next_attempt_at: null,
        finished_at: expect.any(String),
        attempts: [{ status: 429 }],
      },
    ]);
    expect((await cancel()).body).toEqual(body);
    expect(await listed('?status=pending')).toEqual([]);
    expect(await listed('?status=canceled&model=sst2-minilm')).toEqual([id]);
    expect(await listed('?status=canceled&model=another')).toEqual([]);
    const left = new Redis(inject('redisUrl'));
    expect(await left.keys(`${stack.prefix}:deliveries:${id}*`)).toEqual([]);
    left.disconnect();

    receiver.behave = answer(204);
    expect((await calls.call(`${urls.self}/redeliver`, { method: 'POST' })).status).toBe(202);
    await delivery(job.urls.self, 'delivered');
    const refused = await cancel();
    expect([refused.status, refused.body.code]).toEqual([409, 'delivery_not_pending']);
    expect(refused.body.detail).toContain('delivered');
    const unknown = await calls.call<Problem>('/v1/webhooks/evt_00000000000000000000000000000000/cancel', {
      method: 'POST',
    });
    expect([unknown.status, unknown.body.code]).toEqual([404, 'delivery_not_found']);
  });

  test.each([
    [204, 'delivered', 'delivered'],
    [500, 'canceled', 'server_error'],
  ] as const)(
    'canceled during an attempt that ends with %i: %s, and no other follows',
    async (code, end, outcome) => {
      const path = newPath();
      let finish = () => {};
      receiver.behave = (received, response) => {
        if (received.path !== path) answer(204)(received, response);
        else finish = () => answer(code)(received, response);
      };
      const job = await submit(path);
      await arrived(path);
      const { urls } = await delivery(job.urls.self, 'pending');
      expect((await calls.call<Delivery>(`${urls.self}/cancel`, { method: 'POST' })).body.status).toBe(
        'canceled',
      );
      finish();
      const ended = await eventually(async () => {
        const { body } = await calls.call<Delivery>(urls.self);
        return body.attempts.length > 0 ? body : undefined;
      });
      expect(ended).toMatchObject({ status: end, next_attempt_at: null, attempts: [{ outcome }] });
      receiver.behave = answer(204);
      // Longer than the whole schedule.
      await new Promise((resolve) => setTimeout(resolve, 1500));
      expect(receiver.at(path).length).toBe(1);
    },
  );

  test('wait for the time in Retry-After', async () => {
    const path = newPath();
    receiver.behave = (received, response) => {
      const first = received.path === path && receiver.at(path).length === 1;
      (first ? answer(429, { 'retry-after': '2' }) : answer(204))(received, response);
    };
    const job = await submit(path);
    const { attempts } = await delivery(job.urls.self);
    expect(attempts).toMatchObject([{ outcome: 'throttled', status: 429 }, { outcome: 'delivered' }]);
    const [first, second] = receiver.at(path) as [Received, Received];
    expect(second.at - first.at).toBeGreaterThanOrEqual(1900);
    receiver.behave = answer(204);
  });

  test('fail at a receiver that hangs, and at one that resets the connection', async () => {
    const path = newPath();
    receiver.behave = (received, response) => {
      if (received.path !== path) {
        answer(204)(received, response);
        return;
      }
      const n = receiver.at(path).length;
      if (n === 1) return;
      if (n === 2) response.socket?.resetAndDestroy();
      else answer(204)(received, response);
    };
    const job = await submit(path);
    const { attempts } = await delivery(job.urls.self);
    expect(attempts).toMatchObject([
      { outcome: 'timeout', status: null, reason: 'no answer within 1000 ms' },
      { outcome: 'connection', status: null },
      { outcome: 'delivered' },
    ]);
    receiver.behave = answer(204);
  });
});

describe('a webhook that is refused', () => {
  test.each([
    ['https://10.0.0.1/', /leads to 10\.0\.0\.1, which is not a public address \(private\)/],
    ['https://user:password@example.com/', /user name or password/],
    ['ftp://example.com/', /must begin with http:\/\/ or https:\/\//],
    ['https://localhost/', /leads to localhost, which is this machine itself/],
    ['https://example.com:22/', /port 22/],
    ['example.com', /absolute URL/],
  ])('%s', async (url, message) => {
    const { status, body } = await calls.call<Problem & { errors: { path: string; message: string }[] }>(
      '/v1/jobs',
      {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ text: 'a', webhook: { url } }),
      },
    );
    expect([status, body.errors[0]?.path]).toEqual([422, 'webhook.url']);
    expect(body.errors[0]?.message).toMatch(message);
    const batch = await calls.post<Problem>('{"text":"a"}\n', `?webhook=${encodeURIComponent(url)}`);
    expect(batch.status).toBe(422);
  });

  test('unknown and malformed ids are both 404', async () => {
    expect((await calls.call<Problem>(`/v1/webhooks/evt_${'0'.repeat(32)}`)).body).toMatchObject({
      code: 'delivery_not_found',
    });
    expect((await calls.call<Problem>(`/v1/webhooks/x`)).body).toMatchObject({ code: 'delivery_not_found' });
    const secret = await calls.call<Problem>('/v1/webhook-secret');
    expect([secret.status, secret.body.code]).toEqual([403, 'no_api_key']);
  });
});
