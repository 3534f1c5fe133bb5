/** Tracing by OpenTelemetry's SDK; only start-tracing.ts loads it. */
import {
  context,
  diag,
  DiagLogLevel,
  propagation,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
  type Context,
  type DiagLogger,
  type Link,
  type Span as OtelSpan,
} from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { getNumberFromEnv, getStringFromEnv, W3CTraceContextPropagator } from '@opentelemetry/core';
import { OTLPTraceExporter as JsonExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as ProtobufExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import {
  detectResources,
  resourceAttributesEnvDetector,
  resourceFromAttributes,
  serviceNameEnvDetector,
} from '@opentelemetry/resources';
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
  type Sampler,
} from '@opentelemetry/sdk-trace';
import { SpanKind as BullmqSpanKind, type Span as BullmqSpan, type Telemetry } from 'bullmq';
import { BullMQOtel } from 'bullmq-otel';
import type { OtlpProtocol } from './environment.ts';
import { StartupError } from './startup-error.ts';
import { toError } from './to-error.ts';
import type { Logger } from './logger.ts';
import type { Span, SpanOptions, Tracing, TracingOptions } from './tracing.ts';
import { traceHeaders, type TraceHeaders } from './trace-context.ts';

const NAME = 'amulet';
/** Longest wait for the endpoint to accept the last spans when a process ends. */
const FLUSH_MS = 2000;
/** Longest message of the SDK that is logged, and most different ones. */
const MAX_REASON_CHARS = 300;
const MAX_REASONS = 100;

const KINDS: Record<SpanOptions['kind'], SpanKind> = {
  server: SpanKind.SERVER,
  consumer: SpanKind.CONSUMER,
  client: SpanKind.CLIENT,
};

/** Starts tracing for the whole process: OpenTelemetry's API is global. @throws StartupError */
export function startOtel({
  role,
  version,
  protocol,
  logger,
}: TracingOptions & { protocol: OtlpProtocol }): Tracing {
  diag.setLogger(toDiagLogger(logger), DiagLogLevel.WARN);
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  const provider = new TracerProvider({
    resource: resourceFromAttributes({
      'service.name': `${NAME}-${role}`,
      'service.namespace': NAME,
      'service.version': version,
    }).merge(detectResources({ detectors: [resourceAttributesEnvDetector, serviceNameEnvDetector] })),
    sampler: samplerOf(getStringFromEnv('OTEL_TRACES_SAMPLER')),
    spanProcessors: [
      new BatchSpanProcessor({
        exporter: protocol === 'http/json' ? new JsonExporter() : new ProtobufExporter(),
        ...numbersFromEnv({
          scheduledDelayMillis: 'OTEL_BSP_SCHEDULE_DELAY',
          exportTimeoutMillis: 'OTEL_BSP_EXPORT_TIMEOUT',
          maxQueueSize: 'OTEL_BSP_MAX_QUEUE_SIZE',
          maxExportBatchSize: 'OTEL_BSP_MAX_EXPORT_BATCH_SIZE',
        }),
      }),
    ],
  });
  trace.setGlobalTracerProvider(provider);
  const tracer = trace.getTracer(NAME, version);

  return {
    bullmq: jobSpansOnly(new BullMQOtel({ tracerName: NAME, version })),
    span: async (name, { kind, trace: wanted, attributes = {} }, work) => {
      const { parent, links } = parentOf(wanted);
      const started = tracer.startSpan(name, { kind: KINDS[kind], attributes, links }, parent);
      const active = trace.setSpan(parent, started);
      try {
        return await context.with(active, () => work(toSpan(started, active)));
      } catch (error) {
        setFailed(started, toError(error).name);
        throw error;
      } finally {
        started.end();
      }
    },
    current: () => inject(context.active()),
    within: (wanted, work) => context.with(wanted === undefined ? ROOT_CONTEXT : extract(wanted), work),
    stop: async () => {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise((resolve) => (timer = setTimeout(resolve, FLUSH_MS)));
      await Promise.race([provider.shutdown().catch(() => {}), late]);
      clearTimeout(timer);
    },
  };
}

/** Parent and links of a span, given the active one; see SpanOptions. */
function parentOf(wanted: string | undefined): { parent: Context; links: Link[] } {
  const active = context.active();
  if (wanted === undefined) return { parent: active, links: [] };
  const parent = extract(wanted);
  const other = trace.getSpanContext(active);
  if (!other) return { parent, links: [] };
  if (other.traceId === trace.getSpanContext(parent)?.traceId) return { parent: active, links: [] };
  return { parent, links: [{ context: other }] };
}

function toSpan(span: OtelSpan, active: Context): Span {
  return {
    trace: inject(active),
    set: (attributes) => void span.setAttributes(attributes),
    fail: (why) => setFailed(span, why),
  };
}

function setFailed(span: OtelSpan, why: string): void {
  span.setAttribute('error.type', why);
  span.setStatus({ code: SpanStatusCode.ERROR });
}

function extract(written: string): Context {
  return propagation.extract(ROOT_CONTEXT, traceHeaders(written));
}

function inject(from: Context): string | undefined {
  const headers: Partial<TraceHeaders> = {};
  propagation.inject(from, headers);
  const { traceparent, tracestate } = headers;
  if (traceparent === undefined) return undefined;
  return tracestate === undefined ? traceparent : `${traceparent} ${tracestate}`;
}

/**
 * Keeps only BullMQ's spans of adding and processing a job. The others come from its polling loops, which run every few seconds on
 * an idle queue, each as a separate trace. BullMQ's error messages are left out: they may quote a command and with it a text.
 */
function jobSpansOnly({ tracer, contextManager }: BullMQOtel): Telemetry<Context> {
  return {
    contextManager,
    tracer: {
      startSpan: (name, options, parent) => {
        const wanted = options?.kind === BullmqSpanKind.PRODUCER || options?.kind === BullmqSpanKind.CONSUMER;
        return wanted ? withoutErrors(tracer.startSpan(name, options, parent)) : NO_SPAN;
      },
    },
  };
}

function withoutErrors(span: BullmqSpan<Context>): BullmqSpan<Context> {
  return {
    setSpanOnContext: (on) => span.setSpanOnContext(on),
    setAttribute: (key, value) => span.setAttribute(key, value),
    setAttributes: (attributes) => span.setAttributes(attributes),
    addEvent: () => {},
    recordException: (thrown) =>
      span.setAttribute('error.type', thrown instanceof Error ? thrown.name : 'Error'),
    end: () => span.end(),
  };
}

const NO_SPAN: BullmqSpan<Context> = {
  setSpanOnContext: (on) => on,
  setAttribute: () => {},
  setAttributes: () => {},
  addEvent: () => {},
  recordException: () => {},
  end: () => {},
};

/** The sampler that OTEL_TRACES_SAMPLER names. @throws StartupError for an unknown name */
function samplerOf(name = 'parentbased_always_on'): Sampler {
  const ratio = () => new TraceIdRatioBasedSampler(getNumberFromEnv('OTEL_TRACES_SAMPLER_ARG') ?? 1);
  const roots: Record<string, () => Sampler> = {
    always_on: () => new AlwaysOnSampler(),
    always_off: () => new AlwaysOffSampler(),
    traceidratio: ratio,
  };
  const [, parentBased, root = ''] = /^(parentbased_)?(.*)$/.exec(name) ?? [];
  const sampler = roots[root]?.();
  if (!sampler) {
    const names = Object.keys(roots).flatMap((known) => [known, `parentbased_${known}`]);
    throw new StartupError(`OTEL_TRACES_SAMPLER=${name}: must be one of ${names.join(', ')}`);
  }
  return parentBased === undefined ? sampler : new ParentBasedSampler({ root: sampler });
}

/** Numbers from the variables that are set. */
function numbersFromEnv<Name extends string>(variables: Record<Name, string>): Partial<Record<Name, number>> {
  const set = Object.entries<string>(variables).flatMap(([name, variable]) => {
    const value = getNumberFromEnv(variable);
    return value === undefined ? [] : [[name, value] as const];
  });
  return Object.fromEntries(set) as Partial<Record<Name, number>>;
}

/** Logs each warning of the SDK once: an unreachable endpoint would be logged every five seconds. */
function toDiagLogger(logger: Logger): DiagLogger {
  const logged = new Set<string>();
  const warn = (message: string) => {
    const reason = message.slice(0, MAX_REASON_CHARS);
    if (logged.size >= MAX_REASONS || logged.has(reason)) return;
    logged.add(reason);
    logger.warn({ reason }, 'OpenTelemetry warning');
  };
  return { error: warn, warn, info: () => {}, debug: () => {}, verbose: () => {} };
}
