/**
 * Latency of deliveries beside a hanging receiver, and the cost of one delivery. Settled jobs write the events, without a model.
 * Latency counts from the write of the outcome to the arrival of the request.
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { JobRecords } from '../src/shared/store/jobs/job-records.ts';
import { deliveryKey, outboxKey } from '../src/shared/redis/keys.ts';
import { newSecret } from '../src/shared/runtime/webhook-secret.ts';
import { settleJob } from '../test/support/api/settled-jobs.ts';
import { Process } from '../test/support/processes/stack.ts';
import { cpuSeconds } from './cpu.ts';
import type { Figures } from './figures.ts';
import { median, percentile, round, withInterval } from './statistics.ts';

const ROUNDS = 3;
const HANGING = 1000;
/** Events per second for the fast receiver. */
const PER_SECOND = 25;
const SECONDS = 20;
/** Measured while the events for the hanging receiver arrive. */
const FIRST_SECONDS = 4;
const BURST = 3000;

export async function webhooks(redisUrl: string): Promise<Figures> {
  const rounds: Awaited<ReturnType<typeof measure>>[] = [];
  for (let i = 0; i < ROUNDS; i++) rounds.push(await measure(redisUrl, i));
  const of = (name: keyof (typeof rounds)[number]) => median(rounds.map((each) => each[name]));
  return {
    'alone: p50 (ms)': round(of('aloneP50'), 1),
    'alone: p99 (ms)': round(of('aloneP99'), 1),
    [`while ${HANGING} events for a hanging receiver arrive: p99 (ms)`]: round(of('arrivingP99'), 1),
    [`beside ${HANGING} events for a hanging receiver: p50 (ms)`]: round(of('besideP50'), 1),
    [`beside ${HANGING} events for a hanging receiver: p99 (ms)`]: round(of('besideP99'), 1),
    'p99 beside ÷ alone, median [95 %]': withInterval(rounds.map((each) => each.besideP99 / each.aloneP99)),
    [`${BURST} events at once for one receiver (deliveries/s)`]: Math.round(of('burstPerSecond')),
    'CPU of the webhook process (µs/delivery)': Math.round(of('cpuMicros')),
    'Redis per stored delivery (bytes)': Math.round(of('bytes')),
  };
}

/** A receiver that responds with 204 and records the arrival of each event. */
class Fast {
  readonly arrivals = new Map<string, number>();
  readonly #server: Server = createServer((request, response) => {
    this.arrivals.set(String(request.headers['webhook-id']), performance.now());
    request.resume().on('end', () => response.writeHead(204).end());
  });
  async start(): Promise<string> {
    return listen(this.#server);
  }
  stop(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

async function measure(redisUrl: string, n: number) {
  const prefix = `{bench-webhooks-${process.pid}-${n}}`;
  const redis = new Redis(redisUrl);
  const records = new JobRecords(redis, prefix, 600);
  const fast = new Fast();
  const hanging = createServer(() => {
    // Never answers.
  });
  const [fastUrl, hangingUrl] = [await fast.start(), await listen(hanging)];
  const host = (url: string) => new URL(url).host;
  const sender = new Process('worker/webhooks/main.ts', {
    REDIS_URL: redisUrl,
    REDIS_PREFIX: prefix,
    WEBHOOK_SECRET: newSecret(),
    WEBHOOK_SCHEMES: 'http',
    WEBHOOK_ALLOW: `${host(fastUrl)},${host(hangingUrl)}`,
    WEBHOOK_HEALTH_PORT: '0',
    LOG_LEVEL: 'error',
  });
  await sender.ready;
  const pid = sender.child.pid ?? 0;

  /** @returns the id of an event, and when it happened */
  const settle = async (url: string): Promise<{ id: string; at: number }> => {
    const { event } = await settleJob(records, url);
    return { id: event, at: performance.now() };
  };
  const all = async (events: { id: string; at: number }[]): Promise<number[]> => {
    while (!events.every(({ id }) => fast.arrivals.has(id))) await sleep(20);
    return events.map(({ id, at }) => (fast.arrivals.get(id) ?? Number.NaN) - at);
  };
  const steadily = async (seconds = SECONDS): Promise<number[]> => {
    const events: { id: string; at: number }[] = [];
    for (let i = 0; i < PER_SECOND * seconds; i++) {
      events.push(await settle(fastUrl));
      await sleep(1000 / PER_SECOND);
    }
    return all(events);
  };

  try {
    await all(await Promise.all(Array.from({ length: 100 }, () => settle(fastUrl))));
    const cpuBefore = cpuSeconds(pid);
    const start = performance.now();
    const burst = await Promise.all(Array.from({ length: BURST }, () => settle(fastUrl)));
    await all(burst);
    const burstMs = performance.now() - start;
    // The webhook process stores each attempt a moment after the response.
    await sleep(500);
    const cpuMicros = ((cpuSeconds(pid) - cpuBefore) * 1e6) / BURST;
    const sizes = await Promise.all(
      burst.slice(0, 100).map(({ id }) => redis.memory('USAGE', deliveryKey(prefix, id))),
    );
    const alone = await steadily();
    const coming = Promise.all(Array.from({ length: HANGING }, () => settle(hangingUrl)));
    const arriving = await steadily(FIRST_SECONDS);
    await coming;
    while ((await redis.xlen(outboxKey(prefix))) > 0) await sleep(20);
    const beside = await steadily();
    return {
      aloneP50: percentile(alone, 50),
      aloneP99: percentile(alone, 99),
      arrivingP99: percentile(arriving, 99),
      besideP50: percentile(beside, 50),
      besideP99: percentile(beside, 99),
      burstPerSecond: (BURST * 1000) / burstMs,
      cpuMicros,
      bytes: median(sizes.map(Number)),
    };
  } finally {
    await sender.end();
    fast.stop();
    hanging.close();
    hanging.closeAllConnections();
    redis.disconnect();
  }
}
