/** `GET /v1/stats`: waiting and finished texts and rows per model. */
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import type { ModelStats } from '../../src/shared/contract/models.ts';
import { eventually, Stack } from '../support/processes/stack.ts';

let stack: Stack;
beforeAll(async () => {
  stack = await Stack.start({ redisUrl: inject('redisUrl') });
});
afterAll(async () => {
  await stack.stop();
});

const stats = async (): Promise<ModelStats> => {
  const { body } = await stack.get<{ models: ModelStats[] }>('/v1/stats');
  expect(body.models).toHaveLength(1);
  return body.models[0]!;
};

test('counts waiting and finished texts by priority, and rows of batches', async () => {
  await stack.workers[0]!.end();
  await stack.post('/v1/jobs', { texts: ['a', 'b', 'c'] });
  await stack.post('/v1/jobs', { texts: ['d', 'e'], priority: 'low' });
  await stack.fetch('/v1/batches', {
    method: 'POST',
    headers: { 'content-type': 'text/plain' },
    body: 'f\ng\nh\ni\n',
  });
  const waiting = await eventually(async () => {
    const seen = await stats();
    return seen.batches.running === 1 ? seen : undefined;
  });
  expect(waiting).toEqual({
    name: 'sst2-minilm',
    workers: 0,
    texts: { normal: 3, low: 2, ended: 0 },
    batches: { running: 1, rows: 4, rows_per_second: 0 },
  });

  stack.workers = [stack.startWorker()];
  await stack.workers[0]!.ready;
  const done = await eventually(async () => {
    const seen = await stats();
    return seen.texts.ended === 5 && seen.batches.running === 0 ? seen : undefined;
  });
  expect(done).toMatchObject({ workers: 1, texts: { normal: 0, low: 0 }, batches: { rows: 0 } });
});
