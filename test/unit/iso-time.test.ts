/** Times of jobs as text. */
import { expect, test } from 'vitest';
import { isoTime } from '../../src/shared/contract/iso-time.ts';

const NOW = Date.UTC(2026, 10, 30, 23, 59, 59, 990);
const DAY_MS = 86_400_000;

test.each<[string, number[]]>([
  ['of one second, and over midnight', Array.from({ length: 20 }, (_, i) => NOW + i)],
  ['of parts of a ms', [NOW + 0.25, NOW + 9.999]],
  ['back and forth', [NOW, NOW + 1000, NOW, NOW - 1000, NOW + 5]],
  ['of other years', [0, 999, -1, -1000, DAY_MS * 365 * 80, Date.UTC(9999, 11, 31, 23, 59, 59, 999)]],
])('times %s are those of Date', (_, times) => {
  for (const time of times) expect(isoTime(time)).toBe(new Date(time).toISOString());
});

test('a time that is none is refused, and changes nothing', () => {
  expect(() => isoTime(NaN)).toThrow(RangeError);
  expect(isoTime(NOW)).toBe('2026-11-30T23:59:59.990Z');
});
