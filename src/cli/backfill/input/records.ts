/** Opens a source in a format that the server reads: a JSON array, Parquet and whole files become JSON Lines, the others stay as they are. */
import type { BatchOptions } from '../../../client/batches.ts';
import type { InputSpec } from '../../../shared/bulk/input.ts';
import type { Input } from './input.ts';
import { arrayLines } from './json-array.ts';
import type { OutputOptions } from '../output/output-options.ts';
import type { ReadingOptions } from './reading.ts';
import type { Source } from './source.ts';
import { documentLine } from './whole-file.ts';

/** @param keep columns to read beside text and id @throws UsageError when it cannot be opened */
export async function openRecords(
  source: Source,
  reading: ReadingOptions,
  options: BatchOptions,
  keep?: OutputOptions['keep'],
): Promise<Input> {
  const input = await source.open(reading);
  const textField = options.text_field ?? 'text';
  if (reading.whole_files === true) {
    return { ...input, read: (signal) => documentLine(input.read(signal), source.id) };
  }
  if (reading.format === 'json') {
    const { name } = input;
    return { ...input, read: (signal) => arrayLines(input.read(signal), { name, textField }) };
  }
  if (reading.format !== 'parquet') return input;
  // Loaded only for Parquet: the command starts faster without it.
  const { parquetInput } = await import('./parquet.ts');
  return parquetInput(input, { textField, idField: options.id_field, keep });
}

/** How the server reads the records. */
export function specOf(options: BatchOptions): InputSpec {
  return {
    format: options.format,
    textField: options.text_field ?? 'text',
    idField: options.id_field,
    delimiter: options.delimiter === 'tab' ? '\t' : options.delimiter,
    quote: options.quote,
  };
}
