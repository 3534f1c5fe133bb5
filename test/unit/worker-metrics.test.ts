/** What a worker counts of its jobs, batches and chunks. */
import { Registry } from 'prom-client';
import { beforeEach, expect, test } from 'vitest';
import { createWorkerMetrics, type WorkerMetrics } from '../../src/worker/inference/worker-metrics.ts';

let registry: Registry;
let metrics: WorkerMetrics;
beforeEach(() => {
  registry = new Registry();
  metrics = createWorkerMetrics(registry, () => ({
    texts: 3,
    chunks: 2,
    restarts: 1,
    rows: { hit: 5, shared: 6, miss: 7 },
    cachedBytes: 1000,
  }));
});

/** Value of a series, by its name and labels as they are exported. */
async function value(series: string): Promise<number> {
  const line = (await registry.metrics()).split('\n').find((each) => each.startsWith(`${series} `));
  return Number(line?.slice(series.length + 1));
}

test('a job counts its texts as succeeded or failed, once each', async () => {
  const times = { queueMs: 2000, totalMs: 3500 };
  metrics.jobDone({ priority: 'low', status: 'succeeded', rows: 5, failedRows: 2, unknownRows: 2, ...times });
  metrics.jobDone({ priority: 'low', status: 'failed', rows: 1, failedRows: 1, unknownRows: 0, ...times });
  expect(await value('amulet_texts_total{priority="low",outcome="succeeded"}')).toBe(3);
  expect(await value('amulet_texts_total{priority="low",outcome="failed"}')).toBe(3);
  expect(await value('amulet_unknown_texts_total{source="job"}')).toBe(2);
  expect(await value('amulet_jobs_total{priority="low",status="succeeded"}')).toBe(1);
  expect(await value('amulet_jobs_total{priority="low",status="failed"}')).toBe(1);
  expect(await value('amulet_queue_seconds_sum{priority="low"}')).toBe(4);
  expect(await value('amulet_job_seconds_sum{priority="low"}')).toBe(7);
});

test('different clocks give no negative times', async () => {
  metrics.jobDone({
    priority: 'normal',
    status: 'failed',
    rows: 1,
    failedRows: 1,
    unknownRows: 0,
    queueMs: -5,
    totalMs: -1,
  });
  expect(await value('amulet_queue_seconds_sum{priority="normal"}')).toBe(0);
  expect(await value('amulet_job_seconds_sum{priority="normal"}')).toBe(0);
});

test('a batch counts its tokens without and with padding', async () => {
  metrics.batchRan({ rows: 3, tokens: 20, paddedTokens: 24, sessionMs: 1500, idleMs: 250 });
  expect(await value('amulet_batch_tokens_total{kind="real"}')).toBe(20);
  expect(await value('amulet_batch_tokens_total{kind="padded"}')).toBe(24);
  expect(await value('amulet_batch_rows_sum')).toBe(3);
  expect(await value('amulet_inference_seconds_sum')).toBe(1.5);
  expect(await value('amulet_model_idle_seconds_total')).toBe(0.25);
});

test('a chunk counts its rows as succeeded or failed', async () => {
  metrics.chunkDone({ rows: 100, failedRows: 1, unknownRows: 7, ms: 500 });
  expect(await value('amulet_bulk_rows_total{outcome="succeeded"}')).toBe(99);
  expect(await value('amulet_bulk_rows_total{outcome="failed"}')).toBe(1);
  expect(await value('amulet_unknown_texts_total{source="batch"}')).toBe(7);
  expect(await value('amulet_bulk_chunk_seconds_sum')).toBe(0.5);
});

test('texts and chunks in flight, budgets, restarts and the cache are read at each scrape', async () => {
  metrics.budgets({ interactive: 256, low: 64, bulk: 128 });
  metrics.textEncoded(2);
  expect(await value('amulet_texts_in_hand')).toBe(3);
  expect(await value('amulet_bulk_chunks_in_hand')).toBe(2);
  expect(await value('amulet_model_restarts_total')).toBe(1);
  expect(await value('amulet_model_restarts_total')).toBe(1);
  for (const [outcome, rows] of [
    ['hit', 5],
    ['shared', 6],
    ['miss', 7],
  ] as const)
    for (let scrapes = 0; scrapes < 2; scrapes++)
      expect(await value(`amulet_result_cache_rows_total{outcome="${outcome}"}`)).toBe(rows);
  expect(await value('amulet_result_cache_bytes')).toBe(1000);
  expect(await value('amulet_batch_budget_tokens{lane="bulk"}')).toBe(128);
  expect(await value('amulet_tokenize_seconds_sum')).toBe(0.002);
});
