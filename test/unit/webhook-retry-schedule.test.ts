import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { attemptOutcomes } from '../../src/shared/contract/webhooks.ts';
import { loadConfig } from '../../src/shared/runtime/config.ts';
import { scheduleMs } from '../../src/shared/store/deliveries/retry-window.ts';
import { parseRetryAfter, retryDelayMs } from '../../src/worker/webhooks/retry-schedule.ts';
import { fuzz } from '../support/inputs/fuzz.ts';

const DAY_S = 86_400;
/** Neither early nor late. */
const MIDDLE = 0.5;
const failed = { outcome: 'server_error' } as const;

describe('the schedule', () => {
  test('has ten attempts within three days by default', () => {
    const { WEBHOOK_RETRY_S: schedule } = loadConfig({});
    const delays = Array.from({ length: 10 }, (_, i) => retryDelayMs(schedule, i + 1, failed, MIDDLE));
    const minutes = [5 / 60, 5, 30, 120, 300, 600, 840, 1200, 1440].map((m) => m * 60_000);
    expect(delays).toEqual([...minutes, undefined]);
    expect(scheduleMs(schedule)).toBeCloseTo(1.2 * minutes.reduce((sum, ms) => sum + ms, 0));
  });

  test('without delays has one attempt', () => {
    expect(retryDelayMs([], 1, failed)).toBeUndefined();
    expect(scheduleMs([])).toBe(0);
  });

  test.each(attemptOutcomes.filter((outcome) => outcome !== 'delivered' && outcome !== 'gone'))(
    'goes on after: %s',
    (outcome) => {
      expect(retryDelayMs([7], 1, { outcome }, MIDDLE)).toBe(7000);
    },
  );

  test('ends after 410, whatever else the response says', () => {
    expect(retryDelayMs([7, 7], 1, { outcome: 'gone', retryAfterS: 5 })).toBeUndefined();
  });

  test('is randomised by up to a fifth, over the whole range', () => {
    expect(retryDelayMs([10], 1, failed, 0)).toBe(8000);
    expect(retryDelayMs([10], 1, failed, 1 - Number.EPSILON)).toBeCloseTo(12_000);
    const drawn = Array.from({ length: 1000 }, () => retryDelayMs([10], 1, failed)!);
    expect(Math.min(...drawn)).toBeGreaterThanOrEqual(8000);
    expect(Math.max(...drawn)).toBeLessThan(12_000);
    expect(Math.max(...drawn) - Math.min(...drawn)).toBeGreaterThan(3000);
  });

  test('random schedules and Retry-After: never sooner than planned, never later than a day or the plan', () => {
    const schedules = fc.array(fc.double({ min: 0, max: 30 * DAY_S, noNaN: true }), { maxLength: 20 });
    const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
    const retryAfterS = fc.option(fc.double({ min: 0, max: DAY_S, noNaN: true }), { nil: undefined });
    fc.assert(
      fc.property(
        schedules,
        fc.integer({ min: 1, max: 25 }),
        random,
        retryAfterS,
        (schedule, n, r, after) => {
          const delay = retryDelayMs(schedule, n, { outcome: 'throttled', retryAfterS: after }, r);
          expect(delay === undefined).toBe(n > schedule.length);
          if (delay === undefined) return;
          const planned = 1000 * schedule[n - 1]!;
          const asked = 1000 * Math.min(after ?? 0, DAY_S);
          // Rounding apart.
          const tolerance = 1e-3;
          expect(delay).toBeGreaterThanOrEqual(Math.max(0.8 * planned - tolerance, asked));
          expect(delay).toBeLessThanOrEqual(Math.max(1.2 * planned + tolerance, asked));
        },
      ),
      fuzz(300),
    );
  });

  test('its length is the sum of the longest delays', () => {
    const schedule = [5, 300, 0.25];
    const slowest = schedule.map((_, i) => retryDelayMs(schedule, i + 1, failed, 1)!);
    expect(scheduleMs(schedule)).toBeCloseTo(slowest.reduce((sum, ms) => sum + ms, 0));
  });
});

describe('Retry-After', () => {
  const NOW = Date.UTC(1994, 10, 6, 8, 49, 7);

  test.each<[string | undefined, number | undefined]>([
    ['0', 0],
    ['120', 120],
    ['  7 ', 7],
    ['0030', 30],
    ['1.5', 1.5],
    // The three forms of a date in HTTP, each half a minute ahead.
    ['Sun, 06 Nov 1994 08:49:37 GMT', 30],
    ['Sun, 06 Nov 1994 10:49:37 +0200', 30],
    ['Sunday, 06-Nov-94 08:49:37 GMT', 30],
    ['Sun Nov  6 08:49:37 1994', 30],
    ['Sat, 05 Nov 1994 08:49:37 GMT', 0],
    ['Thu, 01 Jan 1970 00:00:00 GMT', 0],
    ['Mon, 07 Nov 1994 08:49:07 GMT', DAY_S],
    [undefined, undefined],
    ['', undefined],
    ['-1', undefined],
    ['+5', undefined],
    ['1e3', undefined],
    ['0x10', undefined],
    ['5 minutes', undefined],
    ['3600s', undefined],
    ['1,2', undefined],
    ['2030-01-01', undefined],
    ['not before 3000', undefined],
    ['Someday, 06 Nov 3000 08:49:37 GMT', undefined],
    ['Sun, 99 Nov 1994 08:49:37 GMT', undefined],
    ['NaN', undefined],
    ['Infinity', undefined],
  ])('%j', (header, seconds) => expect(parseRetryAfter(header, NOW)).toBe(seconds));

  test.each(['9'.repeat(20), '9'.repeat(400), 'Fri, 31 Dec 9999 23:59:59 GMT'])(
    '%s counts as a day',
    (header) => {
      const retryAfterS = parseRetryAfter(header, NOW);
      expect(retryDelayMs([5], 1, { outcome: 'throttled', retryAfterS })).toBe(DAY_S * 1000);
    },
  );

  test('any string gives seconds or undefined', () => {
    fc.assert(
      fc.property(fc.string(), (header) => {
        const seconds = parseRetryAfter(header, NOW);
        expect(seconds === undefined || seconds >= 0).toBe(true);
      }),
      fuzz(300),
    );
  });
});
