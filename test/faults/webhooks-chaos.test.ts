/**
 * Jobs with webhooks to a receiver that does what it likes, while workers, webhook processes and Redis are killed at random:
 * every end that was reached is told of. The full run: CHAOS_WEBHOOKS=10000 npx vitest run test/faults/webhooks-chaos.test.ts;
 * CHAOS_SEED repeats its moments.
 */
import { randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Batch } from '../../src/shared/contract/batches.ts';
import type { Delivery } from '../../src/shared/contract/webhooks.ts';
import type { Job } from '../../src/shared/contract/jobs.ts';
import type { WebhookEvent } from '../../src/shared/contract/webhook-events.ts';
import { DELIVERIES_QUEUE } from '../../src/shared/store/queues.ts';
import { outboxKey } from '../../src/shared/redis/keys.ts';
import { newSecret } from '../../src/shared/runtime/webhook-secret.ts';
import { seeded, tellOnFailure } from '../support/api/batches.ts';
import { Receiver, type Received } from '../support/webhooks/receiver.ts';
import { OwnRedis } from '../support/redis/redis.ts';
import { eventually, Stack, type Process } from '../support/processes/stack.ts';
import { standIn } from '../support/models/stand-in.ts';
import { goEmotions } from '../support/inputs/texts.ts';

const JOBS = Number(process.env.CHAOS_WEBHOOKS ?? 300);
const SEED = Number(process.env.CHAOS_SEED ?? Date.now() % 1_000_000);
/** On a machine where starts take longer than the time between two kills, more of them would have no end. */
const MOST_FAULTS = Math.ceil(JOBS / 25);
const BATCHES = 3;
const CLIENTS = 16;
const random = seeded(SEED);
const secret = newSecret();
const verifier = new Webhook(secret);

let redis: OwnRedis;
let receiver: Receiver;
let stack: Stack;
let webhooks: Process[];
/** Ids of what was acknowledged. */
const acknowledged: string[] = [];
/** What arrived, by the job or batch that it is about: `webhook-id` and body. */
const arrived = new Map<string, string[]>();
const unverified: string[] = [];
const outcomes: Record<string, number> = {};
const kills: Record<string, number> = {};
const count = (counts: Record<string, number>, what: string) => (counts[what] = (counts[what] ?? 0) + 1);

/** Remembers a delivery, then answers in one of the ways that receivers have. */
function misbehave(received: Received, response: ServerResponse): void {
  const { headers, body } = received;
  try {
    verifier.verify(body, headers as Record<string, string>);
  } catch (error) {
    unverified.push(String(error));
  }
  const { id } = (JSON.parse(body) as WebhookEvent).data;
  arrived.set(id, [...(arrived.get(id) ?? []), `${String(headers['webhook-id'])} ${body}`]);
  const chance = random();
  if (chance < 0.6) {
    count(outcomes, '200');
    response.writeHead(200).end();
  } else if (chance < 0.7) {
    count(outcomes, '500');
    response.writeHead(500).end('no');
  } else if (chance < 0.78) {
    count(outcomes, '429');
    response.writeHead(429, { 'retry-after': '1' }).end();
  } else if (chance < 0.82) {
    // Never answers.
    count(outcomes, 'hangs');
  } else if (chance < 0.9) {
    count(outcomes, 'resets');
    response.socket?.resetAndDestroy();
  } else {
    count(outcomes, 'slow 200');
    setTimeout(() => response.writeHead(200).end(), 300);
  }
}

beforeAll(async () => {
  redis = await OwnRedis.start();
  receiver = await Receiver.start(misbehave);
  stack = await Stack.start({
    redisUrl: redis.url,
    workers: 2,
    env: {
      ...standIn({ tokenMs: 0.1 }),
      WEBHOOK_SECRET: secret,
      WEBHOOK_SCHEMES: 'http',
      WEBHOOK_ALLOW: `127.0.0.1:${receiver.port}`,
      // Nothing may be given up here.
      WEBHOOK_RETRY_S: Array(100).fill('0.2').join(','),
      WEBHOOK_TIMEOUT_MS: '1000',
      WEBHOOK_PER_HOST: '32',
      LOCK_DURATION_MS: '1500',
      STALLED_INTERVAL_MS: '500',
      BULK_CHUNK_BYTES: '2000',
      LOG_LEVEL: 'error',
    },
  });
  webhooks = [stack.startWebhooks(), stack.startWebhooks()];
  await Promise.all(webhooks.map((process) => process.ready));
});
afterAll(async () => {
  await Promise.all(webhooks.map((process) => process.end()));
  await stack.stop();
  await receiver.stop();
  await redis.stop();
});

/** Repeats a call until it is answered by more than a 503. */
const answered = <T>(path: string, init: RequestInit): Promise<{ status: number; body: T }> =>
  eventually(async () => {
    try {
      const response = await stack.fetch(path, init);
      const text = await response.text();
      if (response.status === 503) return undefined;
      return { status: response.status, body: (text === '' ? undefined : JSON.parse(text)) as T };
    } catch {
      return undefined;
    }
  });

async function submitJob(texts: string[], n: number): Promise<void> {
  const expiring = n % 33 === 7;
  const { status, body: job } = await answered<Job>('/v1/jobs', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'Idempotency-Key': randomUUID() },
    body: JSON.stringify({
      texts: texts.slice(n % 100, (n % 100) + 1 + (n % 3)),
      webhook: { url: receiver.url() },
      ...(expiring ? { expires_in: 1 } : {}),
    }),
  });
  expect([200, 202]).toContain(status);
  acknowledged.push(job.id);
  if (n % 20 === 3) await answered(`/v1/jobs/${job.id}`, { method: 'DELETE' });
}

async function submitBatch(texts: string[]): Promise<void> {
  const { status, body: batch } = await answered<Batch>(
    `/v1/batches?webhook=${encodeURIComponent(receiver.url())}`,
    {
      method: 'POST',
      headers: { 'Content-Type': 'text/plain', 'Idempotency-Key': randomUUID() },
      body: texts.slice(0, 100).join('\n'),
    },
  );
  expect(status).toBe(202);
  acknowledged.push(batch.id);
}

const FAULTS: Record<string, () => Promise<void>> = {
  worker: async () => {
    const victim = random() < 0.5 ? 0 : 1;
    await stack.workers[victim]!.end('SIGKILL');
    stack.workers[victim] = stack.startWorker();
  },
  webhooks: async () => {
    const victim = random() < 0.5 ? 0 : 1;
    await webhooks[victim]!.end('SIGKILL');
    webhooks[victim] = stack.startWebhooks();
  },
  Redis: async () => {
    await redis.kill();
    await sleep(300 * random());
    await redis.restart();
  },
};

test(
  `${JOBS} jobs and ${BATCHES} batches, seed ${SEED}: every end is told of, signed, and always in the same words`,
  { timeout: 180_000 + JOBS * 60 },
  async () => {
    tellOnFailure(() => stack, `CHAOS_SEED=${SEED}`);
    const start = Date.now();
    const texts = goEmotions();
    let next = 0;
    const clients = Array.from({ length: CLIENTS }, async () => {
      for (let n = next++; n < JOBS; n = next++) await submitJob(texts, n);
    });
    const batches = Array.from({ length: BATCHES }, () => submitBatch(texts));
    const over = new AbortController();
    const chaos = (async () => {
      const names = Object.keys(FAULTS);
      for (let faults = 0; faults < MOST_FAULTS && !over.signal.aborted; faults++) {
        await sleep(400 + 1600 * random());
        const name = names[Math.floor(random() * names.length)]!;
        await FAULTS[name]!();
        count(kills, name);
      }
    })();
    await Promise.all([...clients, ...batches]);
    await eventually(() => Promise.resolve(acknowledged.every((id) => arrived.has(id)) ? true : undefined));
    over.abort();
    await chaos;

    // Nothing is on its way any more, and nothing was given up.
    const connection = new Redis(redis.url);
    const queue = new Queue(DELIVERIES_QUEUE, { connection, prefix: stack.prefix });
    await eventually(async () => ((await connection.xlen(outboxKey(stack.prefix))) === 0 ? true : undefined));
    await eventually(async () =>
      (await queue.getJobCountByTypes('wait', 'delayed', 'active')) === 0 ? true : undefined,
    );
    expect(await queue.getFailedCount()).toBe(0);
    await queue.close();
    connection.disconnect();
    // The API may still be on its way back to Redis.
    const failed = await eventually(async () => {
      const { status, body } = await stack.get<{ deliveries: Delivery[] }>('/v1/webhooks?status=failed');
      return status === 200 ? body.deliveries : undefined;
    });
    expect(failed).toEqual([]);

    expect(unverified).toEqual([]);
    expect(new Set(arrived.keys())).toEqual(new Set(acknowledged));
    let attempts = 0;
    for (const id of acknowledged) {
      const said = arrived.get(id)!;
      attempts += said.length;
      expect(new Set(said).size, `${id} was told of in different words`).toBe(1);
      const [webhookId, body] = said[0]!.split(/ (.*)/s) as [string, string];
      const event = JSON.parse(body) as WebhookEvent;
      const { body: delivery } = await stack.get<Delivery>(`/v1/webhooks/${webhookId}`);
      expect(delivery).toMatchObject({ status: 'delivered', type: event.type });
      expect(delivery.attempts.at(-1)?.outcome).toBe('delivered');
      // What was deleted after its end is gone, but was told of all the same.
      const { status, body: source } = await stack.get<Job | Batch>(delivery.urls.source);
      if (status === 200) expect(event.data.status).toBe(source.status);
      else expect(status).toBe(404);
    }
    console.log(
      `${acknowledged.length} ends told of in ${attempts} requests, ${((Date.now() - start) / 1000).toFixed(0)} s;`,
      `answers ${JSON.stringify(outcomes)}; kills ${JSON.stringify(kills)}; 0 lost`,
    );
  },
);
