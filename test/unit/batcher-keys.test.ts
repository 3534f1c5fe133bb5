/** Rows with the same key: they run once, and what happens to the first of them does not happen to the others. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Batcher, RowDropped, type Lane } from '../../src/worker/inference/batcher.ts';
import { fuzz } from '../support/inputs/fuzz.ts';

interface Row {
  tokens: number;
  key: string;
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** A batcher whose batches are finished by hand. Each result is the key of its row. */
function harness(budget = 64) {
  const batches: { keys: string[]; finish: (error?: Error) => void }[] = [];
  const batcher = new Batcher<Row, string>({
    budgets: { interactive: budget, low: budget, bulk: budget },
    run: (rows) =>
      new Promise((resolve, reject) => {
        const keys = rows.map(({ key }) => key);
        batches.push({ keys, finish: (error) => (error ? reject(error) : resolve(keys)) });
      }),
  });
  return {
    batcher,
    /** @returns result, or the error */
    submit: (key: string, { signal, lane = 'interactive' }: { signal?: AbortSignal; lane?: Lane } = {}) =>
      batcher.submit({ tokens: 8, key }, lane, signal).then(
        ({ result }) => result,
        (error: unknown) => error,
      ),
    /** Waits for batch number `index`, ends it, and returns the keys in it. */
    next: async (index: number, error?: Error): Promise<string[]> => {
      while (!batches[index]) await turn();
      batches[index].finish(error);
      await turn();
      return batches[index].keys;
    },
    running: async (index: number) => {
      while (!batches[index]) await turn();
    },
    count: () => batches.length,
  };
}

test('a row joins an equal one that waits', async () => {
  const { submit, next, batcher } = harness();
  const results = ['a', 'b', 'a', 'a'].map((key) => submit(key));
  expect(batcher.waiting).toBe(2);
  expect(await next(0)).toEqual(['a', 'b']);
  expect(await Promise.all(results)).toEqual(['a', 'b', 'a', 'a']);
  expect(batcher.rows).toEqual({ own: 2, shared: 2 });
});

test('a row joins an equal one that runs; after its end another one runs', async () => {
  const { submit, next, running } = harness();
  const first = submit('a');
  await running(0);
  const second = submit('a');
  expect(await next(0)).toEqual(['a']);
  expect(await Promise.all([first, second])).toEqual(['a', 'a']);
  const third = submit('a');
  expect(await next(1)).toEqual(['a']);
  expect(await third).toBe('a');
});

test('equal rows of two lanes both run: the urgent one must not wait for the other', async () => {
  const { submit, next } = harness();
  const results = [submit('a', { lane: 'bulk' }), submit('a')];
  expect([await next(0), await next(1)]).toEqual([['a'], ['a']]);
  expect(await Promise.all(results)).toEqual(['a', 'a']);
});

test('when the first is dropped while it waits, the row stays in its place for the others', async () => {
  const { submit, next, running, batcher } = harness(8);
  const abort = new AbortController();
  void submit('x');
  await running(0);
  const [first, , second] = [submit('a', { signal: abort.signal }), submit('b'), submit('a')];
  abort.abort();
  expect(await first).toBeInstanceOf(RowDropped);
  expect(batcher.waiting).toBe(2);
  await next(0);
  expect(await next(1)).toEqual(['a']);
  expect(await second).toBe('a');
  expect(await next(2)).toEqual(['b']);
});

test('when another is dropped, the first is not', async () => {
  const { submit, next, running } = harness();
  const abort = new AbortController();
  void submit('x');
  await running(0);
  const [first, second] = [submit('a'), submit('a', { signal: abort.signal })];
  abort.abort();
  expect(await second).toBeInstanceOf(RowDropped);
  await next(0);
  expect(await next(1)).toEqual(['a']);
  expect(await first).toBe('a');
});

test('when all are dropped, the row does not run, and a later one does', async () => {
  const { submit, next, running, batcher, count } = harness();
  const abort = new AbortController();
  void submit('x');
  await running(0);
  const dropped = [1, 2].map(() => submit('a', { signal: abort.signal }));
  abort.abort();
  for (const outcome of dropped) expect(await outcome).toBeInstanceOf(RowDropped);
  expect(batcher.waiting).toBe(0);
  await next(0);
  expect(count()).toBe(1);
  const later = submit('a');
  expect(await next(1)).toEqual(['a']);
  expect(await later).toBe('a');
});

test('a row that fails alone fails for all that joined it, after two runs; a later one runs again', async () => {
  const { submit, next, running } = harness();
  const first = submit('a');
  await running(0);
  const second = submit('a');
  await next(0, new Error('boom'));
  const third = submit('a');
  await next(1, new Error('mine'));
  for (const outcome of [first, second, third]) expect(await outcome).toMatchObject({ message: 'mine' });
  const later = submit('a');
  expect(await next(2)).toEqual(['a']);
  expect(await later).toBe('a');
});

test('when the first is dropped during a batch that fails, the row runs again for the others', async () => {
  const { submit, next, running } = harness();
  const abort = new AbortController();
  const first = submit('a', { signal: abort.signal });
  const second = submit('a');
  await running(0);
  abort.abort();
  await next(0, new Error('boom'));
  expect(await first).toBeInstanceOf(RowDropped);
  expect(await next(1)).toEqual(['a']);
  expect(await second).toBe('a');
});

test('equal rows of one submission each get the result, and are dropped together', async () => {
  const { batcher, next, submit, running } = harness();
  const settled: [number, string][] = [];
  const failed: number[] = [];
  const receiver = {
    settled: (index: number, { result }: { result: string }) => void settled.push([index, result]),
    failed: (index: number) => void failed.push(index),
  };
  const rows = ['a', 'a', 'b'].map((key) => ({ tokens: 8, key }));
  batcher.submitAll(rows, 'bulk', receiver);
  await next(0);
  expect(settled.sort()).toEqual([
    [0, 'a'],
    [1, 'a'],
    [2, 'b'],
  ]);
  const abort = new AbortController();
  void submit('x');
  await running(1);
  batcher.submitAll(rows, 'bulk', receiver, abort.signal);
  abort.abort();
  expect(failed.sort()).toEqual([0, 1, 2]);
  expect(batcher.waiting).toBe(0);
});

test('random load: every row settles once with the result of its key; only rows whose signal fired are dropped', async () => {
  const arrival = fc.record({
    key: fc.constantFrom('a', 'b', 'c', 'bad'),
    lane: fc.constantFrom<Lane>('interactive', 'bulk'),
    at: fc.integer({ min: 0, max: 20 }),
    dropAt: fc.option(fc.integer({ min: 0, max: 25 })),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(arrival, { minLength: 1, maxLength: 40 }),
      fc.integer({ min: 1, max: 3 }),
      async (arrivals, executors) => {
        const running = new Set<string>();
        const twice: string[] = [];
        const batcher = new Batcher<Row & { lane: Lane }, string>({
          budgets: { interactive: 24, low: 24, bulk: 24 },
          executors,
          run: async (rows) => {
            const names = rows.map(({ key, lane }) => `${lane} ${key}`);
            for (const name of names) {
              if (running.has(name)) twice.push(name);
              running.add(name);
            }
            for (let i = 0; i < 3; i++) await turn();
            for (const name of names) running.delete(name);
            if (rows.some(({ key }) => key === 'bad')) throw new Error('bad');
            return rows.map(({ key }) => key);
          },
        });
        const controllers = arrivals.map(() => new AbortController());
        const outcomes: Promise<unknown>[] = [];
        let settlements = 0;
        for (let now = 0; now <= 25; now++) {
          arrivals.forEach(({ key, lane, at, dropAt }, i) => {
            const { signal } = controllers[i]!;
            if (at === now)
              outcomes[i] = batcher
                .submit({ tokens: 8, key, lane }, lane, signal)
                .then(
                  ({ result }) => result,
                  (error: unknown) => error,
                )
                .finally(() => settlements++);
            if (dropAt === now) controllers[i]!.abort();
          });
          await turn();
        }
        (await Promise.all(outcomes)).forEach((outcome, i) => {
          const { key, dropAt } = arrivals[i]!;
          if (outcome instanceof RowDropped) expect(dropAt).not.toBeNull();
          else if (key === 'bad') expect(outcome).toMatchObject({ message: 'bad' });
          else expect(outcome).toBe(key);
        });
        expect(settlements).toBe(arrivals.length);
        expect(twice).toEqual([]);
        expect(batcher.waiting).toBe(0);
      },
    ),
    fuzz(150),
  );
});
