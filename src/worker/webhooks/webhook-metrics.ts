/** Prometheus metrics of a webhook process. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

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

export class WebhookMetrics {
  readonly #attempts: Counter<'outcome'>;
  readonly #ended: Counter<'outcome'>;
  readonly #seconds: Histogram;

  constructor(registry: Registry, { outbox, pending, inFlight, failingHosts }: Gauges) {
    const registers = [registry];
    this.#attempts = new Counter({
      name: 'amulet_webhook_attempts_total',
      help: 'Delivery attempts, by outcome',
      labelNames: ['outcome'],
      registers,
    });
    this.#ended = new Counter({
      name: 'amulet_webhook_deliveries_total',
      help: 'Deliveries that have ended: delivered, or given up (failed)',
      labelNames: ['outcome'],
      registers,
    });
    this.#seconds = new Histogram({
      name: 'amulet_webhook_attempt_seconds',
      help: 'Time of each delivery attempt',
      buckets: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30],
      registers,
    });
    const gauge = (name: string, help: string, value: () => number | Promise<number>) =>
      new Gauge({
        name,
        help,
        registers,
        async collect() {
          // While Redis is away the value is absent, not stale.
          this.remove({});
          const now = await Promise.resolve(value()).catch(() => undefined);
          if (now !== undefined) this.set(now);
        },
      });
    gauge('amulet_webhook_outbox', 'Events that are not in the queue of deliveries yet', outbox);
    gauge('amulet_webhook_pending', 'Deliveries that wait for an attempt', pending);
    gauge('amulet_webhook_in_flight', 'Delivery attempts in flight', inFlight);
    gauge(
      'amulet_webhook_failing_hosts',
      'Receivers whose attempts all fail, and which get one attempt at a time',
      failingHosts,
    );
  }

  attempted({ outcome, ms, final }: AttemptDone): void {
    this.#attempts.inc({ outcome });
    this.#seconds.observe(ms / 1000);
    if (final) this.#ended.inc({ outcome: outcome === 'delivered' ? 'delivered' : 'failed' });
  }
}
