/** Checks each of several sources before anything is uploaded: all of them must have one kind of record. */
import type { BatchOptions } from '../../../client/batches.ts';
import { csvFields } from '../../../shared/bulk/csv.ts';
import { peek } from '../../../shared/bulk/byte-stream.ts';
import { SNIFF_BYTES } from '../../../shared/bulk/sniff.ts';
import { listed } from '../../../shared/contract/text.ts';
import { UsageError } from '../../terminal/exit.ts';
import { checkBeginning, checkDocument, type Beginning } from './beginning.ts';
import { takeCsvHeader } from './header.ts';
import type { Input } from './input.ts';
import type { PlannedSource } from './joined-input.ts';
import type { OutputOptions } from '../output/output-options.ts';
import type { ReadingOptions } from './reading.ts';
import { openRecords, specOf } from './records.ts';

export interface SourceCheck {
  reading: ReadingOptions;
  options: BatchOptions;
  /** The user has named the format. */
  explicit: boolean;
  keep: OutputOptions['keep'];
  signal: AbortSignal;
  /** Called for each source that passed. */
  onChecked?: (source: PlannedSource, looked: Looked) => Promise<void>;
}

/** What the check of a source has found. */
export interface Looked {
  input: Input;
  /** Undefined for Parquet. */
  beginning: Beginning | undefined;
  /** From there on. */
  rest: AsyncGenerator<Uint8Array, void, undefined>;
  /** From the index of Parquet. */
  index: { rows: number; columns: string[] } | undefined;
}

/** @throws UsageError that names the first source that cannot be read, or not together with the first one */
export async function checkSources(sources: readonly PlannedSource[], check: SourceCheck): Promise<void> {
  let first: CsvColumns | undefined;
  for (const source of sources) {
    const reading = { ...check.reading, format: source.format };
    // A document is checked as it is, before it becomes a record.
    const isDocument = reading.whole_files === true;
    const input = await (isDocument
      ? source.open(reading)
      : openRecords(source, reading, check.options, check.keep));
    try {
      const columns = await checkSource(source, input, reading, check);
      first ??= columns;
      if (first && columns) refuseOtherColumns(first, columns);
    } finally {
      input.close();
    }
  }
}

interface CsvColumns {
  /** Name of the source. */
  name: string;
  columns: readonly string[];
}

/** @returns the columns of CSV */
async function checkSource(
  source: PlannedSource,
  input: Input,
  reading: ReadingOptions,
  { options, explicit, signal, onChecked }: SourceCheck,
): Promise<CsvColumns | undefined> {
  if (reading.format === 'parquet') {
    const index = await input.check?.();
    const rest = input.read(signal);
    await onChecked?.(source, { input, beginning: undefined, rest, index });
    await rest.return();
    return undefined;
  }
  const { head, stream } = await peek(input.read(signal), SNIFF_BYTES);
  try {
    const beginning = {
      head: Buffer.from(head.subarray(0, SNIFF_BYTES)),
      whole: head.length < SNIFF_BYTES,
    };
    let columns: CsvColumns | undefined;
    // An empty file has no rows, and no header.
    if (head.length > 0) {
      if (reading.whole_files === true) checkDocument(input, beginning);
      else checkBeginning(input, beginning, options, explicit);
      if (options.format === 'csv') columns = await columnsOf(input.name, stream, options);
    }
    await onChecked?.(source, { input, beginning, rest: stream, index: undefined });
    return columns;
  } finally {
    await stream.return();
  }
}

/** Takes the header off a stream. */
async function columnsOf(
  name: string,
  stream: AsyncIterable<Uint8Array>,
  options: BatchOptions,
): Promise<CsvColumns> {
  const spec = specOf(options);
  const { columns } = await takeCsvHeader(stream, spec, name);
  const fields = csvFields(Buffer.from(columns), spec);
  return { name, columns: 'problem' in fields ? [columns] : fields };
}

function refuseOtherColumns(first: CsvColumns, other: CsvColumns): void {
  const missing = first.columns.filter((name) => !other.columns.includes(name));
  const added = other.columns.filter((name) => !first.columns.includes(name));
  const same = missing.length + added.length === 0 && first.columns.length === other.columns.length;
  if (same && first.columns.every((name, i) => name === other.columns[i])) return;
  const differences = [
    ...(missing.length > 0 ? [`without ${listed(missing)}`] : []),
    ...(added.length > 0 ? [`with ${listed(added)}`] : []),
  ];
  const how = differences.length > 0 ? differences.join(', ') : 'in another order';
  throw new UsageError(
    `${other.name} has other columns than ${first.name} (${how}): label it in a run of its own, or choose files with --glob`,
  );
}
