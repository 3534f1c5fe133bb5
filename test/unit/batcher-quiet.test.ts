/** While nothing interactive comes, background batches are larger, and executors get one ahead of time. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Batcher, type Lane } from '../../src/worker/inference/batcher.ts';
import { fuzz } from '../support/inputs/fuzz.ts';

interface Row {
  tokens: number;
  id: number;
  bad?: boolean;
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** A batch that an executor has. */
interface Batch {
  rows: Row[];
  lane: Lane;
  running: boolean;
  resolve: (ids: number[]) => void;
  reject: (error: Error) => void;
}

/**
 * Executors as the model processes are: each runs one batch at a time, interactive ones first, and a bad row kills it, with
 * all the batches that it has.
 */
class Executors {
  readonly started: { ids: number[]; lane: Lane; padded: number }[] = [];
  readonly #batches: Batch[][];
  /** Rows whose batch has failed. */
  readonly #failed = new Set<number>();
  mostInFlight = 0;
  /** Rows that ran again in a batch with others, or behind another batch. */
  readonly rerunInCompany: number[] = [];

  constructor(count: number) {
    this.#batches = Array.from({ length: count }, () => []);
  }

  get inFlight(): number {
    return this.#batches.reduce((sum, batches) => sum + batches.length, 0);
  }

  run = (rows: Row[], lane: Lane): Promise<number[]> =>
    new Promise((resolve, reject) => {
      const batches = this.#batches.reduce((a, b) => (b.length < a.length ? b : a));
      if (batches.length > 0 || rows.length > 1)
        this.rerunInCompany.push(...rows.map(({ id }) => id).filter((id) => this.#failed.has(id)));
      batches.push({ rows, lane, running: false, resolve, reject });
      this.mostInFlight = Math.max(this.mostInFlight, this.inFlight);
      void this.#work(batches);
    });

  async #work(batches: Batch[]): Promise<void> {
    if (batches.some(({ running }) => running)) return;
    const next = batches.find(({ lane }) => lane === 'interactive') ?? batches[0];
    if (!next) return;
    next.running = true;
    const { rows, lane } = next;
    const padded = rows.length * Math.max(...rows.map(({ tokens }) => tokens));
    this.started.push({ ids: rows.map(({ id }) => id), lane, padded });
    for (let n = 0; n < 5; n++) await turn();
    if (rows.some(({ bad }) => bad)) {
      for (const { rows: lost, reject } of batches.splice(0)) {
        for (const { id } of lost) this.#failed.add(id);
        reject(new Error('bad'));
      }
      return;
    }
    batches.splice(batches.indexOf(next), 1);
    next.resolve(rows.map(({ id }) => id));
    void this.#work(batches);
  }
}

function start(executors: Executors, count: number) {
  return new Batcher<Row, number>({
    run: executors.run,
    executors: count,
    budgets: { interactive: 64, low: 16, bulk: 16 },
    quietBudget: 64,
  });
}

const rowsOf = (count: number, first = 0) =>
  Array.from({ length: count }, (_, i) => ({ id: first + i, tokens: 8 }));

function submitAll(batcher: Batcher<Row, number>, rows: Row[], lane: Lane): Promise<number[]> {
  return new Promise((resolve, reject) => {
    const results: number[] = [];
    let left = rows.length;
    batcher.submitAll(rows, lane, {
      settled: (index, { result }) => {
        results[index] = result;
        if (--left === 0) resolve(results);
      },
      failed: (_, error) => reject(error),
    });
  });
}

test('bulk rows alone get the larger budget, and every executor one batch ahead', async () => {
  const executors = new Executors(2);
  const results = await submitAll(start(executors, 2), rowsOf(200), 'bulk');
  expect(results).toEqual(rowsOf(200).map(({ id }) => id));
  expect(executors.mostInFlight).toBe(4);
  expect(executors.started[0]!.padded).toBe(64);
});

test('an interactive row runs next, before batches that were sent ahead, and makes bulk batches small', async () => {
  const executors = new Executors(1);
  const batcher = start(executors, 1);
  const bulk = submitAll(batcher, rowsOf(100), 'bulk');
  while (executors.inFlight < 2) await turn();
  const startedBefore = executors.started.length;
  await batcher.submit({ id: 1000, tokens: 8 }, 'interactive');
  expect(executors.started[startedBefore]!.ids).toEqual([1000]);
  await bulk;
  const later = executors.started.slice(startedBefore + 2);
  for (const { padded } of later) expect(padded).toBe(16);
});

test('it is quiet again after 128 background batches without an interactive row', async () => {
  const executors = new Executors(1);
  const batcher = start(executors, 1);
  await batcher.submit({ id: 5000, tokens: 8 }, 'interactive');
  await submitAll(batcher, rowsOf(400), 'low');
  const sizes = executors.started.slice(1).map(({ padded }) => padded);
  expect(new Set(sizes.slice(0, 127))).toEqual(new Set([16]));
  expect(sizes[127]).toBe(64);
});

test('interactive batches overtake batches sent ahead, one per executor at a time, each time that it was quiet', async () => {
  const executors = new Executors(1);
  const batcher = start(executors, 1);
  const bulk = submitAll(batcher, rowsOf(1000), 'bulk');
  for (const first of [2000, 3000]) {
    while (executors.inFlight < 2) await turn();
    const startedBefore = executors.started.length;
    // Four batches.
    await submitAll(batcher, rowsOf(32, first), 'interactive');
    expect(executors.started[startedBefore]!.ids[0]).toBe(first);
    expect(executors.mostInFlight).toBe(3);
  }
  await bulk;
});

test('without a quiet budget no batch is sent ahead', async () => {
  const executors = new Executors(1);
  const batcher = new Batcher<Row, number>({
    run: executors.run,
    budgets: { interactive: 64, low: 16, bulk: 16 },
  });
  await submitAll(batcher, rowsOf(50), 'bulk');
  expect(executors.mostInFlight).toBe(1);
});

test('a row that runs again waits for an idle executor, although others are sent ahead', async () => {
  const executors = new Executors(1);
  const batcher = start(executors, 1);
  const outcomes = rowsOf(16).map((row) =>
    batcher.submit({ ...row, bad: row.id === 3 }, 'bulk').then(
      () => 'settled',
      () => 'failed',
    ),
  );
  expect(await Promise.all(outcomes)).toEqual(rowsOf(16).map(({ id }) => (id === 3 ? 'failed' : 'settled')));
  expect(executors.rerunInCompany).toEqual([]);
  // Both batches were lost with the executor: one ran, the other was ahead of time.
  expect(executors.started.map(({ ids }) => ids.length)).toEqual([8, ...rowsOf(16).map(() => 1)]);
});

test('random load: only bad rows fail, and a row that runs again is alone on its executor', async () => {
  const arrival = fc.record({
    lane: fc.constantFrom<Lane>('interactive', 'low', 'bulk'),
    tokens: fc.integer({ min: 2, max: 40 }),
    bad: fc.integer({ min: 0, max: 4 }).map((n) => n === 0),
    at: fc.integer({ min: 0, max: 60 }),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(arrival, { maxLength: 80 }),
      fc.integer({ min: 1, max: 3 }),
      async (arrivals, count) => {
        const executors = new Executors(count);
        const batcher = start(executors, count);
        const settled: Promise<{ result?: number; failed?: boolean }>[] = [];
        for (let now = 0; now <= 60; now++) {
          arrivals.forEach(({ lane, tokens, bad, at }, id) => {
            if (at !== now) return;
            settled[id] = batcher.submit({ id, tokens, bad }, lane).then(
              ({ result }) => ({ result }),
              () => ({ failed: true }),
            );
          });
          await turn();
        }
        const outcomes = await Promise.all(settled);
        outcomes.forEach((outcome, id) =>
          expect(outcome).toEqual(arrivals[id]!.bad ? { failed: true } : { result: id }),
        );
        expect(batcher.waiting).toBe(0);
        expect(executors.rerunInCompany).toEqual([]);
        expect(executors.mostInFlight).toBeLessThanOrEqual(3 * count);
      },
    ),
    fuzz(150),
  );
});
