/** The metrics of an API instance: its own requests, and the state of the queues, which is read when they are scraped. */
import { Gauge, type Counter, type Histogram, type Registry } from 'prom-client';
import type { ProblemCode } from '../shared/contract/problems.ts';
import type { Priority } from '../shared/contract/ids.ts';
import { declareMetrics } from '../shared/runtime/metrics.ts';
import type { DiskWatch } from './load/disk-watch.ts';
import type { InFlight } from './load/in-flight.ts';
import type { Load } from './load/load.ts';

export interface RequestDone {
  method: string;
  /** Template of the route, or UNKNOWN_ROUTE: a path that a caller made up must not become a label. */
  route: string;
  status: number;
  /** Time to the start of the response: a stream may take long to end. */
  ms: number;
  /** Code of the problem that it was answered with, if any. */
  problem: ProblemCode | undefined;
}

export const UNKNOWN_ROUTE = 'unknown';

export interface ScrapedState {
  /** Rejects while Redis is away. */
  load: () => Promise<Load>;
  /** Jobs that callers wait for. */
  openWaits: () => number;
  inFlight: InFlight;
  /** How many API keys are valid, and whether their file can be used now. */
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
    const { counter, histogram } = declareMetrics(registry);
    this.#requests = histogram(
      'amulet_http_request_seconds',
      'Time from a request to the start of its response, including the wait that the caller asked for',
      [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 30, 60],
      ['method', 'route', 'status'],
    );
    this.#problems = counter(
      'amulet_http_problems_total',
      'Requests answered with a problem, by code: rate_limited, queue_full, redis_unavailable and others',
      ['code'],
    );
    this.#jobs = counter('amulet_submitted_jobs_total', 'Accepted jobs', ['model', 'priority']);
    this.#texts = counter('amulet_submitted_texts_total', 'Texts of accepted jobs', ['model', 'priority']);
    this.#waits = counter(
      'amulet_waits_total',
      'Waits for a job that ended with its outcome (settled) or without (given_up)',
      ['outcome'],
    );
    this.#uploaded = counter(
      'amulet_upload_bytes_total',
      'Bytes of batch input that were uploaded, uncompressed',
    );
    this.#canceledDeliveries = counter(
      'amulet_canceled_deliveries_total',
      'Webhook deliveries that their owners canceled',
    );
  }

  /** Adds the metrics that are read at each scrape. While Redis is away, its metrics are absent instead of 0. */
  watch({ load, openWaits, inFlight, keys, disks }: ScrapedState): void {
    const none = () => ({});
    const loaded = () =>
      load().then(
        (read) => [read],
        () => [],
      );
    const own = this.#gauges(() => [undefined], [], none);
    own('amulet_open_waits', 'Jobs that callers wait for now', openWaits);
    own(
      'amulet_body_bytes',
      'Bytes of the bodies of requests in flight, without uploads to batches',
      () => inFlight.bodyBytes.total,
    );
    own('amulet_open_downloads', 'Downloads of batch results in flight', () => inFlight.downloads.total);
    own('amulet_open_requests', 'Requests in flight', () => inFlight.requests.total);
    own('amulet_open_uploads', 'Uploads to batches in flight', () => inFlight.uploads.total);
    own(
      'amulet_api_keys',
      'Valid API keys; also 0 where no keys are set and anyone may call',
      () => keys()?.size ?? 0,
    );
    own(
      'amulet_api_keys_stale',
      '1 while API_KEYS_FILE cannot be used and the earlier keys stay valid, else 0',
      () => (keys()?.isFileUsable === false ? 1 : 0),
    );

    const ofDisks = this.#gauges(
      () => disks.readings,
      ['disk'],
      ({ disk }) => ({ disk }),
    );
    ofDisks(
      'amulet_disk_free_bytes',
      'Free bytes on the disk of batches, and on that of the Redis of npm start',
      ({ freeBytes }) => freeBytes,
    );
    ofDisks(
      'amulet_disk_reserve_bytes',
      'Bytes that must stay free on that disk: with less, new work is refused',
      ({ reserveBytes }) => reserveBytes,
    );

    const up = this.#gauges(async () => [await loaded()], [], none);
    up('amulet_redis_up', '1 while Redis answers within REDIS_TIMEOUT_MS, else 0', (read) => read.length);

    const ofLoad = this.#gauges(loaded, [], none);
    ofLoad(
      'amulet_redis_ping_seconds',
      'Time that Redis took to answer a PING',
      ({ redis }) => redis.pingMs / 1000,
    );
    ofLoad('amulet_redis_memory_bytes', 'Memory that Redis uses', ({ redis }) => redis.usedBytes);
    ofLoad('amulet_redis_max_memory_bytes', 'maxmemory of Redis; 0: no limit', ({ redis }) => redis.maxBytes);
    ofLoad(
      'amulet_stored_bytes',
      'Bytes of stored batch input, uncompressed',
      ({ storedBytes }) => storedBytes,
    );
    ofLoad(
      'amulet_reserved_bytes',
      'Bytes reserved by uploads in flight',
      ({ reservedBytes }) => reservedBytes,
    );

    const ofQueues = this.#gauges(
      async () => (await loaded()).flatMap(({ queues }) => queues),
      ['model', 'priority'],
      ({ model, priority }) => ({ model, priority }),
    );
    ofQueues(
      'amulet_queued_texts',
      'Texts of jobs without an outcome: waiting or being processed',
      ({ texts }) => texts,
    );
    ofQueues('amulet_queued_bytes', 'Bytes of the texts of jobs without an outcome', ({ bytes }) => bytes);
    ofQueues(
      'amulet_queue_oldest_seconds',
      'Age of the oldest job without an outcome; 0 without any',
      ({ oldestMs }) => oldestMs / 1000,
    );

    const ofModels = this.#gauges(
      async () => (await loaded()).flatMap(({ models }) => models),
      ['model'],
      ({ name }) => ({ model: name }),
    );
    ofModels('amulet_live_workers', 'Inference workers that serve a model', ({ workers }) => workers);
    ofModels(
      'amulet_running_batches',
      'Batches with complete input that have not ended',
      ({ batches }) => batches.running,
    );
    ofModels('amulet_queued_rows', 'Rows of running batches without a result', ({ batches }) => batches.rows);
  }

  /** @returns declares a gauge with a sample for each entry that `read` finds when it is scraped */
  #gauges<Entry>(
    read: () => readonly Entry[] | Promise<readonly Entry[]>,
    labelNames: string[],
    labelsOf: (entry: Entry) => Record<string, string>,
  ) {
    return (name: string, help: string, sample: (entry: Entry) => number): void => {
      const collect = async () => {
        const entries = await read();
        gauge.reset();
        // On a metric without labels, reset() leaves a 0.
        gauge.remove({});
        for (const entry of entries) gauge.set(labelsOf(entry), sample(entry));
      };
      const gauge: Gauge = new Gauge<string>({
        name,
        help,
        labelNames,
        registers: [this.#registry],
        collect,
      });
    };
  }

  requestDone({ method, route, status, ms, problem }: RequestDone): void {
    this.#requests.observe({ method, route, status: String(status) }, ms / 1000);
    if (problem !== undefined) this.#problems.inc({ code: problem });
  }

  submitted(model: string, priority: Priority, texts: number): void {
    this.#jobs.inc({ model, priority });
    this.#texts.inc({ model, priority }, texts);
  }

  waited(outcome: 'settled' | 'given_up'): void {
    this.#waits.inc({ outcome });
  }

  deliveryCanceled(): void {
    this.#canceledDeliveries.inc();
  }

  uploaded(bytes: number): void {
    this.#uploaded.inc(bytes);
  }
}
