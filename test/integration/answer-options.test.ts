/** `threshold` and `function_to_apply` of jobs and batches, and the model's own thresholds and temperature. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { AmuletClient } from '../../src/client/index.ts';
import type { Batch } from '../../src/shared/contract/batches.ts';
import type { Job } from '../../src/shared/contract/jobs.ts';
import type { Model } from '../../src/shared/contract/models.ts';
import type { LabelScore, RowResult } from '../../src/shared/contract/results.ts';
import { BatchCalls, type Problem } from '../support/api/batches.ts';
import { runBackfill } from '../support/processes/cli.ts';
import { Stack } from '../support/processes/stack.ts';

const TEMPERATURE = 2.5;
/** About half of the labels reach theirs, in the one direction or the other. */
const THRESHOLDS = { anger: 0.01, disgust: 0.99, fear: 0.01, joy: 0.99, sadness: 0.01, surprise: 0.01 };
const TEXTS = ['I love this.', 'so sad', 'What a surprise!', 'you make me angry'];
const folder = mkdtempSync(path.join(tmpdir(), 'amulet-options-'));
const MODEL = path.join(folder, 'moods');
const env = { MODEL_DIR: MODEL, DEFAULT_MODEL: 'moods' };

let stack: Stack;
let calls: BatchCalls;
let redis: Redis;

beforeAll(async () => {
  cpSync('test/fixtures/models/multi-label', MODEL, { recursive: true });
  writeFileSync(
    path.join(MODEL, 'amulet.json'),
    JSON.stringify({ temperature: TEMPERATURE, thresholds: THRESHOLDS, task: 'text-classification' }),
  );
  redis = new Redis(inject('redisUrl'));
  stack = await Stack.start({ redisUrl: inject('redisUrl'), env });
  calls = new BatchCalls(stack);
});
afterAll(async () => {
  await stack.stop();
  redis.disconnect();
  rmSync(folder, { recursive: true });
});

type Options = Record<string, unknown>;

async function viaJob(options: Options): Promise<RowResult[]> {
  const { body } = await stack.post<Job>('/v1/jobs', { texts: TEXTS, ...options }, { Prefer: 'wait=30' });
  expect(body).toMatchObject({ status: 'succeeded' });
  return body.results!;
}

const query = (options: Options): string => {
  const pairs = Object.entries(options).map(([name, value]): [string, string] => [
    name,
    value === null ? 'all' : typeof value === 'string' ? value : JSON.stringify(value),
  ]);
  return `?${new URLSearchParams(pairs).toString()}`;
};
const lines = TEXTS.map((text) => `${JSON.stringify({ text })}\n`).join('');

async function viaBatch(options: Options): Promise<{ batch: Batch; rows: RowResult[] }> {
  const { body, status } = await calls.post(lines, query(options));
  expect({ status, body }).toMatchObject({ status: 202 });
  const batch = await calls.finished(body.id);
  const { text } = await calls.results(body.id);
  const rows = text
    .trim()
    .split('\n')
    .map((line) => {
      const { line: _, ...row } = JSON.parse(line) as RowResult & { line: number };
      return row;
    });
  return { batch, rows };
}

const labelsOf = (row: RowResult): LabelScore[] => ('error' in row ? [] : (row.labels ?? []));

describe('labels', () => {
  test.each<[Options, (all: LabelScore[]) => LabelScore[]]>([
    [{ threshold: 0.5 }, (all) => all.filter(({ score }) => score >= 0.5)],
    [{ threshold: 0.5, top_k: 1 }, (all) => all.filter(({ score }) => score >= 0.5).slice(0, 1)],
    [{ threshold: 1 }, () => []],
    [
      { threshold: { joy: 0, fear: 0 } },
      (all) => all.filter(({ label }) => label === 'joy' || label === 'fear'),
    ],
    [
      { threshold: 'model' },
      (all) => all.filter(({ label, score }) => score >= THRESHOLDS[label as keyof typeof THRESHOLDS]),
    ],
  ])('under %j are those that reach it, in jobs and batches alike', async (options, chosen) => {
    const all = await viaJob({ top_k: null });
    const results = await viaJob(options);
    for (const [i, row] of results.entries()) {
      const every = labelsOf(all[i]!);
      expect(row).toEqual({ ...every[0], labels: chosen(every), truncated: false });
    }
    const { batch, rows } = await viaBatch(options);
    expect(rows).toEqual(results);
    expect(batch).toMatchObject({ threshold: options.threshold, top_k: options.top_k ?? null });
    expect(batch.rows).toMatchObject({ finished: TEXTS.length, failed: 0 });
  });

  test('of a text that was classified before are those of this request', async () => {
    const none = await viaJob({ threshold: 1 });
    const all = await viaJob({ threshold: 0 });
    expect(none.map((row) => labelsOf(row).length)).toEqual([0, 0, 0, 0]);
    expect(all.map((row) => labelsOf(row).length)).toEqual([6, 6, 6, 6]);
    expect(await viaJob({ threshold: 1 })).toEqual(none);
  });

  test('are in tables, too, where score_columns would have gaps', async () => {
    const { batch } = await viaBatch({ threshold: 0.5 });
    const text = await (await stack.fetch(`/v1/batches/${batch.id}/results?format=csv`)).text();
    expect(text.split('\n')[0]).toContain('labels');
    const refused = await calls.call<Problem>(
      `/v1/batches/${batch.id}/results?format=csv&score_columns=true`,
    );
    expect([refused.status, refused.body.detail]).toEqual([
      422,
      'score_columns needs a batch with `top_k=all` and no `threshold`',
    ]);
  });
});

test('the command and the client get the same labels', async () => {
  const threshold = { joy: 0.2, fear: 0.2 };
  const results = await viaJob({ threshold, function_to_apply: 'sigmoid' });
  writeFileSync(path.join(folder, 'in.jsonl'), lines);
  const out = path.join(folder, 'out.jsonl');
  const { code, said } = await runBackfill([
    ...[path.join(folder, 'in.jsonl'), '--out', out, '--url', stack.url],
    ...['--threshold', JSON.stringify(threshold), '--function-to-apply', 'sigmoid'],
  ]);
  expect({ code, said }).toMatchObject({ code: 0 });
  const rows = readFileSync(out, 'utf8').trim().split('\n');
  expect(rows.map((row) => labelsOf(JSON.parse(row) as RowResult))).toEqual(results.map(labelsOf));

  const client = new AmuletClient({ url: stack.url });
  const options = { threshold, function_to_apply: 'sigmoid' } as const;
  expect(await client.classify(TEXTS, options)).toEqual(results);
  const batch = await client.batch(TEXTS, options);
  const viaClient = [];
  for await (const row of batch.results()) viaClient.push(labelsOf(row as RowResult));
  expect(viaClient).toEqual(results.map(labelsOf));
  const [refused] = await Promise.allSettled([client.classify('a', { threshold: { rage: 1 } })]);
  expect(refused).toMatchObject({ status: 'rejected', reason: { code: 'invalid_request' } });
});

describe('scores', () => {
  const sigmoid = (logit: number) => 1 / (1 + Math.exp(-logit));

  test('are those of the logits divided by the temperature, in jobs, batches, /predict and /hf', async () => {
    const raw = await viaJob({ top_k: null, function_to_apply: 'none' });
    const expected = raw.map((row) =>
      labelsOf(row).map(({ label, score }) => ({
        label,
        score: expect.closeTo(sigmoid(score / TEMPERATURE), 6),
      })),
    );
    const jobs = await viaJob({ top_k: null });
    expect(jobs.map(labelsOf)).toEqual(expected);
    expect((await viaBatch({ top_k: null })).rows).toEqual(jobs);
    const hf = await stack.post<LabelScore[][]>('/hf/moods', { inputs: TEXTS });
    expect(hf.body).toEqual(jobs.map(labelsOf));
    const tei = await stack.post<LabelScore[][]>('/predict', { inputs: TEXTS.map((text) => [text]) });
    expect(tei.body).toEqual(hf.body);
  });

  test.each(['softmax', 'sigmoid', 'none'])(
    'of function_to_apply=%s are the same everywhere',
    async (function_to_apply) => {
      const options = { top_k: null, function_to_apply };
      const jobs = await viaJob(options);
      const { batch, rows } = await viaBatch(options);
      expect(rows).toEqual(jobs);
      expect(batch).toMatchObject({ function_to_apply, top_k: null });
      const hf = await stack.post<LabelScore[][]>('/hf/moods', {
        inputs: TEXTS,
        parameters: { function_to_apply },
      });
      expect(hf.body).toEqual(jobs.map(labelsOf));
      const sum = labelsOf(jobs[0]!).reduce((total, { score }) => total + score, 0);
      if (function_to_apply === 'softmax') expect(sum).toBeCloseTo(1, 5);
      else expect(sum).not.toBeCloseTo(1, 5);
    },
  );

  test('of function none are compared with any number', async () => {
    const rows = await viaJob({ threshold: -1000, function_to_apply: 'none' });
    expect(rows.map((row) => labelsOf(row).length)).toEqual([6, 6, 6, 6]);
  });
});

describe('a request', () => {
  test.each<[Options, string]>([
    [
      { threshold: { rage: 0.5 } },
      'threshold names "rage", which is no label of the model; it has anger, disgust, fear, joy, sadness, … (6)',
    ],
    [{ threshold: 1.5 }, 'threshold has 1.5, which is not within 0 and 1, as the scores of sigmoid are'],
    [
      { threshold: 'model', function_to_apply: 'softmax' },
      'threshold is "model", whose thresholds are for the scores of sigmoid: leave out function_to_apply, or give numbers',
    ],
    [
      { threshold: 'high' },
      'threshold must be a number, "model", or an object with a number for each label that may be chosen',
    ],
  ])('with %j is refused, as a job and as a batch', async (options, detail) => {
    const job = await stack.post<Problem>('/v1/jobs', { text: 'a', ...options });
    const batch = await calls.post<Problem>(lines, query(options));
    for (const { status, body } of [job, batch])
      expect([status, body.code, body.detail]).toEqual([422, 'invalid_request', detail]);
  });

  test('that repeats an Idempotency-Key with another threshold or function is another request', async () => {
    const key = { 'Idempotency-Key': 'options-1' };
    const ask = (options: Options) => stack.post<Job & Problem>('/v1/jobs', { text: 'a', ...options }, key);
    const { body: first } = await ask({ threshold: 0.5 });
    expect((await ask({ threshold: 0.5 })).body.id).toBe(first.id);
    for (const other of [{}, { threshold: 0.6 }, { threshold: 0.5, function_to_apply: 'none' }])
      expect((await ask(other)).body.code).toBe('idempotency_mismatch');
    const open = (options: Options) =>
      calls.post<Batch & Problem>(lines, query(options), { ...key, 'content-type': 'application/x-ndjson' });
    const { body: batch } = await open({ threshold: 0.5 });
    expect((await open({ threshold: 0.5 })).body.id).toBe(batch.id);
    for (const other of [{}, { threshold: 0.6 }, { threshold: 0.5, function_to_apply: 'none' }])
      expect((await open(other)).body.code).toBe('idempotency_mismatch');
  });
});

test('the list of models says what a model can be asked, and how it answers', async () => {
  const { body } = await stack.get<{ models: Model[] }>('/v1/models');
  expect(body.models).toMatchObject([
    {
      name: 'moods',
      function_to_apply: 'sigmoid',
      temperature: TEMPERATURE,
      thresholds: THRESHOLDS,
      task: 'text-classification',
      options: ['top_k', 'function_to_apply', 'threshold'],
    },
  ]);
});

describe('beside a worker of an earlier version', () => {
  test('a job or batch with an option that it would drop is refused, others are not', async () => {
    const key = `${stack.prefix}:workers:moods`;
    const [live] = await redis.zrange(key, '0', '-1');
    expect(live).toMatch(/\+1@[0-9a-f]{12}$/);
    await redis.zadd(key, String(Date.now() + 60_000), 'host:1:abc@0123456789ab');
    // The API keeps its copy of the registry for a second.
    await new Promise((resolve) => setTimeout(resolve, 1100));
    try {
      const job = await stack.post<Problem>('/v1/jobs', { text: 'a', threshold: 0.5 });
      const batch = await calls.post<Problem>(lines, '?function_to_apply=none');
      expect([job.status, job.body.code, job.headers.get('retry-after')]).toEqual([
        503,
        'worker_outdated',
        '5',
      ]);
      expect(job.body.detail).toBe(
        'some workers of moods are of a version that does not know threshold: update them, or leave it out',
      );
      expect([batch.status, batch.body.code]).toEqual([503, 'worker_outdated']);
      const { body } = await stack.get<{ models: Model[] }>('/v1/models');
      expect(body.models[0]).toMatchObject({ options: ['top_k'], workers: 2 });
      expect((await stack.post('/v1/jobs', { text: 'a', top_k: 2 })).status).toBe(202);
      // Earlier versions know it in the request of the Hugging Face API.
      const parameters = { function_to_apply: 'none' };
      expect((await stack.post('/hf/moods', { inputs: 'a', parameters })).status).toBe(200);
    } finally {
      await redis.zrem(key, 'host:1:abc@0123456789ab');
    }
  });
});

test('work that came in before its first worker is refused by the worker, and is of a version that older ones refuse', async () => {
  const early = await Stack.start({ redisUrl: inject('redisUrl'), workers: 0, env });
  try {
    const api = new BatchCalls(early);
    const submit = async (options: Options) =>
      (await early.post<Job>('/v1/jobs', { text: 'a', ...options })).body.id;
    const [plain, good, bad] = [
      await submit({ top_k: 2 }),
      await submit({ threshold: { joy: 0 } }),
      await submit({ threshold: { rage: 0.5 } }),
    ];
    const { body: batch } = await api.post(lines, query({ threshold: { rage: 0.5 } }));
    const { body: fine } = await api.post(lines, query({ threshold: 0.5 }));
    const versions = async (queue: string) => {
      const ids = await redis.lrange(`${early.prefix}:${queue}:wait`, 0, -1);
      const data = await Promise.all(ids.map((id) => redis.hget(`${early.prefix}:${queue}:${id}`, 'data')));
      return data.map((each) => (JSON.parse(each!) as { v: number }).v).sort();
    };
    expect(await versions('classify-moods')).toEqual([2, 3, 3]);
    expect(await versions('bulk-moods')).toEqual([2, 2]);
    early.workers.push(early.startWorker());
    const ended = async (id: string) => (await early.get<Job>(`/v1/jobs/${id}?wait=30`)).body;
    expect(await ended(plain)).toMatchObject({ status: 'succeeded' });
    expect(labelsOf((await ended(good)).results![0]!)).toMatchObject([{ label: 'joy' }]);
    const message =
      'threshold names "rage", which is no label of the model; it has anger, disgust, fear, joy, sadness, … (6)';
    expect(await ended(bad)).toMatchObject({ status: 'failed', error: { code: 'invalid_request', message } });
    expect(await api.finished(batch.id)).toMatchObject({
      status: 'failed',
      error: { code: 'invalid_request', message },
    });
    expect(await api.finished(fine.id)).toMatchObject({ status: 'completed' });
  } finally {
    await early.stop();
  }
});
