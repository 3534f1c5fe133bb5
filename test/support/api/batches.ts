/** Calls of the batches API, inputs for them, and the invariants of a batch after any fault. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { Redis } from 'ioredis';
import { expect, onTestFailed } from 'vitest';
import { encodeChecksum } from '../../../src/shared/store/batches/results.ts';
import { isDone } from '../../../src/shared/store/batches/batch-record.ts';
import { BatchStore } from '../../../src/shared/store/batches/batch-store.ts';
import { isFinal } from '../../../src/shared/contract/states.ts';
import type { Batch, BatchPart } from '../../../src/shared/contract/batches.ts';
import { eventually, Stack, type Process, type StackOptions } from '../processes/stack.ts';
import { goEmotions } from '../inputs/texts.ts';
import { standIn } from '../models/stand-in.ts';

export { seeded } from '../inputs/random.ts';

export const NDJSON = { 'Content-Type': 'application/x-ndjson' };
/** Many chunks from little input, each of which takes some time but no CPU time, and takeovers within a second or two. */
export const DISTURBED: Record<string, string> = {
  ...standIn({ tokenMs: 0.1 }),
  BULK_CHUNK_BYTES: '600',
  LOCK_DURATION_MS: '1500',
  STALLED_INTERVAL_MS: '1000',
};

export interface Answer<T> {
  status: number;
  headers: Headers;
  body: T;
}
export interface Problem {
  code: string;
  title: string;
  detail: string;
}
export type Body = string | Buffer<ArrayBuffer> | ReadableStream<Uint8Array>;

/** How a download came to its end, and what came before. */
export interface Download {
  end: 'clean' | 'broken';
  text: string;
}

/** The calls, on a stack that may be restarted under them. */
export class BatchCalls {
  readonly stack: Stack;

  constructor(stack: Stack) {
    this.stack = stack;
  }

  async call<T>(url: string, init?: RequestInit): Promise<Answer<T>> {
    const response = await this.stack.fetch(url, init);
    const text = await response.text();
    return {
      status: response.status,
      headers: response.headers,
      body: (text === '' ? undefined : JSON.parse(text)) as T,
    };
  }

  post<T = Batch>(body: Body, query = '', headers: Record<string, string> = NDJSON): Promise<Answer<T>> {
    return this.call<T>(`/v1/batches${query}`, { method: 'POST', body, headers, duplex: 'half' });
  }

  /** Id of a new batch with this input. */
  async submit(body: Body): Promise<string> {
    const { status, body: batch } = await this.post(body);
    expect({ status, batch }).toMatchObject({ status: 202 });
    return batch.id;
  }

  async open(): Promise<string> {
    const { status, body } = await this.call<Batch>('/v1/batches?open=true', { method: 'POST' });
    expect(status).toBe(201);
    return body.id;
  }

  putPart<T = BatchPart>(id: string, number: number, body: Body): Promise<Answer<T>> {
    return this.call<T>(`/v1/batches/${id}/parts/${number}`, {
      method: 'PUT',
      body,
      headers: NDJSON,
      duplex: 'half',
    });
  }

  complete<T = Batch>(id: string, parts: { number: number; sha256?: string }[]): Promise<Answer<T>> {
    return this.stack.post<T>(`/v1/batches/${id}/complete`, { parts });
  }

  get<T = Batch>(id: string): Promise<Answer<T>> {
    return this.call<T>(`/v1/batches/${id}`);
  }

  /** Cancels it, or removes it when it is final. */
  delete<T = Batch>(id: string): Promise<Answer<T>> {
    return this.call<T>(`/v1/batches/${id}`, { method: 'DELETE' });
  }

  resume<T = Batch>(id: string, query = ''): Promise<Answer<T>> {
    return this.call<T>(`/v1/batches/${id}/resume${query}`, { method: 'POST' });
  }

  /**
   * The results until they end, one way or the other, without heartbeats.
   * @param onRows called whenever some have come
   */
  async results(id: string, query = '?follow=true', onRows = () => {}): Promise<Download> {
    const pieces: Uint8Array[] = [];
    let end: Download['end'] = 'broken';
    try {
      const { body } = await this.stack.fetch(`/v1/batches/${id}/results${query}`);
      for await (const piece of body as AsyncIterable<Uint8Array>) {
        pieces.push(piece);
        if (piece.length > 1) onRows();
      }
      end = 'clean';
    } catch {
      // Broken, then.
    }
    return { end, text: Buffer.concat(pieces).toString().replace(/^\n/gm, '') };
  }

  /** The batch as soon as `wanted` holds. Answers that it cannot be read just now are waited out. */
  until(id: string, wanted: (batch: Batch) => boolean): Promise<Batch> {
    return eventually(async () => {
      const answer = await this.get(id).catch(() => undefined);
      return answer?.status === 200 && wanted(answer.body) ? answer.body : undefined;
    });
  }

  finished(id: string): Promise<Batch> {
    return this.until(id, ({ status }) => isFinal(status));
  }

  /** Waits until so many rows more are finished than now, or all are. */
  async progress(id: string, rows = 1): Promise<Batch> {
    const { finished, total } = (await this.until(id, () => true)).rows;
    return this.until(id, (batch) => batch.rows.finished >= Math.min(finished + rows, total));
  }

  /** Starts the API again, on another port, as a supervisor would. */
  async restartApi(): Promise<void> {
    this.stack.api = this.stack.startApi();
    this.stack.url = await this.stack.api.ready;
  }

  folder(id: string): string {
    return path.join(this.stack.blobFolder, 'batches', id);
  }

  /** Removes it, and waits until its data is gone, too. */
  async remove(id: string): Promise<void> {
    await eventually(async () => ((await this.delete(id)).status === 404 ? true : undefined));
    await eventually(() => Promise.resolve(existsSync(this.folder(id)) ? undefined : true));
  }
}

export interface Archive {
  body: string;
  rows: number;
  /** Of them, those that cannot be read. */
  failed: number;
}

const UNREADABLE = ['not JSON', '{"id":"no text"}', '{"id":"blank","text":" "}'];

/** Texts of many lengths; every fortieth record cannot be read. */
export function archive(rows: number): Archive {
  const texts = goEmotions();
  let failed = 0;
  const lines = Array.from({ length: rows }, (_, i) => {
    if (i % 40 === 7) return UNREADABLE[failed++ % UNREADABLE.length];
    const text = `${texts[i % texts.length]}${i < texts.length ? '' : ` (${i})`}`;
    return JSON.stringify({ id: `r${i}`, text });
  });
  return { body: lines.map((line) => `${line}\n`).join(''), rows, failed };
}

/** What Redis has about batches, as the store behind the API sees it. */
export class Inside {
  readonly redis: Redis;
  readonly store: BatchStore;
  readonly #prefix: string;

  constructor({ prefix, env }: Stack) {
    this.redis = new Redis(env.REDIS_URL!, { retryStrategy: () => 50, maxRetriesPerRequest: null });
    this.redis.on('error', () => {});
    this.store = new BatchStore({ redis: this.redis, prefix, ttlS: 3600, openTtlS: 3600 });
    this.#prefix = prefix;
  }

  /** Ids of the chunk jobs of a batch, in every queue and state. */
  async chunkJobs(id: string): Promise<string[]> {
    const keys = await this.redis.keys(`${this.#prefix}:bulk-*:${id}.*`);
    return [...new Set(keys.map((key) => /:([^:]+\.\d+)(:lock)?$/.exec(key)?.[1] ?? key))];
  }

  /** Those whose chunks are not done: one that was counted leaves its queue a moment later. */
  async openChunkJobs(id: string): Promise<string[]> {
    const jobs = await this.chunkJobs(id);
    const bits = await this.store.chunks.doneBits(id);
    return jobs.filter((job) => !isDone(bits, Number(job.slice(job.lastIndexOf('.') + 1))));
  }

  /** Those whose worker gave no sign for too long, so that others are to take them over. */
  async stalledChunkJobs(id: string): Promise<string[]> {
    const keys = await this.redis.keys(`${this.#prefix}:bulk-*:${id}.*`);
    const jobs = keys.filter((key) => !key.endsWith(':lock'));
    const stalls = await Promise.all(jobs.map((key) => this.redis.hget(key, 'stc')));
    return jobs.filter((_, i) => stalls[i] !== null).map((key) => key.slice(key.lastIndexOf(':') + 1));
  }

  /** Says that a chunk is done, or not, without counting it. */
  async mark(id: string, chunk: number, done: boolean): Promise<void> {
    await this.redis.setbit(`${this.#prefix}:batch:${id}:done`, chunk, done ? 1 : 0);
  }

  /** How many chunks workers hold, in all queues. */
  async chunksInFlight(): Promise<number> {
    const queues = await this.redis.keys(`${this.#prefix}:bulk-*:active`);
    const counts = await Promise.all(queues.map((key) => this.redis.llen(key)));
    return counts.reduce((sum, count) => sum + count, 0);
  }

  /** Bytes of everything that Redis keeps about a batch itself. */
  async bytes(id: string): Promise<number> {
    const keys = await this.redis.keys(`${this.#prefix}:batch:${id}*`);
    const sizes = await Promise.all(keys.map((key) => this.redis.memory('USAGE', key, 'SAMPLES', 0)));
    return sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0);
  }

  /** Makes other results of the first chunk those that are expected. */
  async recordChecksum(id: string, ndjson: Buffer): Promise<void> {
    const checksum = encodeChecksum(ndjson, { failedRows: 0, unknownRows: 0, unknownShares: 0 });
    await this.redis.setrange(`${this.#prefix}:batch:${id}:checksums`, 0, checksum);
  }

  close(): void {
    this.redis.disconnect();
  }
}

/** However it was disturbed: every row is there, in its place, with the bytes it has without disturbance, counted once. */
export async function expectUndisturbed(
  calls: BatchCalls,
  inside: Inside,
  id: string,
  { rows, failed }: Archive,
  results: string,
): Promise<void> {
  const batch = await calls.finished(id);
  expect(batch).toMatchObject({
    status: 'completed',
    error: null,
    problem: null,
    rows: { total: rows, finished: rows, failed },
  });
  const download = await calls.results(id);
  expect(download.end).toBe('clean');
  // A difference of a megabyte is not to be printed.
  expect(firstDifference(download.text, results)).toBeUndefined();
  const record = (await inside.store.read(id))!;
  expect(record.chunksDone).toBe(record.chunks);
  const bits = await inside.store.chunks.doneBits(id);
  for (let chunk = 0; chunk < record.chunks; chunk++) expect(isDone(bits, chunk)).toBe(true);
  await eventually(async () => ((await inside.chunkJobs(id)).length === 0 ? true : undefined));
}

/** The first line in which two texts differ. */
export function firstDifference(actual: string, expected: string): string | undefined {
  if (actual === expected) return undefined;
  const [a, b] = [actual.split('\n'), expected.split('\n')];
  const line = a.findIndex((text, i) => text !== b[i]);
  return `${a.length} lines, not ${b.length}; line ${line + 1} is ${a[line]}, not ${b[line]}`;
}

/** Log lines of level error and above, and whatever is no log line at all. */
export function complaints({ output }: Process): string[] {
  return output
    .split('\n')
    .filter((line) => line !== '' && (!line.startsWith('{"level":') || Number(line.slice(9, 11)) >= 50));
}

/** Prints the last log lines of the processes when a test fails. */
export function tellOnFailure(stack: () => Stack | undefined, ...more: string[]): void {
  onTestFailed(() => {
    for (const line of more) console.log(line);
    const { api, workers = [], webhooks } = stack() ?? {};
    for (const process of [api, ...workers, webhooks]) if (process) console.log(process.output.slice(-2000));
  });
}

/** A stack for tests of batches. @returns also its calls, a look inside, and a function that stops all of them */
export async function startBatchStack(options: StackOptions) {
  const stack = await Stack.start(options);
  const inside = new Inside(stack);
  const stop = async (): Promise<void> => {
    inside.close();
    await stack.stop();
  };
  return { stack, calls: new BatchCalls(stack), inside, stop };
}
