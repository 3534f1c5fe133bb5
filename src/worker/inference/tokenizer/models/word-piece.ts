/** The tokenizer model WordPiece, as BERT uses it. */
import type { JsonObject } from '../json.ts';
import { isLowSurrogate } from '../steps.ts';
import { requireUnknown, type TokenModel } from './model.ts';

/** BERT's WordPiece: takes the longest token from the left, repeatedly; a word that leaves a rest is unknown as a whole. */
export class WordPieceModel implements TokenModel {
  readonly vocabulary: ReadonlyMap<string, number>;
  readonly unknownId: number;
  readonly #prefix: string;
  readonly #maxCharacters: number;
  /** UTF-16 units of the longest token. */
  readonly #longest: number;

  constructor(config: JsonObject) {
    this.vocabulary = new Map(Object.entries(config.vocab as Record<string, number>));
    this.unknownId = requireUnknown(this.vocabulary, (config.unk_token as string | undefined) ?? '[UNK]');
    this.#prefix = (config.continuing_subword_prefix as string | undefined) ?? '##';
    this.#maxCharacters = (config.max_input_chars_per_word as number | undefined) ?? 100;
    let longest = 0;
    for (const token of this.vocabulary.keys()) longest = Math.max(longest, token.length);
    this.#longest = longest;
  }

  tokenize(word: string, ids: number[]): void {
    // No code point is longer than two units.
    if (word.length > this.#maxCharacters && codePoints(word) > this.#maxCharacters) {
      ids.push(this.unknownId);
      return;
    }
    const before = ids.length;
    let start = 0;
    while (start < word.length) {
      let end = Math.min(word.length, start + this.#longest);
      let id: number | undefined;
      for (; end > start; end -= isLowSurrogate(word.charCodeAt(end - 1)) ? 2 : 1) {
        const piece = word.slice(start, end);
        id = this.vocabulary.get(start === 0 ? piece : this.#prefix + piece);
        if (id !== undefined) break;
      }
      if (id === undefined) {
        ids.length = before;
        ids.push(this.unknownId);
        return;
      }
      ids.push(id);
      start = end;
    }
  }
}

function codePoints(text: string): number {
  let count = 0;
  for (let i = 0; i < text.length; i++) if (!isLowSurrogate(text.charCodeAt(i))) count++;
  return count;
}
