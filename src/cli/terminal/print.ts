/** All that the command writes to its streams, but for the lines of the reporter (reporter.ts). Nothing of it steers a terminal. */
import { printable, printableLines } from '../../shared/runtime/printable.ts';

/** Text of the command itself, or JSON, to standard output. */
export function print(text: string): void {
  process.stdout.write(`${printableLines(text.trimEnd())}\n`);
}

/** One line to standard error. */
export function printError(line: string): void {
  process.stderr.write(`${printable(line)}\n`);
}

/** Results to standard output: byte for byte where a program reads them. @param done as of a stream's write() */
export function printRows(lines: Buffer, done: (error?: Error | null) => void): void {
  process.stdout.write(process.stdout.isTTY ? printableLines(lines.toString()) : lines, done);
}

/** Whether the reader of a stream has closed it. */
export function isClosedPipe(error: Error): boolean {
  return (error as NodeJS.ErrnoException).code === 'EPIPE';
}
