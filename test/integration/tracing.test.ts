/** OpenTelemetry: one trace from a request to its webhook, in three processes, and nothing of a text in it. */
import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import type { Job } from '../../src/shared/contract/jobs.ts';
import { startOtel } from '../../src/shared/runtime/otel.ts';
import { OtlpCollector, type CollectedSpan } from '../support/telemetry/otlp-collector.ts';
import { Receiver } from '../support/webhooks/receiver.ts';
import { eventually, Stack } from '../support/processes/stack.ts';

const MODEL = 'sst2-minilm';
const CALLER = { trace: '4bf92f3577b34da6a3ce929d0e0e4736', span: '00f067aa0ba902b7' };
const SECRET_TEXT = 'the florist of Zanzibar was enchanting';

let stack: Stack;
let receiver: Receiver;
let collector: OtlpCollector;
beforeAll(async () => {
  collector = await OtlpCollector.start();
  receiver = await Receiver.start();
  stack = await Stack.start({
    redisUrl: inject('redisUrl'),
    webhooks: true,
    env: {
      ...collector.env,
      WEBHOOK_SECRET: `whsec_${Buffer.alloc(32, 7).toString('base64')}`,
      WEBHOOK_SCHEMES: 'http',
      WEBHOOK_ALLOW: `127.0.0.1:${receiver.port}`,
    },
  });
});
afterAll(async () => {
  await stack.stop();
  await receiver.stop();
  await collector.stop();
});

const spansOf = (traceId: string) => collector.spans.filter((span) => span.traceId === traceId);

/** Spans of a trace, each below its parent, from the first one. */
function chain(spans: CollectedSpan[]): CollectedSpan[] {
  const ids = new Set(spans.map(({ spanId }) => spanId));
  const ordered: CollectedSpan[] = [];
  let next = spans.find(({ parentSpanId }) => parentSpanId === undefined || !ids.has(parentSpanId));
  while (next) {
    ordered.push(next);
    const { spanId } = next;
    next = spans.find(({ parentSpanId }) => parentSpanId === spanId);
  }
  return ordered;
}

test('one trace goes from the caller through the queue and the model to the receiver', async () => {
  const { body: job } = await stack.post<Job>(
    '/v1/jobs',
    { texts: [SECRET_TEXT, 'dull'], metadata: { note: SECRET_TEXT }, webhook: { url: receiver.url('/one') } },
    { traceparent: `00-${CALLER.trace}-${CALLER.span}-01`, tracestate: 'vendor=t61rcWkgMzE' },
  );
  const spans = await eventually(() => {
    const found = spansOf(CALLER.trace);
    return Promise.resolve(
      found.some(({ name }) => name.startsWith('deliver')) && found.length === 5 ? found : undefined,
    );
  });
  const links = chain(spans);
  expect(links.map(({ service, name }) => `${service}: ${name}`)).toEqual([
    'amulet-api: POST /v1/jobs',
    `amulet-api: add classify-${MODEL}.classify`,
    `amulet-worker: process classify-${MODEL}`,
    `amulet-worker: classify ${MODEL}`,
    'amulet-webhooks: deliver job.succeeded',
  ]);
  const [request, , , classify, deliver] = links;
  expect(request!.parentSpanId).toBe(CALLER.span);
  expect(request!.attributes).toMatchObject({ 'http.route': '/v1/jobs', 'http.response.status_code': 202 });
  expect(classify!.attributes).toMatchObject({
    'amulet.job.id': job.id,
    'amulet.rows': 2,
    'amulet.group_jobs': 1,
    'amulet.status': 'succeeded',
    'amulet.queue_ms': expect.any(Number),
    'amulet.batch_rows': expect.any(Number),
  });
  expect(deliver!.attributes).toMatchObject({
    'amulet.outcome': 'delivered',
    'http.response.status_code': 204,
  });
  expect(receiver.at('/one')[0]!.headers).toMatchObject({
    traceparent: `00-${CALLER.trace}-${deliver!.spanId}-01`,
    tracestate: 'vendor=t61rcWkgMzE',
  });
});

test('each job of a group has its own trace, linked to the group', async () => {
  const isOther = (span: CollectedSpan) => span.links.length > 0;
  const others = await eventually(async () => {
    await Promise.all(
      Array.from({ length: 12 }, () => stack.post('/v1/jobs', { text: SECRET_TEXT }, { prefer: 'wait=10' })),
    );
    const found = collector.spans.filter(isOther);
    return found.length > 0 ? found : undefined;
  });
  for (const span of others) {
    expect(span.name).toBe(`classify ${MODEL}`);
    expect(span.attributes['amulet.group_jobs']).toBeGreaterThan(1);
    const [link] = span.links;
    expect(link!.traceId).not.toBe(span.traceId);
    const linked = await eventually(() =>
      Promise.resolve(collector.spans.find(({ spanId }) => spanId === link!.spanId)),
    );
    expect(linked.name).toBe(`process classify-${MODEL}`);
    const parent = await eventually(() =>
      Promise.resolve(collector.spans.find(({ spanId }) => spanId === span.parentSpanId)),
    );
    expect(parent).toMatchObject({ name: 'POST /v1/jobs', traceId: span.traceId });
  }
});

test('a trace that its caller does not sample is not recorded, but passed on to the receiver', async () => {
  const trace = CALLER.trace.replace('4bf9', 'feed');
  await stack.post(
    '/v1/jobs',
    { text: SECRET_TEXT, webhook: { url: receiver.url('/unrecorded') } },
    { traceparent: `00-${trace}-${CALLER.span}-00` },
  );
  const received = await eventually(() => Promise.resolve(receiver.at('/unrecorded')[0]));
  expect(received.headers.traceparent).toMatch(new RegExp(`^00-${trace}-[0-9a-f]{16}-00$`));
  // Spans are sent in order: those of a later request are there.
  await stack.fetch('/info');
  await eventually(() => Promise.resolve(collector.spans.find(({ name }) => name === 'GET /info')));
  expect(spansOf(trace)).toEqual([]);
});

test('paths, failures and texts: routes and codes only', async () => {
  await stack.post('/v1/jobs', { text: SECRET_TEXT, [SECRET_TEXT]: 1 });
  await stack.fetch(`/v1/${encodeURIComponent(SECRET_TEXT)}`);
  receiver.behave = (_received, response) => response.writeHead(410).end();
  await stack.post('/v1/jobs', {
    text: SECRET_TEXT,
    webhook: { url: receiver.url(`/${encodeURIComponent(SECRET_TEXT)}`) },
  });
  const gone = await eventually(() =>
    Promise.resolve(collector.spans.find(({ name, failed }) => name.startsWith('deliver') && failed)),
  );
  expect(gone.attributes).toMatchObject({ 'error.type': 'gone', 'http.response.status_code': 410 });
  await eventually(() => Promise.resolve(collector.spans.find(({ name }) => name === 'unknown unknown')));
  expect(collector.raw).not.toContain('Zanzibar');
  // Nor is there anything of BullMQ's own loops.
  const names = new Set(collector.spans.map(({ name }) => name.split(' ')[0]));
  expect([...names].sort()).toEqual(['GET', 'POST', 'add', 'classify', 'deliver', 'process', 'unknown']);
});

test('a span has only the type of an error of BullMQ: its message may quote a text', async () => {
  const other = await OtlpCollector.start();
  Object.assign(process.env, other.env);
  const tracing = startOtel({
    role: 'worker',
    version: '1',
    protocol: 'http/json',
    logger: pino({ level: 'silent' }),
  });
  const redis = new Redis(inject('redisUrl'), { maxRetriesPerRequest: null });
  const options = { connection: redis, prefix: `${stack.prefix}:errors`, telemetry: tracing.bullmq! };
  const [good, broken] = ['good', 'broken'].map((name) => new Queue(name, options)) as [Queue, Queue];
  const worker = new Worker('good', () => Promise.reject(new TypeError(SECRET_TEXT)), options);
  try {
    const failed = new Promise((resolve) => worker.once('failed', resolve));
    await good.add('x', { text: SECRET_TEXT });
    await failed;
    // No list, so that nothing can be added to it.
    await redis.set(broken.toKey('wait'), SECRET_TEXT);
    await expect(broken.add('x', { text: SECRET_TEXT })).rejects.toThrow('WRONGTYPE');
  } finally {
    await Promise.all([worker.close(), good.close(), broken.close()]);
    await tracing.stop();
    redis.disconnect();
    await other.stop();
  }
  expect(other.spans.map(({ name }) => name).sort()).toEqual(['add broken.x', 'add good.x', 'process good']);
  expect(other.spans.find(({ name }) => name === 'add broken.x')!.attributes).toMatchObject({
    'error.type': 'ReplyError',
  });
  expect(other.spans.flatMap(({ events }) => events)).toEqual([]);
  expect(other.raw).not.toMatch(/Zanzibar|WRONGTYPE/);
});
