/** W3C trace context: which chain of requests something belongs to, carried from the submission into the webhook. */
import { randomBytes } from 'node:crypto';

const TRACEPARENT = /^00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})$/;

/** The `traceparent` of a request, or one of its own where it has none that is valid. */
export function traceOf(header: string | undefined): string {
  // A trace that nobody records has the flag 00.
  return header !== undefined && TRACEPARENT.test(header) ? header : `00-${hex(16)}-${hex(8)}-00`;
}

/** The next link of the chain: the same trace, another parent. */
export function childTrace(trace: string): string {
  const [, traceId, , flags] = TRACEPARENT.exec(trace) ?? [];
  return traceId === undefined ? traceOf(undefined) : `00-${traceId}-${hex(8)}-${flags}`;
}

const hex = (bytes: number): string => randomBytes(bytes).toString('hex');
