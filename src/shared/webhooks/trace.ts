/** W3C trace context: which chain of requests something belongs to, carried from the submission into the webhook. */
import { randomBytes } from 'node:crypto';

/** Versions after 00 may go on behind the flags. */
const TRACEPARENT =
  /^(?!ff)(?!00.{53}-)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
/** Sampled, and random trace id. What other flags will mean is not for us to promise. */
const KNOWN_FLAGS = 0b11;

/**
 * The `traceparent` of a request as version 00 writes it, or one of its own where it has none that is valid.
 * @returns `00-<trace id>-<parent id>-<flags>`
 */
export function traceOf(header: string | undefined): string {
  const match = TRACEPARENT.exec(header ?? '');
  // A trace that nobody records has the flags 00.
  if (!match) return write(hex(16), hex(8), 0);
  const [, traceId, parentId, flags] = match as unknown as [string, string, string, string];
  return write(traceId, parentId, Number.parseInt(flags, 16) & KNOWN_FLAGS);
}

/** The next link of the chain: the same trace, another parent. */
export function childTrace(trace: string): string {
  const [version, traceId, , flags] = traceOf(trace).split('-');
  return [version, traceId, hex(8), flags].join('-');
}

const write = (traceId: string, parentId: string, flags: number): string =>
  `00-${traceId}-${parentId}-${flags.toString(16).padStart(2, '0')}`;

const hex = (bytes: number): string => randomBytes(bytes).toString('hex');
