/** Options of the output: its format and compression, and the fields of the input that it keeps. A resumed run uses those of the earlier one. */
import * as zlib from 'node:zlib';
import { csvFields } from '../../../shared/bulk/csv.ts';
import { UsageError } from '../../terminal/exit.ts';
import { shellWord } from '../../terminal/units.ts';
import { fileNameOf } from '../remote/addresses.ts';

export type OutputFormat = 'ndjson' | 'csv' | 'tsv' | 'parquet';
export type OutputCompression = 'gzip' | 'zstd';

export interface OutputOptions {
  /** With `.gz` or `.zst` behind it for a compressed output. */
  output_format: OutputFormat | `${Exclude<OutputFormat, 'parquet'>}.${'gz' | 'zst'}`;
  /** Names of fields of the input that stand beside the labels. */
  keep?: 'all' | string[];
  /** A column for the score of each label. */
  score_columns?: true;
  /** Leave fields of CSV and TSV as they are that a spreadsheet would take for formulas. */
  raw_csv?: true;
}

/** Output of versions that knew no other. */
export const PLAIN: OutputOptions = { output_format: 'ndjson' };

export const formatOf = ({ output_format }: OutputOptions): OutputFormat =>
  output_format.split('.')[0] as OutputFormat;

export function compressionOf({ output_format }: OutputOptions): OutputCompression | undefined {
  if (output_format.endsWith('.gz')) return 'gzip';
  return output_format.endsWith('.zst') ? 'zstd' : undefined;
}

/** Whether the output is made of the results once they are complete; otherwise it is these. */
export const isConverted = ({ output_format }: OutputOptions): boolean => output_format !== 'ndjson';

export const isTable = (options: OutputOptions): boolean => formatOf(options) !== 'ndjson';

const EXTENSIONS: Record<string, OutputFormat> = {
  jsonl: 'ndjson',
  ndjson: 'ndjson',
  json: 'ndjson',
  csv: 'csv',
  tsv: 'tsv',
  parquet: 'parquet',
  pq: 'parquet',
};

/** Extensions of formats that the command does not write. */
const OTHER_FORMATS =
  /\.(?:tab|psv|xlsx?|xlsm|ods|arrow|feather|avro|orc|sqlite3?|db|html?|xml|ya?ml|gzip|tgz|zstd|bz2|xz|lz4|lzma|br|7z|zip|rar|tar)$/i;

const FORMATS = 'ndjson, csv, tsv or parquet, or one of the first three with .gz or .zst behind it';

/** @throws UsageError */
export function outputOptions(values: {
  'output-format'?: string | undefined;
  keep?: string | undefined;
  'score-columns'?: boolean | undefined;
  'raw-csv'?: boolean | undefined;
}): Partial<OutputOptions> {
  const format = values['output-format'];
  return {
    ...(format !== undefined && { output_format: readFormat(format) }),
    ...(values.keep !== undefined && { keep: readKeep(values.keep) }),
    ...(values['score-columns'] === true && { score_columns: true }),
    ...(values['raw-csv'] === true && { raw_csv: true }),
  };
}

function readFormat(value: string): OutputOptions['output_format'] {
  if (/^(?:ndjson|csv|tsv)(?:\.(?:gz|zst))?$|^parquet$/.test(value))
    return value as OutputOptions['output_format'];
  throw new UsageError(`--output-format ${shellWord(value)}: must be ${FORMATS}`);
}

/** `all`, or names as a CSV record: `"all"` in quotes is a field with this name. */
function readKeep(value: string): 'all' | string[] {
  if (value === 'all') return 'all';
  const names = csvFields(Buffer.from(value), {});
  if ('problem' in names)
    throw new UsageError(`--keep ${shellWord(value)} ${names.problem}; separate names by commas`);
  if (names.includes(''))
    throw new UsageError(`--keep ${shellWord(value)}: a name is empty; all keeps every field`);
  const repeated = names.find((name, i) => names.indexOf(name) !== i);
  if (repeated !== undefined) throw new UsageError(`--keep names ${shellWord(repeated)} twice`);
  return names;
}

/**
 * Completes the given options with the format that the output's name implies.
 * @throws UsageError for a name that promises another format, or an option that the format does not have
 */
export function completeOutput(out: string, given: Partial<OutputOptions>): OutputOptions {
  const options: OutputOptions = { ...given, output_format: formatFor(out, given.output_format) };
  if (given.raw_csv && !/^[ct]sv/.test(options.output_format))
    throw new UsageError('--raw-csv is for CSV and TSV only');
  if (given.score_columns && !isTable(options))
    throw new UsageError(
      '--score-columns is for CSV, TSV and Parquet; JSON Lines has all scores with --top-k all',
    );
  const { createZstdCompress } = zlib as Partial<typeof zlib>;
  if (compressionOf(options) === 'zstd' && !createZstdCompress)
    throw new UsageError('to write zstd, Node 22.15 or later is needed; .gz works with every version');
  return options;
}

function formatFor(
  out: string,
  given: OutputOptions['output_format'] | undefined,
): OutputOptions['output_format'] {
  if (given === undefined) return formatByName(out);
  const [, compression] = /\.(gz|zst)$/i.exec(out) ?? [];
  if (compression === undefined || given === 'parquet' || given.includes('.')) return given;
  return `${given as Exclude<OutputFormat, 'parquet'>}.${compression.toLowerCase() as 'gz' | 'zst'}`;
}

function formatByName(word: string): OutputOptions['output_format'] {
  const out = fileNameOf(word);
  const [, extension = '', compression] = /\.([a-z]+)(?:\.(gz|zst))?$/i.exec(out) ?? [];
  const format = EXTENSIONS[extension.toLowerCase()];
  if (compression === undefined) {
    if (format === undefined && extension !== '' && /^(?:gz|zst)$/i.test(extension))
      return `ndjson.${extension.toLowerCase() as 'gz' | 'zst'}`;
    refuseOtherFormat(out);
    return format ?? 'ndjson';
  }
  if (format === 'parquet')
    throw new UsageError(`--out ${out}: Parquet is compressed inside; leave out .${compression}`);
  refuseOtherFormat(out.slice(0, -compression.length - 1));
  return `${format ?? 'ndjson'}.${compression.toLowerCase() as 'gz' | 'zst'}`;
}

/** Refuses a name that promises another format. */
function refuseOtherFormat(out: string): void {
  const [extension] = OTHER_FORMATS.exec(out) ?? [];
  if (extension === undefined) return;
  const better = out.replace(/\.[^.]+$/, /xls|ods/i.test(extension) ? '.csv' : '.jsonl');
  throw new UsageError(
    `--out ${out}: the output is JSON Lines, CSV, TSV or Parquet, not ${extension}; ` +
      `use a name that ends in .jsonl, .csv, .tsv or .parquet, text also in .gz or .zst: --out ${shellWord(better)}`,
  );
}

/** The arguments that give these options. @param out whose name may imply the format */
export function outputArguments(
  out: string,
  { output_format, keep, score_columns, raw_csv }: OutputOptions,
): string[] {
  return [
    ...(impliedFormat(out) === output_format ? [] : ['--output-format', output_format]),
    ...(keep === undefined ? [] : ['--keep', keep === 'all' ? keep : keep.map(csvName).join(',')]),
    ...(score_columns ? ['--score-columns'] : []),
    ...(raw_csv ? ['--raw-csv'] : []),
  ];
}

function impliedFormat(out: string): string | undefined {
  try {
    return formatByName(out);
  } catch {
    return undefined;
  }
}

const csvName = (name: string): string =>
  name === 'all' || /[",\r\n]/.test(name) ? `"${name.replaceAll('"', '""')}"` : name;
