/** Checks the beginning of an input before anything is uploaded: its format, its encoding, its text field. */
import type { BatchOptions } from '../../../client/batches.ts';
import { sniff } from '../../../shared/bulk/sniff.ts';
import { sniffBytes } from '../../../shared/bulk/sniff-bytes.ts';
import { missingField } from '../../../shared/bulk/sniff-fields.ts';
import type { Reading } from '../../../shared/bulk/sniff-records.ts';
import { UsageError } from '../../terminal/exit.ts';
import { shellWord } from '../../terminal/units.ts';
import { STANDARD_INPUT, type Input } from './input.ts';
import { flagOf } from './reading.ts';
import { protocolOf } from '../remote/addresses.ts';
import { specOf } from './records.ts';

export interface Beginning {
  /** The first SNIFF_BYTES, decoded. */
  head: Buffer;
  /** Whether these are the whole input. */
  whole: boolean;
}

/**
 * @param explicit the user has named the format
 * @throws UsageError when the beginning shows that every row would be an error
 */
export function checkBeginning(
  input: Pick<Input, 'name' | 'compression'>,
  { head, whole }: Beginning,
  options: BatchOptions,
  explicit: boolean,
): void {
  const reading = readingOf(options, explicit);
  const finding = sniff(head, whole, reading, fileOf(input));
  if (finding !== undefined) throw new UsageError(`${input.name} ${finding}`);
  const missing = missingField(head.toString(), whole, reading);
  if (missing !== undefined) throw new UsageError(`${input.name}: ${missing}`);
}

/** The same for a file that is one document. @throws UsageError when it is no text in UTF-8 */
export function checkDocument(input: Pick<Input, 'name' | 'compression'>, { head, whole }: Beginning): void {
  const finding = sniffBytes(head, whole, fileOf(input));
  if (finding !== undefined) throw new UsageError(`${input.name} ${finding}`);
}

/** How the checks of a beginning read it. */
function readingOf(options: BatchOptions, explicit: boolean): Reading {
  const { format, delimiter, textField } = specOf(options);
  return {
    format,
    delimiter,
    textField,
    explicit,
    option: (name, value) => `${flagOf(name)} ${value === '\t' ? 'tab' : shellWord(value)}`,
  };
}

function fileOf({ name, compression }: Pick<Input, 'name' | 'compression'>) {
  return {
    // The commands in messages read local files.
    name: name === STANDARD_INPUT || protocolOf(name) !== undefined ? undefined : name,
    gzip: compression() === 'gzip',
    zstd: compression() === 'zstd',
    commandOption: (option: string, value: string) => `--${option} ${value}`,
  };
}
