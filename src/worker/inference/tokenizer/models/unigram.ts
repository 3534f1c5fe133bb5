/** The tokenizer model Unigram, as SentencePiece trains it. */
import { StartupError } from '../../../../shared/runtime/startup-error.ts';
import type { JsonObject } from '../json.ts';
import { BLOCK_UNITS, isHighSurrogate } from '../steps.ts';
import { byteTokens, toBytes } from './bytes.ts';
import type { TokenModel } from './model.ts';
import { Trie } from './trie.ts';

/** Difference between the score of an unknown character and that of the least likely token. */
const UNKNOWN_PENALTY = 10;

/** Distance within which a position is searched that all paths share. */
const MAX_UNSETTLED_UNITS = 4 * BLOCK_UNITS;

/** SentencePiece's Unigram: finds the tokens with the highest sum of scores, in time linear in the length of a piece. */
export class UnigramModel implements TokenModel {
  readonly vocabulary: ReadonlyMap<string, number>;
  readonly unknownId: number;
  readonly #scores: Float64Array;
  readonly #unknownScore: number;
  readonly #trie: Trie;
  /** UTF-16 units of the longest token. */
  readonly #longest: number;
  readonly #byteTokens: readonly (number | undefined)[] | undefined;
  readonly #knowsAllBytes: boolean;

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
    this.#longest = entries.reduce((longest, [token]) => Math.max(longest, token.length), 0);
    this.#byteTokens = config.byte_fallback === true ? byteTokens(vocabulary) : undefined;
    this.#knowsAllBytes = this.#byteTokens?.every((id) => id !== undefined) ?? false;
  }

  tokenize(piece: string, ids: number[]): void {
    const paths = new Paths(piece);
    this.#extend(paths, piece.length);
    this.#collect(paths, piece.length, ids, Infinity);
  }

  *tokenizeInSteps(piece: string, ids: number[], limit: number): Generator<void, void> {
    const paths = new Paths(piece);
    while (paths.reached < piece.length) {
      this.#extend(paths, Math.min(piece.length, paths.reached + BLOCK_UNITS));
      this.#collect(paths, this.#settledEnd(paths), ids, limit);
      if (ids.length > limit) return;
      yield;
    }
  }

  /** Extends the best paths from every position up to an index. */
  #extend(paths: Paths, to: number): void {
    const { piece, best, startOf, idOf } = paths;
    const { length } = piece;
    let start = paths.reached;
    while (start < to) {
      const width = isHighSurrogate(piece.charCodeAt(start)) && start + 1 < length ? 2 : 1;
      const scoreHere = best[start] ?? 0;
      let knowsCharacter = false;
      let node = 0;
      for (let end = start + 1; end <= length; end++) {
        node = this.#trie.next(node, piece.charCodeAt(end - 1));
        if (node === 0) break;
        const id = this.#trie.valueOf(node);
        if (id < 0) continue;
        if (end === start + width) knowsCharacter = true;
        const sum = scoreHere + (this.#scores[id] ?? 0);
        if (startOf[end] !== -1 && sum <= (best[end] ?? 0)) continue;
        best[end] = sum;
        startOf[end] = start;
        idOf[end] = id;
      }
      const end = start + width;
      const sum = scoreHere + this.#unknownScore;
      if (!knowsCharacter && (startOf[end] === -1 || sum > (best[end] ?? 0))) {
        best[end] = sum;
        startOf[end] = start;
        idOf[end] = this.unknownId;
      }
      start = end;
    }
    paths.reached = start;
  }

  /**
   * The position up to which tokens are final, whatever follows: the last one that all candidates for the best path share. Unknown
   * characters at the end are not final: more of them may follow.
   */
  #settledEnd({ piece, startOf, idOf, reached, collected }: Paths): number {
    if (reached === piece.length) return reached;
    // Paths may never meet, as in a row of equal characters: then the end of the piece decides.
    const floor = Math.max(collected, reached - MAX_UNSETTLED_UNITS);
    let common = reached;
    for (let end = reached + 1; end <= Math.min(piece.length, reached + this.#longest); end++) {
      if (startOf[end] === -1) continue;
      let other = end;
      while (other !== common) {
        if (other > common) other = startOf[other] ?? 0;
        else common = startOf[common] ?? 0;
        if (common < floor) return collected;
      }
    }
    while (common > collected && idOf[common] === this.unknownId) common = startOf[common] ?? 0;
    return common;
  }

  /**
   * Appends the tokens up to an index, until there are more than `limit`. Adjacent unknown characters become one token, or the
   * tokens of their bytes.
   */
  #collect(paths: Paths, to: number, ids: number[], limit: number): void {
    const { piece, startOf, idOf, collected } = paths;
    paths.collected = to;
    /** Starts of the tokens, last one first; a run of unknown characters counts as one. */
    const starts: number[] = [];
    for (let end = to; end > collected;) {
      let start = startOf[end] ?? 0;
      if (idOf[end] === this.unknownId)
        while (start > collected && idOf[start] === this.unknownId) start = startOf[start] ?? 0;
      starts.push(start);
      end = start;
    }
    for (let i = starts.length - 1; i >= 0 && ids.length <= limit; i--) {
      const end = starts[i - 1] ?? to;
      const id = idOf[end] ?? 0;
      if (id !== this.unknownId) ids.push(id);
      else this.#collectUnknown(piece.slice(starts[i], end), ids, limit);
    }
  }

  #collectUnknown(text: string, ids: number[], limit: number): void {
    const known = this.vocabulary.get(text);
    // If all bytes have tokens, each character gives at least one.
    const enough = this.#knowsAllBytes ? text.slice(0, 2 * (limit - ids.length + 1)) : text;
    const bytes = known === undefined && this.#byteTokens ? toBytes(enough, this.#byteTokens) : undefined;
    if (bytes) for (const id of bytes) ids.push(id);
    else ids.push(known ?? this.unknownId);
  }
}

/** The best path to each position in a piece: the sum of its scores, and start and id of its last token. */
class Paths {
  readonly piece: string;
  readonly best: Float64Array;
  /** −1 where no token ends. */
  readonly startOf: Int32Array;
  readonly idOf: Int32Array;
  /** Paths are extended from all positions before this one. */
  reached = 0;
  /** Ids are collected up to this position. */
  collected = 0;

  constructor(piece: string) {
    this.piece = piece;
    this.best = new Float64Array(piece.length + 1);
    this.startOf = new Int32Array(piece.length + 1).fill(-1);
    this.idOf = new Int32Array(piece.length + 1);
  }
}
