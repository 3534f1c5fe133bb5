/** Output of the command, except for the lines of reporter.ts. Control characters are escaped, so none steers a terminal. */
import { printable, printableLines } from '../../shared/runtime/printable.ts';

/** Text of the command itself, or JSON, to standard output. */
export function print(text: string): void {
  process.stdout.write(`${printableLines(text.trimEnd())}\n`);
}

/** One line to standard error. */
export function printError(line: string): void {
  process.stderr.write(`${printable(line)}\n`);
}

/** Results to standard output, unchanged where a program reads them. @param done callback of the stream's write() */
export function printRows(lines: Buffer, done: (error?: Error | null) => void): void {
  process.stdout.write(process.stdout.isTTY ? printableLines(lines.toString()) : lines, done);
}

/** Whether the reader of a stream has closed it. */
export function isClosedPipe(error: Error): boolean {
  return (error as NodeJS.ErrnoException).code === 'EPIPE';
}
