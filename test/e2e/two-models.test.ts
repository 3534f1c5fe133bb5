/** Two real models behind one API: sentiment with one label per text, and emotions with any number of labels. */
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Batch } from '../../src/shared/contract/batches.ts';
import type { Job } from '../../src/shared/contract/jobs.ts';
import type { LabelScore } from '../../src/shared/contract/results.ts';
import type { Model } from '../../src/shared/contract/models.ts';
import { eventually, Process, Stack } from '../support/processes/stack.ts';

interface Problem {
  code: string;
  detail: string;
  models?: string[];
}

const SENTIMENT = 'sst2-minilm';
const EMOTIONS = 'goemotions-minilm';
const TEXT = 'Thank you so much, this made my day!';

let stack: Stack;
let emotions: Process;

const startEmotions = (env: Record<string, string> = {}) =>
  new Process('worker/inference/main.ts', { ...stack.env, MODEL_DIR: `models/${EMOTIONS}`, ...env });

const models = async (): Promise<Model[]> =>
  ((await (await stack.fetch('/v1/models')).json()) as { models: Model[] }).models;

const submit = (body: object) => stack.post<Job>('/v1/jobs', body, { Prefer: 'wait=20' });

const submitBatch = async (query: string, body: string): Promise<{ status: number; batch: Batch }> => {
  const response = await stack.fetch(`/v1/batches?${query}`, {
    method: 'POST',
    headers: { 'content-type': 'text/plain' },
    body,
  });
  return { status: response.status, batch: (await response.json()) as Batch };
};

const completed = async ({ urls }: Batch): Promise<Batch> =>
  eventually(async () => {
    const batch = (await (await stack.fetch(urls.self)).json()) as Batch;
    return batch.status === 'completed' ? batch : undefined;
  });

beforeAll(async () => {
  stack = await Stack.start({ redisUrl: inject('redisUrl') });
  emotions = startEmotions();
  await emotions.ready;
});
afterAll(async () => {
  await emotions.end();
  await stack.stop();
});

test('both are listed, each with its labels, revision and workers', async () => {
  const [second, first] = await eventually(async () => {
    const all = await models();
    return all.length === 2 && all.every(({ workers }) => workers === 1) ? all : undefined;
  });
  expect(first).toMatchObject({ name: SENTIMENT, default: true, labels: ['NEGATIVE', 'POSITIVE'] });
  expect(second).toMatchObject({ name: EMOTIONS, default: false });
  expect(second!.labels).toHaveLength(28);
  expect(second!.revision).not.toBe(first!.revision);
});

test('each answers its own jobs, and names its revision', async () => {
  const known = await models();
  const revisionOf = (name: string) => known.find((model) => model.name === name)!.revision;
  const [sentiment, emotion] = await Promise.all([
    submit({ text: TEXT }),
    submit({ text: TEXT, model: EMOTIONS, top_k: null }),
  ]);
  expect(sentiment.body).toMatchObject({
    status: 'succeeded',
    model: { name: SENTIMENT, revision: revisionOf(SENTIMENT) },
    results: [{ label: 'POSITIVE' }],
  });
  expect(emotion.body.model).toEqual({ name: EMOTIONS, revision: revisionOf(EMOTIONS) });
  const [row] = emotion.body.results as { label: string; labels: LabelScore[] }[];
  expect(row!.label).toBe('gratitude');
  expect(row!.labels).toHaveLength(28);
  // Each label stands for itself: nothing sums to one.
  const sum = row!.labels.reduce((total, { score }) => total + score, 0);
  expect(Math.abs(sum - 1)).toBeGreaterThan(0.01);
});

test('synchronous calls accept the model, too', async () => {
  const { body } = await stack.post<LabelScore>('/predict', { text: TEXT, model: EMOTIONS });
  expect(body.label).toBe('gratitude');
  const { body: nested } = await stack.post<LabelScore[][]>(`/hf/${EMOTIONS}`, { inputs: TEXT });
  expect(nested[0]?.[0]?.label).toBe('gratitude');
});

test('batches of both run side by side', async () => {
  const lines = `${TEXT}\n`.repeat(200);
  const both = await Promise.all([submitBatch('', lines), submitBatch(`model=${EMOTIONS}`, lines)]);
  expect(both.map(({ status }) => status)).toEqual([202, 202]);
  const [sentiment, emotion] = await Promise.all(both.map(({ batch }) => completed(batch)));
  expect(sentiment).toMatchObject({ model: { name: SENTIMENT }, rows: { finished: 200, failed: 0 } });
  expect(emotion).toMatchObject({ model: { name: EMOTIONS }, rows: { finished: 200, failed: 0 } });
  const rows = (await (await stack.fetch(emotion!.urls.results)).text()).trimEnd().split('\n');
  expect(new Set(rows.map((row) => (JSON.parse(row) as { label: string }).label))).toEqual(
    new Set(['gratitude']),
  );
});

test.each([
  ['/v1/jobs', { text: 'a', model: 'nobody' }],
  ['/predict', { text: 'a', model: 'nobody' }],
  ['/hf/nobody', { inputs: 'a' }],
])('%s: an unknown model is a 404 that names the known ones', async (path, body) => {
  const { status, body: problem } = await stack.post<Problem>(path, body);
  expect(status).toBe(404);
  expect(problem).toMatchObject({ code: 'model_not_found', models: [EMOTIONS, SENTIMENT] });
  expect(problem.detail).toBe(`there is no model nobody; known: ${EMOTIONS}, ${SENTIMENT}`);
});

test('a batch for an unknown model is refused in the same way', async () => {
  const { status, batch } = await submitBatch('model=nobody', 'a\n');
  expect(status).toBe(404);
  expect(batch).toMatchObject({ code: 'model_not_found' });
});

describe('a known model without workers', () => {
  test('accepts jobs and batches, and reports that it has none; a synchronous call gets an error', async () => {
    await emotions.end();
    await eventually(async () =>
      (await models()).find(({ name }) => name === EMOTIONS)?.workers === 0 ? true : undefined,
    );
    const job = await stack.post<Job>('/v1/jobs', { text: TEXT, model: EMOTIONS });
    expect(job.status).toBe(202);
    expect(job.body).toMatchObject({ status: 'queued', model: { name: EMOTIONS, workers: 0 } });
    const { status, batch } = await submitBatch(`model=${EMOTIONS}`, `${TEXT}\n`);
    expect(status).toBe(202);
    expect(batch).toMatchObject({ status: 'queued', model: { name: EMOTIONS, workers: 0 } });
    for (const [path, body] of [
      ['/predict', { text: TEXT, model: EMOTIONS }],
      [`/hf/${EMOTIONS}`, { inputs: TEXT }],
    ] as const) {
      const { status: refused, headers, body: problem } = await stack.post<Problem>(path, body);
      expect([refused, problem.code]).toEqual([503, 'no_worker']);
      expect(headers.get('retry-after')).toBe('2');
    }
    // The other one is not concerned.
    expect((await submit({ text: TEXT })).body).toMatchObject({ status: 'succeeded' });

    emotions = startEmotions();
    const done = await eventually(async () => {
      const found = (await (await stack.fetch(job.body.urls.self)).json()) as Job;
      return found.status === 'succeeded' ? found : undefined;
    });
    expect(done.model).not.toHaveProperty('workers');
    expect((await completed(batch)).rows).toMatchObject({ finished: 1, failed: 0 });
  });
});

test('two revisions of a model during a rollout: both are listed, and every job names its own', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'amulet-model-'));
  let next: Process | undefined;
  try {
    // Without its manifest the folder has a revision of its own: the weights are the same.
    cpSync(`models/${EMOTIONS}`, folder, { recursive: true });
    rmSync(path.join(folder, 'manifest.json'));
    next = startEmotions({ MODEL_DIR: folder, MODEL_NAME: EMOTIONS });
    await next.ready;
    const found = await eventually(async () => {
      const model = (await models()).find(({ name }) => name === EMOTIONS);
      return model?.revisions.length === 2 ? model : undefined;
    });
    expect(found.workers).toBe(2);
    const revisions = new Set<string | null>();
    for (let i = 0; i < 200 && revisions.size < 2; i++) {
      const jobs = await Promise.all(
        Array.from({ length: 4 }, () => submit({ text: TEXT, model: EMOTIONS })),
      );
      for (const { body } of jobs) revisions.add(body.model.revision);
    }
    expect([...revisions].sort()).toEqual(found.revisions.map(({ revision }) => revision).sort());
  } finally {
    await next?.end();
    rmSync(folder, { recursive: true, force: true });
  }
});
