/**
 * Texts for measurements: ordinary words, in lengths like those of real data. The licence of SST-2 forbids passing on its
 * sentences, not their lengths.
 */
import { goEmotions } from '../test/support/inputs/texts.ts';

/** Tokens of the SST-2 dev sentences under a WordPiece tokenizer, at every fourth percentile from 0 to 100. */
// prettier-ignore
const SST2_TOKENS = [3, 8, 10, 11, 13, 14, 15, 17, 18, 19, 20, 21, 22, 24, 25, 26, 27, 28, 29, 30, 33, 34, 37, 39, 43, 53];

/** Words of about one token each: short lower-case words of real comments. */
const WORDS = [
  ...new Set(
    goEmotions()
      .join(' ')
      .toLowerCase()
      .match(/\b[a-z]{2,6}\b/g),
  ),
];

/** The same numbers on every machine and in every run. */
function pseudoRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

function text(tokens: number, random: () => number): string {
  // Two of a text's tokens are special ones.
  return Array.from(
    { length: Math.max(1, tokens - 2) },
    () => WORDS[Math.floor(random() * WORDS.length)],
  ).join(' ');
}

/** `count` different texts as long as SST-2's sentences. */
export function sentences(count: number, seed = 1): string[] {
  const random = pseudoRandom(seed);
  const quantile = (share: number) => {
    const place = share * (SST2_TOKENS.length - 1);
    const [low, high] = [SST2_TOKENS[Math.floor(place)]!, SST2_TOKENS[Math.ceil(place)]!];
    return Math.round(low + (high - low) * (place % 1));
  };
  return Array.from({ length: count }, () => text(quantile(random()), random));
}

/**
 * `count` texts in random order: the given ones in theirs, and between them repeats, each of an earlier text.
 * @throws RangeError when repeats have nothing to repeat
 */
export function withRepeats(texts: readonly string[], count: number, seed = 4): string[] {
  if (texts.length === 0) throw new RangeError('no texts to repeat');
  const random = pseudoRandom(seed);
  const rows: string[] = [];
  for (let used = 0; rows.length < count;) {
    // As many repeats as are missing, evenly spread over the rows that are left.
    const repeats = count - rows.length - (texts.length - used);
    const repeat = used > 0 && random() * (count - rows.length) < repeats;
    rows.push(repeat ? texts[Math.floor(random() * used)]! : texts[used++]!);
  }
  return rows;
}

/** `count` different texts, one in five of them long: 100 to 400 tokens. */
export function mixedLengths(count: number, seed = 2): string[] {
  const random = pseudoRandom(seed);
  return sentences(count, seed).map((short) =>
    random() < 0.2 ? text(100 + Math.floor(random() * 300), random) : short,
  );
}
