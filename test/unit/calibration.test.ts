import { expect, test } from 'vitest';
import {
  CANDIDATES,
  chooseBudgets,
  FALLBACK_TOKENS,
  measure,
  ROW_TOKENS,
} from '../../src/worker/inference/calibration.ts';

const LIMITS = { interactiveMs: 50, backgroundMs: 20 };
/** Samples of a machine with a fixed cost per run and one per token, in µs; more beyond a cache's worth of tokens. */
const machine = (fixed: number, perToken: number, knee = Infinity, beyond = 1) =>
  CANDIDATES.map((tokens) => ({
    tokens,
    ms: [(fixed + perToken * tokens * (tokens > knee ? beyond : 1)) / 1000, 1e3],
  }));

test('the smallest budget within 3 % of the best cost is chosen', () => {
  expect(chooseBudgets(machine(0, 20), LIMITS)).toMatchObject({
    interactive: 64,
    background: 64,
    microsPerToken: 20,
  });
  // 1 ms a run: 20 + 1000/t µs a token; the best is 20.5 at 2,048, so 21.1 is good enough: 1,024.
  expect(chooseBudgets(machine(1000, 20), LIMITS).interactive).toBe(1024);
  expect(chooseBudgets(machine(1000, 20, 512, 1.5), LIMITS).interactive).toBe(384);
});

test('no batch takes longer than its lane allows', () => {
  const slow = machine(20_000, 84);
  expect(chooseBudgets(slow, LIMITS)).toMatchObject({ interactive: 256, background: 64 });
  expect(chooseBudgets(machine(60_000, 84), LIMITS)).toMatchObject({ interactive: 64, background: 64 });
});

test('a batch may take all the time of its lane', () => {
  // 0.1 ms a token: 512 tokens take 51.2 ms.
  const exact = machine(0, 100).map(({ tokens, ms }) => ({
    tokens,
    ms: ms.map((each) => each + 1000 / tokens),
  }));
  const at512 = Math.min(...exact.find(({ tokens }) => tokens === 512)!.ms);
  expect(chooseBudgets(exact, { interactiveMs: at512, backgroundMs: at512 - 0.001 })).toMatchObject({
    interactive: 512,
    background: 384,
  });
});

test.each([
  [
    'times that fall',
    machine(0, 20).map((sample) => (sample.tokens === 512 ? { ...sample, ms: [0.1] } : sample)),
    'faster',
  ],
  ['a token that costs three times as much', machine(0, 20, 512, 4), 'varied'],
  ['a clock that stands still', machine(0, 0), 'no time'],
  [
    'one time that is none',
    machine(0, 20).map((sample) => (sample.tokens === 64 ? { ...sample, ms: [0] } : sample)),
    'no time',
  ],
])('%s are not believed', (_name, samples, reason) => {
  const budgets = chooseBudgets(samples, LIMITS);
  expect(budgets).toMatchObject({ interactive: FALLBACK_TOKENS, background: FALLBACK_TOKENS });
  expect(budgets.fallback).toContain(reason);
});

test('every size is timed in every round', async () => {
  const asked: number[] = [];
  let clock = 0;
  const samples = await measure(
    (rows, tokens) => {
      expect(tokens).toBe(ROW_TOKENS);
      asked.push(rows * tokens);
      clock += rows;
      return Promise.resolve();
    },
    Infinity,
    512,
    () => clock,
  );
  expect(asked.slice(0, CANDIDATES.length)).toEqual(CANDIDATES);
  expect(samples.map(({ tokens }) => tokens)).toEqual(CANDIDATES);
  expect(asked).toHaveLength(4 * CANDIDATES.length);
  for (const { tokens, ms } of samples) expect(new Set(ms)).toEqual(new Set([tokens / ROW_TOKENS]));
});

test.each([
  ['a token takes 0.1 ms', 0.1, 512],
  ['a token takes 1 ms: sizes up to the default one are timed all the same', 1, 256],
])('sizes that take longer than any lane allows are left out: %s', async (_name, msPerToken, largest) => {
  let clock = 0;
  const samples = await measure(
    (rows, tokens) => {
      // The first run is slow, and does not count.
      clock += rows * tokens * msPerToken + (clock === 0 ? 1000 : 0);
      return Promise.resolve();
    },
    60,
    512,
    () => clock,
  );
  expect(samples.map(({ tokens }) => tokens)).toEqual(CANDIDATES.filter((tokens) => tokens <= largest));
  for (const { ms } of samples) expect(ms).toHaveLength(4);
});

test('a model with a small token limit is calibrated with rows of that length', async () => {
  const samples = await measure(
    (rows, tokens) => {
      expect(tokens).toBe(10);
      expect(Number.isInteger(rows)).toBe(true);
      return Promise.resolve();
    },
    Infinity,
    10,
  );
  expect(samples).toHaveLength(CANDIDATES.length);
  // By a real clock.
  for (const { ms } of samples) expect(Math.min(...ms)).toBeGreaterThanOrEqual(0);
});
