/** Commands that the user may want to type next. */
import type { BatchOptions } from '../../client/batches.ts';
import { formatByName } from '../../shared/bulk/file-formats.ts';
import { defaultQuote } from '../../shared/contract/quoting.ts';
import { DEFAULT_URL, type BackfillCommand } from './command-line.ts';
import { commandName } from '../../shared/runtime/environment.ts';
import { shellWord } from '../terminal/units.ts';

/** Goes on with what was begun; its options need not be said again. @param url of the server, if it is another now */
export function resumeCommand({ file, out, deleteBatch }: BackfillCommand, url?: URL): string {
  const moved = url ? ['--url', withoutSlash(url)] : [];
  return spell([file, '--out', out, ...moved, ...(deleteBatch ? ['--delete'] : []), '--resume']);
}

/** The same command, from the beginning. */
export function restartCommand({ args }: BackfillCommand): string {
  return spell([...args.filter((arg) => !MODES.has(arg)), '--restart']);
}

/** From the beginning, with all that an earlier run was told. */
export function restartWith(
  { file, out, force, deleteBatch }: BackfillCommand,
  url: URL,
  options: BatchOptions,
): string {
  const option = (flag: string, value: string | undefined) => (value === undefined ? [] : [flag, value]);
  return spell([
    file,
    ...['--out', out],
    ...(url.href === DEFAULT_URL.href ? [] : ['--url', withoutSlash(url)]),
    ...(formatByName(file)?.format === options.format ? [] : ['--format', options.format]),
    ...option('--text-field', options.text_field),
    ...option('--id-field', options.id_field),
    ...option('--delimiter', options.delimiter),
    ...option('--quote', options.quote === defaultQuote(options.delimiter) ? undefined : options.quote),
    ...option('--top-k', options.top_k),
    ...option('--model', options.model),
    ...option('--metadata', options.metadata),
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
