import { expect, test } from 'vitest';
import { rankLabels, toScores } from '../../src/worker/inference/scores.ts';

test('softmax sums to 1, is not moved by a shift, and survives huge logits', () => {
  const scores = toScores(Float32Array.of(1, 2, 3), 'softmax');
  expect(scores.reduce((a, b) => a + b)).toBeCloseTo(1, 12);
  expect(scores[2]! / scores[1]!).toBeCloseTo(Math.E, 6);
  expect(toScores(Float32Array.of(10_001, 10_002, 10_003), 'softmax')).toEqual(scores);
  expect(toScores(Float32Array.of(-1e4, 1e4), 'softmax')).toEqual([0, 1]);
});

test('sigmoid scores every label by itself; none leaves logits alone', () => {
  expect(toScores(Float32Array.of(0, 100, -1000), 'sigmoid')).toEqual([0.5, 1, 0]);
  expect(toScores(Float32Array.of(-1.5, 2), 'none')).toEqual([-1.5, 2]);
});

test('labels are ranked; ties keep their order; top_k beyond their number gives all', () => {
  const labels = ['a', 'b', 'c'];
  expect(rankLabels([0.2, 0.6, 0.2], labels, null).map(({ label }) => label)).toEqual(['b', 'a', 'c']);
  expect(rankLabels([0.2, 0.6, 0.2], labels, 1)).toEqual([{ label: 'b', score: 0.6 }]);
  expect(rankLabels([0.2, 0.6, 0.2], labels, 99)).toHaveLength(3);
});

test('an index beyond the labels is LABEL_n', () => {
  expect(rankLabels([0.1, 0.9], ['a'], 1)).toEqual([{ label: 'LABEL_1', score: 0.9 }]);
});
