/** The tokenizer model WordLevel: one token per word. */
import type { JsonObject } from '../json.ts';
import { requireUnknown, type TokenModel } from './model.ts';

/** WordLevel: a word is one token, or unknown. */
export class WordLevelModel implements TokenModel {
  readonly vocabulary: ReadonlyMap<string, number>;
  readonly unknownId: number;

  constructor(config: JsonObject) {
    this.vocabulary = new Map(Object.entries(config.vocab as Record<string, number>));
    this.unknownId = requireUnknown(this.vocabulary, (config.unk_token as string | undefined) ?? '<unk>');
  }

  tokenize(word: string, ids: number[]): void {
    ids.push(this.vocabulary.get(word) ?? this.unknownId);
  }
}
