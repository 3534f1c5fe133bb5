/** Hints about text that had no part in the labels: cut off, or unknown to the model. */
import type { Batch } from '../../../shared/contract/batches.ts';
import { languageList } from '../../../shared/contract/languages.ts';
import { percent, plural } from '../../../shared/contract/quantities.ts';

/** From this share on, the labels rest on less of the text than was left out. */
const MOSTLY = 0.5;

/**
 * The hint beside the labels of a text; empty when the model read all of it.
 * @param languages of the model; null: not known
 */
export function labelHint(
  { truncated, unknown = 0 }: { truncated: boolean; unknown?: number | undefined },
  languages: readonly string[] | null = null,
): string {
  const reads = languages === null || unknown < MOSTLY ? '' : `, which reads ${languageList(languages)}`;
  return [
    ...(truncated ? ['The text is longer than the model can read: its end was cut off.'] : []),
    ...(unknown === 0 ? [] : [`Of this text, ${percent(unknown)} is unknown to the model${reads}.`]),
  ].join(' ');
}

/** Among the figures of a batch, `1,204 rows with 12 % unknown to the model`; undefined when there are none. */
export function unknownRows({
  with_unknown: rows,
  mean_unknown: share,
}: Pick<Batch['rows'], 'with_unknown' | 'mean_unknown'>): string | undefined {
  if (rows === 0 || share === null) return undefined;
  return `${plural(rows, 'row')} with ${percent(share)} unknown to the model`;
}
