import { expect, test } from 'vitest';
import { newJobId, parseJobId } from '../../src/shared/ids.ts';

test('ids carry model, priority and time, and sort by time', () => {
  const before = Date.now();
  const ids = Array.from({ length: 100 }, (_, i) => newJobId(i % 2 ? 'low' : 'normal', 'my-model.v2'));
  const parts = parseJobId(ids[1]!)!;
  expect(parts).toMatchObject({ priority: 'low', model: 'my-model.v2' });
  expect(parts.createdAt).toBeGreaterThanOrEqual(before);
  expect(parts.createdAt).toBeLessThanOrEqual(Date.now());
  expect(new Set(ids).size).toBe(100);
  expect(ids.map((id) => id.slice(0, 12))).toEqual(ids.map((id) => id.slice(0, 12)).sort());
});

test.each([
  '',
  '42',
  `${'0'.repeat(32)}-x-m`,
  `${'0'.repeat(32)}-n-`,
  `${'g'.repeat(32)}-n-m`,
  `${'0'.repeat(32)}-n-a:b`,
  `${'0'.repeat(32)}-n-a\n`,
])('%j is not an id', (id) => expect(parseJobId(id)).toBeUndefined());
