/** A submitted batch: its progress, results, end and cancellation. */
import { isFinal } from '../shared/contract/states.ts';
import { BatchClient, hasDamagedResults, resumeAttempt } from './batches.ts';
import { ConnectionError, ProtocolError } from './errors.ts';
import { BatchError } from './outcome-errors.ts';
import type { Server } from './server.ts';
import { sleep } from './signals.ts';
import type { Batch, BatchRow, ResultsForm } from './types.ts';
import { poll, type CallOptions, type WaitOptions } from './wait.ts';

export interface BatchWaitOptions extends WaitOptions {
  /** Called with the current batch every few seconds. */
  onProgress?: ((batch: Batch) => void) | undefined;
}

export interface ResultsOptions extends CallOptions {
  /** `line` of the last row you have; default: all rows. */
  after?: number | undefined;
}

export interface DownloadOptions extends ResultsOptions, ResultsForm {}

/** Pause after a response that ended before the batch did: the server is shutting down. */
const REOPEN_MS = 500;

export class BatchHandle {
  readonly id: string;
  readonly #server: Server;
  readonly #api: BatchClient;

  constructor(id: string, server: Server) {
    this.id = id;
    this.#server = server;
    this.#api = new BatchClient(server.http);
  }

  /** Reads the batch: rows, rate, remaining time. */
  progress({ signal }: CallOptions = {}): Promise<Batch> {
    return this.#server.attempts(signal)(() => this.#api.get(this.id, signal));
  }

  /**
   * Waits for the batch to end, completed or not: see `status`.
   * @throws WaitTimeoutError, AmuletError, or the signal's reason
   */
  wait({ onProgress, timeoutMs = Infinity, signal }: BatchWaitOptions = {}): Promise<Batch> {
    const until = performance.now() + timeoutMs;
    const attempt = this.#server.attempts(signal, until);
    const ask = async () => {
      const batch = await attempt(() => this.#api.get(this.id, signal, until));
      onProgress?.(batch);
      return batch;
    };
    return poll(ask, { signal, until });
  }

  /**
   * Yields the rows in the order of the input, each once, as they are finished, over any number of connections. Ends when the
   * batch is completed.
   * @throws BatchError after the last row of a batch that ended otherwise, and before rows that are damaged on the server
   *   (`results_damaged`, which resume() repairs); AmuletError, or the signal's reason
   */
  async *results({ after = 0, signal }: ResultsOptions = {}): AsyncGenerator<BatchRow, void, undefined> {
    const attempt = this.#server.attempts(signal);
    let line = after;
    let rows = 0;
    let answer: ReturnType<typeof parseRows> | undefined;
    /** Rows that have arrived; undefined at the end of the response. */
    const read = async (): Promise<BatchRow[] | undefined> => {
      answer ??= parseRows(await this.#api.followResults(this.id, line, signal));
      try {
        const next = await answer.next();
        if (next.done !== true) return next.value;
        answer = undefined;
        return undefined;
      } catch (error) {
        answer = undefined;
        // Silence is not a failure, but the connection may be dead: ask again.
        if (error instanceof ConnectionError && error.code === 'ETIMEDOUT') return [];
        // After damaged results every further attempt would break off the same way.
        const batch = await this.#api.get(this.id, signal).catch(() => undefined);
        if (batch && hasDamagedResults(batch)) throw new BatchError(batch);
        throw error;
      }
    };
    try {
      for (let ended: Batch | undefined; ;) {
        const received = await attempt(read);
        for (const row of received ?? []) {
          ({ line } = row);
          rows++;
          yield row;
        }
        if (received) continue;
        if (!ended) {
          const batch = await attempt(() => this.#api.get(this.id, signal));
          if (!isFinal(batch.status)) {
            await sleep(REOPEN_MS, signal);
            continue;
          }
          ended = batch;
          // A response that ended with its server may lack rows, even if the batch has ended since.
          if (after > 0 || rows < batch.rows.total) continue;
        }
        if (ended.status !== 'completed') throw new BatchError(ended);
        return;
      }
    } finally {
      await (answer as AsyncGenerator | undefined)?.return(undefined);
    }
  }

  /**
   * The finished rows as bytes, in the order of the input: NDJSON, or a table, with columns of the input beside the labels. A table
   * has its header only without `after`. Resolves when the response starts.
   * @throws AmuletError, or the signal's reason; reading the bytes: ConnectionError when the response breaks off
   */
  download({ after = 0, signal, ...form }: DownloadOptions = {}): Promise<AsyncIterable<Uint8Array>> {
    return this.#server.attempts(signal)(() => this.#api.downloadResults(this.id, after, form, signal));
  }

  /**
   * Cancels the batch; finished rows can still be read. Removes a batch that has ended, with all its data.
   * @returns the batch, or undefined once removed
   */
  cancel({ signal }: CallOptions = {}): Promise<Batch | undefined> {
    return this.#server.cancel<Batch>(`/v1/batches/${encodeURIComponent(this.id)}`, signal);
  }

  /** Resumes a failed batch; labels damaged rows again. */
  resume({ signal }: CallOptions = {}): Promise<Batch> {
    return this.#server.attempts(signal)(resumeAttempt(this.#api, this.id, signal));
  }
}

/** Parses the rows of a response as they arrive. @throws ConnectionError when it ends within a row */
async function* parseRows(body: AsyncIterable<Uint8Array>): AsyncGenerator<BatchRow[], void, undefined> {
  const decoder = new TextDecoder();
  let partial = '';
  for await (const bytes of body) {
    const lines = (partial + decoder.decode(bytes, { stream: true })).split('\n');
    partial = lines.pop() ?? '';
    // Empty lines are a heartbeat.
    yield lines.filter((line) => line !== '').map(parseRow);
  }
  if (partial !== '') throw new ConnectionError('ECONNRESET', 'connection lost');
}

function parseRow(text: string): BatchRow {
  let row: unknown;
  try {
    row = JSON.parse(text);
  } catch {
    // Reported below.
  }
  if (typeof (row as Partial<BatchRow> | undefined)?.line === 'number') return row as BatchRow;
  throw new ProtocolError('a row of the results has no line number');
}
