/** Parses the arguments of `amulet backfill`, without looking at files or the environment. */
import { commandName } from '../../shared/runtime/environment.ts';
import type { BatchOptions } from '../../client/batches.ts';
import {
  applyFunctions,
  parsedThreshold,
  thresholdProblem,
  type ApplyFunction,
} from '../../shared/contract/options.ts';
import { defaultQuote, type QuoteMode } from '../../shared/contract/quoting.ts';
import { formatByName } from '../../shared/bulk/file-formats.ts';
import { parseFlags, patienceMs } from '../terminal/arguments.ts';
import { UsageError } from '../terminal/exit.ts';
import { outputOptions, type OutputOptions } from './output/output-options.ts';
import { convertedByName, type ConvertedFormat, type ReadingOptions } from './input/reading.ts';
import { fileNameOf } from './remote/addresses.ts';
import { shellWord } from '../terminal/units.ts';

/** Whether to start a run, to resume an earlier one, or to discard it and start over. */
export type Mode = 'start' | 'resume' | 'restart';

export interface BackfillCommand {
  /** Paths of files or folders; `-` is standard input. */
  files: readonly string[];
  /** Path; `-` is standard output. */
  out: string;
  /** Only show what would be read. */
  dryRun: boolean;
  /** Run the rows of an earlier output that have errors again; `out` is that output. */
  retryErrors: boolean;
  mode: Mode;
  /** Base URL of the API, if given. */
  url: URL | undefined;
  /** Options of the batch, as far as given. */
  options: Partial<BatchOptions>;
  /** How to read the file, as far as given. */
  reading: ReadingOptions;
  /** What to write, as far as given. */
  output: Partial<OutputOptions>;
  /** Path of a file for the summary as JSON; `-` is standard output. */
  summary: string | undefined;
  force: boolean;
  /** Remove the batch from the server at the end. */
  deleteBatch: boolean;
  quiet: boolean;
  /** How long to retry while nothing works, in ms. */
  retryTimeoutMs: number;
  /** The arguments as given. */
  args: readonly string[];
}

export const DEFAULT_URL = new URL('http://127.0.0.1:3000');
const DEFAULT_PATIENCE_S = 900;

const FLAGS = {
  format: { type: 'string' },
  'text-field': { type: 'string' },
  'id-field': { type: 'string' },
  delimiter: { type: 'string' },
  quote: { type: 'string' },
  encoding: { type: 'string' },
  limit: { type: 'string' },
  sample: { type: 'string' },
  glob: { type: 'string' },
  'whole-files': { type: 'boolean' },
  'top-k': { type: 'string' },
  threshold: { type: 'string' },
  'function-to-apply': { type: 'string' },
  model: { type: 'string' },
  metadata: { type: 'string' },
  out: { type: 'string', short: 'o' },
  'retry-errors': { type: 'string' },
  'output-format': { type: 'string' },
  keep: { type: 'string' },
  'score-columns': { type: 'boolean' },
  'raw-csv': { type: 'boolean' },
  summary: { type: 'string' },
  'dry-run': { type: 'boolean' },
  force: { type: 'boolean' },
  resume: { type: 'boolean' },
  restart: { type: 'boolean' },
  delete: { type: 'boolean' },
  quiet: { type: 'boolean', short: 'q' },
  url: { type: 'string' },
  patience: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
} as const;

/**
 * @param args those after `backfill`
 * @returns `help` for --help
 * @throws UsageError
 */
export function parseBackfill(args: readonly string[]): BackfillCommand | 'help' {
  const { values, positionals } = parseFlags(`${commandName()} backfill --help`, args, FLAGS);
  if (values.help === true) return 'help';
  if (positionals.length === 0) throw new UsageError('missing FILE (use - for standard input)');
  if (positionals.includes('')) throw new UsageError('FILE must not be empty');
  const { 'dry-run': dryRun = false, resume = false, restart = false, force = false } = values;
  if (dryRun && (resume || restart))
    throw new UsageError('--dry-run writes nothing: it cannot be used with --resume or --restart');
  const retried = values['retry-errors'];
  if (retried !== undefined) checkRetryFlags(retried, values);
  const { out = dryRun ? '-' : '' } = { ...values, ...(retried !== undefined && { out: retried }) };
  if (out === '') throw new UsageError('missing --out OUT (use - for standard output)');
  if (resume && restart) throw new UsageError('--resume and --restart cannot be used together');
  if (values.summary === '') throw new UsageError('--summary must not be empty');
  if (!dryRun && out === '-' && (resume || restart || force)) {
    throw new UsageError('--out - cannot be used with --resume, --restart or --force');
  }
  return {
    files: positionals,
    out,
    dryRun,
    retryErrors: retried !== undefined,
    mode: resume ? 'resume' : restart ? 'restart' : 'start',
    url: values.url === undefined ? undefined : parseUrl(values.url),
    options: batchOptions(values),
    reading: readingOptions(values),
    output: outputOptions(values),
    summary: values.summary,
    force,
    deleteBatch: values.delete ?? false,
    quiet: values.quiet ?? false,
    retryTimeoutMs: patienceMs(values.patience, DEFAULT_PATIENCE_S),
    args,
  };
}

type Values = ReturnType<typeof parseFlags<typeof FLAGS>>['values'];

function checkRetryFlags(retried: string, values: Values): void {
  if (retried === '' || retried === '-')
    throw new UsageError('--retry-errors needs the file of an earlier output');
  for (const name of ['out', 'keep', 'score-columns', 'force', 'dry-run'] as const) {
    if (values[name] !== undefined)
      throw new UsageError(
        `--retry-errors cannot be used with --${name}: the output stays as it is, but for its errors`,
      );
  }
}

function batchOptions(values: Values): Partial<BatchOptions> {
  const { format, delimiter, quote, metadata, model } = values;
  const topK = values['top-k'];
  if (format !== undefined && !isFormat(format) && !isConverted(format)) {
    throw new UsageError(`--format ${shellWord(format)}: must be ${FORMATS}`);
  }
  if (quote !== undefined && !isQuote(quote)) {
    throw new UsageError(`--quote ${shellWord(quote)}: must be '"', none or line`);
  }
  if (topK !== undefined && !/^(?:all|[1-9]\d{0,5})$/.test(topK)) {
    throw new UsageError(`--top-k ${shellWord(topK)}: must be a number from 1 to 999999, or all`);
  }
  for (const name of ['text-field', 'id-field', 'model', 'glob'] as const) {
    if (values[name] === '') throw new UsageError(`--${name} must not be empty`);
  }
  if (metadata !== undefined) checkMetadata(metadata);
  return {
    ...(format !== undefined && { format: isFormat(format) ? format : 'ndjson' }),
    ...(values['text-field'] !== undefined && { text_field: values['text-field'] }),
    ...(values['id-field'] !== undefined && { id_field: values['id-field'] }),
    ...(delimiter !== undefined && { delimiter: parseDelimiter(delimiter) }),
    ...(quote !== undefined && { quote }),
    ...(topK !== undefined && { top_k: topK }),
    ...scoreOptions(values),
    ...(model !== undefined && { model }),
    ...(metadata !== undefined && { metadata }),
  };
}

/** Which scores, and which labels. Whether they fit the model is the server's to say. */
function scoreOptions({
  threshold,
  'function-to-apply': apply,
}: Values): Pick<BatchOptions, 'threshold' | 'function_to_apply'> {
  if (apply !== undefined && !isFunction(apply)) {
    throw new UsageError(`--function-to-apply ${shellWord(apply)}: must be softmax, sigmoid or none`);
  }
  const parsed = threshold === undefined ? undefined : parsedThreshold(threshold);
  const problem = threshold === undefined ? undefined : thresholdProblem(parsed);
  if (threshold !== undefined && problem !== undefined) {
    const said = typeof problem === 'string' ? problem : `${problem.path.join('.')} ${problem.message}`;
    throw new UsageError(`--threshold ${shellWord(threshold)}: ${said}`);
  }
  return {
    ...(threshold !== undefined && { threshold: parsed === 'model' ? 'model' : JSON.stringify(parsed) }),
    ...(apply !== undefined && { function_to_apply: apply }),
  };
}

const isFunction = (value: string): value is ApplyFunction => applyFunctions.includes(value as ApplyFunction);

function readingOptions(values: Values): ReadingOptions {
  const { format, encoding, limit, sample, glob } = values;
  const whole = values['whole-files'] === true;
  for (const name of ['format', 'delimiter', 'quote', 'text-field', 'id-field'] as const) {
    if (whole && values[name] !== undefined)
      throw new UsageError(`--${name} cannot be used with --whole-files, which reads a file as one text`);
  }
  if (limit !== undefined && sample !== undefined) {
    throw new UsageError('--limit and --sample cannot be used together');
  }
  return {
    ...(format !== undefined && isConverted(format) && { format }),
    ...(encoding !== undefined && encodingOption(encoding)),
    ...(limit !== undefined && { limit: rowCount('--limit', limit) }),
    ...(sample !== undefined && { sample: rowCount('--sample', sample) }),
    ...(glob !== undefined && { glob }),
    ...(whole && { whole_files: true }),
  };
}

function rowCount(flag: string, value: string): number {
  if (/^[1-9]\d{0,8}$/.test(value)) return Number(value);
  throw new UsageError(`${flag} ${shellWord(value)}: must be a number of rows, from 1 to 999999999`);
}

function encodingOption(encoding: string): ReadingOptions {
  const known = encodingNamed(encoding);
  if (known !== undefined) return known === 'utf-8' ? {} : { encoding: known };
  const examples = 'windows-1251, windows-1252, utf-16le, shift_jis, gb18030, big5, koi8-r';
  throw new UsageError(
    `--encoding ${shellWord(encoding)}: no encoding that is known here; known are ${examples} …`,
  );
}

/** The name of an encoding as TextDecoder spells it: `cp1251` → `windows-1251`. */
function encodingNamed(label: string): string | undefined {
  try {
    return new TextDecoder(label).encoding;
  } catch {
    return undefined;
  }
}

const isFormat = (format: string): format is BatchOptions['format'] =>
  format === 'ndjson' || format === 'csv' || format === 'lines';

const isConverted = (format: string): format is ConvertedFormat => format === 'json' || format === 'parquet';

/** The values of --format. */
const FORMATS = 'ndjson, json, csv, lines or parquet';

const isQuote = (quote: string): quote is QuoteMode => quote === '"' || quote === 'none' || quote === 'line';

function parseDelimiter(value: string): string {
  if (value === 'tab' || value === '\\t' || value === '\t') return 'tab';
  if (/^[!#-~ ]$/.test(value)) return value;
  throw new UsageError(
    `--delimiter ${shellWord(value)}: must be tab or one ASCII character other than a quote`,
  );
}

function checkMetadata(json: string): void {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    throw new UsageError('--metadata is not valid JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new UsageError('--metadata must be a JSON object');
  }
}

function parseUrl(value: string): URL {
  const url = URL.canParse(value) ? new URL(value) : undefined;
  if (!url || !/^https?:$/.test(url.protocol) || url.search !== '' || url.hash !== '') {
    throw new UsageError(`--url ${shellWord(value)}: must be a URL such as http://127.0.0.1:3000`);
  }
  if (url.username !== '' || url.password !== '') {
    throw new UsageError('--url must not contain a user name or password');
  }
  return url;
}

/**
 * Completes the given options with the format that the file's name implies.
 * @throws UsageError when the name implies none, or for an option that the format does not have
 */
export function completeOptions(file: string, given: Partial<BatchOptions>): BatchOptions {
  const converted = convertedByName(file) && ({ format: 'ndjson' } as const);
  const byName =
    given.format === undefined ? (converted ?? formatByName(fileNameOf(file))) : { format: given.format };
  if (byName === undefined) {
    const name = file === '-' ? 'standard input' : file;
    throw new UsageError(`unknown format of ${name}: use --format ${FORMATS}`);
  }
  const tabs = 'delimiter' in byName ? { delimiter: 'tab' } : {};
  const options = { format: byName.format, ...tabs, ...given };
  if (options.format !== 'csv' && options.delimiter !== undefined) {
    throw new UsageError('--delimiter is for CSV only');
  }
  if (options.format !== 'csv' && options.quote !== undefined)
    throw new UsageError('--quote is for CSV only');
  if (options.format === 'lines' && (options.text_field ?? options.id_field) !== undefined) {
    throw new UsageError('plain lines have no fields: --text-field and --id-field are for NDJSON and CSV');
  }
  const quote = options.quote ?? defaultQuote(options.delimiter);
  // Sent to the server, so that both cut records at the same places. The rules of RFC 4180 are its default.
  return options.format === 'csv' && quote !== '"' ? { ...options, quote } : options;
}

/** Completes the options of reading likewise. */
export function completeReading(
  file: string,
  { options, reading }: Pick<BackfillCommand, 'options' | 'reading'>,
): ReadingOptions {
  const format = options.format === undefined ? convertedByName(file) : undefined;
  return format === undefined ? reading : { format, ...reading };
}
