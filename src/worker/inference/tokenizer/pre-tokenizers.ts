/** Pre-tokenizers of tokenizer.json: cut a normalised text into the pieces that the model encodes, as in Python. */
import { toByteCharacters } from './byte-level.ts';
import type { JsonObject } from './json.ts';
import { compilePattern, escapeRegExp } from './patterns.ts';
import { BLOCK_UNITS, isHighSurrogate, isLowSurrogate } from './steps.ts';
import { split, type SplitBehavior } from './split.ts';
import { NEWER, PUNCTUATION } from './unicode-tables.ts';
import { isWhiteSpace } from './white-space.ts';

export interface PreTokenizer {
  /**
   * Cuts lazily, only as far as pieces are read.
   * @param atStart whether the piece begins where the text begins
   * @returns the pieces, none of them empty
   */
  split: (piece: string, atStart: boolean) => Iterable<string>;
  /** Whether the first of the pieces begins where `piece` begins. */
  keepsStart: (piece: string) => boolean;
  /** Whether `split` reads `atStart`. */
  readsStart: boolean;
  /** Set when the pieces are words with a mark before each, which a model may cut out itself (`tokenizeWords`). */
  words?: Words;
}

export interface Words {
  /** A UTF-16 unit. */
  mark: number;
  /** Whether a mark is put before the text. */
  prepends: (text: string, atStart: boolean) => boolean;
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
      return separated(PUNCTUATION_MARK, (config.behavior as SplitBehavior | undefined) ?? 'Isolated');
    case 'Split':
      return separated(
        compilePattern(config.pattern, 'pre_tokenizer Split'),
        config.behavior as SplitBehavior,
        config.invert === true,
      );
    case 'Digits':
      return separated(NUMERIC, config.individual_digits === true ? 'Isolated' : 'Contiguous');
    case 'CharDelimiterSplit':
      return separated(new RegExp(escapeRegExp(config.delimiter as string), 'gu'), 'Removed');
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

/** A character of a word, by Rust's `\w`. */
export const WORD_CHARACTER = new RegExp(`(?![${NEWER}])[${WORD}]`, 'u');

/** The matches of the pattern are the pieces; between them is white space. */
function matched(pattern: RegExp): PreTokenizer {
  return {
    split:
      pattern === WORD_OR_SIGNS
        ? (piece) => split(piece, pattern, 'Removed', true)
        : (piece) => (piece.length > BLOCK_UNITS ? matches(piece, pattern) : (piece.match(pattern) ?? [])),
    keepsStart: (piece) => !isWhiteSpace(piece, 0),
    readsStart: false,
  };
}

function* matches(piece: string, pattern: RegExp): Generator<string> {
  for (const [match] of piece.matchAll(pattern)) yield match;
}

function separated(pattern: RegExp, behavior: SplitBehavior, invert = false): PreTokenizer {
  return {
    split: (piece) => split(piece, pattern, behavior, invert),
    keepsStart: (piece) => behavior !== 'Removed' || (piece.search(pattern) === 0) === invert,
    readsStart: false,
  };
}

function sequence(parts: readonly PreTokenizer[]): PreTokenizer {
  function* splitWith(
    part: PreTokenizer,
    others: readonly PreTokenizer[],
    piece: string,
    atStart: boolean,
  ): Generator<string> {
    const [next, ...rest] = others;
    let first = atStart && part.keepsStart(piece);
    for (const each of part.split(piece, atStart)) {
      if (!next) yield each;
      else if (rest.length === 0) yield* next.split(each, first);
      else yield* splitWith(next, rest, each, first);
      first = false;
    }
  }
  const [first, ...others] = parts;
  return {
    split: (piece, atStart) => (first ? splitWith(first, others, piece, atStart) : [piece]),
    keepsStart: (piece) => parts.every((part) => part.keepsStart(piece)),
    readsStart: parts.some((part) => part.readsStart),
  };
}

function fixedLength(length: number): PreTokenizer {
  return {
    *split(piece) {
      let start = 0;
      let characters = 0;
      for (let i = 0; i < piece.length; i++) {
        if (isLowSurrogate(piece.charCodeAt(i)) || characters++ === 0 || characters <= length) continue;
        yield piece.slice(start, i);
        start = i;
        characters = 1;
      }
      if (start < piece.length) yield piece.slice(start);
    },
    keepsStart: () => true,
    readsStart: false,
  };
}

function metaspace(config: JsonObject): PreTokenizer {
  const replacement = config.replacement as string;
  const scheme = config.prepend_scheme ?? 'always';
  const wordStart = new RegExp(`[ ${escapeRegExp(replacement)}]`, 'gu');
  const prepends = (text: string, atStart: boolean): boolean =>
    (scheme === 'always' || (scheme === 'first' && atStart)) &&
    !text.startsWith(' ') &&
    !text.startsWith(replacement);
  return {
    split: (piece, atStart) => {
      const whole = prepends(piece, atStart) ? replacement + piece : piece;
      if (config.split === false) return [whole.replaceAll(' ', replacement)];
      return words(whole, wordStart, replacement);
    },
    keepsStart: () => true,
    readsStart: scheme === 'first',
    ...(config.split !== false && replacement.length === 1
      ? { words: { mark: replacement.charCodeAt(0), prepends } }
      : {}),
  };
}

/** Cuts before every space and mark of a word, and replaces the space by a mark. */
function* words(text: string, wordStart: RegExp, mark: string): Generator<string> {
  for (let start = 0, end: number; start < text.length; start = end) {
    wordStart.lastIndex = start + (isHighSurrogate(text.charCodeAt(start)) ? 2 : 1);
    end = wordStart.exec(text)?.index ?? text.length;
    yield text.startsWith(' ', start) ? mark + text.slice(start + 1, end) : text.slice(start, end);
  }
}

function byteLevel(config: JsonObject): PreTokenizer {
  return {
    split: (piece) => {
      const whole = config.add_prefix_space !== false && !piece.startsWith(' ') ? ` ${piece}` : piece;
      if (config.use_regex === false) return [toByteCharacters(whole)];
      const pieces = split(whole, BYTE_LEVEL_PIECE, 'Isolated');
      return Array.isArray(pieces) ? pieces.map(toByteCharacters) : eachToByteCharacters(pieces);
    },
    keepsStart: () => true,
    readsStart: false,
  };
}

function* eachToByteCharacters(pieces: Iterable<string>): Generator<string> {
  for (const piece of pieces) yield toByteCharacters(piece);
}
