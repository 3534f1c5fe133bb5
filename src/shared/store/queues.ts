/**
 * The BullMQ queues, which are transport only. Each model has a queue per priority, because BullMQ's own priorities starve all
 * but the first (measured: position 220 of 221).
 */
import { Queue, type JobsOptions, type Telemetry } from 'bullmq';
import type { Redis } from 'ioredis';
import type { ChunkPayload } from '../contract/batches.ts';
import type { Priority } from '../contract/ids.ts';

export function queueName(priority: Priority, model: string): string {
  return `${priority === 'low' ? 'low' : 'classify'}-${model}`;
}

/**
 * The queue of the chunks of batches.
 * @param revision that the batch is pinned to, from its first finished chunk on
 */
export function bulkQueueName(model: string, revision?: string): string {
  return revision === undefined ? `bulk-${model}` : `bulk-${model}@${revision}`;
}

/** The queue of webhook deliveries. */
export const DELIVERIES_QUEUE = 'deliveries';

/** Id of a delivery's BullMQ job. @param run number of redeliveries; each run has its own job */
export const deliveryJobId = (event: string, run: number): string => `${event}.${run}`;

/** Name of every BullMQ job inside its queue. */
export const JOB_NAME = 'classify';

/**
 * Most attempts of a job after infrastructure errors (Redis unreachable while settling, no model process). A text that the model
 * fails on is not retried here: it settles as an errored row.
 */
export const JOB_ATTEMPTS = 8;

/**
 * @param id of the group
 * @param resultTtlS seconds that a job stays readable when it could not even be settled
 */
export function jobOptions(id: string, resultTtlS: number): JobsOptions {
  return {
    jobId: id,
    attempts: JOB_ATTEMPTS,
    backoff: { type: 'exponential', delay: 500, jitter: 0.5 },
    // The outcome is recorded before the job completes, so its texts can leave Redis at once.
    removeOnComplete: true,
    removeOnFail: { age: resultTtlS },
    stackTraceLimit: 2,
  };
}

/**
 * A queue that is ready for commands. A queue whose first connection failed stays broken: open another.
 * @param telemetry for spans of adding
 */
export async function openQueue<Data>(
  name: string,
  redis: Redis,
  prefix: string,
  telemetry?: Telemetry,
): Promise<Queue<Data, undefined>> {
  const queue = new Queue<Data, undefined>(name, {
    connection: redis,
    prefix,
    streams: NO_EVENTS,
    ...(telemetry && { telemetry }),
  });
  // Connection errors are reported once, by the connection itself.
  queue.on('error', () => {});
  await queue.waitUntilReady();
  return queue;
}

export type ChunkQueue = Queue<ChunkPayload, undefined>;

/** Id of a chunk in its queue. */
export const chunkJobId = (batch: string, chunk: number): string => `${batch}.${chunk}`;

/** Whether this is the id of a chunk of that batch. */
export const isChunkOf = (batch: string, jobId: string): boolean => jobId.startsWith(`${batch}.`);

/** Adds chunks of a batch to a queue; chunks that it contains already stay as they are. */
export async function addChunks(
  queue: ChunkQueue,
  { v, batch }: Pick<ChunkPayload, 'v' | 'batch'>,
  chunks: readonly number[],
): Promise<void> {
  if (chunks.length === 0) return;
  await queue.addBulk(
    chunks.map((chunk) => ({
      name: JOB_NAME as never,
      data: { v, batch, chunk },
      opts: chunkOptions(chunkJobId(batch, chunk)),
    })),
  );
}

/**
 * A chunk is retried until it succeeds or its batch ends: its errors are a full blob store or an unreachable Redis, and both
 * are temporary.
 */
function chunkOptions(id: string): JobsOptions {
  return {
    jobId: id,
    attempts: 1_000_000,
    backoff: { type: CHUNK_BACKOFF },
    removeOnComplete: true,
    removeOnFail: true,
    stackTraceLimit: 2,
  };
}

/** Name of the backoff that workers know as `chunkBackoffMs`. */
export const CHUNK_BACKOFF = 'chunk';

/** Milliseconds before the n-th retry: 0.5 s, doubling up to 30 s, ± 25 %. */
export function chunkBackoffMs(attemptsMade: number): number {
  return Math.min(500 * 2 ** (attemptsMade - 1), 30_000) * (0.75 + Math.random() / 2);
}

/** BullMQ's event stream would keep copies of results, and has no reader. */
const NO_EVENTS = { events: { maxLen: 0 } } as const;
