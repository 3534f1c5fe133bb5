/** The interface of the models of tokenizer.json, which turn a piece of text into token ids. */
import { StartupError } from '../../../../shared/runtime/startup-error.ts';

export interface TokenModel {
  /** Ids by token, without tokens that were added to the vocabulary. */
  readonly vocabulary: ReadonlyMap<string, number>;
  /** Id of the unknown token; undefined when the model has none. */
  readonly unknownId: number | undefined;
  /** Appends the ids of a piece. The piece must not be empty. */
  tokenize: (piece: string, ids: number[]) => void;
  /**
   * As tokenize, in steps of a few milliseconds, for long pieces. Models without it take one step for any piece.
   * @param limit tokenizing stops after more ids than this
   */
  tokenizeInSteps?: (piece: string, ids: number[], limit: number) => Generator<void, void>;
}

/** @throws StartupError when the vocabulary lacks the token, which Python reports at the first text with an unknown word */
export function requireUnknown(vocabulary: ReadonlyMap<string, number>, token: string): number {
  const id = vocabulary.get(token);
  if (id === undefined) {
    throw new StartupError(
      `tokenizer.json: the model's unk_token ${JSON.stringify(token)} is not in its vocabulary`,
    );
  }
  return id;
}
