import fc from 'fast-check';
import { expect, test } from 'vitest';
import { newGroupId, newJobId, parseJobId } from '../../src/shared/contract/ids.ts';
import { NAME } from '../../src/shared/contract/names.ts';

test('ids carry model, priority and time, and sort by time', () => {
  const before = Date.now();
  const ids = Array.from({ length: 100 }, (_, i) =>
    newJobId(newGroupId(i % 2 ? 'low' : 'normal', 'my-model.v2')),
  );
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

test('the time is the first 12 digits, the group the first 22', () => {
  expect(parseJobId('019aaf3c5e7b7c3b9d0e5f1a2b3c4d5e-n-sst2-minilm')).toEqual({
    priority: 'normal',
    model: 'sst2-minilm',
    group: '019aaf3c5e7b7c3b9d0e5f-n-sst2-minilm',
    createdAt: 0x019aaf3c5e7b,
  });
});

test('any model name that a setting may hold comes back', () => {
  const names = fc.stringMatching(NAME);
  fc.assert(
    fc.property(names, fc.constantFrom('normal' as const, 'low' as const), (model, priority) => {
      expect(parseJobId(newJobId(newGroupId(priority, model)))).toMatchObject({ model, priority });
    }),
  );
});

test('a model name has at most 63 characters', () => {
  const id = (model: string) => `${'0'.repeat(32)}-n-${model}`;
  expect(parseJobId(id('x'.repeat(63)))?.model).toHaveLength(63);
  expect(parseJobId(id('x'.repeat(64)))).toBeUndefined();
  expect(parseJobId(id('-x'))).toBeUndefined();
  expect(parseJobId('A'.repeat(32) + '-n-x')).toBeUndefined();
});

test('the jobs of a group differ in their last ten digits only', () => {
  const group = newGroupId('normal', 'm');
  const ids = Array.from({ length: 16 }, () => newJobId(group));
  expect(new Set(ids).size).toBe(16);
  for (const id of ids) expect(parseJobId(id)?.group).toBe(group);
});
