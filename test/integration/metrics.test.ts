/** Metrics: all three kinds of process export every metric of docs/metrics.md with its labels, and correct values. */
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Job } from '../../src/shared/contract/jobs.ts';
import { documentedMetrics, mergeMetrics, metricRow, parseMetrics } from '../support/telemetry/metrics.ts';
import { freePort, OwnRedis } from '../support/redis/redis.ts';
import { answer, Receiver } from '../support/webhooks/receiver.ts';
import { eventually, Stack } from '../support/processes/stack.ts';

const MODEL = 'sst2-minilm';

async function scrape(url: string): Promise<string> {
  const response = await fetch(`${url}/metrics`);
  expect(response.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
  return response.text();
}

/** Value of the sample with these labels, besides those of the process. */
function value(text: string, name: string, labels: Record<string, string> = {}): number | undefined {
  const wanted = Object.entries(labels).map(([label, of]) => `${label}="${of}"`);
  const line = text
    .split('\n')
    .find((each) => each.startsWith(`${name}{`) && wanted.every((label) => each.includes(label)));
  return line === undefined ? undefined : Number(line.slice(line.lastIndexOf(' ')));
}

describe('all three kinds of process', () => {
  let stack: Stack;
  let receiver: Receiver;
  let urls: Record<'api' | 'worker' | 'webhooks', string>;
  beforeAll(async () => {
    receiver = await Receiver.start(answer(204));
    const metricsPort = await freePort();
    stack = await Stack.start({
      redisUrl: inject('redisUrl'),
      webhooks: true,
      env: {
        METRICS_PORT: String(metricsPort),
        WEBHOOK_SECRET: `whsec_${Buffer.alloc(32, 7).toString('base64')}`,
        WEBHOOK_SCHEMES: 'http',
        WEBHOOK_ALLOW: `127.0.0.1:${receiver.port}`,
      },
    });
    urls = {
      api: `http://127.0.0.1:${metricsPort}`,
      worker: await stack.healthUrl(stack.workers[0]!),
      webhooks: await stack.healthUrl(stack.webhooks!),
    };
  });
  afterAll(async () => {
    await stack.stop();
    await receiver.stop();
  });

  test('export exactly the metrics of docs/metrics.md', async () => {
    const { body: job } = await stack.post<Job>(
      '/v1/jobs',
      { texts: ['lovely', 'dull'], webhook: { url: receiver.url() } },
      { prefer: 'wait=20' },
    );
    expect(job.status).toBe('succeeded');
    const created = await stack.fetch('/v1/batches', {
      method: 'POST',
      headers: { 'content-type': 'text/plain' },
      body: 'one\ntwo\nthree\n',
    });
    const batch = ((await created.json()) as { id: string }).id;
    await eventually(async () => {
      const { body } = await stack.get<{ status: string }>(`/v1/batches/${batch}`);
      return body.status === 'completed' && receiver.received.length > 0 ? true : undefined;
    });
    await stack.fetch('/v1/jobs/no-such-job?secret=florist');
    await stack.fetch('/florist');
    const [api, worker, webhooks] = await eventually(async () => {
      const texts = await Promise.all([scrape(urls.api), scrape(urls.worker), scrape(urls.webhooks)]);
      // The deliverer counts the delivery after the receiver has answered.
      return value(texts[2], 'amulet_webhook_deliveries_total', { outcome: 'delivered' }) === 1
        ? texts
        : undefined;
    });
    const exported = mergeMetrics([
      ...parseMetrics('api', api),
      ...parseMetrics('worker', worker),
      ...parseMetrics('webhooks', webhooks),
    ]);
    // Some metrics of Node are read from /proc.
    const known = documentedMetrics().filter(
      ({ name }) => process.platform === 'linux' || exported.some((metric) => metric.name === name),
    );
    const labelsOf = new Map(known.map(({ name, labels }) => [name, labels]));
    const seen = exported.map((metric) => ({
      ...metric,
      labels: metric.labels ?? labelsOf.get(metric.name),
    }));
    expect(seen.map(metricRow)).toEqual(known.map(metricRow));

    expect(value(api, 'amulet_submitted_texts_total', { model: MODEL, priority: 'normal' })).toBe(2);
    expect(
      value(api, 'amulet_http_request_seconds_count', { method: 'POST', route: '/v1/jobs', status: '200' }),
    ).toBe(1);
    expect(value(api, 'amulet_http_request_seconds_count', { route: '/v1/jobs/{id}', status: '422' })).toBe(
      1,
    );
    expect(value(api, 'amulet_http_request_seconds_count', { route: 'unknown', status: '404' })).toBe(1);
    expect(value(api, 'amulet_http_problems_total', { code: 'not_found' })).toBe(1);
    expect(value(api, 'amulet_waits_total', { outcome: 'settled' })).toBe(1);
    expect(value(api, 'amulet_upload_bytes_total')).toBe('one\ntwo\nthree\n'.length);
    expect(value(api, 'amulet_redis_up')).toBe(1);
    expect(value(api, 'amulet_live_workers', { model: MODEL })).toBe(1);
    expect(api).not.toContain('florist');
    expect(
      value(worker, 'amulet_jobs_total', { priority: 'normal', status: 'succeeded', model: MODEL }),
    ).toBe(1);
    expect(value(worker, 'amulet_texts_total', { outcome: 'succeeded' })).toBe(2);
    expect(value(worker, 'amulet_queue_seconds_count', { priority: 'normal' })).toBe(1);
    expect(value(worker, 'amulet_bulk_rows_total', { outcome: 'succeeded' })).toBe(3);
    expect(value(webhooks, 'amulet_webhook_attempts_total', { outcome: 'delivered' })).toBe(1);
  });

  test('a finished job has its timings in a header', async () => {
    const { body: job, headers } = await stack.post<Job>('/v1/jobs', { text: 'fine' }, { prefer: 'wait=20' });
    const { queue, inference, total } = job.timings_ms!;
    const timing = `queue;dur=${queue}, inference;dur=${inference}, total;dur=${total}`;
    expect(headers.get('server-timing')).toBe(timing);
    expect((await stack.get(job.urls.self)).headers.get('server-timing')).toBe(timing);
    const predicted = await stack.post('/predict', { text: 'fine' });
    expect(predicted.headers.get('server-timing')).toMatch(
      /^queue;dur=\d+, inference;dur=\d+, total;dur=\d+$/,
    );
    expect((await stack.get('/info')).headers.get('server-timing')).toBeNull();
  });

  test('the API serves its metrics only on their own port', async () => {
    expect((await stack.fetch('/metrics')).status).toBe(404);
    expect((await fetch(`${urls.api}/v1/models`)).status).toBe(404);
  });
});

describe('the queues', () => {
  let redis: OwnRedis;
  let stack: Stack;
  let url: string;
  beforeAll(async () => {
    redis = await OwnRedis.start();
    const port = await freePort();
    url = `http://127.0.0.1:${port}`;
    stack = await Stack.start({
      redisUrl: redis.url,
      env: { METRICS_PORT: String(port), REDIS_TIMEOUT_MS: '500' },
    });
  });
  afterAll(async () => {
    await stack.stop();
    await redis.stop();
  });

  test('export depth and age without a worker, and no values while Redis is away', async () => {
    await stack.workers[0]!.end();
    await stack.post('/v1/jobs', { texts: ['a', 'b', 'cc'], priority: 'low' });
    const low = { model: MODEL, priority: 'low' };
    const waiting = await eventually(async () => {
      const text = await scrape(url);
      return value(text, 'amulet_queued_texts', low) === 3 ? text : undefined;
    });
    expect(value(waiting, 'amulet_queued_bytes', low)).toBe(4);
    expect(value(waiting, 'amulet_queued_texts', { model: MODEL, priority: 'normal' })).toBe(0);
    expect(value(waiting, 'amulet_live_workers', { model: MODEL })).toBe(0);
    await eventually(async () => {
      const age = value(await scrape(url), 'amulet_queue_oldest_seconds', low) ?? 0;
      return age > 0.5 ? true : undefined;
    });

    redis.freeze();
    const without = await eventually(async () => {
      const text = await scrape(url);
      return value(text, 'amulet_redis_up') === 0 ? text : undefined;
    });
    for (const name of [
      'amulet_queued_texts',
      'amulet_queue_oldest_seconds',
      'amulet_live_workers',
      'amulet_redis_memory_bytes',
    ])
      expect(value(without, name)).toBeUndefined();
    redis.thaw();
    await eventually(async () =>
      value(await scrape(url), 'amulet_queued_texts', low) === 3 ? true : undefined,
    );
  });
});
