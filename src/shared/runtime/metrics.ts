/** The Prometheus metrics of one process. Every name starts with `amulet_`; docs/metrics.md lists them. */
import { Hono } from 'hono';
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

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

/** Declares metrics in a registry, each with one call. */
export function declareMetrics(registry: Registry) {
  const registers = [registry];
  return {
    counter: <Label extends string = never>(name: string, help: string, labelNames: readonly Label[] = []) =>
      new Counter<Label>({ name, help, labelNames, registers }),
    histogram: <Label extends string = never>(
      name: string,
      help: string,
      buckets: number[],
      labelNames: readonly Label[] = [],
    ) => new Histogram<Label>({ name, help, buckets, labelNames, registers }),
    /** Reads `value` at each scrape. Where that fails, because Redis is away, the gauge is absent, not stale. */
    gauge: (name: string, help: string, value: () => number | Promise<number>) =>
      new Gauge({
        name,
        help,
        registers,
        async collect() {
          this.remove({});
          const now = await Promise.resolve(value()).catch(() => undefined);
          if (now !== undefined) this.set(now);
        },
      }),
  };
}

/** `/metrics`, for Prometheus. */
export function createMetricsApp(registry: Registry): Hono {
  const app = new Hono();
  app.get('/metrics', async (c) =>
    c.body(await registry.metrics(), 200, { 'Content-Type': registry.contentType }),
  );
  return app;
}
