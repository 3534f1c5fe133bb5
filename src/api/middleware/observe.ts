/** Observes every request: its metrics, and a span that continues the caller's trace. */
import type { Context, MiddlewareHandler } from 'hono';
import { matchedRoutes } from 'hono/route';
import type { Tracing } from '../../shared/runtime/tracing.ts';
import { traceOf } from '../../shared/runtime/trace-context.ts';
import type { AppEnv } from '../env.ts';
import { UNKNOWN_ROUTE, type ApiMetrics } from '../metrics.ts';

export type Observe = MiddlewareHandler<AppEnv>;

export function observe(metrics: ApiMetrics, tracing: Tracing): Observe {
  return async (c, next) => {
    const start = performance.now();
    const { method, route } = routeOf(c);
    const caller = c.req.header('traceparent') === undefined ? undefined : callersTrace(c);
    await tracing.span(
      `${method} ${route}`,
      {
        kind: 'server',
        trace: caller,
        attributes: {
          'http.request.method': method,
          'http.route': route,
          'amulet.request.id': c.get('requestId'),
        },
      },
      async (span) => {
        if (span.trace !== undefined) c.set('trace', span.trace);
        await next();
        const { status } = c.res;
        span.set({ 'http.response.status_code': status });
        if (status >= 500) span.fail(c.get('problem') ?? String(status));
      },
    );
    const ms = performance.now() - start;
    metrics.requestDone({ method, route, status: c.res.status, ms, problem: c.get('problem') });
  };
}

/** The trace of a request and its jobs: that of its span, else the caller's, else a new one. */
export function traceOfRequest(c: Context<AppEnv>): string {
  return c.get('trace') ?? callersTrace(c);
}

function callersTrace(c: Context<AppEnv>): string {
  return traceOf(c.req.header('traceparent'), c.req.header('tracestate'));
}

/** The route's template, never the path that the caller wrote: the number of labels must stay small. */
function routeOf(c: Context<AppEnv>): { method: string; route: string } {
  const matched = matchedRoutes(c).findLast(({ method }) => method !== 'ALL');
  if (!matched) return { method: UNKNOWN_ROUTE, route: UNKNOWN_ROUTE };
  return { method: matched.method, route: matched.path.replaceAll(/:(\w+)(\{[^}]*\})?/g, '{$1}') };
}
