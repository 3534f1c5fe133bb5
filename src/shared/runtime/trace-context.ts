/**
 * W3C trace context: which chain of requests something belongs to, carried from the submission into the webhook. It is kept
 * as one string: the `traceparent`, and behind a space the `tracestate` if there is one.
 */
import { randomBytes } from 'node:crypto';

/** Versions after 00 may go on behind the flags. */
const TRACEPARENT =
  /^(?!ff)(?!00.{53}-)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
/** Sampled, and random trace id. What other flags will mean is not for us to promise. */
const KNOWN_FLAGS = 0b11;

/** Of each vendor `key=value`; it goes back out as a header, so nothing else is kept. */
const TRACESTATE_MEMBER =
  /^[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]$/;
const MAX_TRACESTATE_MEMBERS = 32;
const MAX_TRACESTATE_CHARS = 512;

/**
 * The trace of a request, or one of its own where it has none that is valid.
 * @param traceparent header, written as version 00 writes it
 * @param tracestate header, dropped when it is not valid
 * @returns `00-<trace id>-<parent id>-<flags>`, or that and ` <tracestate>`
 */
export function traceOf(traceparent: string | undefined, tracestate?: string): string {
  const match = TRACEPARENT.exec(traceparent ?? '');
  // A trace that nobody records has the flags 00.
  if (!match) return write(hex(16), hex(8), 0);
  const [, traceId, parentId, flags] = match as unknown as [string, string, string, string];
  const trace = write(traceId, parentId, Number.parseInt(flags, 16) & KNOWN_FLAGS);
  const state = stateOf(tracestate);
  return state === '' ? trace : `${trace} ${state}`;
}

/** The next link of the chain: the same trace and state, another parent. */
export function childTrace(trace: string): string {
  const { traceparent, tracestate } = traceHeaders(trace);
  const [version, traceId, , flags] = traceparent.split('-');
  const child = [version, traceId, hex(8), flags].join('-');
  return tracestate === undefined ? child : `${child} ${tracestate}`;
}

export interface TraceHeaders {
  traceparent: string;
  tracestate?: string;
}

/** The headers that pass a trace on. One that cannot be read is the first of a new chain. */
export function traceHeaders(trace: string): TraceHeaders {
  const [parent = '', ...state] = trace.split(' ');
  const [traceparent = '', ...kept] = traceOf(parent, state.join(' ')).split(' ');
  return kept.length === 0 ? { traceparent } : { traceparent, tracestate: kept.join(' ') };
}

/** A `tracestate` without white space around its members, or '' when there is none that is valid. */
function stateOf(header: string | undefined): string {
  const members = (header ?? '')
    .split(',')
    .map((member) => member.trim())
    .filter((member) => member !== '');
  const state = members.join(',');
  const valid =
    members.length <= MAX_TRACESTATE_MEMBERS &&
    state.length <= MAX_TRACESTATE_CHARS &&
    members.every((member) => TRACESTATE_MEMBER.test(member));
  return valid ? state : '';
}

const write = (traceId: string, parentId: string, flags: number): string =>
  `00-${traceId}-${parentId}-${flags.toString(16).padStart(2, '0')}`;

const hex = (bytes: number): string => randomBytes(bytes).toString('hex');
