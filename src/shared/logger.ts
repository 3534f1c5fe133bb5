import { pino, type Logger } from 'pino';

export type { Logger };

/**
 * JSON lines on stdout, one child logger per part. Texts never go into logs: log ids and counts.
 * Writing is synchronous, so that the last line of a process that ends is not lost.
 */
export function createLogger(part: string, level: string): Logger {
  return pino({ level, base: { part, pid: process.pid } }, pino.destination({ fd: 1, sync: true }));
}
