/**
 * How much of a text a model can read: all tokens outside its vocabulary look the same to it, and letters of a script that none of
 * its languages uses mean nothing to it.
 */
import { isInvisible } from '../../shared/contract/text.ts';
import { SHARE_UNITS } from '../../shared/store/batches/results.ts';
import type { EncodedText } from './tokenizer.ts';

type TokenCounts = Pick<EncodedText, 'own' | 'unknown' | 'blank'>;

/**
 * Share of a text's tokens, without special ones and white space, that are the unknown token or in a script that the model does not
 * read: from 0 to 1 in steps of 0.0001, and above 0 if there is any. A text without tokens counts as unknown as a whole.
 */
export function unknownShare({ own, unknown, blank, foreign }: TokenCounts & { foreign: number }): number {
  if (own === blank) return 1;
  const all = unknown + foreign;
  if (all === 0) return 0;
  return Math.max(1, Math.round((all / (own - blank)) * SHARE_UNITS)) / SHARE_UNITS;
}

/**
 * Why the scores of a text would be meaningless, and a remedy; undefined when the model can read some of the text. Foreign scripts are
 * no reason: such texts got labels before a model could name its languages, and `unknown` says what they are worth.
 * @param counts of the text after truncation
 */
export function unreadableReason(text: string, { own, unknown, blank }: TokenCounts): string | undefined {
  if (isInvisible(text)) return 'the text has only invisible characters';
  if (own === blank) return "the model's tokenizer drops every character of the text";
  if (unknown + blank < own) return undefined;
  const all = unknown === 1 ? "the text's only token is not" : `none of the text's ${unknown} tokens is`;
  return `${all} in the model's vocabulary: use a model that reads this script or these symbols`;
}
