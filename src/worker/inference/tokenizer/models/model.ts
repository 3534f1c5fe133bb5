/** The interface of the models of tokenizer.json, which turn a piece of text into token ids. */
import { StartupError } from '../../../../shared/runtime/startup-error.ts';

/** Ids by token, without tokens that were added to the vocabulary. */
export interface Vocabulary {
  /** Number of tokens. */
  readonly size: number;
  get: (token: string) => number | undefined;
}

export interface TokenModel {
  readonly vocabulary: Vocabulary;
  /** Id of the unknown token; undefined when the model has none. */
  readonly unknownId: number | undefined;
  /** Appends the ids of a piece. The piece must not be empty. */
  tokenize: (piece: string, ids: number[]) => void;
  /**
   * As tokenize, in steps of a few milliseconds, for long pieces. Models without it take one step for any piece.
   * @param limit tokenizing stops after more ids than this
   */
  tokenizeInSteps?: (piece: string, ids: number[], limit: number) => Generator<void, void>;
  /**
   * As tokenize, for each word of a text: a word begins at every space or mark, and a space counts as a mark. For models that
   * do so in less time than it takes to cut the words out.
   * @param mark a UTF-16 unit
   * @param prepends whether a mark is put before the text
   * @param limit tokenizing stops after more ids than this
   */
  tokenizeWords?: (text: string, mark: number, prepends: boolean, ids: number[], limit: number) => void;
}

/** @throws StartupError when the vocabulary lacks the token, which Python reports at the first text with an unknown word */
export function requireUnknown(vocabulary: Vocabulary, token: string): number {
  const id = vocabulary.get(token);
  if (id === undefined) {
    throw new StartupError(
      `tokenizer.json: the model's unk_token ${JSON.stringify(token)} is not in its vocabulary`,
    );
  }
  return id;
}
