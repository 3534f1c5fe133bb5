/** Starts tracing where OpenTelemetry's variables name an endpoint, and only then loads OpenTelemetry. */
import { otlpProtocol } from './environment.ts';
import { NO_TRACING, type Tracing, type TracingOptions } from './tracing.ts';

/** @throws StartupError when OpenTelemetry's variables ask for something that is not supported */
export async function startTracing(options: TracingOptions): Promise<Tracing> {
  const protocol = otlpProtocol();
  if (protocol === undefined) return NO_TRACING;
  const { startOtel } = await import('./otel.ts');
  return startOtel({ ...options, protocol });
}
