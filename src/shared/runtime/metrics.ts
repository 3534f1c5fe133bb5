/** The Prometheus metrics of one process. Every name starts with `amulet_`; docs/metrics.md lists them. */
import { Hono } from 'hono';
import { collectDefaultMetrics, Registry } from 'prom-client';

/**
 * Creates a registry with Node's own metrics: CPU, memory, event-loop lag, garbage collection, open handles.
 * @param labels for every metric of the process, besides its role
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
