/** Endless callers that submit jobs, and repeat unacknowledged ones with the same Idempotency-Key. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Job } from '../../../src/shared/contract/jobs.ts';

const RETRY_MS = 200;

export interface JobLoadOptions {
  /** Of the API. */
  url: string;
  /** The body of each next job. */
  job: () => object;
  callers: number;
  /** Pause of each caller between two jobs, which leaves the tested processes their share of the machine. */
  pauseMs: number;
}

export class JobLoad {
  /** Jobs that were acknowledged. */
  readonly ids: string[] = [];
  /** Requests that failed or were refused, and were sent again. */
  repeats = 0;
  readonly #options: JobLoadOptions;
  readonly #callers: Promise<void>[];
  #stopping = false;

  constructor(options: JobLoadOptions) {
    this.#options = options;
    this.#callers = Array.from({ length: options.callers }, () => this.#call());
  }

  /** Resolves when `count` more jobs have been acknowledged. @throws Error when one never will be */
  async more(count: number): Promise<void> {
    const goal = this.ids.length + count;
    while (this.ids.length < goal) await Promise.race([sleep(this.#options.pauseMs), ...this.#callers]);
  }

  /** Lets every caller have its last job acknowledged. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#callers);
  }

  async #call(): Promise<void> {
    while (!this.#stopping) {
      this.ids.push(await this.#submit(this.#options.job()));
      await sleep(this.#options.pauseMs);
    }
  }

  async #submit(job: object): Promise<string> {
    const request = {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'Idempotency-Key': randomUUID() },
      body: JSON.stringify(job),
    };
    for (;;) {
      const response = await fetch(`${this.#options.url}/v1/jobs`, request).catch(() => undefined);
      if (response?.ok) return ((await response.json()) as Job).id;
      // What the server will not take at any time is a mistake of the test.
      if (response && response.status < 500) throw new Error(`${response.status} ${await response.text()}`);
      this.repeats++;
      await sleep(RETRY_MS);
    }
  }
}
