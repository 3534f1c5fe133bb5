/** Unigram vocabularies give the tokens of Python's tokenizers: in 12 languages, for every character, and for hard and long texts. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Encoder } from '../../src/worker/inference/tokenizer/encoder.ts';
import { UnigramModel } from '../../src/worker/inference/tokenizer/models/unigram.ts';
import { Trie } from '../../src/worker/inference/tokenizer/models/trie.ts';
import { createNormalizers, normalizeAll } from '../../src/worker/inference/tokenizer/normalizers.ts';
import { finish } from '../../src/worker/inference/tokenizer/steps.ts';
import type { JsonObject } from '../../src/worker/inference/tokenizer/json.ts';
import { hashOf, unigramGoldens } from '../support/models/unigram-goldens.ts';

const { definition, texts, ids, hard, long, frames, characters, random } = unigramGoldens;
const encoder = new Encoder(definition);

describe('the ids of Python', () => {
  test.each(Object.keys(texts))('for texts in %s', (language) => {
    expect(texts[language]!).toHaveLength(100);
    expect(texts[language]!.map((text) => encoder.encode(text))).toEqual(ids[language]);
  });

  test.each(hard)('for %j', (text, expected) => {
    expect(encoder.encode(text)).toEqual(expected);
  });

  test.each(long)('for $times times $unit, in steps', ({ unit, times, count, hash }) => {
    const encoded = finish(encoder.encodeInSteps(unit.repeat(times)));
    expect({ count: encoded.length, hash: hashOf(encoded) }).toEqual({ count, hash });
  });

  test('for random vocabularies with equal scores, with and without bytes', () => {
    expect(random.length).toBeGreaterThan(100);
    for (const { definition: small, texts: some, ids: expected } of random) {
      const tiny = new Encoder(small);
      expect(
        some.map((text) => tiny.encode(text)),
        JSON.stringify(small),
      ).toEqual(expected);
    }
  });
});

test('every character of Unicode, also in clusters, has the normal form and the ids of Python', () => {
  const normalizers = createNormalizers(definition.normalizer as JsonObject);
  const wrong: string[] = [];
  for (const [i, start] of characters.starts.entries()) {
    const block = Array.from({ length: 256 }, (_, k) => start + k)
      .filter((code) => code < 0xd800 || code > 0xdfff)
      .map((code) => String.fromCodePoint(code));
    const forms = block
      .flatMap((character) =>
        frames.slice(0, characters.frames[i]).map((frame) => frame.replace('{}', () => character)),
      )
      .map((text) => normalizeAll(normalizers, text))
      .join('\n');
    const encoded = block.flatMap((character) => encoder.encode(frames[1]!.replace('{}', () => character)));
    if (hashOf(forms) !== characters.forms[i]) wrong.push(`forms from ${start.toString(16)}`);
    if (hashOf(encoded) !== characters.ids[i]) wrong.push(`ids from ${start.toString(16)}`);
  }
  expect(wrong).toEqual([]);
  expect(characters.starts.length).toBeGreaterThan(1000);
});

describe('any vocabulary', () => {
  const letter = fc.constantFrom('a', 'b', '▁', 'é', 'б', '影', '😀', '👍');
  const word = fc.array(letter, { minLength: 1, maxLength: 5 }).map((letters) => letters.join(''));
  const score = fc.constantFrom(-1, -2, -2.5, -4, -8);
  const vocabulary = fc.uniqueArray(fc.tuple(word, score), {
    minLength: 1,
    maxLength: 25,
    selector: ([token]) => token,
  });
  const text = fc.array(fc.oneof({ weight: 5, arbitrary: letter }, fc.constantFrom('x', '☃')), {
    maxLength: 40,
  });

  test('gives the tokens that a plain search over all pieces finds', () => {
    fc.assert(
      fc.property(vocabulary, text, (pieces, letters) => {
        const vocab: [string, number][] = [['<unk>', 0], ...pieces];
        const found: number[] = [];
        const piece = letters.join('');
        if (piece !== '') new UnigramModel({ type: 'Unigram', vocab, unk_id: 0 }).tokenize(piece, found);
        expect(found).toEqual(bestTokens(letters, vocab));
      }),
      { numRuns: 500 },
    );
  });

  test('is found again in the trie, and nothing else', () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ unit: 'binary' }), { maxLength: 60 }),
        fc.string({ unit: 'binary' }),
        (tokens, other) => {
          const trie = new Trie(tokens);
          const map = new Map(tokens.map((token, i) => [token, i]));
          map.delete('');
          for (const each of [
            ...tokens,
            ...tokens.map((token) => token.slice(0, -1)),
            ...tokens.map((token) => `${token}a`),
            other,
          ])
            expect(trie.get(each)).toBe(map.get(each));
        },
      ),
    );
  });

  test('of many tokens with long common beginnings is found again', () => {
    const tokens = Array.from(
      { length: 30_000 },
      (_, i) => `${'ab'.repeat(i % 40)}${i}${String.fromCharCode(0x4e00 + (i % 5000))}`,
    );
    const trie = new Trie(tokens);
    expect(tokens.findIndex((token, i) => trie.get(token) !== i)).toBe(-1);
  });
});

/** As Python's Unigram: the first of equal sums wins, the tokens of a start by length, and adjacent unknown characters are one token. */
function bestTokens(letters: readonly string[], vocab: readonly [string, number][]): number[] {
  const unknown = Math.min(...vocab.map(([, score]) => score)) - 10;
  const best = [{ sum: 0, start: 0, id: -1 }];
  const offer = (end: number, sum: number, start: number, id: number): void => {
    if (best[end] === undefined || sum > best[end].sum) best[end] = { sum, start, id };
  };
  for (let start = 0; start < letters.length; start++) {
    const { sum } = best[start]!;
    for (let end = start + 1; end <= letters.length; end++) {
      const id = vocab.findIndex(([token]) => token === letters.slice(start, end).join(''));
      if (id !== -1) offer(end, sum + vocab[id]![1], start, id);
    }
    if (!vocab.some(([token]) => token === letters[start])) offer(start + 1, sum + unknown, start, 0);
  }
  const ids: number[] = [];
  for (let end = letters.length; end > 0; end = best[end]!.start)
    if (best[end]!.id !== 0 || ids[0] !== 0) ids.unshift(best[end]!.id);
  return ids;
}

test('an added token gets the id behind all entries, also where the vocabulary has a token twice', () => {
  const vocab = [
    ['<unk>', 0],
    ['a', -1],
    ['a', -2],
    ['b', -3],
    ['ab', -4.5],
  ];
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const twice = new Encoder({
    added_tokens: [{ id: 9, content: 'zz', ...flags }],
    model: { type: 'Unigram', unk_id: 0, vocab },
  });
  expect(twice.encode('abzzaab')).toEqual([4, 5, 2, 4]);
});

test('half a surrogate pair counts as U+FFFD', () => {
  for (const text of ['\ud800', 'a\udc00b', '\ud83d \ude00', 'e\u0301\ud800\u0301'])
    expect(encoder.encode(text)).toEqual(encoder.encode(text.replace(/[\ud800-\udfff]/g, '\ufffd')));
});
