/** Parses arguments of the command, and shortens Node's error messages. */
import { UsageError } from './exit.ts';

/**
 * What Node's parseArgs makes of arguments, with its complaints in our words: its own take several sentences.
 * @param help command that tells more
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
