/** MAX_SCORES_PER_JOB, with a model of a thousand labels: the limit for jobs, and a batch that asks for all labels. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Job } from '../../src/shared/contract/jobs.ts';
import type { LabelScore } from '../../src/shared/contract/results.ts';
import { BatchCalls, type Problem } from '../support/api/batches.ts';
import { Stack } from '../support/processes/stack.ts';
import { logits, tinyGraph, tinyModel } from '../support/models/tiny-graph.ts';

const LABELS = 1000;
const folder = mkdtempSync(path.join(tmpdir(), 'amulet-labels-'));
let stack: Stack;

beforeAll(async () => {
  const wide = Float32Array.from({ length: 2 * LABELS }, (_, i) => Math.sin(i * 1.7));
  const graph = tinyGraph({
    operators: [{ op: 'MatMul', inputs: ['pooled', 'wide'], outputs: ['logits'] }],
    weights: [['wide', { type: 'float', dims: [2, LABELS], data: wide }]],
    outputs: [logits(['rows', LABELS])],
  });
  const names = Array.from({ length: LABELS }, (_, i) => [String(i), `intent ${i}`]);
  const config = { id2label: Object.fromEntries(names) as object, label2id: undefined };
  const model = tinyModel(path.join(folder, 'wide'), graph, config);
  stack = await Stack.start({
    redisUrl: inject('redisUrl'),
    env: { MODEL_DIR: model, DEFAULT_MODEL: 'wide' },
  });
});
afterAll(async () => {
  await stack.stop();
  rmSync(folder, { recursive: true });
});

const texts = (count: number) => Array.from({ length: count }, () => 'good film');
const detail = (count: number, each: number) =>
  `${count} texts with ${each} labels each make ${count * each} scores, and a job may have 100000 (MAX_SCORES_PER_JOB): `;

describe('the scores of one job', () => {
  test.each([
    [100, null, 1000],
    [200, 500, 500],
    [256, 390, 390],
    [256, 1, undefined],
  ])('of %d texts with top_k %s are all returned', async (count, topK, each) => {
    const response = await stack.fetch('/v1/jobs', {
      method: 'POST',
      headers: { 'content-type': 'application/json', prefer: 'wait=30' },
      body: JSON.stringify({ texts: texts(count), top_k: topK }),
    });
    const { results } = (await response.json()) as Job;
    expect(results).toHaveLength(count);
    for (const row of results!) expect('labels' in row ? row.labels?.length : undefined).toBe(each);
  });

  test.each([
    [
      101,
      null,
      1000,
      'send at most 100 texts at a time, or ask for a top_k of at most 990, or make it a batch',
    ],
    [
      101,
      999_999,
      1000,
      'send at most 100 texts at a time, or ask for a top_k of at most 990, or make it a batch',
    ],
    [
      256,
      391,
      391,
      'send at most 255 texts at a time, or ask for a top_k of at most 390, or make it a batch',
    ],
  ])('of %d texts with top_k %s are too many', async (count, topK, each, cure) => {
    const job = await stack.post<Problem>('/v1/jobs', { texts: texts(count), top_k: topK });
    const hf = await stack.post<Problem>('/hf/wide', {
      inputs: texts(count),
      parameters: { top_k: topK },
    });
    for (const { status, body } of [job, hf]) {
      expect([status, body.code]).toEqual([422, 'too_many_scores']);
      expect(body.detail).toBe(detail(count, each) + cure);
    }
  });

  test('are limited for /predict, too, which returns all labels', async () => {
    const ask = (count: number) =>
      stack.post<LabelScore[][] & Problem>('/predict', { inputs: texts(count).map((text) => [text]) });
    const most = await ask(100);
    expect([most.status, most.body.length, most.body[99]?.length]).toEqual([200, 100, LABELS]);
    const more = await ask(101);
    expect([more.status, more.body.code]).toEqual([422, 'too_many_scores']);
  });
});

test('a batch that asks for all labels streams its results to the blob store', async () => {
  const calls = new BatchCalls(stack);
  const [worker] = stack.workers;
  const peakBytes = () =>
    1024 * Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${worker!.child.pid}/status`, 'utf8'))?.[1]);
  /** Each is one chunk. */
  const run = async (rows: number) => {
    const body = Array.from({ length: rows }, (_, i) => (i % 2 === 0 ? 'good film\n' : 'very bad\n')).join(
      '',
    );
    const { body: batch } = await calls.post(body, '?top_k=all', { 'content-type': 'text/plain' });
    const ended = await calls.finished(batch.id);
    expect([ended.status, ended.rows.finished, ended.rows.failed]).toEqual(['completed', rows, 0]);
    return batch.id;
  };
  await run(40);
  const before = peakBytes();
  const id = await run(4096);
  const grown = peakBytes() - before;
  const { body } = await stack.fetch(`/v1/batches/${id}/results`);
  let bytes = 0;
  let lines = 0;
  for await (const piece of body as AsyncIterable<Uint8Array>) {
    bytes += piece.length;
    for (let at = piece.indexOf(10); at !== -1; at = piece.indexOf(10, at + 1)) lines++;
  }
  expect(lines).toBe(4096);
  expect(bytes).toBeGreaterThan(100e6);
  expect(grown).toBeLessThan(bytes / 2);
});
