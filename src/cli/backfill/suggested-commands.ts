/** Commands suggested to the user as the next step. */
import { formatByName } from '../../shared/bulk/file-formats.ts';
import { defaultQuote } from '../../shared/contract/quoting.ts';
import { DEFAULT_URL, type BackfillCommand } from './command-line.ts';
import { commandName } from '../../shared/runtime/environment.ts';
import { outputArguments, PLAIN } from './output/output-options.ts';
import { convertedByName, readingArguments } from './input/reading.ts';
import { fileNameOf, withoutSecrets } from './remote/addresses.ts';
import type { BackfillState } from './state.ts';
import { plural, shellWord } from '../terminal/units.ts';

/** Resumes a run, which remembers its options. @param url of the server, if it has changed */
export function resumeCommand(
  { files, out, retryErrors, summary, deleteBatch }: BackfillCommand,
  url?: URL,
): string {
  const moved = url ? ['--url', withoutSlash(url)] : [];
  const report = summary === undefined ? [] : ['--summary', summary];
  return spell([
    ...few(files),
    outFlag(retryErrors),
    out,
    ...report,
    ...moved,
    ...(deleteBatch ? ['--delete'] : []),
    '--resume',
  ]);
}

/** The same command, starting over. */
export function restartCommand({ args, files }: BackfillCommand): string {
  const others = args.filter((arg) => !MODES.has(arg));
  if (files.length <= SHOWN_FILES) return spell([...others, '--restart']);
  return spell([...few(files), ...others.filter((arg) => !files.includes(arg)), '--restart']);
}

export type EarlierRun = Pick<BackfillState, 'options' | 'reading' | 'output' | 'sources'>;

/** Starts over with all options of the earlier run. */
export function restartWith(
  { files, out, retryErrors, summary, force, deleteBatch }: BackfillCommand,
  url: URL,
  { options, reading = {}, output = PLAIN, sources }: EarlierRun,
): string {
  const inputs = sources ?? files.map((name) => ({ name, format: reading.format }));
  const isImplied = inputs.every(
    ({ name, format }) =>
      (format ?? options.format) === (convertedByName(name) ?? formatByName(fileNameOf(name))?.format),
  );
  const format = isImplied || reading.whole_files === true ? undefined : (reading.format ?? options.format);
  const option = (flag: string, value: string | undefined) => (value === undefined ? [] : [flag, value]);
  return spell([
    ...few(files),
    ...[outFlag(retryErrors), out],
    ...(url.href === DEFAULT_URL.href ? [] : ['--url', withoutSlash(url)]),
    ...option('--format', format),
    ...option('--text-field', options.text_field),
    ...option('--id-field', options.id_field),
    ...option('--delimiter', options.delimiter),
    ...option('--quote', options.quote === defaultQuote(options.delimiter) ? undefined : options.quote),
    ...option('--top-k', options.top_k),
    ...option('--threshold', options.threshold),
    ...option('--function-to-apply', options.function_to_apply),
    ...option('--model', options.model),
    ...option('--metadata', options.metadata),
    ...readingArguments(reading),
    ...outputArguments(out, output),
    ...option('--summary', summary),
    ...(force ? ['--force'] : []),
    ...(deleteBatch ? ['--delete'] : []),
    '--restart',
  ]);
}

const outFlag = (retryErrors: boolean): string => (retryErrors ? '--retry-errors' : '--out');

const withoutSlash = (url: URL): string => url.href.replace(/\/$/, '');

/** A shell may have made thousands of files of a pattern. */
const SHOWN_FILES = 20;

/** Files as arguments: the first and the last one of very many. */
function few(files: readonly string[]): readonly string[] {
  return files.length <= SHOWN_FILES ? files : [...files.slice(0, 1), '…', ...files.slice(-1)];
}

/** The arguments as the subject of a message. */
export function shownFiles(files: readonly string[]): string {
  return files.length === 1 && files[0] !== undefined
    ? withoutSecrets(files[0])
    : plural(files.length, 'input');
}

const MODES = new Set(['--resume', '--restart']);

function spell(args: readonly string[]): string {
  return `${commandName()} ${['backfill', ...args].map((arg) => (arg === '…' ? arg : shellWord(withoutSecrets(arg)))).join(' ')}`;
}
