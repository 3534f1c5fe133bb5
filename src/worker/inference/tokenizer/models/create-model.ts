/** Creates the tokenizer model that a tokenizer.json names. */
import type { JsonObject } from '../json.ts';
import { BpeModel } from './bpe.ts';
import type { TokenModel } from './model.ts';
import { UnigramModel } from './unigram.ts';
import { WordLevelModel } from './word-level.ts';
import { WordPieceModel } from './word-piece.ts';

/** @param config one that `checkDefinition` accepted, with its type */
export function createModel(config: JsonObject): TokenModel {
  switch (config.type) {
    case 'WordPiece':
      return new WordPieceModel(config);
    case 'WordLevel':
      return new WordLevelModel(config);
    case 'Unigram':
      return new UnigramModel(config);
    default:
      return new BpeModel(config);
  }
}
