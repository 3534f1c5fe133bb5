/**
 * Runs the rows of an earlier output that have errors again (--retry-errors OUT), and puts their outcomes in place of the errors. Only these
 * rows are uploaded; before that, the output is compared with the input, row by row.
 */
import { parseChunk } from '../../shared/bulk/parse.ts';
import { csvFields, toHeader } from '../../shared/bulk/csv.ts';
import { fieldNamer } from '../../shared/bulk/kept-fields.ts';
import type { InputSpec } from '../../shared/bulk/input.ts';
import { UsageError } from '../terminal/exit.ts';
import { count, plural } from '../terminal/units.ts';
import type { BackfillCommand } from './command-line.ts';
import { compressed } from './output/convert-output.ts';
import type { Conversion } from './output/destination.ts';
import {
  fieldNames,
  merged,
  nameInRows,
  openEarlierOutput,
  type EarlierRows,
} from './output/earlier-output.ts';
import { takeCsvHeader } from './input/header.ts';
import { compressionOf, formatOf, type OutputOptions } from './output/output-options.ts';
import { headerOf } from './output/output-rows.ts';
import { openInputs, type OpenedInputs } from './input/planned-input.ts';
import { specOf } from './input/records.ts';
import { withoutSecrets } from './remote/addresses.ts';
import { LINE_FEEDS, recordsOf, selectRows } from './input/selection.ts';

/** Lines of the rows to run again, in order. */
export type ErrorLines = readonly number[];

export interface Errors {
  lines: ErrorLines;
  /** Fields of the input that the output has. */
  keep: OutputOptions['keep'];
}

/** @throws UsageError for an output whose rows cannot be replaced */
export function checkRetry({ files, out }: BackfillCommand, output: OutputOptions): void {
  if (formatOf(output) === 'parquet') {
    throw new UsageError(
      `--retry-errors ${out}: rows of Parquet cannot be replaced; run the input again, or write .jsonl, .csv or .tsv`,
    );
  }
  if (/^[a-z][a-z0-9]+:\/\//i.test(out))
    throw new UsageError(`--retry-errors ${out}: only a local file can be changed; download it first`);
  if (files.includes('-'))
    throw new UsageError('--retry-errors reads the input twice, so it cannot be standard input');
}

/**
 * Compares the output with the input.
 * @throws UsageError when the output is not that of the input, or has other labels than the command asks for
 */
export async function findErrors(
  command: BackfillCommand,
  output: OutputOptions,
  signal: AbortSignal,
): Promise<Errors> {
  const earlier = await openEarlierOutput(command.out, output, signal);
  checkLabels(command, earlier);
  const opened = await openInputs(command, output, signal);
  try {
    const { lines, names } = await compare(command, earlier, inputRows(opened, signal));
    return { lines, keep: keptFields(names, opened.options) };
  } finally {
    await earlier.rows.return();
    opened.input.close();
  }
}

function checkLabels({ out, options: { top_k: topK } }: BackfillCommand, { table }: EarlierRows): void {
  if (table && table.columns.scoreLabels.length > 0 && topK !== 'all')
    throw new UsageError(`${out} has the scores of all labels: add --top-k all`);
}

interface InputRow {
  line: number;
  id: string | undefined;
}

/** @param opened gets the header of a CSV as an option */
async function* inputRows(opened: OpenedInputs, signal: AbortSignal): AsyncGenerator<InputRow> {
  const { input, options, reading } = opened;
  const given = specOf(options);
  let [source, firstLine, spec]: [AsyncIterable<Uint8Array>, number, InputSpec] = [
    input.read(signal),
    1,
    given,
  ];
  if (options.format === 'csv') {
    const taken = await takeCsvHeader(source, given);
    opened.options = { ...options, columns: taken.columns };
    const names = csvFields(Buffer.from(taken.columns), given);
    [source, firstLine] = [taken.rest, taken.firstLine];
    spec = { ...given, header: toHeader('problem' in names ? [] : names, given) };
  }
  for await (const { line, bytes } of recordsOf(selectRows(source, given, reading), given)) {
    const [row] = parseChunk(bytes, spec, firstLine + line, NO_LIMITS);
    yield { line: firstLine + line, id: row?.id };
  }
}

const NO_LIMITS = { maxTextChars: Infinity, maxIdChars: Infinity };

async function compare(
  { files: [file = ''], out, options: { top_k: topK } }: BackfillCommand,
  { rows, table }: EarlierRows,
  inputs: AsyncGenerator<InputRow>,
): Promise<{ lines: number[]; names: ReadonlySet<string> }> {
  const lines: number[] = [];
  const names = new Set<string>(
    table?.names.slice(1).flatMap((name) => (name === 'other_fields' ? [] : nameInRows(name, table.columns))),
  );
  let row = 0;
  const differs = (how: string) =>
    new UsageError(`${out} is not the output of ${withoutSecrets(file)}: ${how}`);
  for await (const { line, id, failed, hasLabels, bytes } of rows) {
    row++;
    const next = await inputs.next();
    if (next.done === true) throw differs(`it has more than ${plural(row - 1, 'row')}`);
    const input = next.value;
    if (input.line !== line)
      throw differs(`row ${count(row)} is that of line ${line}, not of line ${input.line}`);
    if (id !== undefined && input.id !== undefined && bare(id) !== bare(input.id))
      throw differs(`row ${count(row)} has the id ${id}, not ${input.id}`);
    if (hasLabels && topK === undefined)
      throw new UsageError(`${out} has several labels for a row: add the --top-k of its run`);
    if (failed) lines.push(line);
    if (!table && (failed || names.size === 0)) for (const name of fieldNames(bytes)) names.add(name);
  }
  if ((await inputs.next()).done !== true) {
    await inputs.return(undefined);
    throw differs(`it has only ${plural(row, 'row')}`);
  }
  return { lines, names };
}

/** @param names in the output */
function keptFields(names: ReadonlySet<string>, batch: OpenedInputs['options']): OutputOptions['keep'] {
  const header = headerOf(batch) ?? [];
  const nameOf = fieldNamer({ id: batch.id_field ?? 'id', scores: false });
  const original = (name: string) => {
    const [, shorter] = /^input_([^]*)$/.exec(name) ?? [];
    return shorter !== undefined && nameOf(shorter) === name ? shorter : name;
  };
  const kept = [...names].filter((name) => name !== 'id').map(original);
  if (kept.length === 0) return undefined;
  // Of columns with the same name, none can be named.
  return new Set(header).size < header.length ? 'all' : kept;
}

/** Without the apostrophe that a table may put in front. */
const bare = (id: string): string => id.replace(/^'/, '');

/** The records on these lines; all others become empty lines, which are no rows but keep the line numbers right. */
export async function* onlyLines(
  source: AsyncIterable<Uint8Array>,
  spec: InputSpec,
  firstLine: number,
  lines: ErrorLines,
): AsyncGenerator<Uint8Array, void, undefined> {
  let wanted = 0;
  /** Number of the next line to yield, from 0. */
  let at = 0;
  for await (const record of recordsOf(source, spec)) {
    if (firstLine + record.line !== lines[wanted]) continue;
    for (; at < record.line; at += Math.min(LINE_FEEDS.length, record.line - at))
      yield LINE_FEEDS.subarray(0, record.line - at);
    yield record.bytes;
    at = record.line + record.lines;
    wanted++;
    if (wanted === lines.length) return;
  }
}

/** Makes the output anew with the outcomes of the rows that ran again. */
export function merging(out: string, output: OutputOptions, signal: AbortSignal): Conversion {
  return (rows) => {
    const bytes = mergedBytes(out, output, rows, signal);
    const compression = compressionOf(output);
    return compression === undefined ? bytes : compressed(bytes, compression);
  };
}

async function* mergedBytes(
  out: string,
  output: OutputOptions,
  rows: () => AsyncIterable<Buffer>,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const earlier = await openEarlierOutput(out, output, signal);
  yield* merged(earlier, rows(), { name: out, withKept: output.keep !== undefined });
}
