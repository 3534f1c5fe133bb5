/**
 * The table of a `Precompiled` normaliser: strings and their replacements, made when a SentencePiece model was trained (`nmt_nfkc`
 * for XLM-R).
 *
 * In bytes: the size of a trie (u32), the trie (a double array of u32 units, in the layout of Darts-clone), and the replacements,
 * UTF-8, each ended by a 0. The trie leads from the UTF-8 bytes of a string to where its replacement begins.
 */

export class Charsmap {
  readonly #trie: Uint32Array;
  readonly #replacements: Buffer;

  /**
   * @param charsmap as in tokenizer.json, decoded
   * @throws RangeError when it is cut short
   */
  constructor(charsmap: Buffer) {
    const end = 4 + charsmap.readUInt32LE(0);
    if (end > charsmap.length) throw new RangeError('the trie is cut short');
    // Little-endian, as every machine that ONNX Runtime supports; copied to where a multiple of four bytes begins.
    this.#trie = new Uint32Array(Uint8Array.from(charsmap.subarray(4, end)).buffer);
    this.#replacements = charsmap.subarray(end);
  }

  /** The replacement of the shortest prefix of `key` that has one; as in Python, it replaces all of `key`. */
  find(key: string): string | undefined {
    let node = offsetOf(this.#trie[0] ?? 0);
    for (const byte of Buffer.from(key)) {
      const unit = this.#trie[node ^ byte] ?? 0;
      if (byte === 0 || labelOf(unit) !== byte) return undefined;
      node ^= byte ^ offsetOf(unit);
      if (hasLeaf(unit)) {
        const start = valueOf(this.#trie[node] ?? 0);
        return this.#replacements.toString('utf8', start, this.#replacements.indexOf(0, start));
      }
    }
    return undefined;
  }

  /** Whether some longer string that has a replacement begins with `key`. */
  continues(key: string): boolean {
    let node = offsetOf(this.#trie[0] ?? 0);
    for (const byte of Buffer.from(key)) {
      const unit = this.#trie[node ^ byte] ?? 0;
      if (byte === 0 || labelOf(unit) !== byte) return false;
      node ^= byte ^ offsetOf(unit);
    }
    for (let byte = 1; byte < 0x100; byte++) if (labelOf(this.#trie[node ^ byte] ?? 0) === byte) return true;
    return false;
  }
}

// A unit of the double array. Bit 8: has a leaf; bits 10…30: offset, in units of 256 if bit 9 is set; the lowest byte: the
// byte that leads here. A leaf: bit 31 set, the others its value.
const hasLeaf = (unit: number): boolean => ((unit >>> 8) & 1) === 1;
const valueOf = (unit: number): number => unit & 0x7fffffff;
const labelOf = (unit: number): number => (unit & 0x800000ff) >>> 0;
const offsetOf = (unit: number): number => (unit >>> 10) << ((unit & 0x200) >>> 6);
