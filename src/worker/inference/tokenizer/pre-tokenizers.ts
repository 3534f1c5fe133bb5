/** Pre-tokenizers of tokenizer.json: how a normalised text is cut into the pieces that the model encodes, as in Python. */
import { toByteCharacters } from './byte-level.ts';
import type { JsonObject } from './json.ts';
import { compilePattern, escapeRegExp } from './patterns.ts';
import { split, type SplitBehavior } from './split.ts';
import { NEWER, PUNCTUATION } from './unicode-tables.ts';
import { isWhiteSpace } from './white-space.ts';

export interface PreTokenizer {
  /**
   * @param atStart the piece begins where the text begins
   * @returns pieces that are not empty
   */
  split: (piece: string, atStart: boolean) => string[];
  /** Whether the first of the pieces begins where `piece` begins. */
  keepsStart: (piece: string) => boolean;
  /** Whether `split` reads `atStart`. */
  readsStart: boolean;
}

/** @param config one that `checkDefinition` accepted */
export function createPreTokenizer(config: JsonObject): PreTokenizer {
  switch (config.type) {
    case 'Sequence':
      return sequence((config.pretokenizers as JsonObject[]).map(createPreTokenizer));
    case 'BertPreTokenizer':
      return matched(BERT_PIECE);
    case 'Whitespace':
      return matched(WORD_OR_SIGNS);
    case 'WhitespaceSplit':
      return matched(NO_WHITE_SPACE);
    case 'Punctuation':
      return separated(PUNCTUATION_MARK, (config.behavior as SplitBehavior | undefined) ?? 'Isolated', false);
    case 'Split':
      return separated(
        compilePattern(config.pattern, 'pre_tokenizer Split'),
        config.behavior as SplitBehavior,
        config.invert === true,
      );
    case 'Digits':
      return separated(NUMERIC, config.individual_digits === true ? 'Isolated' : 'Contiguous', false);
    case 'CharDelimiterSplit':
      return separated(new RegExp(escapeRegExp(config.delimiter as string), 'gu'), 'Removed', false);
    case 'FixedLength':
      return fixedLength((config.length as number | undefined) ?? 5);
    case 'Metaspace':
      return metaspace(config);
    default:
      return byteLevel(config);
  }
}

const BERT_PIECE = new RegExp(`[^\\p{White_Space}${PUNCTUATION}]+|[${PUNCTUATION}]`, 'gu');
const PUNCTUATION_MARK = new RegExp(`[${PUNCTUATION}]`, 'gu');
const NO_WHITE_SPACE = /\P{White_Space}+/gu;
const NUMERIC = /\p{N}/gu;
const WORD = '\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}';
const WORD_OR_SIGNS = new RegExp(`[${WORD}]+|[^${WORD}\\p{White_Space}]+`, 'gu');
const BYTE_LEVEL_PIECE =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

/** Does a character belong to a word, by Rust's `\w`? */
export const WORD_CHARACTER = new RegExp(`(?![${NEWER}])[${WORD}]`, 'u');

/** The pieces are what the pattern matches; what lies between is white space. */
function matched(pattern: RegExp): PreTokenizer {
  return {
    split:
      pattern === WORD_OR_SIGNS
        ? (piece) => split(piece, pattern, 'Removed', true)
        : (piece) => piece.match(pattern) ?? [],
    keepsStart: (piece) => !isWhiteSpace(piece, 0),
    readsStart: false,
  };
}

function separated(pattern: RegExp, behavior: SplitBehavior, invert: boolean): PreTokenizer {
  return {
    split: (piece) => split(piece, pattern, behavior, invert),
    keepsStart: (piece) => behavior !== 'Removed' || (piece.search(pattern) === 0) === invert,
    readsStart: false,
  };
}

function sequence(parts: readonly PreTokenizer[]): PreTokenizer {
  return {
    split: (piece, atStart) => {
      let pieces = [piece];
      let start = atStart;
      for (const part of parts) {
        const [first] = pieces;
        if (first === undefined) return pieces;
        const firstAtStart = start;
        start &&= part.keepsStart(first);
        pieces = pieces.flatMap((each, i) => part.split(each, firstAtStart && i === 0));
      }
      return pieces;
    },
    keepsStart: (piece) => parts.every((part) => part.keepsStart(piece)),
    readsStart: parts.some((part) => part.readsStart),
  };
}

function fixedLength(length: number): PreTokenizer {
  return {
    split: (piece) => {
      const characters = Array.from(piece);
      return Array.from({ length: Math.ceil(characters.length / length) }, (_, i) =>
        characters.slice(i * length, (i + 1) * length).join(''),
      );
    },
    keepsStart: () => true,
    readsStart: false,
  };
}

function metaspace(config: JsonObject): PreTokenizer {
  const replacement = config.replacement as string;
  const scheme = config.prepend_scheme ?? 'always';
  const pattern = new RegExp(escapeRegExp(replacement), 'gu');
  return {
    split: (piece, atStart) => {
      const marked = piece.replaceAll(' ', replacement);
      const prepends = scheme === 'always' || (scheme === 'first' && atStart);
      const whole = prepends && !marked.startsWith(replacement) ? replacement + marked : marked;
      return config.split === false ? [whole] : split(whole, pattern, 'MergedWithNext');
    },
    keepsStart: () => true,
    readsStart: scheme === 'first',
  };
}

function byteLevel(config: JsonObject): PreTokenizer {
  return {
    split: (piece) => {
      const whole = config.add_prefix_space !== false && !piece.startsWith(' ') ? ` ${piece}` : piece;
      const pieces = config.use_regex === false ? [whole] : split(whole, BYTE_LEVEL_PIECE, 'Isolated');
      return pieces.map(toByteCharacters);
    },
    keepsStart: () => true,
    readsStart: false,
  };
}
