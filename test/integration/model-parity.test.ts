/**
 * Tokens and scores are those of Transformers and ONNX Runtime in Python, for every kind of tokenizer and graph.
 *
 * The golden files hold what Python says; Python itself is not needed here.
 */
import { describe, expect, test } from 'vitest';
import { loadConfig } from '../../src/shared/runtime/config.ts';
import { optionsOf } from '../../src/worker/inference/engine-pool.ts';
import { labelsOf, readModelFolder } from '../../src/worker/inference/model-folder.ts';
import { Model } from '../../src/worker/inference/model.ts';
import { rankLabels, toScores } from '../../src/worker/inference/scores.ts';
import { TextTokenizer } from '../../src/worker/inference/tokenizer.ts';
import {
  compactIds,
  goldenOf,
  goldenTexts,
  modelFolder,
  named,
  scoreTolerance,
  tinyModels,
} from '../support/models/goldens.ts';

/** One of each kind of tokenizer: these are compared on all texts, the others on every twelfth. */
const FAMILIES = ['bert-uncased', 'distilbert-cased', 'roberta', 'xlm-roberta', 'sst2-minilm'];

const { texts, different } = goldenTexts;

test('the golden files have hundreds of texts for every family', () => {
  for (const family of FAMILIES) expect(goldenOf(family).rows).toHaveLength(texts.length);
  expect(texts.length).toBeGreaterThan(400);
});

describe.each([...tinyModels(), 'sst2-minilm'])('%s', (name) => {
  const golden = goldenOf(name);
  const folder = readModelFolder(modelFolder(name), undefined);

  test('reads as many tokens of a text', () => {
    expect(folder.maxTokens).toBe(golden.max_tokens);
  });

  test('has the same token ids', () => {
    const tokenizer = new TextTokenizer(folder.folder, Infinity);
    const wrong = golden.rows.flatMap(({ text: index, ids }) => {
      const text = texts[index]!;
      const ours = compactIds(tokenizer.encodeNow(text).ids, ids);
      return JSON.stringify(ours) === JSON.stringify(ids) ? [] : [{ text: named(index, text), ours, ids }];
    });
    expect(wrong).toEqual([]);
  });

  test('has the same scores', async () => {
    const tokenizer = new TextTokenizer(folder.folder, folder.maxTokens);
    const model = await Model.load({ type: 'load', ...optionsOf(folder, loadConfig({})).load });
    const { labels, apply } = labelsOf(folder, (await model.warmUp()).output.width);
    const tolerance = scoreTolerance(name);
    const wrong = [];
    let sum = 0;
    for (const { text: index, scores: expected } of golden.rows) {
      const { ids, typeIds } = tokenizer.encodeNow(texts[index]!);
      const { values } = await model.run({ ids, typeIds, lengths: Int32Array.of(ids.length) });
      const ranked = rankLabels(toScores(values, apply), labels, null);
      const scores = new Map(ranked.map(({ label, score }) => [label, score]));
      const error = Math.max(
        ...expected.map(([label, score]) => Math.abs((scores.get(label) ?? NaN) - score)),
      );
      sum += error;
      // NaN, for a label that is not there, is wrong, too.
      if (!(error <= tolerance.max))
        wrong.push({ text: named(index, texts[index]!), ranked: ranked.slice(0, 10), expected });
    }
    expect(wrong).toEqual([]);
    expect(sum / golden.rows.length).toBeLessThanOrEqual(tolerance.mean);
  });
});

/** Texts of which JavaScript's Unicode tables, which are newer, or its white space would make other tokens. */
describe('Unicode is that of Python', () => {
  test.each(FAMILIES)('%s: characters newer than its tables, and U+0085', (family) => {
    const tokenizer = new TextTokenizer(modelFolder(family), Infinity);
    expect(different.map((text) => [...tokenizer.encodeNow(text).ids])).toEqual(goldenOf(family).different);
  });
});
