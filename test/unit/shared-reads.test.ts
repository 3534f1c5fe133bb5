/** SharedReads: concurrent callers of one key share a read, and few reads run at once. */
import { expect, test } from 'vitest';
import { SharedReads } from '../../src/api/jobs/shared-reads.ts';

/** Reads that end when the test says so, and the list of those that have started. */
function held() {
  const begun: { key: string; end: (value: string) => void; fail: (error: Error) => void }[] = [];
  const reads = new SharedReads((key) => {
    const { promise, resolve: end, reject: fail } = Promise.withResolvers<string>();
    begun.push({ key, end, fail });
    return promise;
  });
  return { reads, begun };
}
const settled = () => new Promise((resolve) => setImmediate(resolve));

test('callers before the start of a read share it; later callers share the next one', async () => {
  const { reads, begun } = held();
  const first = [reads.read('a'), reads.read('a'), reads.read('a')];
  await settled();
  expect(begun).toHaveLength(1);
  // A change after the start of the first read must be seen.
  const second = [reads.read('a'), reads.read('a')];
  await settled();
  expect(begun).toHaveLength(1);
  begun[0]!.end('before');
  expect(await Promise.all(first)).toEqual(['before', 'before', 'before']);
  await settled();
  expect(begun).toHaveLength(2);
  begun[1]!.end('after');
  expect(await Promise.all(second)).toEqual(['after', 'after']);
});

test('an error reaches every caller of its read, and no later caller', async () => {
  const { reads, begun } = held();
  const first = [reads.read('a'), reads.read('a')];
  await settled();
  const second = reads.read('a');
  begun[0]!.fail(new Error('away'));
  expect((await Promise.allSettled(first)).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  await settled();
  begun[1]!.end('back');
  expect(await second).toBe('back');
});

test('at most sixteen reads run at once; the others follow in order', async () => {
  const { reads, begun } = held();
  const all = Array.from({ length: 40 }, (_, i) => reads.read(String(i)));
  for (let ended = 0; ended < 40; ended++) {
    await settled();
    expect(begun.length).toBe(Math.min(40, ended + 16));
    begun[ended]!.end('');
  }
  await Promise.all(all);
  expect(begun.map(({ key }) => Number(key))).toEqual(Array.from({ length: 40 }, (_, i) => i));
});
