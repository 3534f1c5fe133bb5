/** Command-line arguments of the tools: `--help` prints the usage, and a wrong argument a line above it. */
import { parseArgs, type ParseArgsConfig } from 'node:util';

/** Reads the arguments of the process, as `parseArgs` does; ends the process for `--help` and for an unknown option. */
export function readArguments<T extends ParseArgsConfig>(
  usage: string,
  config: T,
): ReturnType<typeof parseArgs<T>> {
  if (process.argv.slice(2).some((argument) => argument === '--help' || argument === '-h')) {
    process.stdout.write(`${usage}\n`);
    process.exit(0);
  }
  try {
    return parseArgs(config);
  } catch (error) {
    return exitWithUsage(usage, (error as Error).message);
  }
}

export function exitWithUsage(usage: string, problem: string): never {
  process.stderr.write(`${problem}\n${usage}\n`);
  process.exit(2);
}
