/** How many groups of jobs a worker may fetch, given what it has in flight. */
import { expect, test } from 'vitest';
import { PrefetchLimiter } from '../../src/worker/inference/prefetch-limiter.ts';

function harness(maxRows: number, maxJobs: number) {
  const set: number[] = [];
  const limiter = new PrefetchLimiter({
    maxRows,
    maxJobs,
    setConcurrency: (groups) => set.push(groups),
  });
  return { limiter, concurrency: () => set.at(-1) };
}

test('the concurrency grows in steps, up to the limit of jobs', () => {
  const { limiter, concurrency } = harness(1000, 8);
  const seen = [];
  for (let i = 0; i < 8; i++) {
    limiter.acquire([1]);
    seen.push(concurrency());
  }
  expect(seen).toEqual([4, 6, 8, 8, 8, 8, 8, 8]);
});

test('groups with many rows leave room for fewer of them', () => {
  const { limiter, concurrency } = harness(100, 1000);
  for (let i = 0; i < 4; i++) limiter.acquire([20]);
  // 20 rows are left, and a group has about 9 by the running mean.
  expect([limiter.rows, concurrency()]).toEqual([80, 6]);
});

test('a group above the limit keeps others out until it ends', () => {
  const { limiter, concurrency } = harness(10, 10);
  limiter.acquire([50]);
  expect(concurrency()).toBe(1);
  limiter.releaseJob(50);
  limiter.releaseGroup();
  expect([limiter.rows, concurrency()]).toEqual([0, 1]);
});
