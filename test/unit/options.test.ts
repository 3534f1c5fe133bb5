/** Whether a threshold fits the model that is asked, and what workers of each version understand. */
import { expect, test } from 'vitest';
import {
  OPTIONS_GENERATION,
  optionsOfGeneration,
  topKOf,
  unfitThreshold,
  type AnsweringModel,
  type ApplyFunction,
  type Threshold,
} from '../../src/shared/contract/options.ts';

const model: AnsweringModel = {
  labels: ['joy', 'anger', 'fear', 'love', 'grief', 'pride'],
  function_to_apply: 'sigmoid',
  thresholds: { joy: 0.3, anger: 0.4, fear: 0.5, love: 0.5, grief: 0.1, pride: 0.1 },
};
const without: AnsweringModel = { ...model, thresholds: null };
const raw: AnsweringModel = { labels: ['stars'], function_to_apply: 'none' };

test.each<[Threshold, ApplyFunction | undefined, AnsweringModel, string | undefined]>([
  [0.5, undefined, model, undefined],
  [0, 'softmax', model, undefined],
  [{ joy: 1 }, undefined, model, undefined],
  ['model', undefined, model, undefined],
  ['model', 'sigmoid', model, undefined],
  ['model', undefined, {}, undefined],
  [7, undefined, {}, undefined],
  [{ rage: 7 }, undefined, {}, undefined],
  [-3.5, 'none', model, undefined],
  [3.5, undefined, raw, undefined],
  ['model', undefined, without, "asks for the model's own thresholds, but it has none"],
  [
    'model',
    'none',
    model,
    'is "model", whose thresholds are for the scores of sigmoid: leave out function_to_apply',
  ],
  [1.01, undefined, model, 'has 1.01, which is not within 0 and 1, as the scores of sigmoid are'],
  [-0.1, 'softmax', {}, undefined],
  [-0.1, 'softmax', raw, 'has -0.1, which is not within 0 and 1, as the scores of softmax are'],
  [{ joy: 0.5, fear: 2 }, undefined, model, 'has 2, which is not within 0 and 1'],
  [
    { rage: 0.5 },
    undefined,
    model,
    'names "rage", which is no label of the model; it has joy, anger, fear, love, grief, … (6)',
  ],
  [{ toString: 0.5 }, undefined, raw, 'names "toString", which is no label of the model; it has stars'],
])('threshold %j with function %s', (threshold, apply, asked, problem) => {
  const unfit = unfitThreshold({ threshold, apply }, asked);
  if (problem === undefined) expect(unfit).toBeUndefined();
  else expect(unfit).toContain(problem);
});

test('without top_k a request gets the best label, or all that reach its threshold', () => {
  expect(topKOf(undefined, undefined)).toBe(1);
  expect(topKOf(undefined, 0.5)).toBe(null);
  expect(topKOf(2, 0.5)).toBe(2);
  expect(topKOf(null, undefined)).toBe(null);
});

test('a worker understands the options of its generation and of those before', () => {
  expect(optionsOfGeneration(0)).toEqual(['top_k']);
  expect(optionsOfGeneration(OPTIONS_GENERATION)).toEqual(['top_k', 'function_to_apply', 'threshold']);
  // Of a version to come.
  expect(optionsOfGeneration(99)).toEqual(optionsOfGeneration(OPTIONS_GENERATION));
});
