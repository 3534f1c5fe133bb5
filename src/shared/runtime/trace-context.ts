/**
 * W3C trace context, carried from the submission of a job to its webhook. Stored as one string: the `traceparent`, then a space
 * and the `tracestate` if there is one.
 */
import { randomBytes } from 'node:crypto';

/** Versions after 00 may have more fields after the flags. */
const TRACEPARENT =
  /^(?!ff)(?!00.{53}-)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
/** Sampled, and random trace id. Other flags are not passed on: their meaning is not known yet. */
const KNOWN_FLAGS = 0b11;

/** `key=value` of a vendor. It is sent as a header again, so other characters are dropped. */
const TRACESTATE_MEMBER =
  /^[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]$/;
const MAX_TRACESTATE_MEMBERS = 32;
const MAX_TRACESTATE_CHARS = 512;

/**
 * The trace of a request, or a new one where the header is missing or invalid.
 * @param traceparent header
 * @param tracestate header, dropped when invalid
 * @returns `00-<trace id>-<parent id>-<flags>`, or that and ` <tracestate>`
 */
export function traceOf(traceparent: string | undefined, tracestate?: string): string {
  const match = TRACEPARENT.exec(traceparent ?? '');
  // Flags 00: the new trace is not recorded.
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

/** The headers that pass a trace on; for an unreadable one, those of a new trace. */
export function traceHeaders(trace: string): TraceHeaders {
  const [parent = '', ...state] = trace.split(' ');
  const [traceparent = '', ...kept] = traceOf(parent, state.join(' ')).split(' ');
  return kept.length === 0 ? { traceparent } : { traceparent, tracestate: kept.join(' ') };
}

/** The `tracestate` without white space around its members; '' when missing or invalid. */
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
