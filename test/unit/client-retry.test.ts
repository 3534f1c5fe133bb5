/** Retrying in the client: how long it waits, what it reports, and when it gives up. On a clock that the tests move. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { ApiError, ConnectionError } from '../../src/client/errors.ts';
import { backoffMs, GaveUpError, Retrier, type Retrying } from '../../src/client/retry.ts';

const NEVER = new AbortController().signal;
const refused = new ConnectionError('ECONNREFUSED', 'connection refused');
const unknownHost = new ConnectionError('ENOTFOUND', 'no such host');
/** The draw that makes every pause as long as planned. */
const MIDDLE = 0.5;

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, 'random').mockReturnValue(MIDDLE);
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** An attempt that fails with these errors in turn and then succeeds; `at` has the time of each attempt in ms. */
function attempts(...errors: Error[]) {
  const startedAt = Date.now();
  const at: number[] = [];
  return {
    at,
    attempt: () => {
      at.push(Date.now() - startedAt);
      const error = errors[at.length - 1];
      return error ? Promise.reject(error) : Promise.resolve('there');
    },
  };
}

const always = (error: Error) => attempts(...Array.from({ length: 100 }, () => error));

/** Lets the clock run until the promise has settled. */
async function settled<T>(promise: Promise<T>): Promise<PromiseSettledResult<T>> {
  const outcome = Promise.allSettled([promise]);
  await vi.runAllTimersAsync();
  return (await outcome)[0];
}

async function failure(promise: Promise<unknown>): Promise<unknown> {
  const outcome = await settled(promise);
  if (outcome.status === 'fulfilled') throw new Error('it succeeded');
  return outcome.reason;
}

describe('the pause', () => {
  test.each([
    [0, 400],
    [800, 400],
    [2000, 1000],
    [40_000, 20_000],
    [1e6, 20_000],
  ])('after %i ms of failures is about %i ms', (failingMs, pauseMs) => {
    expect(backoffMs(failingMs, MIDDLE)).toBe(pauseMs);
    expect(backoffMs(failingMs, 0)).toBeCloseTo((pauseMs * 2) / 3);
    expect(backoffMs(failingMs, 1)).toBeCloseTo((pauseMs * 4) / 3);
  });

  test('is random each time', () => {
    vi.mocked(Math.random).mockReturnValueOnce(0).mockReturnValueOnce(1);
    expect(backoffMs(3000)).toBeCloseTo(1000);
    expect(backoffMs(3000)).toBeCloseTo(2000);
  });

  test('grows while failures last', async () => {
    const { attempt, at } = attempts(...Array.from({ length: 5 }, () => refused));
    await settled(new Retrier({ retryTimeoutMs: 60_000, signal: NEVER }).run(attempt));
    expect(at).toEqual([0, 400, 800, 1200, 1800, 2700]);
  });

  test.each([
    ['shorter than the backoff', 0.1, 400],
    ['longer than the backoff', 1.2, 1200],
    ['an hour: five minutes are enough', 3600, 300_000],
  ])('follows Retry-After: %s', async (_, retryAfterS, pauseMs) => {
    const { attempt, at } = attempts(new ApiError(503, {}, retryAfterS));
    await settled(new Retrier({ retryTimeoutMs: 3_600_000, signal: NEVER }).run(attempt));
    expect(at).toEqual([0, pauseMs]);
  });
});

describe('a failure', () => {
  function retrier() {
    const reported: (Retrying | undefined)[] = [];
    return {
      reported,
      retrier: new Retrier({
        retryTimeoutMs: 60_000,
        signal: NEVER,
        onRetry: (retrying) => reported.push(retrying),
      }),
    };
  }

  test('is reported with every failure, and once when it is over', async () => {
    const { reported, retrier: shared } = retrier();
    const since = Date.now();
    const { attempt } = attempts(refused, new ApiError(503, { title: 'Busy', detail: 'wait' }));
    expect(await settled(shared.run(attempt))).toMatchObject({ value: 'there' });
    await settled(shared.run(attempt));
    expect(reported).toEqual([
      { reason: 'connection refused', since },
      { reason: '503 Busy', since },
      undefined,
    ]);
  });

  test('is not reported while everything works', async () => {
    const { reported, retrier: shared } = retrier();
    await settled(shared.run(attempts().attempt));
    expect(reported).toEqual([]);
  });

  test('starts a new period after a success', async () => {
    const { reported, retrier: shared } = retrier();
    await settled(shared.run(attempts(refused).attempt));
    vi.advanceTimersByTime(5000);
    const since = Date.now();
    await settled(shared.run(attempts(refused).attempt));
    expect(reported[2]).toEqual({ reason: 'connection refused', since });
  });
});

describe('gives up', () => {
  test('after the time limit without a success', async () => {
    const { attempt, at } = always(refused);
    const error = await failure(new Retrier({ retryTimeoutMs: 1000, signal: NEVER }).run(attempt));
    expect(error).toBeInstanceOf(GaveUpError);
    expect(error).toMatchObject({ name: 'GaveUpError', message: 'connection refused', cause: refused });
    // The last pause is as long as what is left.
    expect(at).toEqual([0, 400, 800, 1000]);
  });

  test('at once with a time limit of 0', async () => {
    const { attempt, at } = always(refused);
    expect(await failure(new Retrier({ retryTimeoutMs: 0, signal: NEVER }).run(attempt))).toBeInstanceOf(
      GaveUpError,
    );
    expect(at).toEqual([0]);
  });

  test('at its deadline, even before the time limit', async () => {
    const { attempt, at } = always(refused);
    const until = performance.now() + 500;
    expect(
      await failure(new Retrier({ retryTimeoutMs: 60_000, signal: NEVER, until }).run(attempt)),
    ).toBeInstanceOf(GaveUpError);
    expect(at).toEqual([0, 400, 500]);
  });

  test('later after a success in between', async () => {
    const retrier = new Retrier({ retryTimeoutMs: 1000, signal: NEVER });
    const { attempt, at } = always(refused);
    await failure(
      retrier.run(() => {
        if (at.length === 2) retrier.succeeded();
        return attempt();
      }),
    );
    expect(at).toEqual([0, 400, 800, 1200, 1600, 1800]);
  });

  test.each<[string, Error]>([
    ['a request that is not valid', new ApiError(422, { title: 'no' })],
    ['a certificate that has expired', new ConnectionError('CERT_HAS_EXPIRED', 'expired')],
    ['a bug', new TypeError('x is not a function')],
    ['a host name that was never known', unknownHost],
  ])('at once for %s, with that error', async (_, error) => {
    const { attempt, at } = always(error);
    expect(await failure(new Retrier({ retryTimeoutMs: 60_000, signal: NEVER }).run(attempt))).toBe(error);
    expect(at).toEqual([0]);
  });

  test('not for the name of a host that was reached before: the network is down', async () => {
    const retrier = new Retrier({ retryTimeoutMs: 60_000, signal: NEVER });
    await settled(retrier.run(attempts().attempt));
    const { attempt, at } = attempts(unknownHost);
    await settled(retrier.run(attempt));
    expect(at).toEqual([0, 400]);
  });

  test('not for a lost connection to a host that was never reached', async () => {
    const { attempt, at } = attempts(refused);
    await settled(new Retrier({ retryTimeoutMs: 60_000, signal: NEVER }).run(attempt));
    expect(at).toEqual([0, 400]);
  });
});

describe('a signal', () => {
  const reason = new Error('enough');

  test('ends a pause with its reason', async () => {
    const stop = new AbortController();
    setTimeout(() => stop.abort(reason), 30);
    const { attempt, at } = always(refused);
    expect(await failure(new Retrier({ retryTimeoutMs: 60_000, signal: stop.signal }).run(attempt))).toBe(
      reason,
    );
    expect(at).toEqual([0]);
  });

  test('aborted during an attempt replaces its failure', async () => {
    const stop = new AbortController();
    const retrier = new Retrier({ retryTimeoutMs: 60_000, signal: stop.signal });
    const failing = () => {
      stop.abort(reason);
      return Promise.reject(new ApiError(422, {}));
    };
    expect(await failure(retrier.run(failing))).toBe(reason);
  });

  test('of one call ends this call alone', async () => {
    const stop = new AbortController();
    const retrier = new Retrier({ retryTimeoutMs: 60_000, signal: NEVER });
    const one = always(refused);
    const other = attempts(refused, refused, refused);
    setTimeout(() => stop.abort(reason), 500);
    const [first, second] = await Promise.all([
      failure(retrier.run(one.attempt, stop.signal)),
      settled(retrier.run(other.attempt)),
    ]);
    expect([first, second]).toEqual([reason, { status: 'fulfilled', value: 'there' }]);
    expect(one.at).toEqual([0, 400]);
  });
});
