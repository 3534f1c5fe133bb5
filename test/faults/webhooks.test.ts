/** Faults of webhooks, one at a time; all of them at once: webhooks-chaos.test.ts. */
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import type { Batch } from '../../src/shared/contract/batches.ts';
import type { Delivery, DeliveryPayload } from '../../src/shared/contract/webhooks.ts';
import type { Job } from '../../src/shared/contract/jobs.ts';
import type { WebhookEvent } from '../../src/shared/contract/webhook-events.ts';
import { JobRecords } from '../../src/shared/store/jobs/job-records.ts';
import { DELIVERIES_QUEUE, openQueue } from '../../src/shared/store/queues.ts';
import { deliveryKey, outboxKey } from '../../src/shared/redis/keys.ts';
import { newSecret } from '../../src/shared/runtime/webhook-secret.ts';
import { BatchCalls, Inside, tellOnFailure } from '../support/api/batches.ts';
import { standIn } from '../support/models/stand-in.ts';
import { answer, Receiver } from '../support/webhooks/receiver.ts';
import { freePort, OwnRedis } from '../support/redis/redis.ts';
import { settleJob } from '../support/api/settled-jobs.ts';
import { eventually, Stack, type Process } from '../support/processes/stack.ts';

const GROUP = 'webhooks';
/** The default. */
const RESULT_TTL_S = 3600;
let receiver: Receiver;
let other: Receiver;
/** Never answers. */
let hanging: Receiver;
let stack: Stack;
let calls: BatchCalls;
let inside: Inside;
let redis: Redis;
let records: JobRecords;
/** Ports where nobody listens. */
let dead: number[];
let senders: Process[] = [];

beforeAll(async () => {
  [receiver, other] = [await Receiver.start(), await Receiver.start()];
  hanging = await Receiver.start(() => {
    // Never answers.
  });
  dead = await Promise.all(Array.from({ length: 20 }, freePort));
  stack = await Stack.start({
    redisUrl: inject('redisUrl'),
    env: {
      ...standIn(),
      WEBHOOK_SECRET: newSecret(),
      WEBHOOK_SCHEMES: 'http',
      WEBHOOK_ALLOW: [receiver.port, other.port, hanging.port, ...dead]
        .map((port) => `127.0.0.1:${port}`)
        .join(','),
      WEBHOOK_RETRY_S: Array(20).fill('0.3').join(','),
      LOCK_DURATION_MS: '1500',
      STALLED_INTERVAL_MS: '500',
    },
  });
  calls = new BatchCalls(stack);
  inside = new Inside(stack);
  redis = inside.redis;
  records = new JobRecords(redis, stack.prefix, 600);
});
afterAll(async () => {
  inside.close();
  await stack.stop();
  await receiver.stop();
  await other.stop();
  await hanging.stop();
});
beforeEach(() => {
  tellOnFailure(() => stack);
  for (const each of [receiver, other]) {
    each.behave = answer(204);
    each.received.length = 0;
  }
});
afterEach(async () => {
  await Promise.all(senders.map((sender) => sender.end('SIGKILL')));
  senders = [];
});

async function startSender(): Promise<Process> {
  const sender = stack.startWebhooks();
  senders.push(sender);
  await sender.ready;
  return sender;
}

/** What came to a path of the receiver. */
const eventsAt = (path: string): WebhookEvent[] =>
  receiver.at(path).map(({ body }) => JSON.parse(body) as WebhookEvent);
const came = (at: Receiver, events: string[]) =>
  eventually(() => {
    const ids = new Set(at.received.map(({ headers }) => headers['webhook-id']));
    return Promise.resolve(events.every((id) => ids.has(id)) ? true : undefined);
  });
const settle = async (url: string, count: number): Promise<string[]> => {
  const settled = await Promise.all(Array.from({ length: count }, () => settleJob(records, url)));
  return settled.map(({ event }) => event);
};
const read = async (event: string) => (await calls.call<Delivery>(`/v1/webhooks/${event}`)).body;
const ended = (event: string, status: Delivery['status'] = 'delivered') =>
  eventually(async () => {
    const delivery = await read(event);
    return delivery.status === status ? delivery : undefined;
  });

describe('webhook processes', () => {
  test('no webhook process for a while: the events wait', async () => {
    const events = await settle(receiver.url(), 50);
    expect(await redis.xlen(outboxKey(stack.prefix))).toBeGreaterThanOrEqual(50);
    expect(await read(events[0]!)).toMatchObject({ status: 'pending', attempts: [] });
    await startSender();
    await came(receiver, events);
    await eventually(async () => ((await redis.xlen(outboxKey(stack.prefix))) === 0 ? true : undefined));
  });

  test('a process killed before its events are in the queue: another takes them over', async () => {
    await startSender();
    await came(receiver, await settle(receiver.url(), 1));
    await senders.pop()!.end('SIGKILL');
    const events = await settle(receiver.url(), 3);
    // As one that died right after it had read them leaves them.
    const key = outboxKey(stack.prefix);
    await redis.xreadgroup('GROUP', GROUP, 'dead', 'COUNT', 10, 'STREAMS', key, '>');
    await startSender();
    await came(receiver, events);
    await eventually(async () => ((await redis.xlen(key)) === 0 ? true : undefined));
  });

  test('an outbox without its consumer group is read from the beginning', async () => {
    await startSender();
    await came(receiver, await settle(receiver.url(), 1));
    await redis.xgroup('DESTROY', outboxKey(stack.prefix), GROUP);
    await came(receiver, await settle(receiver.url(), 5));
    await redis.del(outboxKey(stack.prefix));
    await came(receiver, await settle(receiver.url(), 5));
  });

  test('a delivery deferred by another process is not attempted early', async () => {
    receiver.behave = answer(500);
    await startSender();
    // The queue of a receiver has room for a third of a thousand.
    const events = await settle(receiver.url('/busy'), 500);
    const queue = await openQueue<DeliveryPayload>(DELIVERIES_QUEUE, redis, stack.prefix);
    try {
      // One that is deferred because the receiver's queue is full. The last, whose turn does not come just now.
      const [job] = await eventually(async () => {
        const deferred = await queue.getDelayed();
        const fresh = [];
        for (const each of deferred.slice(-50).reverse())
          if ((await redis.hexists(deliveryKey(stack.prefix, each.data.id), 'attempts')) === 0)
            fresh.push(each);
        return fresh.length > 0 ? fresh : undefined;
      });
      const { id } = job!.data;
      const hourMs = 3_600_000;
      await redis.hset(deliveryKey(stack.prefix, id), 'next', Date.now() + hourMs);
      await job!.changeDelay(hourMs);
      receiver.behave = answer(204);
      await came(
        receiver,
        events.filter((event) => event !== id),
      );
      expect(await job!.isDelayed()).toBe(true);
      // Neither when it is called all the same, as by a process that looked just before it was put off.
      await job!.promote();
      await eventually(async () => ((await job!.isDelayed()) ? true : undefined));
      expect((await queue.getJob(job!.id!))!.attemptsStarted).toBeGreaterThan(job!.attemptsStarted);
      expect(receiver.received.some(({ headers }) => headers['webhook-id'] === id)).toBe(false);
      await job!.remove();
    } finally {
      await queue.close();
    }
  }, 120_000);

  test('SIGTERM while a receiver hangs: the process ends soon, and the next one repeats the attempt', async () => {
    receiver.behave = hanging.behave;
    const sender = await startSender();
    const [event] = (await settle(receiver.url(), 1)) as [string];
    await came(receiver, [event]);
    expect(await sender.end('SIGTERM')).toBe(0);
    expect(await read(event)).toMatchObject({ status: 'pending', attempts: [] });
    receiver.behave = answer(204);
    await startSender();
    expect((await ended(event)).attempts).toHaveLength(1);
    const sent = receiver.received.filter(({ headers }) => headers['webhook-id'] === event);
    expect(new Set(sent.map(({ body }) => body)).size).toBe(1);
  });
});

describe('the source of an event', () => {
  test('deleted jobs and batches are delivered as they ended', async () => {
    const { body: job } = await calls.call<Job>('/v1/jobs', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Prefer: 'wait=30' },
      body: JSON.stringify({ text: 'fine', webhook: { url: receiver.url('/gone') } }),
    });
    expect(job.status).toBe('succeeded');
    expect((await calls.call(job.urls.self, { method: 'DELETE' })).status).toBe(204);
    const url = encodeURIComponent(receiver.url('/gone'));
    const { body: batch } = await calls.post('{"text":"fine"}\n', `?webhook=${url}`);
    await calls.finished(batch.id);
    await calls.remove(batch.id);
    await startSender();
    await eventually(() => Promise.resolve(eventsAt('/gone').length === 2 ? true : undefined));
    expect(eventsAt('/gone')).toEqual(
      expect.arrayContaining([
        expect.objectContaining({
          type: 'job.succeeded',
          data: expect.objectContaining({ id: job.id, results: job.results }),
        }),
        expect.objectContaining({ type: 'batch.completed', data: expect.objectContaining({ id: batch.id }) }),
      ]),
    );
  });

  test('a batch that fails, is resumed and completes is delivered twice', async () => {
    const url = encodeURIComponent(receiver.url('/twice'));
    const { body: batch } = await calls.call<Batch>(`/v1/batches?open=true&webhook=${url}`, {
      method: 'POST',
    });
    await calls.putPart(batch.id, 1, '{"text":"fine"}\n');
    // Without a worker it cannot be completed before it fails.
    await stack.workers.pop()!.end();
    await calls.complete(batch.id, [{ number: 1 }]);
    await inside.store.end(batch.id, 'failed', { code: 'internal_error', message: 'for this test' });
    const first = (await calls.get(batch.id)).body.webhook?.delivery;
    expect((await calls.resume(batch.id)).status).toBe(202);
    stack.workers.push(stack.startWorker());
    const completed = await calls.finished(batch.id);
    expect(completed.status).toBe('completed');
    expect(completed.webhook?.delivery).not.toBe(first);
    await startSender();
    await eventually(() => Promise.resolve(eventsAt('/twice').length === 2 ? true : undefined));
    expect(
      eventsAt('/twice')
        .map(({ type }) => type)
        .sort(),
    ).toEqual(['batch.completed', 'batch.failed']);
    expect(new Set(receiver.at('/twice').map(({ headers }) => headers['webhook-id'])).size).toBe(2);
  });

  test('results too large to be pushed stay until the receiver can have fetched them', async () => {
    receiver.behave = answer(500);
    await startSender();
    const texts = Array.from({ length: 256 }, (_, i) => ({ id: `${i}`.padStart(100, 'x'), text: 'fine' }));
    const { body: job } = await calls.call<Job>('/v1/jobs', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Prefer: 'wait=30' },
      body: JSON.stringify({ texts, webhook: { url: receiver.url() } }),
    });
    const key = `${stack.prefix}:job:${job.id}`;
    // Before the first attempt, which may have to wait for its turn for longer than results are kept.
    const longest = (await redis.ttl(key)) + 60;
    expect(longest).toBeGreaterThan(86_400 + RESULT_TTL_S);
    await redis.expire(key, 5);
    await eventually(async () => ((await redis.ttl(key)) > 60 ? true : undefined));
    await redis.expire(key, longest);
    receiver.behave = answer(204);
    await eventually(async () => ((await redis.ttl(key)) <= RESULT_TTL_S ? true : undefined));
    expect(await redis.ttl(key)).toBeGreaterThan(RESULT_TTL_S - 60);
  });
});

test('a full Redis: its events are delivered once there is room', async () => {
  const own = await OwnRedis.start();
  const connection = new Redis(own.url);
  const sender = stack.startWebhooks({ REDIS_URL: own.url });
  try {
    await sender.ready;
    const ownRecords = new JobRecords(connection, stack.prefix, 600);
    receiver.behave = answer(500);
    const { event } = await settleJob(ownRecords, receiver.url());
    await came(receiver, [event]);
    await connection.config('SET', 'maxmemory', '1');
    receiver.behave = answer(204);
    await expect(settleJob(ownRecords, receiver.url())).rejects.toThrow(/OOM/);
    await connection.config('SET', 'maxmemory', '0');
    await eventually(async () =>
      (await connection.hget(deliveryKey(stack.prefix, event), 'status')) === 'delivered' ? true : undefined,
    );
    const { event: later } = await settleJob(ownRecords, receiver.url());
    await came(receiver, [later]);
  } finally {
    await sender.end();
    connection.disconnect();
    await own.stop();
  }
});

// Last, because what they leave behind keeps a webhook process busy.
describe('receivers that do not work', () => {
  test('twenty that refuse connections do not delay another, and their deliveries wait', async () => {
    await startSender();
    const refused = await Promise.all(dead.map((port) => settle(`http://127.0.0.1:${port}/`, 5)));
    const events = await settle(other.url(), 200);
    await came(other, events);
    const delivery = await eventually(async () => {
      const found = await read(refused[0]![0]!);
      return found.attempts.length > 1 ? found : undefined;
    });
    expect(delivery.status).toBe('pending');
    expect(delivery.attempts[0]).toMatchObject({ outcome: 'connection', status: null });
    expect(delivery.attempts[0]!.reason).toMatch(/ECONNREFUSED/);
  });

  test('a hanging receiver with more deliveries than its queue takes does not delay another', async () => {
    await startSender();
    const waiting = await settle(hanging.url(), 500);
    await eventually(() => Promise.resolve(hanging.received.length > 0 ? true : undefined));
    const events = await settle(other.url(), 200);
    await came(other, events);
    // No attempt has ended: a few are under way, all others wait for their turn.
    expect(hanging.received.length).toBeLessThanOrEqual(8);
    expect((await read(waiting.at(-1)!)).status).toBe('pending');
  });
});
