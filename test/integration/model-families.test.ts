/**
 * Every kind of model that docs/models.md names starts in a model process and classifies: what a worker does with a folder,
 * without the queue.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadConfig } from '../../src/shared/runtime/config.ts';
import { Batcher } from '../../src/worker/inference/batcher.ts';
import { Classifier, type TextRow } from '../../src/worker/inference/classifier.ts';
import { Engine } from '../../src/worker/inference/engine.ts';
import { optionsOf } from '../../src/worker/inference/engine-pool.ts';
import { labelsOf, readModelFolder } from '../../src/worker/inference/model-folder.ts';
import { Model } from '../../src/worker/inference/model.ts';
import type { LoadMessage } from '../../src/worker/inference/protocol.ts';
import { TextTokenizer } from '../../src/worker/inference/tokenizer.ts';
import {
  goldenOf,
  goldenTexts,
  modelFolder,
  named,
  scoreTolerance,
  tinyModels,
} from '../support/models/goldens.ts';

const THREE = ['negative', 'neutral', 'positive'];
const EMOTIONS = ['anger', 'disgust', 'fear', 'joy', 'sadness', 'surprise'];
const STARS = ['1 star', '2 stars', '3 stars', '4 stars', '5 stars'];

/** Labels in the order of the outputs, and how logits become scores. */
const MODELS: Record<string, [string[], 'softmax' | 'sigmoid' | 'none']> = {
  'bert-uncased': [THREE, 'softmax'],
  'distilbert-cased': [STARS, 'softmax'],
  roberta: [EMOTIONS, 'sigmoid'],
  'xlm-roberta': [THREE, 'softmax'],
  'multi-label': [EMOTIONS, 'sigmoid'],
  'one-logit': [['spam'], 'sigmoid'],
  regression: [['stars'], 'none'],
  'labels-150': [Array.from({ length: 150 }, (_, i) => `intent ${i}`), 'softmax'],
  'labels-unnamed': [['LABEL_0', 'LABEL_1'], 'softmax'],
  'labels-partly-named': [['LABEL_0', 'neutral', 'LABEL_2'], 'softmax'],
  'int32-inputs': [THREE, 'softmax'],
  'fp16-output': [THREE, 'softmax'],
  fp16: [THREE, 'softmax'],
  int8: [THREE, 'softmax'],
  'external-data': [THREE, 'softmax'],
  'bag-of-ngrams': [THREE, 'softmax'],
};

const readConfig = (name: string) =>
  JSON.parse(readFileSync(path.join(modelFolder(name), 'config.json'), 'utf8')) as object;

let engine: Engine | undefined;
afterEach(() => engine?.stop());

/** What a worker makes of a folder. */
async function serve(folder: string): Promise<{ classifier: Classifier; labels: string[]; apply: string }> {
  const model = readModelFolder(folder, undefined);
  const started = await Engine.start({
    ...optionsOf(model, loadConfig({})),
    logger: pino({ level: 'silent' }),
    onGiveUp: () => {},
  });
  engine = started;
  const { labels, apply } = labelsOf(model, started.graph?.output.width ?? 0);
  const batcher = new Batcher<TextRow, Float32Array>({
    run: (rows) => started.run(rows.map(({ encoded }) => encoded)),
    budgets: { interactive: 1024, low: 1024, bulk: 1024 },
  });
  const tokenizer = new TextTokenizer(model.folder, model.maxTokens);
  const { maxTokens } = model;
  // Python has scores for every text.
  const unreadable = 'classify';
  const classifier = new Classifier({ tokenizer, batcher, labels, apply, maxTokens, unreadable });
  return { classifier, labels, apply };
}

/** Scores by label, and whether the text was cut. */
async function classify(classifier: Classifier, text: string) {
  const options = { top_k: null, truncate: 'right' } as const;
  const row = await classifier.classify({ text }, options, 'interactive', new AbortController().signal);
  if ('error' in row) throw new Error(row.error.message);
  const scores = Object.fromEntries((row.labels ?? []).map(({ label, score }) => [label, score]));
  return { scores, truncated: row.truncated };
}

test('every tiny model is tested below', () => {
  expect(Object.keys(MODELS).sort()).toEqual(tinyModels());
});

describe.each(Object.entries(MODELS))('%s', (name, [labels, apply]) => {
  test('starts, and gives each text labels and scores, also one longer than the limit', async () => {
    const served = await serve(modelFolder(name));
    expect(served).toMatchObject({ labels, apply });
    const golden = goldenOf(name);
    const tolerance = scoreTolerance(name);
    const rows = golden.rows.filter(({ text }) => text % 12 === 0);
    const cut = new Set<boolean>();
    for (const { text: index, ids, scores: expected } of rows) {
      const text = goldenTexts.texts[index]!;
      const { scores, truncated } = await classify(served.classifier, text);
      expect(Object.keys(scores).sort()).toEqual([...labels].sort());
      for (const [label, score] of expected) {
        expect(Math.abs(scores[label]! - score), named(index, text)).toBeLessThanOrEqual(tolerance.max);
      }
      expect(truncated, named(index, text)).toBe(
        (Array.isArray(ids) ? ids.length : ids.count) > golden.max_tokens,
      );
      cut.add(truncated);
    }
    expect(cut).toEqual(new Set([true, false]));
  });
});

describe('a batch of texts of different lengths', () => {
  // Not int8: its scales come from the whole batch, so a text's score depends on its neighbours (docs/models.md).
  test.each(Object.keys(MODELS).filter((name) => name !== 'int8'))(
    '%s: padding changes no score',
    async (name) => {
      const { classifier } = await serve(modelFolder(name));
      const rows = goldenOf(name).rows.filter(({ text }) => text % 24 === 0);
      const answers = await Promise.all(
        rows.map(({ text }) => classify(classifier, goldenTexts.texts[text]!)),
      );
      rows.forEach(({ text: index, scores: expected }, i) => {
        for (const [label, score] of expected) {
          const error = Math.abs(answers[i]!.scores[label]! - score);
          expect(error, named(index, goldenTexts.texts[index]!)).toBeLessThanOrEqual(1e-4);
        }
      });
    },
  );
});

describe('a user’s own folder', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'amulet-family-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  test('external weights are part of the revision', () => {
    cpSync(modelFolder('external-data'), folder, { recursive: true });
    const before = readModelFolder(folder, undefined).revision;
    expect(readModelFolder(folder, undefined).revision).toBe(before);
    writeFileSync(path.join(folder, 'onnx/model.onnx_data'), 'other weights');
    expect(readModelFolder(folder, undefined).revision).not.toBe(before);
  });

  test('missing external weights: one line, and no start', async () => {
    cpSync(modelFolder('external-data'), folder, { recursive: true });
    rmSync(path.join(folder, 'onnx/model.onnx_data'));
    await expect(serve(folder)).rejects.toThrow(/model\.onnx cannot be loaded: .*model\.onnx_data/);
  });

  test('config.json with more labels than the graph has outputs: no start', async () => {
    cpSync(modelFolder('one-logit'), folder, { recursive: true });
    writeFileSync(
      path.join(folder, 'config.json'),
      JSON.stringify({ ...readConfig('one-logit'), id2label: { 0: 'ham', 1: 'spam' } }),
    );
    await expect(serve(folder)).rejects.toThrow('config.json names 2 labels, but the graph has 1 outputs');
  });
});

test('the warm-up stays within the token limit: the graph fails with one token more', async () => {
  const { onnxFile, maxTokens } = readModelFolder(modelFolder('roberta'), undefined);
  const load: LoadMessage = { type: 'load', onnxFile, executionProviders: ['cpu'], intraOpThreads: 1 };
  const warm = await (await Model.load({ ...load, maxTokens })).warmUp();
  expect(warm.output.width).toBe(EMOTIONS.length);
  const model = await Model.load({ ...load, maxTokens: maxTokens + 1 });
  const tooLong = new Int32Array(maxTokens + 1).fill(5);
  await expect(
    model.run({ ids: tooLong, lengths: Int32Array.of(tooLong.length), typeIds: undefined }),
  ).rejects.toThrow(/indices element out of data bounds/);
});
