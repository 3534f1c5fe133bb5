import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { HostLimiter, type Destination } from '../../src/worker/webhooks/host-limiter.ts';

const resumed: string[] = [];
const make = (options: Partial<ConstructorParameters<typeof HostLimiter>[0]> = {}) =>
  new HostLimiter({
    perHost: 8,
    total: 100,
    queueLimit: 100,
    resume: (ids) => {
      resumed.push(...ids);
      return Promise.resolve();
    },
    ...options,
  });

/** A host, which is all that its owner has. */
const at = (host: string) => ({ owner: host, host });
/** A host of an owner who has others. */
const of = (owner: string, host: string) => ({ owner, host });

/** Asks for `count` slots. @returns how many requests were admitted, are waiting, or found the queue full */
async function acquire(
  hosts: HostLimiter,
  to: Destination | string,
  count: number,
): Promise<Record<string, number>> {
  const states = Array.from({ length: count }, (_, i) => {
    const state = { now: 'waiting' };
    const slot = hosts.acquire(typeof to === 'string' ? at(to) : to, String(i));
    if (slot === undefined) state.now = 'full';
    else
      slot.then(
        () => (state.now = 'admitted'),
        () => (state.now = 'refused'),
      );
    return state;
  });
  await vi.advanceTimersByTimeAsync(0);
  return countBy(states.map(({ now }) => now));
}

function countBy(words: string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1;
  return counts;
}

const success = { ms: 10, success: true };
const failure = { ms: 10, success: false };

beforeEach(() => {
  vi.useFakeTimers();
  resumed.length = 0;
});
afterEach(() => {
  vi.useRealTimers();
});

describe('slots', () => {
  test('start at two, and grow by one with every success up to the limit', async () => {
    const hosts = make({ perHost: 4 });
    expect(await acquire(hosts, 'a', 20)).toEqual({ admitted: 2, waiting: 18 });
    hosts.release(at('a'), success);
    expect(hosts.waiting).toBe(16);
    for (let i = 0; i < 3; i++) hosts.release(at('a'), success);
    // The second success opens the last slot; after that, one delivery goes in for each that ends.
    expect(hosts.waiting).toBe(12);
    hosts.release(at('a'), success);
    expect(hosts.waiting).toBe(11);
  });

  test('are given out in the order of arrival', async () => {
    const hosts = make({ perHost: 1 });
    const order: number[] = [];
    for (const i of [0, 1, 2]) void hosts.acquire(at('a'), String(i))?.then(() => order.push(i));
    for (let i = 0; i < 3; i++) {
      await vi.advanceTimersByTimeAsync(0);
      hosts.release(at('a'), success);
    }
    expect(order).toEqual([0, 1, 2]);
  });

  test('never exceed the total of all hosts; a released slot goes to any host', async () => {
    const hosts = make({ total: 3 });
    expect(await acquire(hosts, 'a', 2)).toEqual({ admitted: 2 });
    expect(await acquire(hosts, 'b', 2)).toEqual({ admitted: 1, waiting: 1 });
    expect(await acquire(hosts, 'c', 1)).toEqual({ waiting: 1 });
    hosts.release(at('a'), success);
    // It went to c, which had none.
    expect(hosts.waiting).toBe(1);
    hosts.release(at('a'), success);
    hosts.release(at('c'), success);
    expect(hosts.waiting).toBe(0);
  });
});

test('hosts with queues that never empty do not starve a third host', async () => {
  // All of one owner, who leaves one slot free.
  const hosts = make({ perHost: 2, total: 5 });
  const admitted: Record<string, number> = { a: 0, b: 0, c: 0 };
  const add = (host: string) => void hosts.acquire(of('x', host), '')?.then(() => (admitted[host]! += 1));
  for (const host of ['a', 'a', 'a', 'b', 'b', 'b', 'c', 'c', 'c']) add(host);
  await vi.advanceTimersByTimeAsync(0);
  expect(admitted).toEqual({ a: 2, b: 2, c: 0 });
  const left: Record<string, number> = { a: 0, b: 0, c: 0 };
  for (let round = 0; round < 30; round++) {
    for (const host of ['a', 'b', 'c']) {
      if (admitted[host] === left[host]) continue;
      left[host]! += 1;
      add(host);
      hosts.release(of('x', host), success);
      await vi.advanceTimersByTimeAsync(0);
    }
  }
  for (const host of ['a', 'b', 'c']) expect(admitted[host]).toBeGreaterThan(20);
});

describe('a host that only fails', () => {
  async function broken(hosts: HostLimiter) {
    for (let i = 0; i < 3; i++) {
      await acquire(hosts, 'a', 1);
      hosts.release(at('a'), failure);
    }
  }

  test('has one slot, with a growing pause after every attempt', async () => {
    const hosts = make();
    await broken(hosts);
    expect(hosts.failing).toBe(1);
    await acquire(hosts, 'a', 20);
    expect(hosts.waiting).toBe(20);
    const pauses: number[] = [];
    for (let left = 19; left > 9; left--) {
      let pause = 0;
      while (hosts.waiting > left) {
        await vi.advanceTimersByTimeAsync(50);
        pause += 50;
      }
      pauses.push(pause);
      await vi.advanceTimersByTimeAsync(failure.ms);
      hosts.release(at('a'), failure);
    }
    expect(pauses.map((pause) => Math.round(pause / 50) * 50)).toEqual([
      100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5000,
    ]);
  });

  test('serves its queue after its pause, whenever the pause ends between two looks at the clock', async () => {
    for (let beforeMs = 0; beforeMs <= 10; beforeMs++) {
      const hosts = make();
      await broken(hosts);
      await vi.advanceTimersByTimeAsync(100 - beforeMs);
      const start = performance.now();
      let looks = 0;
      const clock = vi.spyOn(performance, 'now').mockImplementation(() => start + looks++);
      await acquire(hosts, 'a', 1);
      clock.mockRestore();
      await vi.advanceTimersByTimeAsync(100);
      expect({ beforeMs, waiting: hosts.waiting }).toEqual({ beforeMs, waiting: 0 });
    }
  });

  test('gets its slots back with its first success', async () => {
    const hosts = make();
    await broken(hosts);
    await acquire(hosts, 'a', 20);
    await vi.advanceTimersByTimeAsync(100);
    expect(hosts.waiting).toBe(19);
    hosts.release(at('a'), success);
    expect(hosts.failing).toBe(0);
    expect(hosts.waiting).toBe(17);
  });

  test('attempts already in flight when it broke down do not lengthen the pause', async () => {
    const hosts = make();
    for (let i = 0; i < 6; i++) {
      await acquire(hosts, 'a', 1);
      hosts.release(at('a'), success);
    }
    expect(await acquire(hosts, 'a', 8)).toEqual({ admitted: 8 });
    await vi.advanceTimersByTimeAsync(10);
    for (let i = 0; i < 8; i++) hosts.release(at('a'), failure);
    await acquire(hosts, 'a', 1);
    await vi.advanceTimersByTimeAsync(100);
    expect(hosts.waiting).toBe(0);
  });

  test('does not include a host that answers now and then', async () => {
    const hosts = make();
    for (let i = 0; i < 6; i++) {
      await acquire(hosts, 'a', 1);
      hosts.release(at('a'), success);
    }
    await acquire(hosts, 'a', 100);
    for (let i = 0; i < 7; i++) hosts.release(at('a'), failure);
    expect(hosts.failing).toBe(0);
    hosts.release(at('a'), success);
    for (let i = 0; i < 7; i++) hosts.release(at('a'), failure);
    expect(hosts.failing).toBe(0);
    hosts.release(at('a'), failure);
    expect(hosts.failing).toBe(1);
  });

  test('takes no slots from other hosts', async () => {
    const hosts = make();
    await broken(hosts);
    await acquire(hosts, 'a', 1000);
    expect(await acquire(hosts, 'b', 2)).toEqual({ admitted: 2 });
  });
});

describe('the queue', () => {
  test('of one host takes a third of the places at most: some are left for other hosts and other owners', async () => {
    const hosts = make();
    expect(await acquire(hosts, 'a', 1000)).toEqual({ admitted: 2, waiting: 34, full: 964 });
    expect(await acquire(hosts, of('a', 'another'), 1000)).toEqual({ admitted: 2, waiting: 11, full: 987 });
    expect(await acquire(hosts, 'b', 1000)).toEqual({ admitted: 2, waiting: 19, full: 979 });
    expect(hosts.isFull(at('a'))).toBe(true);
    expect(hosts.isFull(at('c'))).toBe(false);
  });

  test('has deferred deliveries resumed when it is short, once and in order', async () => {
    const hosts = make({ perHost: 2, queueLimit: 300 });
    expect(await acquire(hosts, 'a', 102)).toEqual({ admitted: 2, waiting: 100 });
    const ids = Array.from({ length: 300 }, (_, i) => `deferred-${i}`);
    for (const id of ids) hosts.defer(at('a'), id);
    expect(resumed).toEqual([]);
    for (let i = 0; i < 50; i++) hosts.release(at('a'), success);
    expect(resumed).toEqual([]);
    hosts.release(at('a'), success);
    expect(resumed).toEqual(ids.slice(0, 100));
    // The resumed ones get a moment to arrive.
    hosts.release(at('a'), success);
    expect(resumed).toHaveLength(100);
    await vi.advanceTimersByTimeAsync(100);
    expect(resumed).toEqual(ids.slice(0, 200));
  });

  test('a deferred delivery that arrives on its own is not resumed', async () => {
    const hosts = make({ queueLimit: 2 });
    expect(await acquire(hosts, 'a', 5)).toEqual({ admitted: 2, waiting: 1, full: 2 });
    hosts.defer(at('a'), 'x');
    hosts.defer(at('a'), 'y');
    void hosts.acquire(at('a'), 'x');
    hosts.release(at('a'), success);
    expect(resumed).toEqual(['y']);
  });

  test('deliveries are still resumed after resume() failed once', async () => {
    let resumes = 0;
    const hosts = make({
      queueLimit: 2,
      resume: () => {
        resumes++;
        return Promise.reject(new Error('Redis is away'));
      },
    });
    await acquire(hosts, 'a', 3);
    hosts.defer(at('a'), 'x');
    hosts.release(at('a'), success);
    hosts.defer(at('a'), 'y');
    await vi.advanceTimersByTimeAsync(100);
    expect(resumes).toBe(2);
  });
});

describe('an owner', () => {
  /** Asks for one slot at each of `count` hosts of an owner. */
  async function acquireEach(
    hosts: HostLimiter,
    owner: string,
    count: number,
  ): Promise<Record<string, number>> {
    const all: Record<string, number> = {};
    for (let i = 0; i < count; i++) {
      for (const [state, n] of Object.entries(await acquire(hosts, of(owner, `host-${i}`), 1)))
        all[state] = (all[state] ?? 0) + n;
    }
    return all;
  }

  test('with a thousand hosts that hang leaves slots and queue places for others, who wait for none of them', async () => {
    const hosts = make({ total: 500, queueLimit: 1000 });
    expect(await acquireEach(hosts, 'a', 2000)).toEqual({ admitted: 400, waiting: 500, full: 1100 });
    expect(await acquireEach(hosts, 'b', 50)).toEqual({ admitted: 50 });
    expect(await acquireEach(hosts, 'c', 40)).toEqual({ admitted: 40 });
  });

  test('gets the share that another owner no longer uses', async () => {
    const hosts = make({ total: 10, queueLimit: 1000 });
    expect(await acquireEach(hosts, 'b', 4)).toEqual({ admitted: 4 });
    expect(await acquireEach(hosts, 'a', 10)).toEqual({ admitted: 4, waiting: 6 });
    for (let i = 0; i < 4; i++) hosts.release(of('b', `host-${i}`), success);
    expect(hosts.waiting).toBe(2);
  });

  test.each([1, 2, 3])(
    'may use a total of %i, except the last slot, which is for an owner that has none',
    async (total) => {
      const hosts = make({ total });
      expect((await acquireEach(hosts, 'a', 9)).admitted).toBe(Math.max(1, total - 1));
      const second = await acquireEach(hosts, 'b', 1);
      expect(second).toEqual(total === 1 ? { waiting: 1 } : { admitted: 1 });
      hosts.release(of('a', 'host-0'), success);
      expect(hosts.waiting).toBe(total === 1 ? 8 : 7);
    },
  );

  test('whose events a host rejects does not slow down the events of others to that host', async () => {
    const hosts = make();
    for (let i = 0; i < 3; i++) {
      await acquire(hosts, of('a', 'shared'), 1);
      hosts.release(of('a', 'shared'), failure);
    }
    expect(await acquire(hosts, of('a', 'shared'), 1)).toEqual({ waiting: 1 });
    expect(await acquire(hosts, of('b', 'shared'), 2)).toEqual({ admitted: 2 });
  });

  test('with more deferred deliveries than are remembered leaves memory for others', () => {
    const hosts = make({ queueLimit: 0 });
    for (let i = 0; i < 60_000; i++) hosts.defer(of('a', `host-${i % 100}`), String(i));
    const deferred = Array.from({ length: 100 }, (_, i) => hosts.deferredAt(of('a', `host-${i}`)));
    expect(deferred.reduce((sum, each) => sum + each)).toBe(25_000);
    for (let i = 0; i < 100; i++) hosts.defer(at('b'), String(i));
    expect(hosts.deferredAt(at('b'))).toBe(100);
  });
});

test('close() rejects waiting deliveries and later ones', async () => {
  const hosts = make({ perHost: 1 });
  const reason = new Error('stopping');
  await hosts.acquire(at('a'), '1');
  const waiting = expect(hosts.acquire(at('a'), '2')).rejects.toBe(reason);
  hosts.close(reason);
  await waiting;
  await expect(hosts.acquire(at('b'), '3')).rejects.toBe(reason);
  hosts.release(at('a'), success);
  expect(hosts.waiting).toBe(0);
});
