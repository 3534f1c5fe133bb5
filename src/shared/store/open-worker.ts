/** Opens and starts BullMQ workers, with the options and the error logging that all of them share. */
import { isNotConnectionError, Worker, type Processor, type WorkerOptions } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Config } from '../runtime/config.ts';
import type { Logger } from '../runtime/logger.ts';
import { repeatedWarnings } from '../runtime/repeated-warnings.ts';
import { toError } from '../runtime/to-error.ts';

/**
 * A job that other workers took over this often, because each time its worker was gone, fails. One poison text in a batch
 * costs its neighbours a count each, and running a job again is harmless, so this need not be strict (BullMQ's default is 1).
 */
const MAX_STALLED_COUNT = 10;

export interface OpenWorkerOptions extends Pick<
  WorkerOptions,
  'concurrency' | 'maxStalledCount' | 'telemetry' | 'settings'
> {
  /** Patient connection; BullMQ opens another one that blocks. */
  redis: Redis;
  config: Pick<Config, 'REDIS_PREFIX' | 'LOCK_DURATION_MS' | 'STALLED_INTERVAL_MS'>;
  logger: Logger;
}

/** A worker of a queue, and what starts it. */
export interface OpenWorker {
  worker: Worker<unknown>;
  /** Starts fetching jobs. */
  start: () => void;
}

/** Opens a worker that fetches no jobs yet. The payload of a job is not checked: `process` parses it. */
export function openWorker(
  queue: string,
  process: Processor<unknown>,
  { redis, config, logger, ...options }: OpenWorkerOptions,
): OpenWorker {
  const worker = new Worker<unknown>(queue, process, {
    connection: redis,
    prefix: config.REDIS_PREFIX,
    autorun: false,
    lockDuration: config.LOCK_DURATION_MS,
    stalledInterval: config.STALLED_INTERVAL_MS,
    maxStalledCount: MAX_STALLED_COUNT,
    runRetryDelay: 500,
    ...options,
  });
  const warn = repeatedWarnings(logger, `cannot read the queue ${queue}`);
  // The connection logs its own errors once, and when it is back (redis/connections.ts).
  worker.on('error', (error) => {
    if (isNotConnectionError(error)) warn(error);
  });
  const start = () => {
    void worker
      .run()
      .catch((error: unknown) => logger.error({ err: toError(error) }, `stopped reading the queue ${queue}`));
  };
  return { worker, start };
}
