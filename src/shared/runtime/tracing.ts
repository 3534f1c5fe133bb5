/**
 * Tracing: the interface to traces, which follow a request through queue and model to its webhook. Off unless OpenTelemetry's own
 * variables name an endpoint (start-tracing.ts); otel.ts implements it.
 *
 * A job travels in a group (src/api/jobs/group-commit.ts), and a BullMQ job has one parent; so BullMQ's spans, by bullmq-otel, are in
 * the trace of the first request of a group, and every request has a separate span for its job, in its own trace:
 *
 *     POST /v1/jobs → add classify-M.classify → process classify-M → classify M → deliver job.succeeded     the first one
 *     POST /v1/jobs → classify M (linked to that process span) → deliver job.succeeded                      the others
 */
import type { Telemetry } from 'bullmq';
import type { Logger } from './logger.ts';

/** Ids, our own names and counts; never a text, a label or metadata of a caller. */
export type SpanAttributes = Readonly<Record<string, string | number | boolean>>;

export interface SpanOptions {
  kind: 'server' | 'consumer' | 'client';
  /**
   * The trace that the span belongs to, as trace-context.ts writes it. If the active span belongs to the same trace, it becomes the
   * parent; if it belongs to another, it is linked. Unset: a child of the active span.
   */
  trace?: string | undefined;
  attributes?: SpanAttributes;
}

export interface Span {
  /** The trace for what follows this span, as trace-context.ts writes it; undefined while tracing is off. */
  readonly trace: string | undefined;
  set: (attributes: SpanAttributes) => void;
  /** Marks the span as failed. @param why a code, not a message, which may quote a text */
  fail: (why: string) => void;
}

export interface Tracing {
  /** For queues whose jobs get BullMQ's own spans. */
  readonly bullmq: Telemetry | undefined;
  /** Runs `work` in a span that is active until it ends. */
  span: <T>(name: string, options: SpanOptions, work: (span: Span) => Promise<T>) => Promise<T>;
  /** The trace of the active span, as trace-context.ts writes it. */
  current: () => string | undefined;
  /** Runs `work` within a trace; undefined: within none. */
  within: <T>(trace: string | undefined, work: () => T) => T;
  /** Sends the remaining spans, and waits a short time for the endpoint. */
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
