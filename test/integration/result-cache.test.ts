/** The exact cache of results in a running worker: repeats do not run, and results do not show it. */
import { afterEach, expect, inject, test } from 'vitest';
import type { Job } from '../../src/shared/contract/jobs.ts';
import { BatchCalls } from '../support/api/batches.ts';
import { Stack, type Process } from '../support/processes/stack.ts';

const stacks: Stack[] = [];
afterEach(async () => {
  for (const stack of stacks.splice(0)) await stack.stop();
});

async function start(env: Record<string, string> = {}) {
  const stack = await Stack.start({ redisUrl: inject('redisUrl'), env });
  stacks.push(stack);
  const calls = new BatchCalls(stack);
  const [worker] = stack.workers as [Process];
  return {
    /** The results of a job, as JSON. */
    job: async (texts: string[]): Promise<string> => {
      const { body } = await stack.post<Job>('/v1/jobs', { texts, top_k: null }, { Prefer: 'wait=30' });
      return JSON.stringify(body.results);
    },
    batch: async (texts: string[]): Promise<string> => {
      const lines = texts.map((text) => `${JSON.stringify({ text })}\n`);
      const id = await calls.submit(lines.join(''));
      await calls.finished(id);
      return (await calls.results(id)).text;
    },
    /** Value of a metric of the worker. */
    metric: async (name: string): Promise<number> => {
      const text = await (await fetch(`${await stack.healthUrl(worker)}/metrics`)).text();
      const line = text.split('\n').find((each) => each.startsWith(name));
      return Number(line?.slice(line.lastIndexOf(' ') + 1));
    },
  };
}

const RAN = 'amulet_batch_rows_sum';
const rows = (outcome: string) => `amulet_result_cache_rows_total{outcome="${outcome}"`;

test('texts of jobs and batches run once; results are those of a worker without a cache', async () => {
  const [cached, plain] = await Promise.all([start(), start({ RESULT_CACHE_BYTES: '0' })]);
  const texts = Array.from(
    { length: 40 },
    (_, i) => `${i} ${i % 3 ? 'wonderful' : 'awful'} films in ${1967 + i}`,
  );
  const repeated = texts.flatMap((text, i) => (i % 4 === 0 ? [text, text, text] : [text]));
  const work = [() => texts, () => repeated, () => texts.toReversed()];
  for (const [i, of] of work.entries()) {
    const results = await Promise.all(
      [cached, plain].map(({ job, batch }) => (i === 1 ? batch(of()) : job(of()))),
    );
    expect(results[0]).toContain('"label"');
    expect(results[0]).toBe(results[1]);
    expect(await cached.metric(RAN)).toBe(texts.length);
  }
  const all = 2 * texts.length + repeated.length;
  expect(await plain.metric(RAN)).toBe(all);
  expect((await cached.metric(rows('hit'))) + (await cached.metric(rows('shared')))).toBe(all - texts.length);
  expect(await cached.metric('amulet_result_cache_bytes')).toBeGreaterThan(texts.length * 100);
  expect(await plain.metric('amulet_result_cache_bytes')).toBe(0);
});

test('nothing is kept of a model whose scores depend on the texts beside them, unless it runs row by row', async () => {
  const model = { MODEL_DIR: 'test/fixtures/models/int8', MODEL_NAME: 'sst2-minilm' };
  const [measured, strict] = await Promise.all([
    start(model),
    start({ ...model, BATCH_INVARIANCE: 'strict' }),
  ]);
  for (const { job } of [measured, strict]) for (let i = 0; i < 2; i++) await job(['one two three']);
  expect(await measured.metric(RAN)).toBe(2);
  expect(await measured.metric('amulet_result_cache_bytes')).toBe(0);
  expect(await strict.metric(RAN)).toBe(1);
  expect(await strict.metric('amulet_result_cache_bytes')).toBeGreaterThan(0);
});
