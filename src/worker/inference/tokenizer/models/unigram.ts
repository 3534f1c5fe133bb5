/** The tokenizer model Unigram, as SentencePiece trains it. */
import { StartupError } from '../../../../shared/runtime/startup-error.ts';
import type { JsonObject } from '../json.ts';
import { BLOCK_UNITS, isHighSurrogate } from '../steps.ts';
import { byteTokens, toBytes } from './bytes.ts';
import type { TokenModel, Vocabulary } from './model.ts';
import { Paths } from './paths.ts';
import { MAX_STRINGS, Trie } from './trie.ts';

/** Difference between the score of an unknown character and that of the least likely token. */
const UNKNOWN_PENALTY = 10;

/** Distance within which a position is searched that all paths share. */
const MAX_UNSETTLED_UNITS = 4 * BLOCK_UNITS;

const SPACE = 0x20;

/** Longer pieces, in UTF-16 units, get their own arrays. */
const MAX_SHARED_UNITS = BLOCK_UNITS;

/** SentencePiece's Unigram: finds the tokens with the highest sum of scores, in time linear in the length of a piece. */
export class UnigramModel implements TokenModel {
  readonly vocabulary: Vocabulary;
  readonly unknownId: number;
  readonly #scores: Float64Array;
  readonly #unknownScore: number;
  readonly #trie: Trie;
  /** UTF-16 units of the longest token. */
  readonly #longest: number;
  /** For pieces of ordinary length, which are encoded at once. */
  readonly #shared = new Paths(MAX_SHARED_UNITS);
  readonly #byteTokens: readonly (number | undefined)[] | undefined;
  readonly #knowsAllBytes: boolean;

  constructor(config: JsonObject) {
    const entries = config.vocab as [string, number][];
    if (typeof config.unk_id !== 'number')
      throw new StartupError('tokenizer.json: a Unigram model without unk_id is not supported');
    if (config.unk_id >= entries.length)
      throw new StartupError('tokenizer.json: unk_id of the Unigram model is not in its vocabulary');
    if (entries.length > MAX_STRINGS)
      throw new StartupError(
        `tokenizer.json: the Unigram model has ${entries.length} tokens; at most ${MAX_STRINGS} are supported`,
      );
    this.unknownId = config.unk_id;
    this.#scores = Float64Array.from(entries, ([, score]) => score);
    this.#unknownScore = this.#scores.reduce((least, score) => Math.min(least, score)) - UNKNOWN_PENALTY;
    const tokens = entries.map(([token]) => token);
    this.#trie = new Trie(tokens);
    this.vocabulary = this.#trie;
    this.#longest = entries.reduce((longest, [token]) => Math.max(longest, token.length), 0);
    this.#byteTokens = config.byte_fallback === true ? byteTokens(this.vocabulary) : undefined;
    this.#knowsAllBytes = this.#byteTokens?.every((id) => id !== undefined) ?? false;
  }

  tokenize(piece: string, ids: number[]): void {
    const paths = this.#pathsFor(piece.length);
    paths.start(piece, this.#trie);
    this.#encode(paths, ids);
  }

  tokenizeWords(text: string, mark: number, prepends: boolean, ids: number[], limit: number): void {
    const trie = this.#trie;
    const paths = this.#pathsFor(text.length + 1);
    paths.reset();
    if (prepends) paths.add(mark, trie);
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      if (unit !== SPACE && unit !== mark) {
        paths.add(unit, trie);
        continue;
      }
      if (paths.length > 0) {
        this.#encode(paths, ids);
        if (ids.length > limit) return;
        paths.reset();
      }
      paths.add(mark, trie);
    }
    if (paths.length > 0) this.#encode(paths, ids);
  }

  *tokenizeInSteps(piece: string, ids: number[], limit: number): Generator<void, void> {
    const paths = new Paths(piece.length);
    paths.start(piece, this.#trie);
    while (paths.reached < piece.length) {
      this.#extend(paths, Math.min(piece.length, paths.reached + BLOCK_UNITS));
      this.#collect(paths, this.#settledEnd(paths), ids, limit);
      if (ids.length > limit) return;
      yield;
    }
  }

  #pathsFor(length: number): Paths {
    return length <= MAX_SHARED_UNITS ? this.#shared : new Paths(length);
  }

  #encode(paths: Paths, ids: number[]): void {
    const { length, startOf, idOf } = paths;
    this.#extend(paths, length);
    const before = ids.length;
    for (let end = length; end > 0; end = startOf[end] ?? 0) {
      const id = idOf[end] ?? 0;
      if (id === this.unknownId) {
        ids.length = before;
        this.#collect(paths, length, ids, Infinity);
        return;
      }
      ids.push(id);
    }
    // The last one came first.
    for (let i = before, k = ids.length - 1; i < k; i++, k--) {
      const id = ids[i] ?? 0;
      ids[i] = ids[k] ?? 0;
      ids[k] = id;
    }
  }

  /** Extends the best paths from every position up to an index. */
  #extend(paths: Paths, to: number): void {
    const { length, units, codes, best, startOf, idOf } = paths;
    const [trie, scores] = [this.#trie, this.#scores];
    // Behind the end, and leads nowhere.
    codes[length] = 0;
    let start = paths.reached;
    while (start < to) {
      const width = isHighSurrogate(units[start] ?? 0) && start + 1 < length ? 2 : 1;
      const scoreHere = best[start] ?? 0;
      let knowsCharacter = false;
      let end = start;
      for (let node = trie.next(0, codes[end] ?? 0); node !== 0; node = trie.next(node, codes[end] ?? 0)) {
        end++;
        const id = trie.valueOf(node);
        if (id < 0) continue;
        if (end === start + width) knowsCharacter = true;
        const sum = scoreHere + (scores[id] ?? 0);
        if (startOf[end] !== -1 && sum <= (best[end] ?? 0)) continue;
        best[end] = sum;
        startOf[end] = start;
        idOf[end] = id;
      }
      end = start + width;
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
  #settledEnd({ length, startOf, idOf, reached, collected }: Paths): number {
    if (reached === length) return reached;
    // Paths may never meet, as in a row of equal characters: then the end of the piece decides.
    const floor = Math.max(collected, reached - MAX_UNSETTLED_UNITS);
    let common = reached;
    for (let end = reached + 1; end <= Math.min(length, reached + this.#longest); end++) {
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
    const { startOf, idOf, collected } = paths;
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
      else this.#collectUnknown(paths.text(starts[i] ?? 0, end), ids, limit);
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

