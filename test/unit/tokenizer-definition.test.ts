/** What a tokenizer.json holds that was not compared with Python is refused when it is loaded, in one line that names it. */
import { rmSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { StartupError } from '../../src/shared/runtime/startup-error.ts';
import { TextTokenizer } from '../../src/worker/inference/tokenizer.ts';
import { tokenizerFolder, type Json } from '../support/models/tokenizer-goldens.ts';

const MODEL = { type: 'WordLevel', unk_token: '[UNK]', vocab: { '[UNK]': 0, a: 1 } };
const BPE = {
  type: 'BPE',
  unk_token: '[UNK]',
  vocab: { '[UNK]': 0, a: 1, b: 2, ab: 3 },
  merges: [['a', 'b']],
};
const UNIGRAM = {
  type: 'Unigram',
  unk_id: 0,
  vocab: [
    ['<unk>', 0],
    ['a', -1],
  ],
};
const ADDED = {
  id: 5,
  content: 'x',
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: false,
};

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

function open(definition: unknown, config?: unknown, maxTokens = 16): TextTokenizer {
  const folder = tokenizerFolder(definition, config);
  folders.push(folder);
  return new TextTokenizer(folder, maxTokens);
}

function refusal(...options: Parameters<typeof open>): string {
  try {
    open(...options);
  } catch (error) {
    expect(error).toBeInstanceOf(StartupError);
    const { message } = error as Error;
    expect(message).not.toContain('\n');
    return message.replace(/^.*?: the tokenizer cannot be loaded: /, '');
  }
  return 'loaded';
}

const split = (Regex: string) => ({
  pre_tokenizer: { type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false },
});
const template = (single: unknown, special_tokens: unknown = {}) => ({
  post_processor: { type: 'TemplateProcessing', single, pair: [], special_tokens },
});

describe('rejected by name', () => {
  test.each<[Json, string]>([
    [
      { pre_tokenizer: { type: 'UnicodeScripts' } },
      'tokenizer.json uses pre_tokenizer UnicodeScripts, which is not supported',
    ],
    [
      { pre_tokenizer: { type: 'Sequence', pretokenizers: [{ type: 'UnicodeScripts' }] } },
      'tokenizer.json uses pre_tokenizer UnicodeScripts, which is not supported',
    ],
    [{ normalizer: { type: 'Magic' } }, 'tokenizer.json uses normalizer Magic, which is not supported'],
    [
      { normalizer: { type: 'constructor' } },
      'tokenizer.json uses normalizer constructor, which is not supported',
    ],
    [
      { normalizer: { type: 'Precompiled', precompiled_charsmap: 'x' } },
      'tokenizer.json: precompiled_charsmap of the normalizer is not a whole table',
    ],
    [{ normalizer: {} }, 'tokenizer.json: normalizer has no type'],
    [{ normalizer: 'NFC' }, 'tokenizer.json: normalizer is "NFC"; expected an object or null'],
    [
      { normalizer: { type: 'Sequence', normalizers: [null] } },
      'tokenizer.json: normalizer Sequence has an entry that is not an object',
    ],
    [{ normalizer: { type: 'Sequence' } }, 'tokenizer.json: normalizer Sequence: normalizers is missing'],
    [
      { normalizer: { type: 'Lowercase', locale: 'tr' } },
      'tokenizer.json: normalizer Lowercase: locale is "tr", which is not supported',
    ],
    [
      { pre_tokenizer: { type: 'Punctuation', behavior: 'removed' } },
      'tokenizer.json: pre_tokenizer Punctuation: behavior is "removed"; expected one of',
    ],
    [
      { pre_tokenizer: { type: 'Metaspace', replacement: '▁', add_prefix_space: false } },
      'tokenizer.json: pre_tokenizer Metaspace: add_prefix_space is false, which needs prepend_scheme "never"',
    ],
    [
      {
        normalizer: { type: 'Sequence', normalizers: [{ type: 'NFKD' }, { type: 'StripAccents' }] },
        pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: true },
      },
      'tokenizer.json uses pre_tokenizer Metaspace with prepend_scheme "first" behind normalizer StripAccents after NFKD',
    ],
    [{ model: { ...BPE, dropout: 0.1 } }, 'tokenizer.json: model BPE: dropout is 0.1; expected null or 0'],
    [{ model: { ...BPE, type: 'Magic' } }, 'tokenizer.json uses model Magic, which is not supported'],
    [{ model: null }, 'tokenizer.json: model is null; expected an object'],
    [{ model: undefined }, 'tokenizer.json: model is missing'],
    [
      { model: { ...MODEL, vocab: null } },
      'tokenizer.json: model WordLevel: vocab is null; expected an object',
    ],
    [
      { model: { ...MODEL, vocab: { a: 0.5 } } },
      'tokenizer.json: model WordLevel: vocab is {"a":0.5}; expected',
    ],
    [
      { model: { ...MODEL, vocab: { a: -1 } } },
      'tokenizer.json: model WordLevel: vocab is {"a":-1}; expected',
    ],
    [
      { model: { ...MODEL, vocab: { a: '1' } } },
      'tokenizer.json: model WordLevel: vocab is {"a":"1"}; expected',
    ],
    [
      { model: { ...MODEL, vocab: { a: 0 } } },
      `tokenizer.json: the model's unk_token "[UNK]" is not in its vocabulary`,
    ],
    [
      { model: { ...BPE, unk_token: 'none' } },
      `tokenizer.json: the model's unk_token "none" is not in its vocabulary`,
    ],
    [
      { model: { ...BPE, merges: [['a', 'c']] } },
      'tokenizer.json: the merge of "a" and "c" needs "c", which is not in the vocabulary',
    ],
    [{ model: { ...BPE, merges: ['a b c'] } }, 'tokenizer.json: the merge "a b c" is not a pair'],
    [
      { model: { ...BPE, merges: [['a']] } },
      'tokenizer.json: model BPE: merges is [["a"]]; expected a list of pairs',
    ],
    [
      { model: { ...UNIGRAM, unk_id: null } },
      'tokenizer.json: a Unigram model without unk_id is not supported',
    ],
    [
      { model: { ...UNIGRAM, unk_id: 2 } },
      'tokenizer.json: unk_id of the Unigram model is not in its vocabulary',
    ],
    [{ model: { ...UNIGRAM, vocab: [['a']] } }, 'tokenizer.json: model Unigram: vocab is [["a"]]; expected'],
    [{ added_tokens: [null] }, 'tokenizer.json: added_tokens has an entry that is not an object'],
    [{ added_tokens: {} }, 'tokenizer.json: added_tokens is {}; expected a list'],
    [{ added_tokens: [{ ...ADDED, id: 'x' }] }, 'tokenizer.json: an added token: id is "x"; expected an id'],
    [
      { added_tokens: [{ ...ADDED, magic: true }] },
      'tokenizer.json: an added token: magic is true, which is not',
    ],
    [
      {
        normalizer: { type: 'Replace', pattern: { String: 'x' }, content: '' },
        added_tokens: [{ ...ADDED, normalized: true }],
      },
      'tokenizer.json: the added token "x" is empty after normalisation',
    ],
    [{ magic: 1 }, 'tokenizer.json: magic is 1, which is not supported'],
    [{ version: '2.0' }, 'tokenizer.json: version is "2.0"; expected one of "1.0"'],
    [
      { post_processor: { type: 'BertProcessing', sep: null, cls: ['a', 1] } },
      'tokenizer.json: post_processor Bert',
    ],
    [
      template([{ SpecialToken: { id: 'x', type_id: 0 } }]),
      'tokenizer.json: the template for one text of the',
    ],
    [template([{ Sequence: { id: 'B', type_id: 0 } }]), 'tokenizer.json: the template for one text of the'],
    [
      template([{ Sequence: { id: 'A' } }, { Sequence: { id: 'A' } }]),
      'tokenizer.json: the template for one text',
    ],
    [
      template([null]),
      'tokenizer.json: the template for one text of the post_processor has a piece without an id',
    ],
    [
      template([]),
      'tokenizer.json: the template for one text of the post_processor has no place for the text',
    ],
    [
      {
        post_processor: {
          type: 'Sequence',
          processors: [0, 1].map(() => ({ type: 'BertProcessing', sep: ['a', 1], cls: ['a', 1] })),
        },
      },
      'tokenizer.json uses the post_processors BertProcessing and BertProcessing together',
    ],
  ])('%j', (part, message) => {
    expect(refusal({ model: MODEL, ...part })).toContain(message);
  });

  test('a Unigram vocabulary of more tokens than its search can number', () => {
    const vocab = Array<[string, number]>(2_097_153).fill(['a', -1]);
    expect(refusal({ model: { ...UNIGRAM, vocab } })).toContain(
      'tokenizer.json: the Unigram model has 2097153 tokens; at most 2097152 are supported',
    );
  });

  test.each([
    '(?>a|ab)c',
    '\\bword\\b',
    '(a)\\1',
    '[a-z&&[^b]]',
    '[[:alpha:]]',
    '(?i)a',
    '\\Aa',
    '\\p{Emoji}',
    '(?i:straße)',
    '(?i:ss)',
    '(?#comment)a',
    '(?<name>a)',
    'a{1,2}+',
    '(',
    'a)',
    '[',
    '*',
  ])('the regular expression %j', (pattern) => {
    expect(refusal({ model: MODEL, ...split(pattern) })).toContain(
      `tokenizer.json: pre_tokenizer Split has the pattern ${JSON.stringify(pattern)}, which is not supported`,
    );
  });
});

describe('loaded', () => {
  test.each<[string, Json]>([
    ['nothing but a model', {}],
    ['every part null', { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null }],
    ['an unknown decoder', { decoder: { type: 'Magic' } }],
    ['an unknown field that is off', { normalizer: { type: 'Lowercase', magic: false, other: null } }],
  ])('%s', (_, part) => {
    expect(refusal({ model: MODEL, ...part })).toBe('loaded');
  });
});

describe('files', () => {
  test.each([
    ['null', 'tokenizer.json cannot be read: expected a JSON object'],
    ['[]', 'tokenizer.json cannot be read: expected a JSON object'],
    ['{', 'tokenizer.json cannot be read: '],
    ['{\n\n  "a": x,\n}', 'tokenizer.json cannot be read: '],
  ])('tokenizer.json %j', (content, message) => {
    const folder = tokenizerFolder({});
    folders.push(folder);
    writeFileSync(path.join(folder, 'tokenizer.json'), content);
    expect(() => new TextTokenizer(folder, 16)).toThrow(message);
    expect(() => new TextTokenizer(folder, 16)).toThrow(/^[^\n]*$/);
  });

  test('JSON is accepted as Python and editors write it', () => {
    const folder = tokenizerFolder({});
    folders.push(folder);
    writeFileSync(path.join(folder, 'tokenizer.json'), `\uFEFF${JSON.stringify({ model: MODEL })}`);
    writeFileSync(
      path.join(folder, 'tokenizer_config.json'),
      '\uFEFF{"model_max_length": Infinity, "x": NaN}',
    );
    expect([...new TextTokenizer(folder, 16).encodeNow('a').ids]).toEqual([1]);
  });

  test('a tokenizer.json above the size limit is rejected', () => {
    const folder = tokenizerFolder({});
    folders.push(folder);
    const bytes = 128 * 2 ** 20;
    truncateSync(path.join(folder, 'tokenizer.json'), bytes + 1);
    expect(() => new TextTokenizer(folder, 16)).toThrow(
      `tokenizer.json cannot be read: it has ${bytes + 1} bytes; at most ${bytes} are read`,
    );
  });

  test.each([null, [], 'x'])('tokenizer_config.json %j', (config) => {
    expect(refusal({ model: MODEL }, config)).toBe(
      'tokenizer_config.json cannot be read: expected a JSON object',
    );
  });
});

test('special tokens that leave no room for a text are rejected', () => {
  const post_processor = { type: 'BertProcessing', sep: ['a', 1], cls: ['a', 1] };
  expect(refusal({ model: MODEL, post_processor }, {}, 2)).toBe(
    'tokenizer.json adds 2 special tokens to a text, and the model reads 2: there is no room for the text',
  );
  expect(refusal({ model: MODEL, post_processor }, {}, 3)).toBe('loaded');
});

test('split_special_tokens: special tokens in a text are read as text', () => {
  const definition = { model: MODEL, added_tokens: [{ ...ADDED, content: 'a', special: true, id: 1 }] };
  expect([...open(definition).encodeNow('aa').ids]).toEqual([1, 1]);
  expect([...open(definition, { split_special_tokens: true }).encodeNow('aa').ids]).toEqual([0]);
});
