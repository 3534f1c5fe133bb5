/**
 * Tokens are those of Python's tokenizers, for every part that a tokenizer.json may hold. The golden file says what Python
 * makes of the texts; Python itself is not needed here.
 */
import { rmSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { StartupError } from '../../src/shared/runtime/startup-error.ts';
import { Encoder } from '../../src/worker/inference/tokenizer/encoder.ts';
import { TextTokenizer } from '../../src/worker/inference/tokenizer.ts';
import { named } from '../support/models/goldens.ts';
import { tokenizerFolder, tokenizerGoldens, type Json } from '../support/models/tokenizer-goldens.ts';

const { texts, tokenizers, truncated, configured, rejected } = tokenizerGoldens;

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

function open(definition: Json, maxTokens: number, config?: Json): TextTokenizer {
  const folder = tokenizerFolder(definition, config);
  folders.push(folder);
  return new TextTokenizer(folder, maxTokens);
}

test.each(tokenizers)('$name', ({ definition, ids, types }) => {
  const tokenizer = open(definition, Infinity);
  const wrong = texts.flatMap((text, i) => {
    const encoded = tokenizer.encodeNow(text);
    const ours = { ids: [...encoded.ids], types: encoded.typeIds && [...encoded.typeIds] };
    const python = { ids: ids[i]!, types: types?.[i]!.some((type) => type !== 0) ? types[i]! : undefined };
    return JSON.stringify(ours) === JSON.stringify(python) ? [] : [{ text: named(i, text), ours, python }];
  });
  expect(wrong).toEqual([]);
});

test('the golden file has every supported type', () => {
  expect(tokenizers.length).toBeGreaterThan(250);
  expect(new Set(truncated.map(({ side }) => side))).toEqual(new Set(['left', 'right']));
  expect(rejected.length).toBeGreaterThan(100);
});

test.each(Object.entries(Object.groupBy(truncated, ({ tokenizer }) => tokenizer)))(
  'cut as Transformers does: %s',
  (name, rows) => {
    const { definition } = tokenizers.find((each) => each.name === name)!;
    for (const [limit, some] of Map.groupBy(rows!, ({ limit }) => limit)) {
      const tokenizer = open(definition, limit);
      for (const { side, text, ids } of some) {
        const encoded = tokenizer.encodeNow(texts[text]!, side);
        expect([...encoded.ids], named(text, texts[text]!)).toEqual(ids);
      }
    }
  },
);

test.each(configured)('$tokenizer with $config', ({ tokenizer: name, config, texts: indices, ids }) => {
  const { definition } = tokenizers.find((each) => each.name === name)!;
  const tokenizer = open(definition, Infinity, config);
  const wrong = indices.flatMap((index, i) => {
    const ours = [...tokenizer.encodeNow(texts[index]!).ids];
    return JSON.stringify(ours) === JSON.stringify(ids[i])
      ? []
      : [{ text: named(index, texts[index]!), ours, python: ids[i] }];
  });
  expect(wrong).toEqual([]);
});

test('a definition that Python does not load is rejected', () => {
  const accepted = rejected.filter(({ definition }) => {
    try {
      return new Encoder(definition);
    } catch (error) {
      expect(error).toBeInstanceOf(StartupError);
      return false;
    }
  });
  expect(accepted.map(({ name }) => name)).toEqual([]);
});

describe('unknown tokens', () => {
  const golden = (name: string) => open(tokenizers.find((each) => each.name === name)!.definition, Infinity);
  test.each([
    ['as saved: BERT', '☃ good ☃☃', 2],
    ['as saved: words', 'the film qqqq', 1],
    // A run of unknown characters is one token to Unigram, and to BPE with fuse_unk.
    ['as saved: XLM-R', 'good ☃☃☃', 1],
    ['model bpe', 'good ☃☃☃', 3],
    ['model bpe-fuse', 'good ☃☃☃', 1],
    ['model bpe-no-unknown', 'good ☃☃☃', 0],
    // Their bytes are known.
    ['as saved: Llama 2, Mistral', 'good ☃☃☃', 0],
    ['model unigram-bytes', 'good ☃☃☃', 0],
    ['as saved: RoBERTa', 'good ☃☃☃', 0],
  ])('%s: %j has %i', (name, text, unknown) => {
    expect(golden(name).encodeNow(text).unknown).toBe(unknown);
  });
});

test.each<[string, string, number[]]>([
  ['model-wordlevel-ws', 'café naïve Übergröße', [2, 6, 13, 48, 3]],
  ['model-bpe-prefix', 'the film was good', [2, 237, 161, 224, 162, 3]],
  ['model-bpe-split-next', 'a good film', [2, 23, 116, 120, 3]],
  ['model-wordlevel-punct', 'good ?! film', [2, 14, 11, 6, 13, 3]],
  ['model-wordlevel-nounk', 'good nonsense film', [2, 7, 1, 6, 3]],
  ['model-unigram-bytefb', 'é', [2, 4, 203, 177, 3]],
  ['model-added-tokens', 'covidian covid Film film #hash  good', [2, 1, 32, 33, 33, 34, 5, 3]],
  ['model-pp-multi', 'good film', [2, 4, 5, 7, 3]],
  ['model-pp-null', 'good film', [5, 7]],
  ['model-trunc-left', 'good film a bad film', [2, 5, 7, 11, 6, 7, 3]],
])('%s: %j has the ids of Python', (name, text, ids) => {
  expect([...new TextTokenizer(`test/fixtures/cases/${name}`, 512).encodeNow(text).ids]).toEqual(ids);
});
