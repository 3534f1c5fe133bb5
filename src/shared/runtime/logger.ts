/** The logger of every process: JSON lines for machines, plain lines on a terminal, never a text. */
import { writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import { pino, stdSerializers, type Logger } from 'pino';
import { readableLine } from './log-line.ts';
import { printableLines } from './printable.ts';

export type { Logger };

/** Pause before the next write to a full pipe. */
const FULL_PIPE_MS = 10;
const pause = new Int32Array(new SharedArrayBuffer(4));
let cut = false;

/**
 * Writes a line to standard output, synchronously, so that the last one of a process that ends is not lost. A full disk
 * behind it (`> api.log`) loses lines, but must not end the process.
 * @param line without a line feed
 */
export function writeLine(line: string): void {
  // A line that a full disk has cut must not run into this one.
  let rest = Buffer.from(cut ? `\n${line}\n` : `${line}\n`);
  const { length } = rest;
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(1, rest));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') break;
      Atomics.wait(pause, 0, 0, FULL_PIPE_MS);
    }
  }
  if (rest.length < length) cut = rest.length > 0;
}

/**
 * JSON lines on stdout (on a terminal: lines for people), one child logger per process. Texts never go into logs: log ids and counts.
 */
export function createLogger(part: string, level: string): Logger {
  const toShow = isatty(1) ? readableLine : printableLines;
  return pino(
    { level, base: { part, pid: process.pid }, serializers: { err: describeError } },
    { write: (line: string) => writeLine(toShow(line.trimEnd())) },
  );
}

/** Logs only these members of an error: ioredis attaches the command, with texts and secrets that were sent to Redis. */
function describeError(error: Error) {
  const { type, message, stack } = stdSerializers.err(error);
  const { code } = error as NodeJS.ErrnoException;
  return { type, message, stack, ...(code === undefined ? {} : { code }) };
}
