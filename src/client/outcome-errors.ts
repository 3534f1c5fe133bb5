/** Answers that came as they should, and are not what was hoped for. */
import { AmuletError } from './errors.ts';
import type { Batch, Job } from './types.ts';

/** A text has no label: the model failed on it, or its job came to an end before. */
export class ClassificationError extends AmuletError {
  override name = 'ClassificationError';
  /** Such as `poison_input`, or `job_canceled`. */
  declare readonly code: string;
  readonly job: Job;

  constructor(code: string, message: string, job: Job) {
    super(code, message);
    this.job = job;
  }
}

/** A batch came to an end without being completed, or its results are damaged: rows are missing. */
export class BatchError extends AmuletError {
  override name = 'BatchError';
  /** Such as `revision_gone`, or `batch_canceled`. */
  declare readonly code: string;
  readonly batch: Batch;

  constructor(batch: Batch) {
    const damage = batch.problem?.code === 'results_damaged' ? batch.problem : undefined;
    const { code, message } = damage ??
      batch.error ?? {
        code: `batch_${batch.status}`,
        message: `the batch is ${batch.status}`,
      };
    super(code, message);
    this.batch = batch;
  }
}

/** It has not ended in the time that was given for it. It goes on, and can be waited for again. */
export class WaitTimeoutError<T extends Job | Batch = Job | Batch> extends AmuletError {
  override name = 'WaitTimeoutError';
  declare readonly code: 'wait_timeout';
  /** As it was seen last. */
  readonly latest: T;

  constructor(latest: T) {
    super('wait_timeout', `${latest.id} is still ${latest.status}`);
    this.latest = latest;
  }
}
