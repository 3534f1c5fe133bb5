/**
 * Traces: one from a request to its webhook, through the queue and the model. Off unless OpenTelemetry's own variables name
 * an endpoint; its packages are not even loaded then. What else they can do is in otel.ts.
 *
 * A job travels in a group (src/api/jobs/group-commit.ts), and a BullMQ job has one parent; so BullMQ's spans, by bullmq-otel, are in
 * the trace of the first request of a group, and every request has a span of its own for its job, in its own trace:
 *
 *     POST /v1/jobs → add classify-M.classify → process classify-M → classify M → deliver job.succeeded     the first one
 *     POST /v1/jobs → classify M (linked to that process span) → deliver job.succeeded                      the others
 */
import type { Telemetry } from 'bullmq';
import type { Logger } from './logger.ts';

/** Never a text, a label or metadata of a caller: ids, names of ours, and counts. */
export type SpanAttributes = Readonly<Record<string, string | number | boolean>>;

export interface SpanOptions {
  kind: 'server' | 'consumer' | 'client';
  /**
   * The trace that it belongs to, as webhooks/trace.ts writes it. It goes on from the active span where that is of the same
   * trace, and is linked to it where it is of another. Unset: it is a child of the active span.
   */
  trace?: string | undefined;
  attributes?: SpanAttributes;
}

export interface Span {
  /** For what comes after it, as webhooks/trace.ts writes it; undefined while tracing is off. */
  readonly trace: string | undefined;
  set: (attributes: SpanAttributes) => void;
  /** Marks it as failed. @param why a code, no message: those may quote a text */
  fail: (why: string) => void;
}

export interface Tracing {
  /** For the queues whose jobs are to have spans of BullMQ's own. */
  readonly bullmq: Telemetry | undefined;
  /** Runs `work` in a span that is active meanwhile, and ends with it. */
  span: <T>(name: string, options: SpanOptions, work: (span: Span) => Promise<T>) => Promise<T>;
  /** The trace of the active span, as webhooks/trace.ts writes it. */
  current: () => string | undefined;
  /** Runs `work` as a part of a trace; undefined: of none. */
  within: <T>(trace: string | undefined, work: () => T) => T;
  /** Sends what has not been sent yet, if the endpoint takes it soon. */
  stop: () => Promise<void>;
}

const NO_SPAN: Span = { trace: undefined, set: () => {}, fail: () => {} };

export const NO_TRACING: Tracing = {
  bullmq: undefined,
  span: (_name, _options, work) => work(NO_SPAN),
  current: () => undefined,
  within: (_trace, work) => work(),
  stop: () => Promise.resolve(),
};

export interface TracingOptions {
  /** `service.name` is `amulet-<role>`, unless OTEL_SERVICE_NAME says otherwise. */
  role: 'api' | 'worker' | 'webhooks';
  version: string;
  logger: Logger;
}
