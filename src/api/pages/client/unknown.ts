/** Hints about text that had no part in the labels: cut off, or unknown to the model. */
import type { Batch } from '../../../shared/contract/batches.ts';
import { percent, plural } from '../../../shared/contract/quantities.ts';

/** The hint beside the labels of a text; empty when the model read all of it. */
export function labelHint({
  truncated,
  unknown,
}: {
  truncated: boolean;
  unknown?: number | undefined;
}): string {
  return [
    ...(truncated ? ['The text is longer than the model can read: its end was cut off.'] : []),
    ...(unknown === undefined ? [] : [`Of this text, ${percent(unknown)} is unknown to the model.`]),
  ].join(' ');
}

/** Among the figures of a batch, `1,204 rows with 12 % unknown to the model`; undefined when there are none. */
export function unknownRows({ with_unknown: rows, mean_unknown: share }: Batch['rows']): string | undefined {
  if (rows === 0 || share === null) return undefined;
  return `${plural(rows, 'row')} with ${percent(share)} unknown to the model`;
}
