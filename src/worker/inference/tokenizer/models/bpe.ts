import { StartupError } from '../../../../shared/errors.ts';
import { BYTE_CHARACTERS } from '../byte-level.ts';
import type { JsonObject } from '../json.ts';
import { byteTokens, toBytes } from './bytes.ts';
import { MergeQueue } from './merge-queue.ts';
import { requireUnknown, type TokenModel } from './model.ts';

/** Words whose ids are remembered, and their greatest length in UTF-16 units. */
const MAX_CACHED = 10_000;
const MAX_CACHED_LENGTH = 64;

interface Merge {
  rank: number;
  /** Id of the token that both together are. */
  id: number;
}

/** Byte-pair encoding: a word's characters, of which the pair that was merged first in training is merged first. */
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
  /** More than the greatest id. */
  readonly #ids: number;
  readonly #cache = new Map<string, readonly number[]>();

  constructor(config: JsonObject) {
    this.vocabulary = new Map(Object.entries(config.vocab as Record<string, number>));
    this.#prefix = (config.continuing_subword_prefix as string | null | undefined) ?? '';
    this.#suffix = (config.end_of_word_suffix as string | null | undefined) ?? '';
    this.#fusesUnknown = config.fuse_unk === true;
    this.#ignoresMerges = config.ignore_merges === true;
    this.#byteTokens = config.byte_fallback === true ? byteTokens(this.vocabulary) : undefined;
    const unknown = config.unk_token as string | null | undefined;
    // A byte-level vocabulary knows every character, so its unk_token, which may be missing, is never asked for.
    const complete = BYTE_CHARACTERS.every((character) => this.vocabulary.has(character));
    if (typeof unknown === 'string')
      this.unknownId = complete ? this.vocabulary.get(unknown) : requireUnknown(this.vocabulary, unknown);
    let greatest = 0;
    for (const id of this.vocabulary.values()) greatest = Math.max(greatest, id);
    this.#ids = greatest + 1;
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
    this.#merges.set(idOf(left) * this.#ids + idOf(right), { rank, id: idOf(left + rest) });
  }

  tokenize(word: string, ids: number[]): void {
    if (this.#ignoresMerges) {
      const id = this.vocabulary.get(word);
      if (id !== undefined) {
        ids.push(id);
        return;
      }
    }
    let encoded = this.#cache.get(word);
    if (encoded === undefined) {
      encoded = this.#merge(this.#characterIds(word));
      if (word.length <= MAX_CACHED_LENGTH) {
        if (this.#cache.size === MAX_CACHED) this.#cache.clear();
        this.#cache.set(word, encoded);
      }
    }
    for (const id of encoded) ids.push(id);
  }

  #characterIds(word: string): number[] {
    const ids: number[] = [];
    // Unknown characters that have no id yet; one id is for all of them.
    let pending = 0;
    const characters = Array.from(word);
    characters.forEach((character, i) => {
      const token =
        (i === 0 ? '' : this.#prefix) + character + (i === characters.length - 1 ? this.#suffix : '');
      const id = this.vocabulary.get(token);
      if (id !== undefined) {
        if (pending > 0 && this.unknownId !== undefined) ids.push(this.unknownId);
        pending = 0;
        ids.push(id);
        return;
      }
      // Python's slip, which models were trained with: bytes come before an unknown character that stands before them.
      const bytes = this.#byteTokens && toBytes(token, this.#byteTokens);
      if (bytes) {
        ids.push(...bytes);
        return;
      }
      if (this.unknownId === undefined) return;
      if (pending > 0 && !this.#fusesUnknown) ids.push(this.unknownId);
      pending++;
    });
    if (pending > 0 && this.unknownId !== undefined) ids.push(this.unknownId);
    return ids;
  }

  /** Merges in place of the left one of a pair; the places of right ones become free (−1). */
  #merge(ids: number[]): readonly number[] {
    if (ids.length < 2) return ids;
    const next = ids.map((_, i) => i + 1);
    const previous = ids.map((_, i) => i - 1);
    const queue = new MergeQueue();
    const offer = (left: number, right: number) => {
      const merge = this.#merges.get((ids[left] ?? 0) * this.#ids + (ids[right] ?? 0));
      if (merge) queue.push(merge.rank, left, merge.id);
    };
    for (let i = 0; i + 1 < ids.length; i++) offer(i, i + 1);
    for (let top = queue.pop(); top; top = queue.pop()) {
      const { position, id } = top;
      const right = next[position] ?? ids.length;
      if (ids[position] === -1 || right >= ids.length) continue;
      // Others may have been merged since; what counts, as in Python, is the token that comes out.
      const merge = this.#merges.get((ids[position] ?? 0) * this.#ids + (ids[right] ?? 0));
      if (merge?.id !== id) continue;
      ids[position] = id;
      ids[right] = -1;
      const following = next[right] ?? ids.length;
      next[position] = following;
      if (following < ids.length) previous[following] = position;
      const before = previous[position] ?? -1;
      if (before >= 0) offer(before, position);
      if (following < ids.length) offer(position, following);
    }
    return ids.filter((id) => id !== -1);
  }
}

function utf8Slice(text: string, from: number): string {
  return Buffer.from(text).subarray(from).toString();
}
