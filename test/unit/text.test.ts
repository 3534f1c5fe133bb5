import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { countCodePoints, isInvisible, textProblem } from '../../src/shared/contract/text.ts';

test('countCodePoints agrees with the string iterator on any UTF-16', () => {
  fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => countCodePoints(text) === [...text].length));
  const units = fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 30 });
  fc.assert(
    fc.property(units, (codes) => {
      const text = String.fromCharCode(...codes);
      return countCodePoints(text) === [...text].length;
    }),
  );
});

describe('textProblem', () => {
  test.each([
    ['', 'must not be empty'],
    ['  \u00a0\u2003', 'white space'],
    ['a\ud83d', 'lone surrogate'],
    ['\udc00a', 'lone surrogate'],
    ['a\0', 'NUL'],
    ['abcdef', 'has 6 characters; at most 5'],
    ['🎬🎬🎬🎬🎬🎬', 'has 6 characters; at most 5'],
    ['x'.repeat(100), 'has 100 characters; at most 5'],
    ['x'.repeat(101), 'has more than 50 characters; at most 5'],
    ['🎬'.repeat(51), 'has more than 50 characters; at most 5'],
  ])('%j', (text, problem) => expect(textProblem(text, 5)).toContain(problem));

  test.each(['a', 'abcde', '🎬🎬🎬🎬🎬', '\u0007bell', '  a  ', '\u200d'])('%j is fine', (text) =>
    expect(textProblem(text, 5)).toBeUndefined(),
  );
});

describe('isInvisible', () => {
  test.each([
    ['two zero-width spaces', '\u200b\u200b'],
    ['joiners', '\u200c\u200d\u2060'],
    ['directional marks and isolates', '\u200e\u202e\u2066\u2069\u061c'],
    ['a byte order mark', '\ufeff'],
    ['a soft hyphen', '\u00ad'],
    ['variation selectors', '\ufe0f\ufe0e\u{e0100}\u180b'],
    ['tags', '\u{e0067}\u{e0062}\u{e007f}'],
    ['Hangul fillers', '\u3164\u115f\u1160\uffa0'],
    ['a braille blank', '\u2800'],
    ['a Mongolian vowel separator', '\u180e'],
    ['Khmer inherent vowels', '\u17b4\u17b5'],
    ['a combining grapheme joiner', '\u034f'],
    ['control characters', '\u0007\u001b\u0085\u009f'],
    ['musical format characters and a null notehead', '\u{1d173}\u{1d17a}\u{1d159}'],
    ['interlinear annotation marks', '\ufff9\ufffa\ufffb'],
    ['a Khitan filler', '\u{16fe4}'],
    ['white space around and between them', ' \u200b\u3000\t\u2800\n'],
  ])('%s', (_, text) => expect(isInvisible(text)).toBe(true));

  test.each([
    ['a letter among them', '\u200b\u200ba\u200b'],
    ['an emoji with a joiner and a variation selector', '❤️\u200d🔥'],
    ['a flag of tags', '🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}'],
    ['a digit with a keycap', '1\ufe0f\u20e3'],
    ['a lone combining accent', '\u0301'],
    ['the Arabic number sign, a format character that is drawn', '\u0600'],
    ['the Kaithi number sign, likewise', '\u{110bd}'],
    ['a replacement character', '\ufffd'],
    ['a character for private use', '\ue000'],
    ['punctuation', '…'],
    ['a braille letter', '\u2801'],
  ])('%s is seen', (_, text) => expect(isInvisible(text)).toBe(false));

  test('a visible character makes a text visible, whatever surrounds it', () => {
    const blanks = fc.string({
      unit: fc.constantFrom(' ', '\u200b', '\ufe0f', '\u2800', '\u3164'),
      maxLength: 20,
    });
    fc.assert(
      fc.property(blanks, blanks, (before, behind) => {
        expect(isInvisible(`${before}x${behind}`)).toBe(false);
        expect(isInvisible(before + behind)).toBe(true);
      }),
    );
  });
});
