/** Which workers get direct calls: not those that had no room, and ever fewer to those that are silent. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { DirectCalls, type Call, type DirectCallsDeps } from '../../src/api/jobs/direct-calls.ts';
import { parseJobId } from '../../src/shared/contract/ids.ts';

type Answer = 'labels' | 'refusal' | 'silence' | 'not heard';

const CALL: Call = {
  model: { name: 'm', workers: 1, labels: ['a', 'b'] },
  priority: 'normal',
  payload: { owner: 'alice', texts: [{ text: 'x' }], top_k: 1, created_at: 1, notify: 'n', early: 'e' },
};

/** How each worker answers. */
let workers: Record<string, Answer>;
/** Worker of every call that was made. */
let asked: string[];
let canceled: string[];
let calls: DirectCalls;

beforeEach(() => {
  vi.useFakeTimers();
  asked = [];
  canceled = [];
  const waiting = new Map<string, (outcome: unknown) => void>();
  const refuse = (id: string) => waiting.get(id)?.(undefined);
  const deps = {
    prefix: 'p',
    catalog: { workerIds: () => Promise.resolve(Object.keys(workers)) },
    waiters: {
      channel: 'n',
      expect: () => {},
      refuse,
      wait: (id: string) => new Promise((resolve) => waiting.set(id, resolve)),
    },
    redis: {
      publish: (channel: string, message: string) => {
        if (channel === 'p:canceled') {
          canceled.push(message);
          return Promise.resolve(1);
        }
        const worker = channel.slice('p:api:calls:'.length);
        asked.push(worker);
        const { id } = (JSON.parse(message) as { jobs: { id: string }[] }).jobs[0]!;
        const record = { v: 1, owner: 'alice', status: 'succeeded', created: 1, finished: 2, results: [] };
        if (workers[worker] === 'labels') waiting.get(id)?.(record);
        if (workers[worker] === 'refusal') refuse(id);
        return Promise.resolve(workers[worker] === 'not heard' ? 0 : 1);
      },
    },
    records: { recordAnswered: () => Promise.resolve() },
    withRedis: (call: () => Promise<unknown>) => call(),
    logger: { warn: () => {} },
    onSubmit: () => {},
  };
  calls = new DirectCalls(deps as unknown as DirectCallsDeps);
});
afterEach(() => {
  vi.useRealTimers();
});

const call = async (changes: Partial<Call['payload']> = {}): Promise<string | undefined> => {
  const answer = calls.answer({ ...CALL, payload: { ...CALL.payload, ...changes } }, { timeoutMs: 30_000 });
  await vi.advanceTimersByTimeAsync(1000);
  return (await answer)?.id;
};
/** One call a second; @returns the seconds in which a worker was asked */
const askedIn = async (seconds: number): Promise<number[]> => {
  const at: number[] = [];
  for (let second = 0; second < seconds; second++) {
    const before = asked.length;
    await call();
    if (asked.length > before) at.push(second);
  }
  return at;
};

test('an answer is a job of the queue that it would have been in', async () => {
  workers = { w: 'labels' };
  expect(parseJobId((await call())!)).toMatchObject({ priority: 'normal', model: 'm' });
});

test('workers are asked in turn', async () => {
  workers = { a: 'labels', b: 'labels', c: 'labels' };
  await askedIn(6);
  expect([...asked].sort()).toEqual(['a', 'a', 'b', 'b', 'c', 'c']);
});

describe('a call that gets no answer', () => {
  test.each([['silence'], ['not heard']] as const)(
    'because of %s: the worker is asked ever less often',
    async (answer) => {
      workers = { w: answer };
      const [first, second, third, ...others] = await askedIn(1000);
      expect(first).toBe(0);
      expect(second! - first!).toBeLessThan(10);
      expect(third! - second!).toBeGreaterThan(second! - first!);
      expect(others.length).toBeLessThan(8);
      expect(canceled).toHaveLength(asked.length);
    },
  );

  test('because the worker has no room: it is asked again soon, and nothing is canceled', async () => {
    workers = { w: 'refusal' };
    expect(await askedIn(5)).toEqual([0, 1, 2, 3, 4]);
    expect(canceled).toEqual([]);
  });

  test('is not a reason to leave others unasked', async () => {
    workers = { silent: 'silence', live: 'labels' };
    await askedIn(10);
    expect(asked.filter((worker) => worker === 'live').length).toBeGreaterThan(7);
  });

  test('does not count once the worker has answered', async () => {
    workers = { w: 'silence' };
    await askedIn(100);
    workers = { w: 'labels' };
    await askedIn(400);
    workers = { w: 'silence' };
    asked = [];
    const [first, second] = await askedIn(20);
    expect(second! - first!).toBeLessThan(10);
  });
});

test.each([
  ['nine texts', { texts: Array.from({ length: 9 }, () => ({ text: 'x' })) }],
  ['a long text', { texts: [{ text: 'x'.repeat(16_385) }] }],
])('%s: nobody is asked', async (_, changes) => {
  workers = { w: 'labels' };
  expect(await call(changes)).toBeUndefined();
  expect(asked).toEqual([]);
});

test('no live worker: nobody is asked', async () => {
  workers = {};
  expect(await call()).toBeUndefined();
});
