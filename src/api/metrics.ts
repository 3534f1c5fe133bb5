/** What an instance of the API measures of its requests, and what it reads of the queues when it is asked. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { ProblemCode } from '../shared/contract/problems.ts';
import type { Priority } from '../shared/contract/ids.ts';
import type { DiskReading, DiskWatch } from './load/disk-watch.ts';
import type { InFlight } from './load/in-flight.ts';
import type { Load, QueueLoad } from './load/load.ts';

export interface RequestDone {
  method: string;
  /** Template of the route, or UNKNOWN_ROUTE: no path that callers made up becomes a label. */
  route: string;
  status: number;
  /** Until the answer began: a stream may go on for long. */
  ms: number;
  /** Why it was refused, if it was. */
  problem: ProblemCode | undefined;
}

export const UNKNOWN_ROUTE = 'unknown';

export interface ApiFigures {
  /** What Redis knows. Rejects while it is away. */
  load: () => Promise<Load>;
  /** Jobs that callers wait for. */
  openWaits: () => number;
  inFlight: InFlight;
  /** Keys that callers may have, and whether they are those of a file that has since become unusable. */
  keys: () => { size: number; isFileUsable: boolean } | undefined;
  disks: DiskWatch;
}

export class ApiMetrics {
  readonly #registry: Registry;
  readonly #requests: Histogram<'method' | 'route' | 'status'>;
  readonly #problems: Counter<'code'>;
  readonly #jobs: Counter<'model' | 'priority'>;
  readonly #texts: Counter<'model' | 'priority'>;
  readonly #waits: Counter<'outcome'>;
  readonly #uploaded: Counter;
  readonly #canceledDeliveries: Counter;

  constructor(registry: Registry) {
    this.#registry = registry;
    const registers = [registry];
    this.#requests = new Histogram({
      name: 'amulet_http_request_seconds',
      help: 'Time of each request until its answer began, and in it what a caller asked to wait',
      labelNames: ['method', 'route', 'status'],
      buckets: [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 30, 60],
      registers,
    });
    this.#problems = new Counter({
      name: 'amulet_http_problems_total',
      help: 'Requests answered with a problem, by its code: rate_limited, queue_full, redis_unavailable and others',
      labelNames: ['code'],
      registers,
    });
    this.#jobs = new Counter({
      name: 'amulet_submitted_jobs_total',
      help: 'Jobs that were taken in',
      labelNames: ['model', 'priority'],
      registers,
    });
    this.#texts = new Counter({
      name: 'amulet_submitted_texts_total',
      help: 'Texts of the jobs that were taken in',
      labelNames: ['model', 'priority'],
      registers,
    });
    this.#waits = new Counter({
      name: 'amulet_waits_total',
      help: 'Waits for a job that have ended: with its outcome (settled), or without (given_up)',
      labelNames: ['outcome'],
      registers,
    });
    this.#uploaded = new Counter({
      name: 'amulet_upload_bytes_total',
      help: 'Bytes of input that batches were given, uncompressed',
      registers,
    });
    this.#canceledDeliveries = new Counter({
      name: 'amulet_canceled_deliveries_total',
      help: 'Webhook deliveries that their owners have canceled',
      registers,
    });
  }

  /** Adds what is read when the metrics are asked for. What Redis does not tell is absent then, and no wrong 0. */
  watch({ load, openWaits, inFlight, keys, disks }: ApiFigures): void {
    const registers = [this.#registry];
    const own = (name: string, help: string, value: () => number) => {
      const read: Gauge = new Gauge({ name, help, registers, collect: () => read.set(value()) });
    };
    own('amulet_open_waits', 'Jobs that callers wait for just now', openWaits);
    own(
      'amulet_body_bytes',
      'Bytes of the bodies of requests in flight; uploads to batches are none',
      () => inFlight.bodyBytes.total,
    );
    own('amulet_open_downloads', 'Results of batches that are being read', () => inFlight.downloads.total);
    own('amulet_open_requests', 'Requests without an answer so far', () => inFlight.requests.total);
    own('amulet_open_uploads', 'Uploads to batches that are under way', () => inFlight.uploads.total);
    own(
      'amulet_api_keys',
      'API keys that are accepted; 0 without keys, too, where everybody may call',
      () => keys()?.size ?? 0,
    );
    own(
      'amulet_api_keys_stale',
      '1 while API_KEYS_FILE cannot be used and the earlier keys hold, else 0',
      () => (keys()?.isFileUsable === false ? 1 : 0),
    );
    const ofDisks = (name: string, help: string, value: (figures: DiskReading) => number) => {
      const read: Gauge = new Gauge<string>({
        name,
        help,
        labelNames: ['disk'],
        registers,
        collect: () => {
          read.reset();
          for (const figures of disks.readings) read.set({ disk: figures.disk }, value(figures));
        },
      });
    };
    ofDisks(
      'amulet_disk_free_bytes',
      'Room left on the disk of batches, and of the Redis of npm start',
      ({ freeBytes }) => freeBytes,
    );
    ofDisks(
      'amulet_disk_reserve_bytes',
      'Room to be kept free there: with less, new work is refused',
      ({ reserveBytes }) => reserveBytes,
    );
    const up: Gauge = new Gauge({
      name: 'amulet_redis_up',
      help: '1 while Redis answers within REDIS_TIMEOUT_MS, else 0',
      registers,
      collect: async () => up.set((await load().catch(() => undefined)) ? 1 : 0),
    });
    const gauge = <Label extends string>(
      name: string,
      help: string,
      labelNames: readonly Label[],
      samples: (load: Load) => { labels: Record<Label, string>; value: number }[],
    ) => {
      const read: Gauge = new Gauge<string>({
        name,
        help,
        labelNames,
        registers,
        collect: async () => {
          read.reset();
          // Without labels, reset() leaves a 0.
          read.remove({});
          const now = await load().catch(() => undefined);
          for (const { labels, value } of now ? samples(now) : []) read.set(labels, value);
        },
      });
    };

    const ofRedis = (name: string, help: string, value: (redis: Load['redis']) => number) =>
      gauge(name, help, [], ({ redis }) => [{ labels: {}, value: value(redis) }]);
    ofRedis('amulet_redis_ping_seconds', 'Time that Redis took for a PING', ({ pingMs }) => pingMs / 1000);
    ofRedis('amulet_redis_memory_bytes', 'Memory that Redis uses', ({ usedBytes }) => usedBytes);
    ofRedis('amulet_redis_max_memory_bytes', 'maxmemory of Redis; 0: none', ({ maxBytes }) => maxBytes);

    gauge('amulet_stored_bytes', 'Bytes of input that batches keep, uncompressed', [], ({ storedBytes }) => [
      { labels: {}, value: storedBytes },
    ]);
    gauge('amulet_reserved_bytes', 'Bytes that uploads under way have reserved', [], ({ reservedBytes }) => [
      { labels: {}, value: reservedBytes },
    ]);

    const ofQueues = (name: string, help: string, value: (queue: QueueLoad) => number) =>
      gauge(name, help, ['model', 'priority'], ({ queues }) =>
        queues.map((queue) => ({
          labels: { model: queue.model, priority: queue.priority },
          value: value(queue),
        })),
      );
    ofQueues(
      'amulet_queued_texts',
      'Texts of jobs without an outcome: those that wait and those worked on',
      ({ texts }) => texts,
    );
    ofQueues('amulet_queued_bytes', 'Bytes of the texts of jobs without an outcome', ({ bytes }) => bytes);
    ofQueues(
      'amulet_queue_oldest_seconds',
      'Age of the oldest job without an outcome; 0: there is none',
      ({ oldestMs }) => oldestMs / 1000,
    );

    const ofModels = (name: string, help: string, value: (model: Load['models'][number]) => number) =>
      gauge(name, help, ['model'], ({ models }) =>
        models.map((model) => ({ labels: { model: model.name }, value: value(model) })),
      );
    ofModels('amulet_live_workers', 'Inference workers that serve a model', ({ workers }) => workers);
    ofModels(
      'amulet_running_batches',
      'Batches whose input is whole and that have not ended',
      ({ batches }) => batches.running,
    );
    ofModels(
      'amulet_queued_rows',
      'Rows of running batches that have no result yet',
      ({ batches }) => batches.rows,
    );
  }

  requestDone({ method, route, status, ms, problem }: RequestDone): void {
    this.#requests.observe({ method, route, status: String(status) }, ms / 1000);
    if (problem !== undefined) this.#problems.inc({ code: problem });
  }

  submitted(model: string, priority: Priority, texts: number): void {
    this.#jobs.inc({ model, priority });
    this.#texts.inc({ model, priority }, texts);
  }

  waited(settled: boolean): void {
    this.#waits.inc({ outcome: settled ? 'settled' : 'given_up' });
  }

  deliveryCanceled(): void {
    this.#canceledDeliveries.inc();
  }

  uploaded(bytes: number): void {
    this.#uploaded.inc(bytes);
  }
}
