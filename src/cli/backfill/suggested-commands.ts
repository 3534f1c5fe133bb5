/** Commands suggested to the user as the next step. */
import type { BatchOptions } from '../../client/batches.ts';
import { formatByName } from '../../shared/bulk/file-formats.ts';
import { defaultQuote } from '../../shared/contract/quoting.ts';
import { DEFAULT_URL, type BackfillCommand } from './command-line.ts';
import { commandName } from '../../shared/runtime/environment.ts';
import { convertedByName, readingArguments, type ReadingOptions } from './reading.ts';
import { shellWord } from '../terminal/units.ts';

/** Resumes a run, which remembers its options. @param url of the server, if it has changed */
export function resumeCommand({ file, out, deleteBatch }: BackfillCommand, url?: URL): string {
  const moved = url ? ['--url', withoutSlash(url)] : [];
  return spell([file, '--out', out, ...moved, ...(deleteBatch ? ['--delete'] : []), '--resume']);
}

/** The same command, starting over. */
export function restartCommand({ args }: BackfillCommand): string {
  return spell([...args.filter((arg) => !MODES.has(arg)), '--restart']);
}

/** Starts over with all options of the earlier run. */
export function restartWith(
  { file, out, force, deleteBatch }: BackfillCommand,
  url: URL,
  options: BatchOptions,
  reading: ReadingOptions = {},
): string {
  const format = reading.format ?? options.format;
  const implied = convertedByName(file) ?? formatByName(file)?.format;
  const option = (flag: string, value: string | undefined) => (value === undefined ? [] : [flag, value]);
  return spell([
    file,
    ...['--out', out],
    ...(url.href === DEFAULT_URL.href ? [] : ['--url', withoutSlash(url)]),
    ...(implied === format ? [] : ['--format', format]),
    ...option('--text-field', options.text_field),
    ...option('--id-field', options.id_field),
    ...option('--delimiter', options.delimiter),
    ...option('--quote', options.quote === defaultQuote(options.delimiter) ? undefined : options.quote),
    ...option('--top-k', options.top_k),
    ...option('--model', options.model),
    ...option('--metadata', options.metadata),
    ...readingArguments(reading),
    ...(force ? ['--force'] : []),
    ...(deleteBatch ? ['--delete'] : []),
    '--restart',
  ]);
}

const withoutSlash = (url: URL): string => url.href.replace(/\/$/, '');

const MODES = new Set(['--resume', '--restart']);

function spell(args: readonly string[]): string {
  return `${commandName()} ${['backfill', ...args].map(shellWord).join(' ')}`;
}
