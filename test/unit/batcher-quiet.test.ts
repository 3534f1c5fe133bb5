/** While nothing interactive comes, background batches are larger, and executors get one ahead of time. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Batcher, type Lane } from '../../src/worker/inference/batcher.ts';

interface Row {
  tokens: number;
  id: number;
  bad?: boolean;
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Executors as the model processes are: each runs one batch at a time, interactive ones first. */
class Executors {
  readonly started: { ids: number[]; lane: Lane; padded: number }[] = [];
  readonly #queues: {
    rows: Row[];
    lane: Lane;
    resolve: (ids: number[]) => void;
    reject: (error: Error) => void;
  }[][];
  readonly #busy: boolean[];
  mostInFlight = 0;

  constructor(count: number) {
    this.#queues = Array.from({ length: count }, () => []);
    this.#busy = this.#queues.map(() => false);
  }

  get inFlight(): number {
    return this.#queues.reduce((sum, queue, i) => sum + queue.length + (this.#busy[i] ? 1 : 0), 0);
  }

  run = (rows: Row[], lane: Lane): Promise<number[]> =>
    new Promise((resolve, reject) => {
      const load = (i: number) => this.#queues[i]!.length + (this.#busy[i] ? 1 : 0);
      const best = this.#queues.map((_, i) => i).reduce((a, b) => (load(b) < load(a) ? b : a));
      this.#queues[best]!.push({ rows, lane, resolve, reject });
      this.mostInFlight = Math.max(this.mostInFlight, this.inFlight);
      void this.#work(best);
    });

  async #work(i: number): Promise<void> {
    if (this.#busy[i]) return;
    const queue = this.#queues[i]!;
    const urgent = queue.findIndex(({ lane }) => lane === 'interactive');
    const [next] = queue.splice(Math.max(0, urgent), 1);
    if (!next) return;
    this.#busy[i] = true;
    const { rows, lane } = next;
    const padded = rows.length * Math.max(...rows.map(({ tokens }) => tokens));
    this.started.push({ ids: rows.map(({ id }) => id), lane, padded });
    for (let n = 0; n < 5; n++) await turn();
    this.#busy[i] = false;
    if (rows.some(({ bad }) => bad)) next.reject(new Error('bad'));
    else next.resolve(rows.map(({ id }) => id));
    void this.#work(i);
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

test('bulk alone gets the larger budget, and every executor one batch ahead', async () => {
  const executors = new Executors(2);
  const results = await submitAll(start(executors, 2), rowsOf(200), 'bulk');
  expect(results).toEqual(rowsOf(200).map(({ id }) => id));
  expect(executors.mostInFlight).toBe(4);
  expect(executors.started[0]!.padded).toBe(64);
});

test('an interactive row is run next, before what went ahead, and makes bulk batches small', async () => {
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

test('it is quiet again when 128 background batches have gone by without an interactive row', async () => {
  const executors = new Executors(1);
  const batcher = start(executors, 1);
  await batcher.submit({ id: 5000, tokens: 8 }, 'interactive');
  await submitAll(batcher, rowsOf(400), 'low');
  const sizes = executors.started.slice(1).map(({ padded }) => padded);
  expect(new Set(sizes.slice(0, 127))).toEqual(new Set([16]));
  expect(sizes[130]).toBe(64);
});

test('without a quiet budget nothing goes ahead', async () => {
  const executors = new Executors(1);
  const batcher = new Batcher<Row, number>({
    run: executors.run,
    budgets: { interactive: 64, low: 16, bulk: 16 },
  });
  await submitAll(batcher, rowsOf(50), 'bulk');
  expect(executors.mostInFlight).toBe(1);
});

test('whatever comes in whatever mood: every row settles once, a row that is run again is alone on its executor', async () => {
  const arrival = fc.record({
    lane: fc.constantFrom<Lane>('interactive', 'low', 'bulk'),
    tokens: fc.integer({ min: 2, max: 40 }),
    bad: fc.boolean(),
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
        expect(executors.mostInFlight).toBeLessThanOrEqual(3 * count);
      },
    ),
    { numRuns: 150 },
  );
});
