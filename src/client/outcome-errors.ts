/** Errors for work that ended without the expected results, although every request succeeded. */
import { AmuletError } from './errors.ts';
import type { Batch, Job } from './types.ts';

/** A text has no label: the model failed on it, or its job ended early. */
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

/** A batch ended without being completed, or its results are damaged: rows are missing. */
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

/** The job or batch did not end within the timeout. It continues and can be waited for again. */
export class WaitTimeoutError<T extends Job | Batch = Job | Batch> extends AmuletError {
  override name = 'WaitTimeoutError';
  declare readonly code: 'wait_timeout';
  /** The job or batch as last seen. */
  readonly latest: T;

  constructor(latest: T) {
    super('wait_timeout', `${latest.id} is still ${latest.status}`);
    this.latest = latest;
  }
}
