/** The metrics of one process, in Prometheus' text format. Every name starts with `amulet_`; docs/metrics.md lists them. */
import { Hono } from 'hono';
import { collectDefaultMetrics, Registry } from 'prom-client';

/**
 * A registry with what Node itself has to tell: CPU, memory, event-loop lag, garbage collection, open handles.
 * @param labels that every metric of the process has, besides its role
 */
export function createMetrics(
  role: 'api' | 'worker' | 'webhooks',
  labels: Readonly<Record<string, string>> = {},
): Registry {
  const registry = new Registry();
  registry.setDefaultLabels({ role, ...labels });
  collectDefaultMetrics({ register: registry, prefix: 'amulet_' });
  return registry;
}

/** `/metrics`, for Prometheus. */
export function createMetricsApp(registry: Registry): Hono {
  const app = new Hono();
  app.get('/metrics', async (c) =>
    c.body(await registry.metrics(), 200, { 'Content-Type': registry.contentType }),
  );
  return app;
}
