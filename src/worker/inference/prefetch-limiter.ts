/**
 * Limits how much one worker prefetches from one queue, in jobs and in rows. Each priority has its own limit, so that a long
 * queue of one leaves room for the other. With one limit for both, each queue counted what the other had fetched as room: while
 * both were long, a worker fetched everything.
 */

export interface PrefetchLimiterOptions {
  maxRows: number;
  maxJobs: number;
  /** Sets how many groups of jobs the worker may have fetched. */
  setConcurrency: (groups: number) => void;
}

/** Weight of the last group in the running means: 1/8. */
const MEAN_OVER = 8;

export class PrefetchLimiter {
  readonly #options: PrefetchLimiterOptions;
  #rows = 0;
  #jobs = 0;
  #groups = 0;
  /** Running means of a group's rows and jobs, to estimate how many more groups fit. */
  #rowsPerGroup = 1;
  #jobsPerGroup = 1;

  constructor(options: PrefetchLimiterOptions) {
    this.#options = options;
  }

  /** Rows in flight: fetched, and not released. */
  get rows(): number {
    return this.#rows;
  }

  /** Whether no job waits in the queue: while some do, a worker holds almost as many as it may. */
  get queueIsShort(): boolean {
    const { maxRows, maxJobs } = this.#options;
    return this.#rows < maxRows / 2 && this.#jobs < maxJobs / 2;
  }

  /**
   * Counts a fetched group as in flight: each of its jobs until releaseJob(), the group until releaseGroup().
   * @param jobs how many rows each job counts as
   */
  acquire(jobs: readonly number[]): void {
    const rows = jobs.reduce((sum, each) => sum + each, 0);
    this.#groups++;
    this.#rows += rows;
    this.#jobs += jobs.length;
    this.#rowsPerGroup += (rows - this.#rowsPerGroup) / MEAN_OVER;
    this.#jobsPerGroup += (jobs.length - this.#jobsPerGroup) / MEAN_OVER;
    this.#adjustConcurrency();
  }

  /** @param rows as given to acquire() */
  releaseJob(rows: number): void {
    this.#rows -= rows;
    this.#jobs--;
    this.#adjustConcurrency();
  }

  releaseGroup(): void {
    this.#groups--;
    this.#adjustConcurrency();
  }

  #adjustConcurrency(): void {
    const { maxRows, maxJobs, setConcurrency } = this.#options;
    const rows = Math.max(0, maxRows - this.#rows) / Math.max(1, this.#rowsPerGroup);
    const jobs = Math.max(0, maxJobs - this.#jobs) / Math.max(1, this.#jobsPerGroup);
    // BullMQ fetches up to its concurrency before it starts the first of them. Growing it step by step, instead of setting it
    // to the maximum, keeps a queue of large jobs from exceeding the limit many times over.
    const limit = Math.min(this.#groups + Math.floor(Math.min(rows, jobs)), 2 * this.#groups + 2);
    setConcurrency(Math.max(1, limit));
  }
}
