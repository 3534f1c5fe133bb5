import { getEventListeners } from 'node:events';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Batcher, RowDropped, type DropSignal, type Lane } from '../../src/worker/inference/batcher.ts';
import { Cancellation } from '../../src/worker/inference/cancellation.ts';
import { fuzz } from '../support/inputs/fuzz.ts';

interface Row {
  tokens: number;
  id: number;
}

/** A batcher whose batches are run by hand: nothing happens until `next()` lets the oldest one go. */
function harness(budgets: Record<Lane, number> = { interactive: 64, low: 64, bulk: 64 }, maxRows = 64) {
  const batches: { rows: Row[]; finish: (error?: Error) => void }[] = [];
  const batcher = new Batcher<Row, number>({
    budgets,
    maxRows,
    run: (rows) =>
      new Promise((resolve, reject) => {
        batches.push({
          rows,
          finish: (error) => {
            if (error) reject(error);
            else resolve(rows.map(({ id }) => id * 10));
          },
        });
      }),
  });
  const tick = () => new Promise((resolve) => setImmediate(resolve));
  /** Waits until batch number `index` is running, and returns the ids in it. */
  const ids = async (index: number): Promise<number[]> => {
    while (!batches[index]) await tick();
    return batches[index].rows.map(({ id }) => id);
  };
  return {
    batcher,
    submit: (id: number, tokens: number, lane: Lane = 'interactive', signal?: DropSignal) => {
      const settled = batcher.submit({ id, tokens }, lane, signal);
      settled.catch(() => {});
      return settled;
    },
    ids,
    /** Batches that were sent until now. */
    sent: () => batches.length,
    next: async (index: number, error?: Error): Promise<number[]> => {
      const rows = await ids(index);
      batches[index]!.finish(error);
      await tick();
      return rows;
    },
  };
}

test('with equalLengths, only rows with the same number of tokens share a batch, oldest first', async () => {
  const batches: number[][] = [];
  const batcher = new Batcher<Row, number>({
    budgets: { interactive: 64, low: 64, bulk: 64 },
    equalLengths: true,
    run: (rows) => {
      batches.push(rows.map(({ tokens }) => tokens));
      return Promise.resolve(rows.map(({ id }) => id));
    },
  });
  const results = [8, 9, 8, 10, 9, 8].map((tokens, id) => batcher.submit({ id, tokens }, 'interactive'));
  expect((await Promise.all(results)).map(({ result }) => result)).toEqual([0, 1, 2, 3, 4, 5]);
  expect(batches).toEqual([[8, 8, 8], [9, 9], [10]]);
});

/** Model processes of a worker. */
const executors = fc.integer({ min: 1, max: 3 });

test('rows of one tick share a batch, and each gets its own result', async () => {
  const { submit, next } = harness();
  const results = [1, 2, 3].map((id) => submit(id, 8));
  expect(await next(0)).toEqual([1, 2, 3]);
  expect((await Promise.all(results)).map(({ result, batchRows }) => [result, batchRows])).toEqual([
    [10, 3],
    [20, 3],
    [30, 3],
  ]);
});

test('late binding: rows that arrive while a batch runs join the next one', async () => {
  const { submit, next, ids } = harness();
  void submit(1, 8);
  await ids(0);
  void submit(2, 8);
  void submit(3, 8);
  await next(0);
  expect(await next(1)).toEqual([2, 3]);
});

test('rows of about the length of the oldest join it; others wait for a later batch', async () => {
  const { submit, next } = harness();
  [
    [1, 30],
    [2, 8],
    [3, 31],
    [4, 7],
  ].forEach(([id, tokens]) => void submit(id!, tokens!));
  expect(await next(0)).toEqual([1, 3]);
  expect(await next(1)).toEqual([2, 4]);
});

test('a row joins if it adds at most 4 tokens of padding, its own and that of the rows before it', async () => {
  const { submit, next } = harness({ interactive: 1000, low: 1, bulk: 1 });
  [
    [1, 10],
    [2, 6], // pads itself by 4
    [3, 12], // pads the two before it by 2 each
    [4, 14], // would pad the three by 2 each
    [5, 7], // would pad itself by 5
    [6, 8], // pads itself by 4
  ].forEach(([id, tokens]) => void submit(id!, tokens!));
  expect(await next(0)).toEqual([1, 2, 3, 6]);
  expect(await next(1)).toEqual([4]);
  expect(await next(2)).toEqual([5]);
});

test('the budget is in padded tokens; a row above it runs alone', async () => {
  const { submit, next } = harness({ interactive: 64, low: 64, bulk: 64 });
  [
    [1, 20],
    [2, 22],
    [3, 21],
    [4, 500],
    [5, 500],
  ].forEach(([id, tokens]) => void submit(id!, tokens!));
  expect(await next(0)).toEqual([1, 2]);
  expect(await next(1)).toEqual([3]);
  expect(await next(2)).toEqual([4]);
  expect(await next(3)).toEqual([5]);
});

test('a batch has at most maxRows rows', async () => {
  const { submit, next } = harness({ interactive: 1000, low: 1, bulk: 1 }, 2);
  [1, 2, 3].forEach((id) => void submit(id, 4));
  expect(await next(0)).toEqual([1, 2]);
  expect(await next(1)).toEqual([3]);
});

describe('a batch that fails', () => {
  test('runs again row by row, before newer rows; only the row that fails alone is rejected', async () => {
    const { submit, next, ids } = harness();
    const results = [1, 2, 3].map((id) => submit(id, 8));
    await ids(0);
    void submit(4, 8);
    await next(0, new Error('boom'));
    expect(await next(1)).toEqual([1]);
    expect(await next(2, new Error('mine'))).toEqual([2]);
    expect(await next(3)).toEqual([3]);
    expect(await next(4)).toEqual([4]);
    const outcomes = await Promise.allSettled(results);
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect((outcomes[1] as PromiseRejectedResult).reason).toMatchObject({ message: 'mine' });
  });

  test('with the wrong number of results fails, too', async () => {
    const batcher = new Batcher<Row, number>({
      budgets: { interactive: 64, low: 64, bulk: 64 },
      run: () => Promise.resolve([]),
    });
    await expect(batcher.submit({ id: 1, tokens: 3 }, 'interactive')).rejects.toThrow('0 results for 1 rows');
  });
});

describe('a row whose signal fires', () => {
  test('is dropped while it waits', async () => {
    const { submit, next, ids, batcher } = harness();
    const abort = new AbortController();
    void submit(1, 8);
    await ids(0);
    const dropped = submit(2, 8, 'interactive', abort.signal);
    void submit(3, 8);
    abort.abort();
    await expect(dropped).rejects.toThrow(RowDropped);
    expect(batcher.waiting).toBe(1);
    await next(0);
    expect(await next(1)).toEqual([3]);
  });

  test('is dropped when its job is canceled, unless it has ended', async () => {
    const { submit, next, ids, batcher } = harness();
    const cancellation = new Cancellation();
    const ended = submit(1, 8, 'interactive', cancellation);
    await next(0);
    void submit(2, 8);
    await ids(1);
    const dropped = [3, 4].map((id) => submit(id, 8, 'interactive', cancellation));
    void submit(5, 8);
    cancellation.abort();
    cancellation.abort();
    expect((await ended).result).toBe(10);
    for (const each of dropped) await expect(each).rejects.toThrow(RowDropped);
    await expect(submit(6, 8, 'interactive', cancellation)).rejects.toThrow(RowDropped);
    expect(batcher.waiting).toBe(1);
    await next(1);
    expect(await next(2)).toEqual([5]);
  });

  test('is dropped at once when its signal has fired before', async () => {
    const { submit, batcher } = harness();
    await expect(submit(1, 8, 'interactive', AbortSignal.abort())).rejects.toThrow(RowDropped);
    expect(batcher.waiting).toBe(0);
  });

  test('still gets its result when it is in a batch already', async () => {
    const { submit, next, ids } = harness();
    const abort = new AbortController();
    const settled = submit(1, 8, 'interactive', abort.signal);
    await ids(0);
    abort.abort();
    await next(0);
    expect((await settled).result).toBe(10);
  });

  test('does not run again when its batch fails', async () => {
    const { submit, next, ids } = harness();
    const abort = new AbortController();
    const dropped = submit(1, 8, 'interactive', abort.signal);
    const other = submit(2, 8);
    await ids(0);
    abort.abort();
    await next(0, new Error('boom'));
    expect(await next(1)).toEqual([2]);
    await expect(dropped).rejects.toThrow(RowDropped);
    expect((await other).result).toBe(20);
  });
});

describe('a signal', () => {
  const listeners = ({ signal }: AbortController) => getEventListeners(signal, 'abort').length;

  test.each<[string, Error | undefined]>([
    ['has its result', undefined],
    ['has failed', new Error('boom')],
  ])('is let go when the last of its rows %s, and not before', async (_, error) => {
    const { batcher, next } = harness({ interactive: 8, low: 8, bulk: 8 });
    const abort = new AbortController();
    const receiver = { settled: () => {}, failed: () => {} };
    const rows = [1, 2].map((id) => ({ id, tokens: 8 }));
    batcher.submitAll(rows, 'bulk', receiver, abort.signal);
    expect(listeners(abort)).toBe(1);
    await next(0);
    expect(listeners(abort)).toBe(1);
    await next(1, error);
    // A row that fails runs once more.
    if (error) await next(2, error);
    expect(listeners(abort)).toBe(0);
  });

  test('has no listeners left when it has dropped all of its rows', async () => {
    const { batcher } = harness();
    const abort = new AbortController();
    const dropped = batcher.submit({ id: 1, tokens: 8 }, 'bulk', abort.signal);
    abort.abort();
    await expect(dropped).rejects.toThrow(RowDropped);
    expect(listeners(abort)).toBe(0);
  });
});

test('waiting counts the rows of every lane', () => {
  const { submit, batcher } = harness();
  const lanes: Lane[] = ['interactive', 'low', 'low', 'bulk', 'bulk', 'bulk'];
  lanes.forEach((lane, id) => void submit(id, 8, lane));
  expect(batcher.waiting).toBe(6);
});

test('a background lane that was empty at its turn goes first when a row arrives', async () => {
  const { submit, ids, next } = harness({ interactive: 8, low: 8, bulk: 8 });
  for (const id of [201, 202]) void submit(id, 8, 'bulk');
  expect(await ids(0)).toEqual([201]);
  void submit(101, 8, 'low');
  await next(0);
  expect(await next(1)).toEqual([101]);
  expect(await next(2)).toEqual([202]);
});

test('the interactive lane goes first, but every eighth turn is for the others, in rotation', async () => {
  const { submit, next } = harness({ interactive: 8, low: 8, bulk: 8 });
  for (let i = 0; i < 40; i++) void submit(i, 8);
  for (let i = 0; i < 5; i++) {
    void submit(100 + i, 8, 'low');
    void submit(200 + i, 8, 'bulk');
  }
  const order: number[] = [];
  for (let i = 0; i < 50; i++) order.push(...(await next(i)));
  const background = order.map((id, turn) => [turn, id] as const).filter(([, id]) => id >= 100);
  expect(background.slice(0, 4).map(([turn]) => turn)).toEqual([7, 15, 23, 31]);
  expect(background.slice(0, 4).map(([, id]) => id)).toEqual([100, 200, 101, 201]);
  expect(order.filter((id) => id < 100)).toEqual(Array.from({ length: 40 }, (_, i) => i));
});

test('random load: every row settles once with its own result, within the budget, with at most two batches per executor', async () => {
  const lane = fc.constantFrom<Lane>('interactive', 'low', 'bulk');
  // One token less than some rows of 8, and rows of about that length: batches come as close to the budget as they can.
  const budget = fc.integer({ min: 1, max: 8 }).map((rows) => 8 * rows - 1);
  const budgets = fc.record({ interactive: budget, low: budget, bulk: budget });
  const arrival = fc.record({
    tokens: fc.oneof(fc.integer({ min: 7, max: 9 }), fc.integer({ min: 2, max: 90 })),
    lane,
    bad: fc.boolean(),
    cancel: fc.integer({ min: 0, max: 9 }),
    pause: fc.integer({ min: 0, max: 2 }),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(arrival, { maxLength: 60 }),
      budgets,
      executors,
      async (arrivals, budgets, executors) => {
        let running = 0;
        const batcher = new Batcher<Row & { bad: boolean; lane: Lane }, number>({
          budgets,
          executors,
          run: async (rows) => {
            // One ahead for each.
            expect(++running).toBeLessThanOrEqual(2 * executors);
            const padded = rows.length * Math.max(...rows.map(({ tokens }) => tokens));
            if (rows.length > 1) expect(padded).toBeLessThanOrEqual(budgets[rows[0]!.lane]);
            expect(new Set(rows.map((row) => row.lane)).size).toBe(1);
            await new Promise((resolve) => setImmediate(resolve));
            running--;
            if (rows.some(({ bad }) => bad)) throw new Error('bad');
            return rows.map(({ id }) => id);
          },
        });
        const outcomes = await Promise.all(
          arrivals.map(async ({ tokens, lane: where, bad, cancel, pause }, id) => {
            for (let i = 0; i < pause * id; i++) await Promise.resolve();
            const abort = new AbortController();
            const settled = batcher.submit({ id, tokens, bad, lane: where }, where, abort.signal);
            if (cancel === 0) setImmediate(() => abort.abort());
            return settled.then(
              ({ result }) => ({ result }),
              (error: unknown) => ({ error }),
            );
          }),
        );
        outcomes.forEach((outcome, id) => {
          const { bad, cancel } = arrivals[id]!;
          if ('result' in outcome) {
            expect(outcome.result).toBe(id);
            expect(bad).toBe(false);
          } else if (outcome.error instanceof RowDropped) expect(cancel).toBe(0);
          else expect(bad).toBe(true);
        });
        expect(batcher.waiting).toBe(0);
      },
    ),
    fuzz(200),
  );
});

test('the oldest row leaves with the next batch of its lane, however many newer ones would fit together', async () => {
  const { submit, next, ids } = harness();
  void submit(1, 8);
  await ids(0);
  void submit(2, 60);
  for (let id = 3; id < 20; id++) void submit(id, 8);
  await next(0);
  expect(await next(1)).toEqual([2]);
  expect(await next(2)).toEqual([3, 4, 5, 6, 7, 8, 9, 10]);
});

test('a budget is used to its last token', async () => {
  const { submit, next } = harness({ interactive: 32, low: 1, bulk: 1 });
  [1, 2, 3, 4, 5].forEach((id) => void submit(id, 8));
  expect(await next(0)).toEqual([1, 2, 3, 4]);
  expect(await next(1)).toEqual([5]);
});

test.each([
  ['a row as long as the oldest', [8, 8]],
  ['a row that makes the batch longer', [7, 8]],
  ['a row that is padded', [8, 7]],
])('%s stays out of a batch that would be one token beyond the budget', async (_, lengths) => {
  const { submit, next } = harness({ interactive: 15, low: 1, bulk: 1 });
  lengths.forEach((tokens, i) => void submit(i + 1, tokens));
  expect(await next(0)).toEqual([1]);
  expect(await next(1)).toEqual([2]);
});

test('each lane has its own budget, and lanes never share a batch', async () => {
  const { submit, next } = harness({ interactive: 8, low: 16, bulk: 24 });
  for (const id of [1, 2, 3]) void submit(id, 8, 'low');
  for (const id of [11, 12, 13, 14]) void submit(id, 8, 'bulk');
  expect(await next(0)).toEqual([1, 2]);
  expect(await next(1)).toEqual([11, 12, 13]);
  expect(await next(2)).toEqual([3]);
  expect(await next(3)).toEqual([14]);
});

test('a single background lane gets every eighth turn, and all turns once the interactive lane is empty', async () => {
  const { submit, next } = harness({ interactive: 8, low: 8, bulk: 8 });
  for (let id = 0; id < 14; id++) void submit(id, 8);
  for (let id = 100; id < 104; id++) void submit(id, 8, 'low');
  const order: number[] = [];
  for (let i = 0; i < 18; i++) order.push(...(await next(i)));
  expect(order).toEqual([0, 1, 2, 3, 4, 5, 6, 100, 7, 8, 9, 10, 11, 12, 13, 101, 102, 103]);
});

describe('a run that breaks its promise', () => {
  const broken = (run: (rows: Row[]) => Promise<number[]>) => {
    const runs: number[][] = [];
    const batcher = new Batcher<Row, number>({
      budgets: { interactive: 64, low: 64, bulk: 64 },
      run: (rows) => {
        runs.push(rows.map(({ id }) => id));
        return run(rows);
      },
    });
    const outcomes = Promise.allSettled([1, 2].map((id) => batcher.submit({ id, tokens: 8 }, 'interactive')));
    return { runs, batcher, outcomes };
  };

  test.each<[string, (rows: Row[]) => Promise<number[]>]>([
    ['too few results', (rows) => Promise.resolve(rows.slice(1).map(({ id }) => id))],
    ['too many results', (rows) => Promise.resolve([...rows, ...rows].map(({ id }) => id))],
    ['no list', () => Promise.resolve(undefined as unknown as number[])],
    [
      'an exception instead of a promise',
      () => {
        throw new Error('at once');
      },
    ],
  ])('with %s: rows are retried once, alone, and then rejected', async (_name, run) => {
    const { runs, batcher, outcomes } = broken(run);
    expect((await outcomes).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(runs).toEqual([[1, 2], [1], [2]]);
    expect(batcher.waiting).toBe(0);
  });

  test('only in batches: the retries succeed', async () => {
    const { runs, outcomes } = broken((rows) =>
      Promise.resolve(rows.length > 1 ? [] : rows.map(({ id }) => id)),
    );
    expect(await outcomes).toMatchObject([
      { value: { result: 1, batchRows: 1 } },
      { value: { result: 2, batchRows: 1 } },
    ]);
    expect(runs).toEqual([[1, 2], [1], [2]]);
  });

  test('that throws something other than an Error rejects its rows with an Error', async () => {
    // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors
    const { outcomes } = broken(() => Promise.reject('out of memory'));
    for (const outcome of await outcomes)
      expect((outcome as PromiseRejectedResult).reason).toEqual(new Error('out of memory'));
  });
});

test('a failed batch stays in its lane and takes no turns from other lanes', async () => {
  const { submit, next } = harness({ interactive: 16, low: 16, bulk: 16 });
  for (const id of [1, 2]) void submit(id, 8);
  for (const id of [101, 102]) void submit(id, 8, 'low');
  expect(await next(0, new Error('boom'))).toEqual([1, 2]);
  expect(await next(1)).toEqual([1]);
  expect(await next(2)).toEqual([2]);
  expect(await next(3, new Error('boom'))).toEqual([101, 102]);
  expect(await next(4)).toEqual([101]);
  expect(await next(5)).toEqual([102]);
});

test('a row that waits for its retry can still be dropped', async () => {
  const { submit, next, ids, batcher } = harness();
  const abort = new AbortController();
  const first = submit(1, 8);
  const dropped = submit(2, 8, 'interactive', abort.signal);
  await next(0, new Error('boom'));
  expect(await ids(1)).toEqual([1]);
  abort.abort();
  await expect(dropped).rejects.toThrow(RowDropped);
  await next(1);
  expect((await first).result).toBe(10);
  expect(batcher.waiting).toBe(0);
});

test('random load: batches have little padding and include the oldest row, and no row runs more than twice', async () => {
  const arrival = fc.record({
    tokens: fc.integer({ min: 1, max: 96 }),
    lane: fc.constantFrom<Lane>('interactive', 'low', 'bulk'),
    bad: fc.integer({ min: 0, max: 7 }).map((n) => n === 0),
    at: fc.integer({ min: 0, max: 30 }),
    dropAt: fc.option(fc.integer({ min: 0, max: 40 })),
    runTurns: fc.integer({ min: 1, max: 3 }),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(arrival, { minLength: 1, maxLength: 80 }),
      executors,
      async (arrivals, executors) => {
        interface Arrived extends Row {
          lane: Lane;
        }
        const waiting: Record<Lane, number[]> = { interactive: [], low: [], bulk: [] };
        const runs = new Map<number, number>();
        const settlements = new Map<number, number>();
        const violations: string[] = [];
        let running = 0;
        const batcher = new Batcher<Arrived, string>({
          budgets: { interactive: 96, low: 64, bulk: 128 },
          executors,
          run: async (rows) => {
            if (++running > 2 * executors) violations.push('more runs than executors');
            const head = rows[0]!;
            const real = rows.reduce((sum, { tokens }) => sum + tokens, 0);
            const padded = rows.length * Math.max(...rows.map(({ tokens }) => tokens));
            if (padded - real > 4 * (rows.length - 1)) violations.push('too much padding');
            const oldest = waiting[head.lane][0];
            const retried = runs.has(head.id);
            if (!retried && head.id !== oldest) violations.push(`${head.id} left before ${oldest}`);
            if (retried && rows.length > 1) violations.push('a retry in a batch with others');
            for (const { id, lane } of rows) {
              runs.set(id, (runs.get(id) ?? 0) + 1);
              waiting[lane] = waiting[lane].filter((other) => other !== id);
            }
            for (let i = 0; i < arrivals[head.id]!.runTurns; i++) await turn();
            running--;
            if (rows.some(({ id }) => arrivals[id]!.bad)) throw new Error('bad');
            return rows.map(({ id }) => `result of ${id}`);
          },
        });
        const outcomes: Promise<{ id: number; result?: string; error?: unknown }>[] = [];
        const controllers = arrivals.map(() => new AbortController());
        for (let now = 0; now <= 40; now++) {
          arrivals.forEach(({ tokens, lane, at, dropAt }, id) => {
            const signal = controllers[id]!.signal;
            if (at === now) {
              if (!signal.aborted) waiting[lane].push(id);
              const settled = batcher.submit({ id, tokens, lane }, lane, signal);
              const count = () => void settlements.set(id, (settlements.get(id) ?? 0) + 1);
              void settled.then(count, count);
              outcomes.push(
                settled.then(
                  ({ result }) => ({ id, result }),
                  (error: unknown) => ({ id, error }),
                ),
              );
            }
            if (dropAt === now) {
              controllers[id]!.abort();
              if (!runs.has(id)) waiting[lane] = waiting[lane].filter((other) => other !== id);
            }
          });
          await turn();
          if (running < executors && batcher.waiting > 0)
            violations.push('an executor idles while rows wait');
        }
        for (const { id, result, error } of await Promise.all(outcomes)) {
          const { bad, dropAt } = arrivals[id]!;
          if (error instanceof RowDropped) expect(dropAt).not.toBeNull();
          else if (bad) expect(error).toMatchObject({ message: 'bad' });
          else expect(result).toBe(`result of ${id}`);
        }
        expect(violations).toEqual([]);
        expect([...settlements.values()]).toEqual(arrivals.map(() => 1));
        expect(Math.max(0, ...runs.values())).toBeLessThanOrEqual(2);
        expect(batcher.waiting).toBe(0);
      },
    ),
    fuzz(150),
  );
});

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

describe('several executors', () => {
  /** Batches of two executors, finished by hand. */
  function pair() {
    const batches: { ids: number[]; finish: (error?: Error) => void }[] = [];
    const batcher = new Batcher<Row, number>({
      executors: 2,
      budgets: { interactive: 64, low: 64, bulk: 64 },
      run: (rows) =>
        new Promise((resolve, reject) => {
          const ids = rows.map(({ id }) => id);
          batches.push({ ids, finish: (error) => (error ? reject(error) : resolve(ids)) });
        }),
    });
    const submit = (...ids: number[]) =>
      ids.map((id) => batcher.submit({ id, tokens: 4 }, 'interactive').then(({ result }) => result));
    const tick = () => new Promise((resolve) => setImmediate(resolve));
    return { batches, submit, tick };
  }

  test('share the waiting rows when both are idle', async () => {
    const { batches, submit, tick } = pair();
    void submit(1, 2, 3, 4, 5);
    await tick();
    expect(batches.map(({ ids }) => ids)).toEqual([
      [1, 2, 3],
      [4, 5],
    ]);
  });

  test('the first free executor takes all waiting rows', async () => {
    const { batches, submit, tick } = pair();
    void submit(1, 2);
    await tick();
    const later = submit(3, 4, 5, 6);
    await tick();
    expect(batches).toHaveLength(2);
    batches[1]!.finish();
    await tick();
    expect(batches[2]!.ids).toEqual([3, 4, 5, 6]);
    batches[2]!.finish();
    expect(await Promise.all(later)).toEqual([3, 4, 5, 6]);
  });

  test('a batch that fails on one executor does not affect the other', async () => {
    const { batches, submit, tick } = pair();
    const all = submit(1, 2, 3, 4);
    await tick();
    batches[0]!.finish(new Error('bad batch'));
    await tick();
    expect(batches.map(({ ids }) => ids)).toEqual([[1, 2], [3, 4], [1]]);
    batches[1]!.finish();
    await tick();
    for (const { finish } of batches.slice(2)) finish();
    expect(await Promise.all(all)).toEqual([1, 2, 3, 4]);
  });
});

describe('under load', () => {
  test('a whole batch is sent ahead, one per executor', async () => {
    const { submit, ids, next, sent } = harness();
    for (let id = 0; id < 40; id++) void submit(id, 8);
    expect(await ids(0)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(await ids(1)).toEqual([8, 9, 10, 11, 12, 13, 14, 15]);
    expect(sent()).toBe(2);
    await next(0);
    expect(await ids(2)).toEqual([16, 17, 18, 19, 20, 21, 22, 23]);
    expect(sent()).toBe(3);
  });

  test('a row less than a whole batch waits for an idle executor', async () => {
    const { submit, ids, next, sent } = harness();
    void submit(0, 8);
    await ids(0);
    for (let id = 1; id < 8; id++) void submit(id, 8);
    for (let i = 0; i < 3; i++) await turn();
    expect(sent()).toBe(1);
    // The row that makes it whole may come as late as this.
    void submit(8, 8);
    expect(await ids(1)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    await next(0);
  });

  test('nothing is sent ahead while rows of other lanes wait, so that their turns come', async () => {
    const { submit, ids, next } = harness({ interactive: 8, low: 8, bulk: 8 });
    for (let id = 0; id < 20; id++) void submit(id, 8);
    await ids(1);
    void submit(100, 8, 'bulk');
    const order: number[] = [];
    for (let i = 0; i < 12; i++) order.push(...(await next(i)));
    expect(order).toContain(100);
    expect(order.slice(0, 2)).toEqual([0, 1]);
  });

  test('a row that runs again waits for an idle executor', async () => {
    const { submit, ids, next, sent } = harness({ interactive: 16, low: 16, bulk: 16 });
    for (let id = 0; id < 6; id++) void submit(id, 8);
    expect([await ids(0), await ids(1)]).toEqual([
      [0, 1],
      [2, 3],
    ]);
    await next(0, new Error('boom'));
    for (let i = 0; i < 3; i++) await turn();
    expect(sent()).toBe(2);
    await next(1);
    expect(await ids(2)).toEqual([0]);
  });
});
