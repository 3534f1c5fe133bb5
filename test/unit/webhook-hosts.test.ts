import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Hosts, type Destination } from '../../src/worker/webhooks/host-limiter.ts';

const called: string[] = [];
const make = (options: Partial<ConstructorParameters<typeof Hosts>[0]> = {}) =>
  new Hosts({
    perHost: 8,
    total: 100,
    room: 100,
    call: (ids) => {
      called.push(...ids);
      return Promise.resolve();
    },
    ...options,
  });

/** A host, which is all that its owner has. */
const at = (host: string) => ({ owner: host, host });
/** A host of an owner who has others. */
const of = (owner: string, host: string) => ({ owner, host });

/** Enters `count` times. @returns what has become of each: admitted, waiting or full */
async function enter(hosts: Hosts, to: Destination | string, count: number): Promise<Record<string, number>> {
  const states = Array.from({ length: count }, (_, i) => {
    const state = { now: 'waiting' };
    const turn = hosts.enter(typeof to === 'string' ? at(to) : to, String(i));
    if (turn === undefined) state.now = 'full';
    else
      turn.then(
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
  called.length = 0;
});
afterEach(() => {
  vi.useRealTimers();
});

describe('places', () => {
  test('two at first, one more with every success, up to the limit', async () => {
    const hosts = make({ perHost: 4 });
    expect(await enter(hosts, 'a', 20)).toEqual({ admitted: 2, waiting: 18 });
    hosts.leave(at('a'), success);
    expect(hosts.waiting).toBe(16);
    for (let i = 0; i < 3; i++) hosts.leave(at('a'), success);
    // The second success opens the last place; behind that, one leaves and one enters.
    expect(hosts.waiting).toBe(12);
    hosts.leave(at('a'), success);
    expect(hosts.waiting).toBe(11);
  });

  test('in the order of arrival', async () => {
    const hosts = make({ perHost: 1 });
    const order: number[] = [];
    for (const i of [0, 1, 2]) void hosts.enter(at('a'), String(i))?.then(() => order.push(i));
    for (let i = 0; i < 3; i++) {
      await vi.advanceTimersByTimeAsync(0);
      hosts.leave(at('a'), success);
    }
    expect(order).toEqual([0, 1, 2]);
  });

  test('not more than the total at all hosts; a place that becomes free goes to any of them', async () => {
    const hosts = make({ total: 3 });
    expect(await enter(hosts, 'a', 2)).toEqual({ admitted: 2 });
    expect(await enter(hosts, 'b', 2)).toEqual({ admitted: 1, waiting: 1 });
    expect(await enter(hosts, 'c', 1)).toEqual({ waiting: 1 });
    hosts.leave(at('a'), success);
    // That of c, who has none.
    expect(hosts.waiting).toBe(1);
    hosts.leave(at('a'), success);
    hosts.leave(at('c'), success);
    expect(hosts.waiting).toBe(0);
  });
});

test('hosts that always have a line do not keep a third from its place', async () => {
  // All of one owner, who leaves one place free.
  const hosts = make({ perHost: 2, total: 5 });
  const admitted: Record<string, number> = { a: 0, b: 0, c: 0 };
  const add = (host: string) => void hosts.enter(of('x', host), '')?.then(() => (admitted[host]! += 1));
  for (const host of ['a', 'a', 'a', 'b', 'b', 'b', 'c', 'c', 'c']) add(host);
  await vi.advanceTimersByTimeAsync(0);
  expect(admitted).toEqual({ a: 2, b: 2, c: 0 });
  const left: Record<string, number> = { a: 0, b: 0, c: 0 };
  for (let round = 0; round < 30; round++) {
    for (const host of ['a', 'b', 'c']) {
      if (admitted[host] === left[host]) continue;
      left[host]! += 1;
      add(host);
      hosts.leave(of('x', host), success);
      await vi.advanceTimersByTimeAsync(0);
    }
  }
  for (const host of ['a', 'b', 'c']) expect(admitted[host]).toBeGreaterThan(20);
});

describe('a host that only fails', () => {
  async function broken(hosts: Hosts) {
    for (let i = 0; i < 3; i++) {
      await enter(hosts, 'a', 1);
      hosts.leave(at('a'), failure);
    }
  }

  test('has one place, with a pause behind every attempt that grows', async () => {
    const hosts = make();
    await broken(hosts);
    expect(hosts.failing).toBe(1);
    await enter(hosts, 'a', 20);
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
      hosts.leave(at('a'), failure);
    }
    expect(pauses.map((pause) => Math.round(pause / 50) * 50)).toEqual([
      100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5000,
    ]);
  });

  test('is used again with its first success', async () => {
    const hosts = make();
    await broken(hosts);
    await enter(hosts, 'a', 20);
    await vi.advanceTimersByTimeAsync(100);
    expect(hosts.waiting).toBe(19);
    hosts.leave(at('a'), success);
    expect(hosts.failing).toBe(0);
    expect(hosts.waiting).toBe(17);
  });

  test('attempts that were under way when it broke down make the pause no longer', async () => {
    const hosts = make();
    for (let i = 0; i < 6; i++) {
      await enter(hosts, 'a', 1);
      hosts.leave(at('a'), success);
    }
    expect(await enter(hosts, 'a', 8)).toEqual({ admitted: 8 });
    await vi.advanceTimersByTimeAsync(10);
    for (let i = 0; i < 8; i++) hosts.leave(at('a'), failure);
    await enter(hosts, 'a', 1);
    await vi.advanceTimersByTimeAsync(100);
    expect(hosts.waiting).toBe(0);
  });

  test('is not one that answers now and then', async () => {
    const hosts = make();
    for (let i = 0; i < 6; i++) {
      await enter(hosts, 'a', 1);
      hosts.leave(at('a'), success);
    }
    await enter(hosts, 'a', 100);
    for (let i = 0; i < 7; i++) hosts.leave(at('a'), failure);
    expect(hosts.failing).toBe(0);
    hosts.leave(at('a'), success);
    for (let i = 0; i < 7; i++) hosts.leave(at('a'), failure);
    expect(hosts.failing).toBe(0);
    hosts.leave(at('a'), failure);
    expect(hosts.failing).toBe(1);
  });

  test('keeps nothing from another', async () => {
    const hosts = make();
    await broken(hosts);
    await enter(hosts, 'a', 1000);
    expect(await enter(hosts, 'b', 2)).toEqual({ admitted: 2 });
  });
});

describe('the waiting room', () => {
  test('one line has a third of it, and there is always some left: for other hosts, and other owners', async () => {
    const hosts = make();
    expect(await enter(hosts, 'a', 1000)).toEqual({ admitted: 2, waiting: 34, full: 964 });
    expect(await enter(hosts, of('a', 'another'), 1000)).toEqual({ admitted: 2, waiting: 11, full: 987 });
    expect(await enter(hosts, 'b', 1000)).toEqual({ admitted: 2, waiting: 19, full: 979 });
    expect(hosts.isFull(at('a'))).toBe(true);
    expect(hosts.isFull(at('c'))).toBe(false);
  });

  test('those that found none are called when the line is short, once and in their order', async () => {
    const hosts = make({ perHost: 2, room: 300 });
    expect(await enter(hosts, 'a', 102)).toEqual({ admitted: 2, waiting: 100 });
    const ids = Array.from({ length: 300 }, (_, i) => `parked-${i}`);
    for (const id of ids) hosts.park(at('a'), id);
    expect(called).toEqual([]);
    for (let i = 0; i < 50; i++) hosts.leave(at('a'), success);
    expect(called).toEqual([]);
    hosts.leave(at('a'), success);
    expect(called).toEqual(ids.slice(0, 100));
    // They are given a moment to arrive.
    hosts.leave(at('a'), success);
    expect(called).toHaveLength(100);
    await vi.advanceTimersByTimeAsync(100);
    expect(called).toEqual(ids.slice(0, 200));
  });

  test('one that came by itself is not called', async () => {
    const hosts = make({ room: 2 });
    expect(await enter(hosts, 'a', 5)).toEqual({ admitted: 2, waiting: 1, full: 2 });
    hosts.park(at('a'), 'x');
    hosts.park(at('a'), 'y');
    void hosts.enter(at('a'), 'x');
    hosts.leave(at('a'), success);
    expect(called).toEqual(['y']);
  });

  test('goes on calling after a call that failed', async () => {
    let calls = 0;
    const hosts = make({
      room: 2,
      call: () => {
        calls++;
        return Promise.reject(new Error('Redis is away'));
      },
    });
    await enter(hosts, 'a', 3);
    hosts.park(at('a'), 'x');
    hosts.leave(at('a'), success);
    hosts.park(at('a'), 'y');
    await vi.advanceTimersByTimeAsync(100);
    expect(calls).toBe(2);
  });
});

describe('an owner', () => {
  /** Enters once at each of so many hosts of an owner. */
  async function enterEach(hosts: Hosts, owner: string, count: number): Promise<Record<string, number>> {
    const all: Record<string, number> = {};
    for (let i = 0; i < count; i++) {
      for (const [state, n] of Object.entries(await enter(hosts, of(owner, `host-${i}`), 1)))
        all[state] = (all[state] ?? 0) + n;
    }
    return all;
  }

  test('with a thousand hosts that hang leaves places and room for others, who need not wait for any of them', async () => {
    const hosts = make({ total: 500, room: 1000 });
    expect(await enterEach(hosts, 'a', 2000)).toEqual({ admitted: 400, waiting: 500, full: 1100 });
    expect(await enterEach(hosts, 'b', 50)).toEqual({ admitted: 50 });
    expect(await enterEach(hosts, 'c', 40)).toEqual({ admitted: 40 });
  });

  test('gets the share of one that needs it no more', async () => {
    const hosts = make({ total: 10, room: 1000 });
    expect(await enterEach(hosts, 'b', 4)).toEqual({ admitted: 4 });
    expect(await enterEach(hosts, 'a', 10)).toEqual({ admitted: 4, waiting: 6 });
    for (let i = 0; i < 4; i++) hosts.leave(of('b', `host-${i}`), success);
    expect(hosts.waiting).toBe(2);
  });

  test.each([1, 2, 3])(
    'may use a total of %i, but not keep the last place from an owner that has none',
    async (total) => {
      const hosts = make({ total });
      expect((await enterEach(hosts, 'a', 9)).admitted).toBe(Math.max(1, total - 1));
      const second = await enterEach(hosts, 'b', 1);
      expect(second).toEqual(total === 1 ? { waiting: 1 } : { admitted: 1 });
      hosts.leave(of('a', 'host-0'), success);
      expect(hosts.waiting).toBe(total === 1 ? 8 : 7);
    },
  );

  test('whose events a host refuses does not slow down those of others there', async () => {
    const hosts = make();
    for (let i = 0; i < 3; i++) {
      await enter(hosts, of('a', 'shared'), 1);
      hosts.leave(of('a', 'shared'), failure);
    }
    expect(await enter(hosts, of('a', 'shared'), 1)).toEqual({ waiting: 1 });
    expect(await enter(hosts, of('b', 'shared'), 2)).toEqual({ admitted: 2 });
  });

  test('that has parked as many as are remembered leaves memory for others', () => {
    const hosts = make({ room: 0 });
    for (let i = 0; i < 60_000; i++) hosts.park(of('a', `host-${i % 100}`), String(i));
    const parked = Array.from({ length: 100 }, (_, i) => hosts.parkedAt(of('a', `host-${i}`)));
    expect(parked.reduce((sum, each) => sum + each)).toBe(25_000);
    for (let i = 0; i < 100; i++) hosts.park(at('b'), String(i));
    expect(hosts.parkedAt(at('b'))).toBe(100);
  });
});

test('close() sends everybody away who waits, and whoever comes later', async () => {
  const hosts = make({ perHost: 1 });
  const reason = new Error('stopping');
  await hosts.enter(at('a'), '1');
  const waiting = expect(hosts.enter(at('a'), '2')).rejects.toBe(reason);
  hosts.close(reason);
  await waiting;
  await expect(hosts.enter(at('b'), '3')).rejects.toBe(reason);
  hosts.leave(at('a'), success);
  expect(hosts.waiting).toBe(0);
});
