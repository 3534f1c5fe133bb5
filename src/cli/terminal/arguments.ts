/** Parses arguments of the command, and shortens Node's error messages. */
import { UsageError } from './exit.ts';

/**
 * Calls parseArgs and rewords its errors, which are several sentences long.
 * @param help command that lists the options
 * @throws UsageError
 */
export function parseStrictly<T>(help: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    const { message } = error as Error;
    const [, option = ''] = /^(?:Unknown option|Option) '(?:-\w, )?(-[^\s']+)/.exec(message) ?? [];
    if (message.startsWith('Unknown option')) throw new UsageError(`unknown option ${option}; see ${help}`);
    if (option === '') throw new UsageError(message);
    throw new UsageError(`${option} ${message.includes('not take') ? 'takes no value' : 'needs a value'}`);
  }
}
