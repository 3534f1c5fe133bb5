/**
 * The BullMQ queues: transport only. A queue per model and priority, because BullMQ's own priorities starve whatever is
 * not first (measured: position 220 of 221).
 */
import type { JobsOptions } from 'bullmq';
import type { Priority } from './ids.ts';

export function queueName(priority: Priority, model: string): string {
  return `${priority === 'low' ? 'low' : 'classify'}-${model}`;
}

/** Name of every BullMQ job inside its queue. */
export const JOB_NAME = 'classify';

/**
 * How often a job is run again after an infrastructure error (Redis gone while settling, no model process). A text that
 * the model fails on is not retried here: it settles as an errored row.
 */
export const JOB_ATTEMPTS = 8;

/**
 * @param id of the group
 * @param resultTtlS how long a job that could not even be settled stays readable
 */
export function jobOptions(id: string, resultTtlS: number): JobsOptions {
  return {
    jobId: id,
    attempts: JOB_ATTEMPTS,
    backoff: { type: 'exponential', delay: 500, jitter: 0.5 },
    // Settled before it is completed, so the text can leave Redis at once.
    removeOnComplete: true,
    removeOnFail: { age: resultTtlS },
    stackTraceLimit: 2,
  };
}

/** BullMQ's event stream would keep copies of results; nobody reads it. */
export const NO_EVENTS = { events: { maxLen: 0 } } as const;

/** Channel on which the ids of canceled jobs are announced to the workers. */
export function cancelChannel(prefix: string): string {
  return `${prefix}:canceled`;
}
