import { StartupError } from '../../../../shared/errors.ts';
import type { JsonObject } from '../json.ts';
import { byteTokens, toBytes } from './bytes.ts';
import type { TokenModel } from './model.ts';
import { Trie } from './trie.ts';

/** How much less likely an unknown character is than the least likely token. */
const UNKNOWN_PENALTY = 10;

/** SentencePiece's: the tokens with the highest sum of scores. Time grows with the length of a piece, not with its square. */
export class UnigramModel implements TokenModel {
  readonly vocabulary: ReadonlyMap<string, number>;
  readonly unknownId: number;
  readonly #scores: Float64Array;
  readonly #unknownScore: number;
  readonly #trie: Trie;
  readonly #byteTokens: readonly (number | undefined)[] | undefined;

  constructor(config: JsonObject) {
    const entries = config.vocab as [string, number][];
    if (typeof config.unk_id !== 'number')
      throw new StartupError('tokenizer.json: a Unigram model without unk_id is not supported');
    if (config.unk_id >= entries.length)
      throw new StartupError('tokenizer.json: unk_id of the Unigram model is not in its vocabulary');
    this.unknownId = config.unk_id;
    const vocabulary = new Map(entries.map(([token], id) => [token, id]));
    this.vocabulary = vocabulary;
    this.#scores = Float64Array.from(entries, ([, score]) => score);
    this.#unknownScore = this.#scores.reduce((least, score) => Math.min(least, score)) - UNKNOWN_PENALTY;
    this.#trie = new Trie(vocabulary);
    this.#byteTokens = config.byte_fallback === true ? byteTokens(vocabulary) : undefined;
  }

  tokenize(piece: string, ids: number[]): void {
    // By position: the best way to get there, as the sum of its scores, and where its last token begins and which it is.
    const best = new Float64Array(piece.length + 1);
    const startOf = new Int32Array(piece.length + 1).fill(-1);
    const idOf = new Int32Array(piece.length + 1);
    for (let start = 0; start < piece.length;) {
      const width = isHighSurrogate(piece.charCodeAt(start)) && start + 1 < piece.length ? 2 : 1;
      const scoreHere = best[start] ?? 0;
      const offer = (end: number, id: number, score: number) => {
        const sum = scoreHere + score;
        if (startOf[end] !== -1 && sum <= (best[end] ?? 0)) return;
        best[end] = sum;
        startOf[end] = start;
        idOf[end] = id;
      };
      const shortest = this.#trie.prefixesOf(piece, start, (end, id) => offer(end, id, this.#scores[id] ?? 0));
      if (shortest !== start + width) offer(start + width, this.unknownId, this.#unknownScore);
      start += width;
    }
    this.#collect(piece, startOf, idOf, ids);
  }

  /** Unknown characters beside each other are one token, or that of each of their bytes. */
  #collect(piece: string, startOf: Int32Array, idOf: Int32Array, ids: number[]): void {
    const reversed: number[] = [];
    for (let end = piece.length; end > 0;) {
      let start = startOf[end] ?? 0;
      const id = idOf[end] ?? 0;
      if (id !== this.unknownId) reversed.push(id);
      else {
        while (start > 0 && idOf[start] === this.unknownId) start = startOf[start] ?? 0;
        const text = piece.slice(start, end);
        const bytes = this.#byteTokens && toBytes(text, this.#byteTokens);
        const known = this.vocabulary.get(text);
        if (known !== undefined) reversed.push(known);
        else if (bytes) reversed.push(...bytes.reverse());
        else reversed.push(this.unknownId);
      }
      end = start;
    }
    for (let i = reversed.length - 1; i >= 0; i--) ids.push(reversed[i] ?? 0);
  }
}

function isHighSurrogate(unit: number): boolean {
  return (unit & 0xfc00) === 0xd800;
}
