/** Arbitrary Unicode texts: the tokenizer of the shipped model encodes each, within the model's limit, always in the same way. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { readModelFolder } from '../../src/worker/inference/model-folder.ts';
import { TextTokenizer } from '../../src/worker/inference/tokenizer.ts';
import { fuzz } from '../support/inputs/fuzz.ts';

const folder = readModelFolder('models/sst2-minilm', undefined);
const MAX_TOKENS = 32;
const VOCABULARY = 30_522;
const tokenizer = new TextTokenizer(folder.folder, MAX_TOKENS);

test('every text becomes ids of the vocabulary between the special tokens', async () => {
  const [first, last] = await tokenizer.encode('a').then(({ ids }) => [ids[0], ids.at(-1)]);
  const text = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 200 }),
    fc.string({ unit: 'grapheme', maxLength: 60 }),
    fc
      .array(
        fc.constantFrom(
          '[SEP]',
          '[PAD]',
          '##',
          '\u200d',
          '\u0301',
          '\ufeff',
          '\u202e',
          '中',
          '👨‍👩‍👧',
          'ﬁ',
          '\u0000',
          'İ',
        ),
        { maxLength: 60 },
      )
      .map((parts) => parts.join('')),
    fc.string({ minLength: 500, maxLength: 2000 }),
  );
  await fc.assert(
    fc.asyncProperty(text, fc.constantFrom('right' as const, 'left' as const), async (each, side) => {
      const { ids, truncated } = await tokenizer.encode(each, side);
      expect(ids.length).toBeLessThanOrEqual(MAX_TOKENS);
      expect([ids[0], ids.at(-1)]).toEqual([first, last]);
      expect(ids.every((id) => id >= 0 && id < VOCABULARY)).toBe(true);
      if (truncated) expect(ids.length).toBe(MAX_TOKENS);
      expect((await tokenizer.encode(each, side)).ids).toEqual(ids);
    }),
    fuzz(500),
  );
});
