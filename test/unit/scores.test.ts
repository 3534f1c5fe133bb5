import fc from 'fast-check';
import { expect, test } from 'vitest';
import { rankLabels, toScores } from '../../src/worker/inference/scores.ts';

test('softmax sums to 1, is invariant to a shift, and handles huge logits', () => {
  const scores = toScores(Float32Array.of(1, 2, 3), 'softmax');
  expect(scores.reduce((a, b) => a + b)).toBeCloseTo(1, 12);
  expect(scores[2]! / scores[1]!).toBeCloseTo(Math.E, 6);
  expect(toScores(Float32Array.of(10_001, 10_002, 10_003), 'softmax')).toEqual(scores);
  expect(toScores(Float32Array.of(-1e4, 1e4), 'softmax')).toEqual([0, 1]);
});

test('sigmoid scores every label by itself; none returns the logits', () => {
  expect(toScores(Float32Array.of(0, 100, -1000), 'sigmoid')).toEqual([0.5, 1, 0]);
  expect(toScores(Float32Array.of(-1.5, 2), 'none')).toEqual([-1.5, 2]);
});

test('labels are ranked; ties keep their order; top_k beyond their number gives all', () => {
  const labels = ['a', 'b', 'c'];
  expect(rankLabels([0.2, 0.6, 0.2], labels, null).map(({ label }) => label)).toEqual(['b', 'a', 'c']);
  expect(rankLabels([0.2, 0.6, 0.2], labels, 1)).toEqual([{ label: 'b', score: 0.6 }]);
  expect(rankLabels([0.2, 0.6, 0.2], labels, 99)).toHaveLength(3);
});

test('the best label is the first of the ranking, and NaN is not hidden', () => {
  const scores = fc.array(fc.constantFrom(-Infinity, -1, 0, 0.25, 0.5), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(scores, (row) => {
      expect(rankLabels(row, [], 1)).toEqual(rankLabels(row, [], null).slice(0, 1));
    }),
  );
  expect(rankLabels([0.2, Number.NaN, 0.6], ['a', 'b', 'c'], 1)).toEqual([{ label: 'b', score: Number.NaN }]);
  expect(rankLabels([], [], 1)).toEqual([]);
});

test('an index beyond the labels is LABEL_n', () => {
  expect(rankLabels([0.1, 0.9], ['a'], 1)).toEqual([{ label: 'LABEL_1', score: 0.9 }]);
});

test.each([
  [Float32Array.of(1e4, -1e4), 'softmax', [1, 0]],
  [Float32Array.of(1e4, 1e4), 'softmax', [0.5, 0.5]],
  [Float32Array.of(-1e4, -1e4), 'softmax', [0.5, 0.5]],
  [Float32Array.of(7), 'softmax', [1]],
  [Float32Array.of(1e4, -1e4), 'sigmoid', [1, 0]],
  [Float32Array.of(1e4, -1e4), 'none', [1e4, -1e4]],
] as const)('%o under %s', (logits, apply, expected) => {
  expect(toScores(logits, apply)).toEqual(expected);
});

test('softmax is finite, within 0 and 1, and sums to 1 for logits up to 1e4', () => {
  const logits = fc.float32Array({ min: -1e4, max: 1e4, noNaN: true, minLength: 1, maxLength: 50 });
  fc.assert(
    fc.property(logits, (row) => {
      const scores = toScores(row, 'softmax');
      expect(scores.every((score) => score >= 0 && score <= 1)).toBe(true);
      expect(scores.reduce((a, b) => a + b)).toBeCloseTo(1, 9);
    }),
  );
});

test('a ranking is a stable sort, and changes neither scores nor labels', () => {
  const tied = fc.array(fc.constantFrom(0, 0.25, 0.5), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(tied, (scores) => {
      const labels = scores.map((_, i) => `L${i}`);
      const before = [...scores];
      const ranked = rankLabels(scores, labels, null);
      const expected = [0.5, 0.25, 0].flatMap((score) =>
        labels.filter((_, i) => scores[i] === score).map((label) => ({ label, score })),
      );
      expect(ranked).toEqual(expected);
      expect(scores).toEqual(before);
    }),
  );
});

test('softmax handles more labels than a function can have arguments', () => {
  expect(toScores(new Float32Array(200_000), 'softmax')[0]).toBeCloseTo(1 / 200_000, 12);
});
