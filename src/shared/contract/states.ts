/**
 * States of jobs, batches and webhook deliveries, and which may follow which. Every Lua script that changes a state keeps to
 * these tables (test/integration/states.test.ts drives each from every state). Imports nothing: client and page use it, too.
 */

export const jobStatuses = ['queued', 'processing', 'succeeded', 'failed', 'canceled', 'expired'] as const;
export type JobStatus = (typeof jobStatuses)[number];

/** `processing → queued` is a retry after a worker died. */
export const JOB_TRANSITIONS: Readonly<Record<JobStatus, readonly JobStatus[]>> = {
  queued: ['processing', 'failed', 'canceled', 'expired'],
  processing: ['queued', 'succeeded', 'failed', 'canceled', 'expired'],
  succeeded: [],
  failed: [],
  canceled: [],
  expired: [],
};

export const batchStatuses = [
  'open',
  'queued',
  'processing',
  'completed',
  'failed',
  'canceled',
  'expired',
] as const;
export type BatchStatus = (typeof batchStatuses)[number];

/**
 * Only `resume` leads out of `failed`; with damaged results also out of `completed`, and on a restart from `processing` back to
 * `queued`. `queued → completed`: the last chunk was under way when the batch failed and was resumed, and a worker finishes it
 * before any other chunk is started. An empty batch is never queued.
 */
export const BATCH_TRANSITIONS: Readonly<Record<BatchStatus, readonly BatchStatus[]>> = {
  open: ['queued', 'canceled', 'expired'],
  queued: ['processing', 'completed', 'failed', 'canceled'],
  processing: ['queued', 'completed', 'failed', 'canceled'],
  completed: ['queued'],
  failed: ['queued'],
  canceled: [],
  expired: [],
};

export const deliveryStatuses = ['pending', 'delivered', 'failed', 'canceled'] as const;
export type DeliveryStatus = (typeof deliveryStatuses)[number];

/**
 * Only a redelivery leads back to `pending`. `canceled → delivered`: an attempt that was under way when its owner canceled
 * the delivery succeeded.
 */
export const DELIVERY_TRANSITIONS: Readonly<Record<DeliveryStatus, readonly DeliveryStatus[]>> = {
  pending: ['delivered', 'failed', 'canceled'],
  delivered: ['pending'],
  failed: ['pending'],
  canceled: ['pending', 'delivered'],
};

const FINAL = ['succeeded', 'completed', 'failed', 'canceled', 'expired'] as const;
type Final = (typeof FINAL)[number];
export type FinalStatus = Extract<JobStatus, Final>;
export type FinalBatchStatus = Extract<BatchStatus, Final>;

/** Whether the work on a job or batch is over. Only its owner can resume a failed or damaged batch. */
export function isFinal<S extends JobStatus | BatchStatus>(status: S): status is S & Final {
  return (FINAL as readonly string[]).includes(status);
}
