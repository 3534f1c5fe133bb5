/** The expected texts are what the tokenizers package of Python gives. */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Charsmap } from '../../src/worker/inference/tokenizer/charsmap.ts';
import { createNormalizers, normalizeAll } from '../../src/worker/inference/tokenizer/normalizers.ts';
import { precompiledNormalizer } from '../../src/worker/inference/tokenizer/precompiled.ts';
import { goldenNfkc, modelFolder } from '../support/models/goldens.ts';

const normalize = (config: Record<string, unknown>) => (text: string) =>
  normalizeAll(createNormalizers(config), text);

const BERT = {
  type: 'BertNormalizer',
  clean_text: true,
  handle_chinese_chars: true,
  strip_accents: null,
  lowercase: true,
};

describe('BertNormalizer', () => {
  test.each([
    ['Ο ΔΡΟΜΟΣ Σ', 'ο δρομοσ σ'],
    ['Crème BRÛLÉE İ', 'creme brulee i'],
    ['a\tb\r\nc\u00a0d\u3000e', 'a b  c d e'],
    ['a\0b\u200bc\ufffdd\u00ade\ue000', 'abcde'],
    ['漢a\u{20000}\u{2b820}\u{2f800}', ' 漢 a \u{20000} \u{2b820} \u4e3d '],
  ])('%j → %j', (text, expected) => expect(normalize(BERT)(text)).toBe(expected));

  test.each<[Record<string, unknown>, string]>([
    [{ lowercase: false }, ' É 漢 Σ'],
    [{ lowercase: false, strip_accents: true }, ' E 漢 Σ'],
    [{ strip_accents: false }, ' é 漢 σ'],
    [{ handle_chinese_chars: false }, ' e漢σ'],
    [{ clean_text: false }, '\te 漢 σ'],
  ])('with %j', (options, expected) => {
    expect(normalize({ ...BERT, ...options })('\tÉ漢Σ')).toBe(expected);
  });
});

test('Lowercase ignores the end of a word', () => {
  expect(normalize({ type: 'Lowercase' })('ΣΟΦΟΣ ÄÖ')).toBe('σοφοσ äö');
});

describe('Strip removes white space as defined by Unicode', () => {
  const text = '\u0085 \ufeffa b\u3000\u0085';
  test.each([
    [true, true, '\ufeffa b'],
    [true, false, '\ufeffa b\u3000\u0085'],
    [false, true, '\u0085 \ufeffa b'],
    [false, false, text],
  ])('left %j, right %j', (left, right, expected) => {
    expect(normalize({ type: 'Strip', strip_left: left, strip_right: right })(text)).toBe(expected);
  });
  test('a text of white space becomes empty', () => {
    expect(normalize({ type: 'Strip', strip_left: true, strip_right: true })(' \u0085\n')).toBe('');
    expect(normalize({ type: 'Strip', strip_left: false, strip_right: true })(' \u0085\n')).toBe('');
  });
});

test('the normalisers of a Sequence run in order', () => {
  const normalizers = [{ type: 'Lowercase' }, { type: 'Prepend', prepend: '▁' }];
  expect(normalize({ type: 'Sequence', normalizers })('Σ')).toBe('▁σ');
});

describe('Precompiled (nmt_nfkc)', () => {
  const { normalizer } = JSON.parse(readFileSync(`${modelFolder('xlm-roberta')}/tokenizer.json`, 'utf8')) as {
    normalizer: { precompiled_charsmap: string };
  };
  const charsmap = Buffer.from(normalizer.precompiled_charsmap, 'base64');
  const { normalize: precompiled } = precompiledNormalizer(charsmap);

  test.each(goldenNfkc)('%j → %j', (text, expected) => expect(precompiled(text)).toBe(expected));

  test('the first character of a cluster, also in ASCII, replaces the whole cluster', () => {
    // A table of one entry: U+0600, which joins what follows it, in UTF-8 D8 80, becomes x.
    const units = new Uint32Array(0x400);
    units[0xd8] = 0xd8 | (0x100 << 10);
    units[0xd8 ^ 0x100 ^ 0x80] = 0x80 | 0x100 | (0x200 << 10);
    units[0xd8 ^ 0x100 ^ 0x80 ^ 0x200] = 0x80000000;
    const size = Buffer.from(Uint32Array.of(units.byteLength).buffer);
    const { normalize: table } = precompiledNormalizer(
      Buffer.concat([size, Buffer.from(units.buffer), Buffer.from('x\0')]),
    );
    expect(table('\u0600a b')).toBe('x b');
    expect(table('c\u0600 \u0601d')).toBe('cx\u0601d');
    expect(table('\u0600\u0301\u0301')).toBe('x\u0301\u0301');
  });

  test('clusters are those of the whole text, wherever they are looked for', () => {
    const table = new Charsmap(charsmap);
    const segmenter = new Intl.Segmenter('und', { granularity: 'grapheme' });
    const plain = (text: string): string =>
      Array.from(segmenter.segment(text), ({ segment }) => {
        const whole = Buffer.byteLength(segment) <= 5 ? table.find(segment) : undefined;
        return whole ?? Array.from(segment, (character) => table.find(character) ?? character).join('');
      }).join('');
    const characters = Array.from(
      'eA \r\n\u0301\u0323\u0600\u06dd\u0627\u0653\u00a9\u2122\ufe0f\u200d\u200b\ufeff\u{1f469}\u{1f3fd}\u{1f1e9}' +
        '\u0915\u0958\u094d\u093c\u0e01\u0e33\u0e48\u1100\u1161\u11a8\uac00\uff76\uff9e\ufb01\u{1d400}\u{11083}\u{110ba}\u00ad',
    );
    const text = fc.array(fc.constantFrom(...characters), { maxLength: 12 }).map((some) => some.join(''));
    fc.assert(
      fc.property(text, (some) => {
        expect(precompiled(some)).toBe(plain(some));
      }),
      { numRuns: 5000 },
    );
  });

  test('no mark joins a simple character behind it', () => {
    const segmenter = new Intl.Segmenter('und', { granularity: 'grapheme' });
    const joining: string[] = [];
    for (let code = 0x300; code < 0x20000; code++) {
      const character = String.fromCodePoint(code);
      if (/\p{M}/u.test(character) && [...segmenter.segment(`${character}a`)].length === 1)
        joining.push(code.toString(16));
    }
    expect(joining).toEqual([]);
  });

  test('a truncated charsmap is rejected', () => {
    expect(() => precompiledNormalizer(charsmap.subarray(0, 1000))).toThrow(RangeError);
  });
});
