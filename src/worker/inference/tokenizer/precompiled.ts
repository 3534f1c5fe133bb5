/**
 * The `Precompiled` normaliser of SentencePiece models: a table from strings to their replacements, made when the model was
 * trained (`nmt_nfkc` for XLM-R). The library uses JavaScript's NFKC instead, which is nearly but not quite the same.
 *
 * A charsmap is, in bytes: the size of a trie (u32), the trie (a double array of u32 units, in the layout of Darts-clone),
 * and the replacements, UTF-8, each ended by a 0. The trie leads from the UTF-8 bytes of a string to where its replacement
 * begins.
 */

/** A run in which a cluster of several characters may lie: what is not ASCII, with its ASCII neighbours. */
const CLUSTERED = /[\x20-\x7e]?[^\x20-\x7e]+(?:[\x20-\x7e][^\x20-\x7e]+)*[\x20-\x7e]?/g;

/** Only clusters of fewer bytes are looked up as a whole. */
const MAX_CLUSTER_BYTES = 5;

/** What SentencePiece's users see as one character: a letter with its marks, an emoji with its joiners. */
const SEGMENTER = new Intl.Segmenter('und', { granularity: 'grapheme' });

/**
 * @param charsmap as in tokenizer.json, decoded
 * @throws RangeError when it is cut short
 */
export function precompiledNormalizer(charsmap: Buffer): (text: string) => string {
  const trieBytes = charsmap.readUInt32LE(0);
  const trie = Uint32Array.from({ length: trieBytes / 4 }, (_, i) => charsmap.readUInt32LE(4 + i * 4));
  const replacements = charsmap.subarray(4 + trieBytes);

  /** The replacement of the shortest prefix of `key` that has one: as in Python, it stands for all of `key`. */
  const find = (key: string): string | undefined => {
    let node = offsetOf(trie[0] ?? 0);
    for (const byte of Buffer.from(key)) {
      node ^= byte;
      const unit = trie[node] ?? 0;
      if (byte === 0 || labelOf(unit) !== byte) return undefined;
      node ^= offsetOf(unit);
      if (!hasLeaf(unit)) continue;
      const start = valueOf(trie[node] ?? 0);
      return replacements.toString('utf8', start, replacements.indexOf(0, start));
    }
    return undefined;
  };
  const normalizeCluster = (cluster: string): string => {
    if (Buffer.byteLength(cluster) <= MAX_CLUSTER_BYTES) {
      const replacement = find(cluster);
      if (replacement !== undefined) return replacement;
    }
    return Array.from(cluster, (character) => find(character) ?? character).join('');
  };
  const normalizeRun = (run: string): string =>
    Array.from(SEGMENTER.segment(run), ({ segment }) => normalizeCluster(segment)).join('');

  const printable = Array.from({ length: 0x7f - 0x20 }, (_, i) => String.fromCharCode(0x20 + i));
  // As good as always: then English text needs no look-ups.
  const keepsAscii = printable.every((character) => find(character) === undefined);
  return (text) => (keepsAscii ? text.replace(CLUSTERED, normalizeRun) : normalizeRun(text));
}

// A unit of the double array. Bit 8: has a leaf; bits 10…30: offset, in units of 256 if bit 9 is set; the lowest byte: the
// byte that leads here. A leaf: bit 31 set, the others its value.
const hasLeaf = (unit: number): boolean => ((unit >>> 8) & 1) === 1;
const valueOf = (unit: number): number => unit & 0x7fffffff;
const labelOf = (unit: number): number => (unit & 0x800000ff) >>> 0;
const offsetOf = (unit: number): number => (unit >>> 10) << ((unit & 0x200) >>> 6);
