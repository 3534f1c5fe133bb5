/** Prometheus metrics of a webhook process. */
import type { Registry } from 'prom-client';
import { declareMetrics } from '../../shared/runtime/metrics.ts';

export interface AttemptDone {
  outcome: string;
  ms: number;
  /** Whether the delivery has ended: delivered, or given up. */
  final: boolean;
}

export interface Gauges {
  /** Events that are not in the queue of deliveries yet. */
  outbox: () => Promise<number>;
  /** Deliveries that wait for an attempt. */
  pending: () => Promise<number>;
  inFlight: () => number;
  failingHosts: () => number;
}

/** Declares the metrics of a webhook process. @returns a function that counts an attempt */
export function createWebhookMetrics(registry: Registry, state: Gauges): (attempt: AttemptDone) => void {
  const { counter, histogram, gauge } = declareMetrics(registry);
  const attempts = counter('amulet_webhook_attempts_total', 'Delivery attempts, by outcome', ['outcome']);
  const ended = counter(
    'amulet_webhook_deliveries_total',
    'Deliveries that have ended: delivered, or given up (failed)',
    ['outcome'],
  );
  const seconds = histogram(
    'amulet_webhook_attempt_seconds',
    'Time of each delivery attempt',
    [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30],
  );
  gauge('amulet_webhook_outbox', 'Events that are not in the queue of deliveries yet', state.outbox);
  gauge('amulet_webhook_pending', 'Deliveries that wait for an attempt', state.pending);
  gauge('amulet_webhook_in_flight', 'Delivery attempts in flight', state.inFlight);
  gauge(
    'amulet_webhook_failing_hosts',
    'Receivers whose attempts all fail, and which get one attempt at a time',
    state.failingHosts,
  );
  return ({ outcome, ms, final }) => {
    attempts.inc({ outcome });
    seconds.observe(ms / 1000);
    if (final) ended.inc({ outcome: outcome === 'delivered' ? 'delivered' : 'failed' });
  };
}
