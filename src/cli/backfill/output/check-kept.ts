/** Checks before the upload that the input has the fields that --keep names. */
import type { BatchOptions } from '../../../client/batches.ts';
import { jsonFields } from '../../../shared/bulk/kept-fields.ts';
import { listed } from '../../../shared/contract/text.ts';
import { UsageError } from '../../terminal/exit.ts';
import type { OutputOptions } from './output-options.ts';
import { headerOf, linesOf } from './output-rows.ts';

/** Fields that are named in a message. */
const MAX_KNOWN = 1000;

/**
 * @param head first bytes of the input, without a CSV header
 * @throws UsageError
 */
export function checkKept(
  name: string,
  keep: OutputOptions['keep'],
  options: BatchOptions,
  head: { bytes: Buffer; whole: boolean },
): void {
  if (keep === undefined || keep === 'all') return;
  const known = fieldsOf(options, head);
  const missing = known && keep.find((field) => !known.includes(field));
  if (known === undefined || missing === undefined) return;
  const where = options.format !== 'ndjson' || head.whole ? 'there' : 'in the first 64 KB there';
  const cure = options.format === 'lines' ? '' : '; --keep all keeps every field';
  throw new UsageError(`${name}: --keep names "${missing}", but ${where} is only ${listed(known)}${cure}`);
}

/** @returns undefined when nothing is known about them */
function fieldsOf(
  options: BatchOptions,
  { bytes, whole }: { bytes: Buffer; whole: boolean },
): string[] | undefined {
  if (options.format === 'csv') return headerOf(options);
  if (options.format === 'lines') return [options.text_field ?? 'text'];
  const read = jsonFields([], true);
  const names = new Set<string>();
  for (const content of linesOf(whole ? Buffer.concat([bytes, Buffer.from('\n')]) : bytes)) {
    const fields = read({ lines: { first: 0, last: 0 }, content });
    for (const [field] of fields?.others ?? []) if (names.size < MAX_KNOWN) names.add(field);
  }
  return names.size === 0 ? undefined : [...names];
}
