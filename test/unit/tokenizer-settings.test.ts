/** The expected values are what PreTrainedTokenizerFast of Transformers 4.57 has after loading such files. */
import { describe, expect, test } from 'vitest';
import { readModelFolder } from '../../src/worker/inference/model-folder.ts';
import { readSettings, type TokenizerSettings } from '../../src/worker/inference/tokenizer/settings.ts';
import { TextTokenizer } from '../../src/worker/inference/tokenizer.ts';
import { modelFolder } from '../support/models/goldens.ts';

const VOCABULARY: Record<string, number> = { '[PAD]': 0, '[UNK]': 1, '<|pad|>': 32 };

function settings(
  definition: Record<string, unknown>,
  config: Record<string, unknown>,
  specialTokens: Record<string, unknown> = {},
): TokenizerSettings {
  return readSettings({ definition, config, specialTokens, idOf: (token) => VOCABULARY[token] });
}

const LEFT_SECTIONS = {
  padding: { direction: 'Left', pad_id: 32, pad_token: '<|pad|>' },
  truncation: { direction: 'Left', max_length: 9 },
};

describe('padding and truncation of a tokenizer', () => {
  test.each<[string, TokenizerSettings, Parameters<typeof settings>]>([
    ['nothing said', { padId: 0, paddingSide: 'right', truncationSide: 'right' }, [{}, {}]],
    [
      'tokenizer_config.json',
      { padId: 32, paddingSide: 'left', truncationSide: 'left' },
      [{}, { pad_token: '<|pad|>', padding_side: 'left', truncation_side: 'left' }],
    ],
    [
      'the sections of tokenizer.json',
      { padId: 32, paddingSide: 'left', truncationSide: 'left' },
      [LEFT_SECTIONS, {}],
    ],
    [
      'tokenizer_config.json before the sections of tokenizer.json',
      { padId: 1, paddingSide: 'right', truncationSide: 'right' },
      [LEFT_SECTIONS, { pad_token: { content: '[UNK]' }, padding_side: 'right', truncation_side: 'right' }],
    ],
    [
      'null is as good as missing',
      { padId: 0, paddingSide: 'right', truncationSide: 'right' },
      [
        { padding: null, truncation: null },
        { pad_token: null, padding_side: null, truncation_side: null },
      ],
    ],
    [
      'special_tokens_map.json, beside an older tokenizer_config.json',
      { padId: 32, paddingSide: 'right', truncationSide: 'right' },
      [{}, { pad_token: '[UNK]' }, { pad_token: { content: '<|pad|>' } }],
    ],
    [
      'special_tokens_map.json is not read beside added_tokens_decoder',
      { padId: 1, paddingSide: 'right', truncationSide: 'right' },
      [{}, { pad_token: '[UNK]', added_tokens_decoder: {} }, { pad_token: '<|pad|>' }],
    ],
    [
      'a class that pads on the left',
      { padId: 0, paddingSide: 'left', truncationSide: 'right' },
      [{}, { tokenizer_class: 'LlamaTokenizerFast' }],
    ],
  ])('%s', (_, expected, [definition, config, specialTokens]) => {
    expect(settings(definition, config, specialTokens)).toEqual(expected);
  });

  test.each([
    [{}, { truncation_side: 'middle' }, 'truncation_side is "middle"; expected left or right'],
    [{}, { padding_side: 1 }, 'padding_side is 1; expected left or right'],
    [{ padding: { direction: 'Up' } }, {}, 'padding.direction is "Up"; expected left or right'],
  ])('%j, %j is refused', (definition, config, message) => {
    expect(() => settings(definition, config)).toThrow(message);
  });
});

const CASES = 'test/fixtures/cases';
const open = (folder: string, maxTokens: number) => new TextTokenizer(folder, maxTokens);

test('truncation_side left: the beginning of a text is cut off, unless a request names the right side', () => {
  const tokenizer = open(`${CASES}/model-trunc-left`, 5);
  const whole = open(`${CASES}/model-trunc-left`, 512).encodeNow('good film was a bad film');
  const own = [...whole.ids].slice(1, -1);
  expect(own.length).toBeGreaterThan(3);
  const [first, last] = [whole.ids[0]!, whole.ids.at(-1)!];
  const text = 'good film was a bad film';
  expect([...tokenizer.encodeNow(text).ids]).toEqual([first, ...own.slice(-3), last]);
  expect([...tokenizer.encodeNow(text, 'right').ids]).toEqual([first, ...own.slice(0, 3), last]);
});

test('encode truncates on the same side as encodeNow', async () => {
  const tokenizer = open(`${CASES}/model-trunc-left`, 5);
  const text = 'good film was a bad film';
  expect((await tokenizer.encode(text)).ids).toEqual(tokenizer.encodeNow(text, 'left').ids);
  expect((await tokenizer.encode(text, 'right')).ids).toEqual(tokenizer.encodeNow(text, 'right').ids);
});

test('a folder without tokenizer_config.json is read as if it were empty', () => {
  expect(open(`${CASES}/model-no-tokcfg`, 512).encodeNow('good').ids.length).toBeGreaterThan(2);
});

describe('unknown tokens are counted', () => {
  test.each([
    ['', 0, 0],
    ['a stirring, funny film', 0, 0],
    ['😀 😡', 2, 2],
    ['a 😀 b 😡 c', 2, 1],
  ])('%j: %i, and %i of the first three', (text, all, few) => {
    const { folder } = readModelFolder('models/sst2-minilm', undefined);
    expect(open(folder, 128).encodeNow(text, 'right').unknown).toBe(all);
    expect(open(folder, 5).encodeNow(text, 'right').unknown).toBe(few);
  });
  test('a model without an unknown token counts 0', () => {
    expect(open(modelFolder('roberta'), 64).encodeNow('😀 漢').unknown).toBe(0);
  });
  test('a run of characters that Unigram fuses counts once', () => {
    expect(open(modelFolder('xlm-roberta'), 64).encodeNow('𓀀𓀁𓀂').unknown).toBe(1);
  });
});
