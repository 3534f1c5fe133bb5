/** The tokenizer model BPE (byte-pair encoding). */
import { StartupError } from '../../../../shared/runtime/startup-error.ts';
import { BYTE_CHARACTERS } from '../byte-level.ts';
import type { JsonObject } from '../json.ts';
import { BLOCK_UNITS, finish, isLowSurrogate } from '../steps.ts';
import { byteTokens, toBytes } from './bytes.ts';
import { MergeQueue } from './merge-queue.ts';
import { requireUnknown, type TokenModel } from './model.ts';

/** Words whose ids are remembered, and their greatest length in UTF-16 units. */
const MAX_CACHED = 10_000;
const MAX_CACHED_LENGTH = 64;

/** Number of code points in Unicode. */
const CODE_POINTS = 0x110000;

interface Merge {
  rank: number;
  /** Id of the merged token. */
  id: number;
}

/** Byte-pair encoding: merges the characters of a word pair by pair, in the order of the merges in training. */
export class BpeModel implements TokenModel {
  readonly vocabulary: ReadonlyMap<string, number>;
  readonly unknownId: number | undefined;
  readonly #prefix: string;
  readonly #suffix: string;
  readonly #fusesUnknown: boolean;
  readonly #ignoresMerges: boolean;
  readonly #byteTokens: readonly (number | undefined)[] | undefined;
  /** By left id × `#ids` + right id. */
  readonly #merges = new Map<number, Merge>();
  /** Greatest id + 1. */
  readonly #ids: number;
  /** Whether each character is one token, the same anywhere in a word. */
  readonly #hasPlainCharacters: boolean;
  /** Pairs of characters that some merge joins, as code points: left × CODE_POINTS + right. */
  readonly #neighbours = new Set<number>();
  readonly #cache = new Map<string, readonly number[]>();

  constructor(config: JsonObject) {
    this.vocabulary = new Map(Object.entries(config.vocab as Record<string, number>));
    this.#prefix = (config.continuing_subword_prefix as string | null | undefined) ?? '';
    this.#suffix = (config.end_of_word_suffix as string | null | undefined) ?? '';
    this.#fusesUnknown = config.fuse_unk === true;
    this.#ignoresMerges = config.ignore_merges === true;
    this.#byteTokens = config.byte_fallback === true ? byteTokens(this.vocabulary) : undefined;
    const unknown = config.unk_token as string | null | undefined;
    // A byte-level vocabulary has every character, so its unk_token, which may be missing, is never used.
    const complete = BYTE_CHARACTERS.every((character) => this.vocabulary.has(character));
    if (typeof unknown === 'string')
      this.unknownId = complete ? this.vocabulary.get(unknown) : requireUnknown(this.vocabulary, unknown);
    let greatest = 0;
    for (const id of this.vocabulary.values()) greatest = Math.max(greatest, id);
    this.#ids = greatest + 1;
    this.#hasPlainCharacters =
      this.#prefix === '' &&
      this.#suffix === '' &&
      new Set(this.vocabulary.values()).size === this.vocabulary.size;
    (config.merges as (string | [string, string])[])
      .filter((merge) => typeof merge !== 'string' || !merge.startsWith('#version'))
      .forEach((merge, rank) => this.#addMerge(typeof merge === 'string' ? merge.split(' ') : merge, rank));
  }

  #addMerge(pair: readonly string[], rank: number): void {
    const [left, right] = pair;
    if (pair.length !== 2 || left === undefined || right === undefined)
      throw new StartupError(`tokenizer.json: the merge ${JSON.stringify(pair.join(' '))} is not a pair`);
    const rest = this.#prefix === '' ? right : utf8Slice(right, Buffer.byteLength(this.#prefix));
    const idOf = (token: string): number => {
      const id = this.vocabulary.get(token);
      if (id === undefined) {
        throw new StartupError(
          `tokenizer.json: the merge of ${JSON.stringify(left)} and ${JSON.stringify(right)} needs ` +
            `${JSON.stringify(token)}, which is not in the vocabulary`,
        );
      }
      return id;
    };
    this.#neighbours.add((lastCodePoint(left) ?? 0) * CODE_POINTS + (rest.codePointAt(0) ?? 0));
    this.#merges.set(idOf(left) * this.#ids + idOf(right), { rank, id: idOf(left + rest) });
  }

  tokenize(word: string, ids: number[]): void {
    if (word.length > MAX_CACHED_LENGTH) finish(this.tokenizeInSteps(word, ids, Infinity));
    else if (!this.#isToken(word, ids)) this.#append(this.#cached(word), ids);
  }

  *tokenizeInSteps(word: string, ids: number[], limit: number): Generator<void, void> {
    if (this.#isToken(word, ids)) return;
    for (const part of this.#independentParts(word)) {
      if (ids.length > limit) return;
      if (part === undefined) yield;
      else if (part.length <= MAX_CACHED_LENGTH) this.#append(this.#cached(part), ids);
      else this.#append(yield* this.#merge(yield* this.#characterIds(part)), ids);
    }
  }

  #isToken(word: string, ids: number[]): boolean {
    const id = this.#ignoresMerges ? this.vocabulary.get(word) : undefined;
    if (id !== undefined) ids.push(id);
    return id !== undefined;
  }

  #append(encoded: readonly number[], ids: number[]): void {
    for (const id of encoded) ids.push(id);
  }

  #cached(word: string): readonly number[] {
    let encoded = this.#cache.get(word);
    if (encoded === undefined) {
      encoded = finish(this.#merge(finish(this.#characterIds(word))));
      if (this.#cache.size === MAX_CACHED) this.#cache.clear();
      this.#cache.set(word, encoded);
    }
    return encoded;
  }

  /**
   * Cuts a long word where no merge can reach across: between two characters of the vocabulary that no merge joins. Without a
   * pre-tokenizer, as in Llama 2, the word is a whole text, and its parts are about words.
   * @returns the parts, and undefined at the end of each step
   */
  *#independentParts(word: string): Generator<string | undefined> {
    let start = 0;
    let before = 0;
    let blockEnd = BLOCK_UNITS;
    for (let i = 0; i < word.length; i++) {
      if (i >= blockEnd) {
        blockEnd = i + BLOCK_UNITS;
        yield undefined;
      }
      const code = word.codePointAt(i) ?? 0;
      if (i > 0 && !this.#neighbours.has(before * CODE_POINTS + code) && this.#knows(before) && this.#knows(code)) {
        yield word.slice(start, i);
        start = i;
      }
      before = code;
      if (code > 0xffff) i++;
    }
    yield word.slice(start);
  }

  #knows(code: number): boolean {
    return this.#hasPlainCharacters && this.vocabulary.has(String.fromCodePoint(code));
  }

  *#characterIds(word: string): Generator<void, number[]> {
    const ids: number[] = [];
    // Number of unknown characters that have no id yet; one id may stand for all of them.
    let pending = 0;
    let blockEnd = BLOCK_UNITS;
    for (let i = 0, width; i < word.length; i += width) {
      const character = String.fromCodePoint(word.codePointAt(i) ?? 0);
      width = character.length;
      if (i > blockEnd) {
        blockEnd = i + BLOCK_UNITS;
        yield;
      }
      const token = (i === 0 ? '' : this.#prefix) + character + (i + width === word.length ? this.#suffix : '');
      const id = this.vocabulary.get(token);
      if (id !== undefined) {
        if (pending > 0 && this.unknownId !== undefined) ids.push(this.unknownId);
        pending = 0;
        ids.push(id);
        continue;
      }
      // As in Python, by mistake, but models were trained with it: bytes come before an unknown character that precedes them.
      const bytes = this.#byteTokens && toBytes(token, this.#byteTokens);
      if (bytes) {
        ids.push(...bytes);
        continue;
      }
      if (this.unknownId === undefined) continue;
      if (pending > 0 && !this.#fusesUnknown) ids.push(this.unknownId);
      pending++;
    }
    if (pending > 0 && this.unknownId !== undefined) ids.push(this.unknownId);
    return ids;
  }

  /** Merges pairs in place: the merged token replaces the left one, and the right one becomes free (−1). */
  *#merge(ids: number[]): Generator<void, readonly number[]> {
    const { length } = ids;
    if (length < 2) return ids;
    const queue = new MergeQueue();
    const offer = (left: number, right: number) => {
      const merge = this.#merges.get((ids[left] ?? 0) * this.#ids + (ids[right] ?? 0));
      if (merge) queue.push(merge.rank, left, merge.id);
    };
    for (let i = 0; i + 1 < length; i++) {
      offer(i, i + 1);
      if (i % BLOCK_UNITS === BLOCK_UNITS - 1) yield;
    }
    if (queue.isEmpty) return ids;
    const next = new Int32Array(length);
    const previous = new Int32Array(length);
    for (let i = 0; i < length; i++) {
      next[i] = i + 1;
      previous[i] = i - 1;
    }
    let steps = 0;
    for (let top = queue.pop(); top; top = queue.pop()) {
      if (++steps % BLOCK_UNITS === 0) yield;
      const { position, id } = top;
      const right = next[position] ?? length;
      if (ids[position] === -1 || right >= length) continue;
      // The pair may have changed since; as in Python, the merge is valid if it still gives the same token.
      const merge = this.#merges.get((ids[position] ?? 0) * this.#ids + (ids[right] ?? 0));
      if (merge?.id !== id) continue;
      ids[position] = id;
      ids[right] = -1;
      const following = next[right] ?? length;
      next[position] = following;
      if (following < length) previous[following] = position;
      const before = previous[position] ?? -1;
      if (before >= 0) offer(before, position);
      if (following < length) offer(position, following);
    }
    return ids.filter((id) => id !== -1);
  }
}

function lastCodePoint(text: string): number | undefined {
  return text.codePointAt(text.length - (isLowSurrogate(text.charCodeAt(text.length - 1)) && text.length > 1 ? 2 : 1));
}

function utf8Slice(text: string, from: number): string {
  return Buffer.from(text).subarray(from).toString();
}
