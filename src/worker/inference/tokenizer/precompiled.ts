/**
 * The `Precompiled` normaliser of SentencePiece models: a table of strings and their replacements, made when the model was trained
 * (`nmt_nfkc` for XLM-R). The library uses JavaScript's NFKC instead, which is nearly but not quite the same.
 *
 * A charsmap is, in bytes: the size of a trie (u32), the trie (a double array of u32 units, in the layout of Darts-clone),
 * and the replacements, UTF-8, each ended by a 0. The trie leads from the UTF-8 bytes of a string to where its replacement
 * begins.
 */

import { inBlocks, isLowSurrogate } from './steps.ts';

/** A run that may contain a cluster of several characters: characters outside ASCII, with their ASCII neighbours. */
const CLUSTERED = /[\x20-\x7e]?[^\x20-\x7e]+(?:[\x20-\x7e][^\x20-\x7e]+)*[\x20-\x7e]?/g;

/** Only clusters of fewer bytes are looked up as a whole. */
const MAX_CLUSTER_BYTES = 5;

/** Finds grapheme clusters, as SentencePiece does: a letter with its marks, an emoji with its joiners. */
const SEGMENTER = new Intl.Segmenter('und', { granularity: 'grapheme' });

/**
 * Characters that may share a cluster of so few bytes with another. Without one of them each character is looked up alone,
 * which takes a tenth of the segmenter's time. (Hangul and flags have clusters too, of six bytes and more.)
 */
export const JOINING =
  /[\p{M}\p{Cf}\p{Grapheme_Extend}\p{Emoji_Modifier}\r\u0E33\u0EB3\u0D4E\u{111C2}\u{111C3}\u{113D1}\u{1193F}\u{11941}\u{11A84}-\u{11A89}\u{11D46}\u{11F02}]/u;

/**
 * @param charsmap as in tokenizer.json, decoded
 * @throws RangeError when it is cut short
 */
export function precompiledNormalizer(charsmap: Buffer): {
  normalize: (text: string) => string;
  inSteps: (text: string) => Generator<void, string>;
} {
  const trieBytes = charsmap.readUInt32LE(0);
  const trie = Uint32Array.from({ length: trieBytes / 4 }, (_, i) => charsmap.readUInt32LE(4 + i * 4));
  const replacements = charsmap.subarray(4 + trieBytes);

  /**
   * The replacement of the shortest prefix of `key` that has one; as in Python, it replaces all of `key`. Called for every character
   * of most scripts, so the bytes are computed here, without a Buffer.
   */
  const find = (key: string): string | undefined => {
    let node = offsetOf(trie[0] ?? 0);
    for (let i = 0; i < key.length; i++) {
      const code = key.codePointAt(i) ?? 0;
      if (code > 0xffff) i++;
      let following = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
      let byte = following === 0 ? code : (LEADING[following] ?? 0) | (code >> (6 * following));
      for (;;) {
        node ^= byte;
        const unit = trie[node] ?? 0;
        if (byte === 0 || labelOf(unit) !== byte) return undefined;
        node ^= offsetOf(unit);
        if (hasLeaf(unit)) {
          const start = valueOf(trie[node] ?? 0);
          return replacements.toString('utf8', start, replacements.indexOf(0, start));
        }
        if (following === 0) break;
        following--;
        byte = 0x80 | ((code >> (6 * following)) & 0x3f);
      }
    }
    return undefined;
  };
  const normalizeCharacters = (text: string): string => {
    let result = '';
    let copied = 0;
    for (let i = 0, width; i < text.length; i += width) {
      width = isLowSurrogate(text.charCodeAt(i + 1)) ? 2 : 1;
      const replacement = find(text.slice(i, i + width));
      if (replacement === undefined) continue;
      result += text.slice(copied, i) + replacement;
      copied = i + width;
    }
    return copied === 0 ? text : result + text.slice(copied);
  };
  const normalizeCluster = (cluster: string): string => {
    if (Buffer.byteLength(cluster) <= MAX_CLUSTER_BYTES) {
      const replacement = find(cluster);
      if (replacement !== undefined) return replacement;
    }
    return normalizeCharacters(cluster);
  };
  const normalizeRun = (run: string): string => {
    if (!JOINING.test(run)) return normalizeCharacters(run);
    return Array.from(SEGMENTER.segment(run), ({ segment }) => normalizeCluster(segment)).join('');
  };

  const printable = Array.from({ length: 0x7f - 0x20 }, (_, i) => String.fromCharCode(0x20 + i));
  // True for nearly all charsmaps: English text then needs no look-ups.
  const keepsAscii = printable.every((character) => find(character) === undefined);
  const normalize = (text: string) =>
    keepsAscii ? text.replace(CLUSTERED, normalizeRun) : normalizeRun(text);
  return { normalize, inSteps: (text) => inBlocks(text, normalize, clusterCuts(text)) };
}

/** A place where a cluster of few bytes certainly begins. */
const ALONE = new RegExp(`(?<!${JOINING.source})(?!${JOINING.source})[^\u1160-\u11FF\uD7B0-\uD7FF]`, 'gu');
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

/** The bits that the first byte of a character in UTF-8 has set, by the number of bytes that follow. */
const LEADING = [0, 0xc0, 0xe0, 0xf0];

// A unit of the double array. Bit 8: has a leaf; bits 10…30: offset, in units of 256 if bit 9 is set; the lowest byte: the
// byte that leads here. A leaf: bit 31 set, the others its value.
const hasLeaf = (unit: number): boolean => ((unit >>> 8) & 1) === 1;
const valueOf = (unit: number): number => unit & 0x7fffffff;
const labelOf = (unit: number): number => (unit & 0x800000ff) >>> 0;
const offsetOf = (unit: number): number => (unit >>> 10) << ((unit & 0x200) >>> 6);
