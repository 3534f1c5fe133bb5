/**
 * Clients of all three uses at once. Each repeats unacknowledged requests with the same Idempotency-Key, and remembers
 * acknowledged ones; every result is compared with earlier results of the same text.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Batch } from '../../src/shared/contract/batches.ts';
import type { Job } from '../../src/shared/contract/jobs.ts';
import type { RowResult } from '../../src/shared/contract/results.ts';
import type { Violations } from './violations.ts';

export interface LoadOptions {
  /** Addresses of the API instances, as they are now. */
  urls: () => string[];
  key: string;
  /** Where webhooks go. */
  receiverUrl: string;
  texts: readonly string[];
  random: () => number;
  violations: Violations;
}

export interface AcknowledgedJob {
  texts: string[];
  webhook: boolean;
  /** It was asked to be canceled: it may have ended that way. */
  canceled: boolean;
  /** It may expire before a worker is there again. */
  expires: boolean;
}

export interface AcknowledgedBatch {
  rows: string[];
}

const REQUEST_MS = 15_000;
const RETRY_MS = 200;

export class Load {
  readonly jobs = new Map<string, AcknowledgedJob>();
  readonly batches = new Map<string, AcknowledgedBatch>();
  predictions = 0;
  /** Calls that did not get their answer at first. */
  repeats = 0;
  readonly #options: LoadOptions;
  readonly #known = new Map<string, string>();
  #clients: Promise<void>[] = [];
  #stopped = false;

  constructor(options: LoadOptions) {
    this.#options = options;
  }

  start(): void {
    const loops: [clients: number, once: () => Promise<void>, pauseMs: number][] = [
      [6, () => this.#submitJob(), 150],
      [2, () => this.#predict(), 100],
      [1, () => this.#submitBatch(), 8000],
    ];
    this.#clients = loops.flatMap(([clients, once, pauseMs]) =>
      Array.from({ length: clients }, async () => {
        while (!this.#stopped) {
          await once();
          await sleep(pauseMs * 2 * this.#options.random());
        }
      }),
    );
  }

  /** Ends when every client has what it waits for. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#clients);
  }

  /** Compares a label with what the same text got before. */
  compare(text: string, { label, score }: { label: string; score: number }): void {
    const got = `${label} ${score}`;
    const before = this.#known.get(text);
    if (before === undefined) this.#known.set(text, got);
    else if (before !== got) this.#options.violations.add('a text with two results', `${before} and ${got}`);
  }

  compareRow(text: string, row: RowResult): void {
    if ('error' in row)
      this.#options.violations.add('an errored row', `${row.error.code}: ${row.error.message}`);
    else this.compare(text, row);
  }

  get authorization(): { Authorization: string } {
    return { Authorization: `Bearer ${this.#options.key}` };
  }

  get urls(): string[] {
    return this.#options.urls();
  }

  /** One call, repeated until there is an answer that is not about a passing trouble. */
  async call<T>(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<{ status: number; body: T }> {
    for (;;) {
      const answered = await this.#callOnce<T>(method, path, body, headers);
      if (answered) return answered;
      this.repeats++;
      await sleep(RETRY_MS);
    }
  }

  async #callOnce<T>(method: string, path: string, body: unknown, headers: Record<string, string>) {
    const urls = this.#options.urls();
    const url = urls[Math.floor(this.#options.random() * urls.length)];
    if (url === undefined) return undefined;
    try {
      const response = await fetch(url + path, {
        method,
        headers: {
          ...this.authorization,
          ...(typeof body === 'object' ? { 'Content-Type': 'application/json' } : {}),
          ...headers,
        },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
        signal: AbortSignal.timeout(REQUEST_MS),
      });
      const text = await response.text();
      if (response.status === 503 || response.status === 504) return undefined;
      return { status: response.status, body: (text === '' ? undefined : JSON.parse(text)) as T };
    } catch {
      // Refused, cut off, or too slow.
      return undefined;
    }
  }

  #pick(count: number): string[] {
    const { texts, random } = this.#options;
    return Array.from({ length: count }, () => texts[Math.floor(random() * texts.length)] as string);
  }

  async #submitJob(): Promise<void> {
    const { random, violations, receiverUrl } = this.#options;
    const texts = this.#pick(random() < 0.05 ? 100 : 1 + Math.floor(random() * 6));
    const webhook = random() < 0.3;
    const expires = random() < 0.03;
    const wait = random() < 0.3;
    const { status, body: job } = await this.call<Job>(
      'POST',
      '/v1/jobs',
      {
        texts,
        priority: random() < 0.2 ? 'low' : 'normal',
        ...(webhook ? { webhook: { url: receiverUrl } } : {}),
        ...(expires ? { expires_in: 5 } : {}),
      },
      { 'Idempotency-Key': randomUUID(), ...(wait ? { Prefer: 'wait=5' } : {}) },
    );
    if (status !== 200 && status !== 202) {
      violations.add('a good job that is refused', `${status} ${JSON.stringify(job)}`);
      return;
    }
    const known: AcknowledgedJob = { texts, webhook, canceled: false, expires };
    this.jobs.set(job.id, known);
    if (random() < 0.05) {
      known.canceled = true;
      const canceled = await this.#callOnce<Job>('DELETE', `/v1/jobs/${job.id}`, undefined, {});
      // It was final already: now it is gone.
      if (canceled?.status === 204) this.jobs.delete(job.id);
      // It may have been deleted although the answer was lost.
      else if (!canceled) this.jobs.delete(job.id);
    }
  }

  async #predict(): Promise<void> {
    const [text] = this.#pick(1) as [string];
    const answered = await this.#callOnce<{ label: string; score: number }>('POST', '/predict', { text }, {});
    if (!answered) return;
    if (answered.status !== 200) {
      this.#options.violations.add(
        'a prediction that is refused',
        `${answered.status} ${JSON.stringify(answered.body)}`,
      );
      return;
    }
    this.predictions++;
    this.compare(text, answered.body);
  }

  async #submitBatch(): Promise<void> {
    const rows = this.#pick(50 + Math.floor(this.#options.random() * 300));
    const body = rows.map((text, i) => `${JSON.stringify({ id: i, text })}\n`).join('');
    const { status, body: batch } = await this.call<Batch>(
      'POST',
      `/v1/batches?webhook=${encodeURIComponent(this.#options.receiverUrl)}`,
      body,
      { 'Content-Type': 'application/x-ndjson', 'Idempotency-Key': randomUUID() },
    );
    if (status === 202) this.batches.set(batch.id, { rows });
    else this.#options.violations.add('a good batch that is refused', `${status} ${JSON.stringify(batch)}`);
  }
}
