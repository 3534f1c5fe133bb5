/** What the labels of a text, or of a file, do not rest on. */
import type { Batch } from '../../../shared/contract/batches.ts';
import { percent, plural } from './format.ts';

/** Beside the labels of a text; empty when all of it was read. */
export function labelHint({
  truncated,
  unknown,
}: {
  truncated: boolean;
  unknown?: number | undefined;
}): string {
  return [
    ...(truncated ? ['The text is longer than the model reads: its end was left out.'] : []),
    ...(unknown === undefined ? [] : [`Of this text, ${percent(unknown)} is unknown to the model.`]),
  ].join(' ');
}

/** Among the figures of a batch, `1,204 rows with 12 % unknown to the model`; undefined when there are none. */
export function unknownRows({ with_unknown: rows, mean_unknown: share }: Batch['rows']): string | undefined {
  if (rows === 0 || share === null) return undefined;
  return `${plural(rows, 'row')} with ${percent(share)} unknown to the model`;
}
