/** The metrics of one process, in Prometheus' text format. Every name starts with `amulet_`; docs/metrics.md lists them. */
import { collectDefaultMetrics, Registry } from 'prom-client';

/** A registry with what Node itself has to tell: CPU, memory, event-loop lag, garbage collection, open handles. */
export function createMetrics(role: 'api' | 'worker' | 'webhooks'): Registry {
  const registry = new Registry();
  registry.setDefaultLabels({ role });
  collectDefaultMetrics({ register: registry, prefix: 'amulet_' });
  return registry;
}
