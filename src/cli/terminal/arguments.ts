/** Parses arguments of the command, and words mistakes in one line. */
import { parseArgs, type ParseArgsConfig } from 'node:util';
import { UsageError } from './exit.ts';
import { shellWord } from './units.ts';

/**
 * @param help command that lists the options
 * @throws UsageError in place of Node's errors, which are several sentences long
 */
export function parseFlags<const Flags extends NonNullable<ParseArgsConfig['options']>>(
  help: string,
  args: readonly string[],
  options: Flags,
) {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true });
  } catch (error) {
    const { message } = error as Error;
    const [, option = ''] = /^(?:Unknown option|Option) '(?:-\w, )?(-[^\s']+)/.exec(message) ?? [];
    if (message.startsWith('Unknown option')) throw new UsageError(`unknown option ${option}; see ${help}`);
    if (option === '') throw new UsageError(message);
    throw new UsageError(`${option} ${message.includes('not take') ? 'takes no value' : 'needs a value'}`);
  }
}

/** The value of --patience in ms. @throws UsageError */
export function patienceMs(value: string | undefined, defaultS: number): number {
  if (value === undefined) return defaultS * 1000;
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000;
  throw new UsageError(`--patience ${shellWord(value)}: must be a whole number of seconds`);
}
