import { describe, expect, test } from 'vitest';
import { webhookEventSchema, type WebhookEvent } from '../../src/shared/contract/webhook-events.ts';
import type { EventType } from '../../src/shared/contract/webhooks.ts';
import type { JobRecord } from '../../src/shared/contract/jobs.ts';
import type { RowResult } from '../../src/shared/contract/results.ts';
import type { DeliveryRecord } from '../../src/shared/store/deliveries/delivery-record.ts';
import { pointsToSource, renderBody } from '../../src/worker/webhooks/payload.ts';

const JOB = '019aaf3c5e7b7c3b9d0e5f1a2b3c4d5e-n-model';
const BATCH = '019aaf3c5e7b7c3b9d0e5f1a2b3c4d5e-b-model';
const CREATED = Date.UTC(2026, 0, 2, 3, 4, 5, 6);
const OPTIONS = { publicUrl: 'https://amulet.example', batchTtlMs: 60_000 };
const WEBHOOK = { url: 'https://hooks.example/', trace: 'trace' };
const FINE: RowResult = { label: 'POSITIVE', score: 0.9792585619802988, truncated: false };

const deliveryOf = (type: EventType, snapshot: unknown): DeliveryRecord => ({
  type,
  source: type.startsWith('job') ? JOB : BATCH,
  owner: 'somebody',
  url: WEBHOOK.url,
  trace: WEBHOOK.trace,
  created: CREATED,
  status: 'pending',
  snapshot: JSON.stringify(snapshot),
  run: 0,
  attempts: 0,
  run_attempts: 0,
  log: [],
});
const jobOf = (record: Partial<JobRecord> = {}): JobRecord => ({
  v: 1,
  owner: 'somebody',
  status: 'succeeded',
  created: CREATED - 30,
  started: CREATED - 20,
  finished: CREATED,
  revision: 'revision',
  results: [FINE],
  webhook: WEBHOOK,
  ...record,
});
const bodyOf = (type: EventType, snapshot: unknown) => renderBody(deliveryOf(type, snapshot), OPTIONS);
/** Read by the schema that the OpenAPI document shows. */
const read = (body: string): WebhookEvent => webhookEventSchema.parse(JSON.parse(body));

describe('a job', () => {
  test('is sent as the API shows it, without its webhook, and with absolute URLs', () => {
    const body = bodyOf('job.succeeded', jobOf({ metadata: { order: 7, __proto: null } }));
    expect(JSON.parse(body)).toEqual({
      type: 'job.succeeded',
      timestamp: '2026-01-02T03:04:05.006Z',
      thin: false,
      data: {
        id: JOB,
        status: 'succeeded',
        model: { name: 'model', revision: 'revision' },
        created_at: '2026-01-02T03:04:04.976Z',
        started_at: '2026-01-02T03:04:04.986Z',
        finished_at: '2026-01-02T03:04:05.006Z',
        expires_at: null,
        priority: 'normal',
        text_count: 1,
        results: [FINE],
        failed_texts: 0,
        error: null,
        metadata: { order: 7, __proto: null },
        timings_ms: { queue: 10, inference: 20, total: 30 },
        urls: { self: `https://amulet.example/v1/jobs/${JOB}` },
      },
    });
    read(body);
    // Neither its owner nor the trace are the receiver's business.
    expect(body).not.toMatch(/somebody|"trace"/);
  });

  test.each(['failed', 'canceled', 'expired'] as const)(
    'that is %s has an error and no results',
    (status) => {
      const { results: _, ...record } = jobOf({ status, error: { code: 'code', message: 'message' } });
      expect(read(bodyOf(`job.${status}`, record))).toMatchObject({
        type: `job.${status}`,
        thin: false,
        data: { status, results: null, failed_texts: 0, error: { code: 'code', message: 'message' } },
      });
    },
  );

  /** A job whose body with the results has so many bytes. */
  const jobOfBytes = (bytes: number, filling: string) => {
    const failure: RowResult = { id: 'b', error: { code: 'poison_input', message: 'message' } };
    const job = (id: string) => jobOf({ results: [{ ...FINE, id }, failure] });
    const left = bytes - Buffer.byteLength(bodyOf('job.succeeded', job('')));
    const each = Buffer.byteLength(filling);
    return job(filling.repeat(Math.floor(left / each)) + 'x'.repeat(left % each));
  };

  test.each(['x', 'é', '🎬'])(
    'of 20 KB is told of in full, of a byte more without its results: %s',
    (filling) => {
      const whole = bodyOf('job.succeeded', jobOfBytes(20_480, filling));
      expect(Buffer.byteLength(whole)).toBe(20_480);
      expect(read(whole)).toMatchObject({ thin: false, data: { failed_texts: 1 } });
      const thin = bodyOf('job.succeeded', jobOfBytes(20_481, filling));
      expect(thin.length).toBeLessThan(1000);
      const event = read(thin);
      expect(event).toMatchObject({
        thin: true,
        data: { id: JOB, failed_texts: 1, urls: { self: `https://amulet.example/v1/jobs/${JOB}` } },
      });
      expect(event.data).not.toHaveProperty('results');
    },
  );

  test('whose results were not stored reports how many texts failed', () => {
    const { results: _, ...record } = jobOf();
    const event = read(bodyOf('job.succeeded', { ...record, failed: 3 }));
    expect(event).toMatchObject({ thin: true, data: { failed_texts: 3 } });
    expect(event.data).not.toHaveProperty('results');
    expect(read(bodyOf('job.succeeded', { ...record, failed: 0 }))).toMatchObject({ thin: true });
  });

  test('is rendered to the same bytes every time', () => {
    const record = jobOf({ metadata: { b: 1, a: 2 } });
    expect(bodyOf('job.succeeded', record)).toBe(bodyOf('job.succeeded', record));
  });
});

describe('a batch', () => {
  const spec = {
    format: 'ndjson',
    text_field: 'text',
    top_k: 1,
    first_line: 0,
    chunk_bytes: 1000,
    metadata: { night: 3 },
  };
  const fields = {
    owner: 'somebody',
    status: 'completed',
    spec: JSON.stringify(spec),
    created: CREATED - 5000,
    queued: CREATED - 4000,
    started: CREATED - 3000,
    finished: CREATED,
    bytes: 1234,
    parts: 1,
    rows: 30,
    chunks: 1,
    next: 1,
    chunks_done: 1,
    finished_rows: 30,
    failed_rows: 2,
    revision: 'revision',
    webhook: JSON.stringify(WEBHOOK),
    event: 'evt_1',
  };
  const snapshot = (changes: Record<string, unknown> = {}) =>
    Object.entries({ ...fields, ...changes }).flatMap(([name, value]) => [name, String(value)]);

  test('is sent as the API shows it, without its webhook, with absolute URLs and its expiry', () => {
    const body = bodyOf('batch.completed', snapshot());
    const event = read(body);
    expect(event).toMatchObject({
      type: 'batch.completed',
      timestamp: '2026-01-02T03:04:05.006Z',
      thin: false,
      data: {
        id: BATCH,
        status: 'completed',
        finished_at: '2026-01-02T03:04:05.006Z',
        expires_at: '2026-01-02T03:05:05.006Z',
        rows: { total: 30, finished: 30, failed: 2 },
        metadata: { night: 3 },
        urls: {
          self: `https://amulet.example/v1/batches/${BATCH}`,
          results: `https://amulet.example/v1/batches/${BATCH}/results`,
        },
      },
    });
    expect(event.data).not.toHaveProperty('webhook');
    expect(body).not.toMatch(/somebody|hooks\.example/);
  });

  test('that failed includes the error', () => {
    const error = { code: 'code', message: 'message' };
    const event = bodyOf('batch.failed', snapshot({ status: 'failed', error: JSON.stringify(error) }));
    expect(read(event)).toMatchObject({ type: 'batch.failed', data: { status: 'failed', error } });
  });
});

test('an invalid snapshot is an error, not an event', () => {
  for (const snapshot of [null, {}, [], 'x']) {
    expect(() => bodyOf('job.succeeded', snapshot)).toThrow();
    expect(() => bodyOf('batch.completed', snapshot)).toThrow();
  }
});

test('receivers have to fetch the results of batches and thin events', () => {
  const of = (type: EventType, thin: boolean) =>
    pointsToSource({ ...deliveryOf(type, null), body: JSON.stringify({ thin }) });
  expect(of('job.succeeded', false)).toBe(false);
  expect(of('job.succeeded', true)).toBe(true);
  expect(of('batch.failed', false)).toBe(true);
});
