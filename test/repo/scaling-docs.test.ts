/** docs/scaling.md, its chart and docs/benchmarks.md have the same figures. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { BUSY, capacity, limitOfOneRedis, USES } from '../../bench/scaling/capacity.ts';
import { chart } from '../../bench/scaling/chart.ts';
import { CHART, PAGE, withCapacityTable } from '../../bench/scaling/docs.ts';

const HINT = 'run `npm run docs:scaling`';

test('the page has the computed table', () => {
  const page = readFileSync(PAGE, 'utf8');
  expect(withCapacityTable(page) === page, HINT).toBe(true);
});

test('the committed chart is up to date', () => {
  expect(readFileSync(CHART, 'utf8') === chart(), HINT).toBe(true);
});

/** Figures of the row of docs/benchmarks.md whose first cell begins with a text. */
function measured(heading: string, row: string): number[] {
  const page = readFileSync('docs/benchmarks.md', 'utf8');
  const lines = page.slice(page.indexOf(heading)).split('\n');
  const line = lines.find((each) => each.startsWith(`| ${row}`)) ?? '';
  return line
    .split('|')
    .slice(2)
    .map((cell) => Number(cell.trim().replaceAll(',', '')));
}

test('the cost of a row matches docs/benchmarks.md', () => {
  const single = ['model processes', 'worker', 'API', 'Redis'].map((part) =>
    measured('| CPU of one sentence, µs', part),
  );
  const batches = ['shipped (MiniLM)', 'DistilBERT-sized'].map((model) =>
    measured('raw: CPU of a row, µs', model).slice(1, 5),
  );
  const costs = [...batches, single.map(([miniLm]) => miniLm), single.map(([, larger]) => larger)];
  expect(USES.map(({ cost }) => [cost.model, cost.worker, cost.api, cost.redis])).toEqual(costs);
});

test('one Redis reaches its highest load where its line bends', () => {
  for (const use of USES) {
    const { cores, rowsPerSecond } = limitOfOneRedis(use);
    expect((rowsPerSecond * use.cost.redis) / 1e6).toBeCloseTo(BUSY);
    expect(capacity(use, cores * 0.99).redisServers).toBe(1);
    expect(capacity(use, cores * 1.01).redisServers).toBe(2);
  }
});

test('a page without its markers is refused, not overwritten', () => {
  expect(() => withCapacityTable('# Scaling')).toThrow('has lost its capacity markers');
});
