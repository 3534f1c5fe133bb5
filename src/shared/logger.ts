import { readableLine } from './log-line.ts';
import { printableLines } from './printable.ts';
import { pino, stdSerializers, type Logger } from 'pino';

export type { Logger };

/**
 * JSON lines on stdout (on a terminal: lines for people), one child logger per part. Texts never go into logs: log ids and counts.
 * Writing is synchronous, so that the last line of a process that ends is not lost.
 */
export function createLogger(part: string, level: string): Logger {
  const destination = pino.destination({ fd: 1, sync: true });
  return pino(
    { level, base: { part, pid: process.pid }, serializers: { err: describeError } },
    process.stdout.isTTY
      ? { write: (line: string) => void destination.write(`${readableLine(line.trimEnd())}\n`) }
      : { write: (line: string) => void destination.write(printableLines(line)) },
  );
}

/** Nothing else of an error: ioredis hangs the command on it, and with it the texts and secrets that were sent to Redis. */
function describeError(error: Error) {
  const { type, message, stack } = stdSerializers.err(error);
  const { code } = error as NodeJS.ErrnoException;
  return { type, message, stack, ...(code === undefined ? {} : { code }) };
}
