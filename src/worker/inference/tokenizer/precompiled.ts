/**
 * The `Precompiled` normaliser of SentencePiece models, as in Python: it looks up a grapheme cluster of few bytes as a whole, and
 * else each character. Segmenting a text into clusters takes ten times as long as all the rest, so that is done only where the
 * table may have something for a whole cluster: hardly ever.
 */
import { Charsmap } from './charsmap.ts';
import { inBlocks, isLowSurrogate } from './steps.ts';

/** Only clusters of fewer bytes are looked up as a whole. */
const MAX_CLUSTER_BYTES = 5;

/** Finds grapheme clusters, as SentencePiece does: a letter with its marks, an emoji with its joiners. */
const SEGMENTER = new Intl.Segmenter('und', { granularity: 'grapheme' });

/**
 * Characters that may share a cluster of so few bytes with another, before or behind them. (Hangul and flags have clusters too,
 * of six bytes and more.)
 */
export const JOINING =
  /[\p{M}\p{Cf}\p{Grapheme_Extend}\p{Emoji_Modifier}\r\u0E33\u0EB3\u0D4E\u{111C2}\u{111C3}\u{113D1}\u{1193F}\u{11941}\u{11A84}-\u{11A89}\u{11D46}\u{11F02}]/u;
/** Those that join only what is before them, unless an Indic consonant or an emoji follows. */
const MARK = /\p{M}/u;
/** Characters without marks, Indic consonants and emoji: what is before them, a mark for example, ends there. */
// eslint-disable-next-line no-misleading-character-class -- each character is meant for itself
const SIMPLE = /[^\n\u00A9\u00AE\u0900-\u{10FFFF}]/u;
/** Vowels and finals of Hangul. */
const JAMO = /[\u1160-\u11FF\uD7B0-\uD7FF]/u;

// Properties of a character, as bits.
/** A longer string of the table begins with it. */
const BEGINS_KEY = 1;
/** The table has a replacement for it. */
const REPLACED = 2;
/** It is in JOINING, MARK, SIMPLE or JAMO. */
const JOINS = 4;
const IS_MARK = 8;
const IS_SIMPLE = 16;
const IS_JAMO = 32;
/** The others are known. Half of a surrogate pair never has it. */
const SEEN = 64;

/** Stretches between certain boundaries that are remembered, and their greatest length in UTF-16 units. */
const MAX_CACHED = 5000;
const MAX_CACHED_UNITS = 16;

/**
 * @param charsmap as in tokenizer.json, decoded
 * @throws RangeError when it is cut short
 */
export function precompiledNormalizer(charsmap: Buffer): {
  normalize: (text: string) => string;
  inSteps: (text: string) => Generator<void, string>;
} {
  const normalizer = new PrecompiledNormalizer(new Charsmap(charsmap));
  const normalize = (text: string): string => normalizer.normalize(text);
  return { normalize, inSteps: (text) => inBlocks(text, normalize, clusterCuts(text)) };
}

class PrecompiledNormalizer {
  readonly #charsmap: Charsmap;
  /** By code point. */
  readonly #properties = new Uint8Array(0x110000);
  /** By code point, of those that have REPLACED. */
  readonly #replacements = new Map<number, string>();
  /** By stretch, of those that may have a replacement as a whole. */
  readonly #stretches = new Map<string, string>();

  constructor(charsmap: Charsmap) {
    this.#charsmap = charsmap;
  }

  normalize(text: string): string {
    const properties = this.#properties;
    // Joined at once: a string that grows by a character at a time takes longer to read.
    const parts: string[] = [];
    let copied = 0;
    let done = 0;
    for (let i = 0; i < text.length;) {
      if (isPlain(properties[text.charCodeAt(i)] ?? 0)) {
        i++;
        continue;
      }
      const code = text.codePointAt(i) ?? 0;
      if (isPlain(this.#propertiesOf(code))) {
        i += widthOf(code);
        continue;
      }
      // The stretch between two places where certainly no cluster continues, and whether the table may have a whole cluster of it.
      const from = this.#boundaryBefore(text, i, done);
      let end = from;
      let mayHaveCluster = false;
      for (let before = 0, beforeCode = 0; end < text.length;) {
        const nextCode = text.codePointAt(end) ?? 0;
        const next = this.#propertiesOf(nextCode);
        if (end > i && isBoundary(before, next)) break;
        if (end > from && (before & (REPLACED | BEGINS_KEY)) !== 0)
          mayHaveCluster ||= bytesOf(beforeCode) + bytesOf(nextCode) <= MAX_CLUSTER_BYTES;
        [before, beforeCode] = [next, nextCode];
        end += widthOf(nextCode);
      }
      if (mayHaveCluster) {
        parts.push(text.slice(copied, from), this.#normalizeStretch(text.slice(from, end)));
        copied = end;
      } else
        for (let at = from; at < end;) {
          const each = text.codePointAt(at) ?? 0;
          const width = widthOf(each);
          if ((this.#propertiesOf(each) & REPLACED) !== 0) {
            parts.push(text.slice(copied, at), this.#replacements.get(each) ?? '');
            copied = at + width;
          }
          at += width;
        }
      i = done = end;
    }
    return copied === 0 ? text : parts.join('') + text.slice(copied);
  }

  /** The last place at or before `index`, but not before `least`, where certainly no cluster continues. */
  #boundaryBefore(text: string, index: number, least: number): number {
    let at = index;
    let own = this.#propertiesOf(text.codePointAt(at) ?? 0);
    while (at > least) {
      const start = isLowSurrogate(text.charCodeAt(at - 1)) && at - 2 >= least ? at - 2 : at - 1;
      const before = this.#propertiesOf(text.codePointAt(start) ?? 0);
      if (isBoundary(before, own)) break;
      at = start;
      own = before;
    }
    return at;
  }

  #propertiesOf(code: number): number {
    const known = this.#properties[code] ?? 0;
    if ((known & SEEN) !== 0) return known;
    const character = String.fromCodePoint(code);
    const replacement = this.#charsmap.find(character);
    if (replacement !== undefined) this.#replacements.set(code, replacement);
    const found =
      SEEN |
      (this.#charsmap.continues(character) ? BEGINS_KEY : 0) |
      (replacement === undefined ? 0 : REPLACED) |
      (JOINING.test(character) ? JOINS : 0) |
      (MARK.test(character) ? IS_MARK : 0) |
      (SIMPLE.test(character) ? IS_SIMPLE : 0) |
      (JAMO.test(character) ? IS_JAMO : 0);
    // normalize() looks up UTF-16 units first: half of a surrogate pair must not pass for plain there.
    if (code < 0xd800 || code > 0xdfff) this.#properties[code] = found;
    return found;
  }

  #normalizeStretch(stretch: string): string {
    let normalized = this.#stretches.get(stretch);
    if (normalized !== undefined) return normalized;
    normalized = Array.from(SEGMENTER.segment(stretch), ({ segment }) =>
      this.#normalizeCluster(segment),
    ).join('');
    if (stretch.length <= MAX_CACHED_UNITS) {
      if (this.#stretches.size === MAX_CACHED) this.#stretches.clear();
      this.#stretches.set(stretch, normalized);
    }
    return normalized;
  }

  #normalizeCluster(cluster: string): string {
    const isOne = cluster.length === widthOf(cluster.codePointAt(0) ?? 0);
    const isShort = !isOne && Buffer.byteLength(cluster) <= MAX_CLUSTER_BYTES;
    const whole = isShort ? this.#charsmap.find(cluster) : undefined;
    if (whole !== undefined) return whole;
    let result = '';
    for (const character of cluster) {
      const code = character.codePointAt(0) ?? 0;
      result +=
        (this.#propertiesOf(code) & REPLACED) === 0 ? character : (this.#replacements.get(code) ?? '');
    }
    return result;
  }
}

/** Whether a character stays as it is, unless one beside it joins it. */
function isPlain(properties: number): boolean {
  return (properties & (REPLACED | JOINS | SEEN)) === SEEN;
}

/** Whether a cluster of few bytes certainly begins between two characters with these properties. */
function isBoundary(before: number, after: number): boolean {
  if ((after & (JOINS | IS_JAMO)) !== 0) return false;
  return (before & JOINS) === 0 || ((before & IS_MARK) !== 0 && (after & IS_SIMPLE) !== 0);
}

function widthOf(code: number): number {
  return code > 0xffff ? 2 : 1;
}

function bytesOf(code: number): number {
  return code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
}

/** A place where a cluster of few bytes certainly begins. */
const ALONE = new RegExp(`(?<!${JOINING.source})(?!${JOINING.source}|${JAMO.source}).`, 'gsu');
/** Distance within which such a place is searched: in ordinary text it is near. */
const NEAR_UNITS = 512;

/** Finds places between two clusters of a text. */
function clusterCuts(text: string): (from: number) => number {
  const segments = SEGMENTER.segment(text);
  return (from) => {
    const start = isLowSurrogate(text.charCodeAt(from)) ? from - 1 : from;
    const near = text.slice(Math.max(0, start - 2), start + NEAR_UNITS);
    ALONE.lastIndex = Math.min(start, 2);
    const found = ALONE.exec(near);
    if (found) return start + found.index - Math.min(start, 2);
    const { index, segment } = segments.containing(start) ?? { index: start, segment: '' };
    return index === start ? start : index + segment.length;
  };
}
