import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { countCodePoints, textProblem } from '../../src/shared/text.ts';

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
  ])('%j', (text, problem) => expect(textProblem(text, 5)).toContain(problem));

  test.each(['a', 'abcde', '🎬🎬🎬🎬🎬', '\u0007bell', '  a  ', '\u200d'])('%j is fine', (text) =>
    expect(textProblem(text, 5)).toBeUndefined(),
  );
});
