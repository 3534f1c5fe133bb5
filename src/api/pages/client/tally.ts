/** What is in a batch, in numbers: its rows by label, its errors by code. */
import type { Batch } from '../../../shared/contract/batches.ts';
import { count, plural } from '../../../shared/contract/quantities.ts';

/** Finished rows by label, the most frequent first; none when they were not counted. */
export function countsOf({ labels, rows }: Batch): { label: string; rows: number }[] {
  const counts = Object.entries(labels ?? {}).map(([label, count]) => ({ label, rows: count }));
  // JSON puts labels that are numbers first.
  counts.sort((a, b) => b.rows - a.rows);
  const other = rows.with_other_label ?? 0;
  return other === 0 ? counts : [...counts, { label: 'other labels', rows: other }];
}

/** `mean score 0.931 · 4 texts cut · errors: 10 invalid_text, 2 record_too_long`; empty when they were not counted. */
export function tallyOf({ rows, errors }: Batch): string {
  const codes = Object.entries(errors ?? {}).map(([code, failed]) => `${count(failed)} ${code}`);
  return [
    ...(rows.mean_score === null ? [] : [`mean score ${rows.mean_score.toFixed(3)}`]),
    ...((rows.truncated ?? 0) === 0 ? [] : [`${plural(rows.truncated ?? 0, 'text')} cut`]),
    ...(codes.length === 0 ? [] : [`errors: ${codes.join(', ')}`]),
  ].join(' · ');
}
