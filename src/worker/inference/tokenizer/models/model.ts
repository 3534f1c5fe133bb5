/** What the models of tokenizer.json have in common: they turn a piece of text into ids. */
import { StartupError } from '../../../../shared/runtime/startup-error.ts';

export interface TokenModel {
  /** Tokens to ids, without those that were added to the vocabulary. */
  readonly vocabulary: ReadonlyMap<string, number>;
  /** Id of the token for what it does not know; undefined when it has none. */
  readonly unknownId: number | undefined;
  /** Appends the ids of a piece that is not empty. */
  tokenize: (piece: string, ids: number[]) => void;
  /**
   * The same in steps of a few milliseconds, for long pieces: those of other models are unknown, or of one step.
   * @param limit stops when there are more ids than this; those are then not all
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
