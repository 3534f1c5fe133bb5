/** `amulet key create NAME`: prints a new API key and its line for the server's settings. Sends and stores nothing. */
import { commandName } from '../shared/runtime/environment.ts';
import { checkKeyName, keyLine, newKey } from '../shared/runtime/api-keys.ts';
import { toError } from '../shared/runtime/to-error.ts';
import { EXIT, UsageError, type ExitCode } from './terminal/exit.ts';

/**
 * @param args those after `key`
 * @returns the name of the key, or `help`
 * @throws UsageError
 */
export function parseKey(args: readonly string[]): { name: string } | 'help' {
  if (args.some((arg) => arg === '--help' || arg === '-h')) return 'help';
  const [command, name, ...others] = args;
  if (command !== 'create' || name === undefined || others.length > 0)
    throw new UsageError(`usage: ${commandName()} key create NAME`);
  try {
    checkKeyName(name);
  } catch (error) {
    throw new UsageError(toError(error).message);
  }
  return { name };
}

/**
 * @param print the key to standard output, so that a script can take it
 * @param printError the rest to standard error
 */
export function createKey(
  { name }: { name: string },
  print: (line: string) => void,
  printError: (line: string) => void,
): ExitCode {
  const key = newKey();
  print(key);
  printError(
    `This key is shown only once. Clients send it as Authorization: Bearer …; this command reads it from AMULET_API_KEY.`,
  );
  printError(`Add this to API_KEYS of the server, or as a line to its API_KEYS_FILE:`);
  printError(`  ${keyLine(name, key)}`);
  return EXIT.ok;
}
