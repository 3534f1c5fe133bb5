/** Brings the rows of a batch to an output, in order, each once, over any number of connections. */
import { setTimeout as sleep } from 'node:timers/promises';
import { isFinal, type BatchClient } from '../client/batches.ts';
import { ConnectionError, ProtocolError } from '../client/errors.ts';
import type { Retrier } from '../client/retry.ts';
import type { Batch } from '../shared/contract.ts';
import type { Output } from './output.ts';

export interface ResultsSource {
  client: BatchClient;
  retrier: Retrier;
  /** Id of the batch. */
  batch: string;
  signal: AbortSignal;
}

/** Before asking again when an answer ended although the batch goes on: the server is on its way out. */
const REOPEN_MS = 500;
const LF = 0x0a;

/**
 * Goes on behind the output's last row, until the batch is final; returns the batch. A completed one has all its rows in
 * the output then, or the server does not have them.
 */
export async function followResults(source: ResultsSource, output: Output): Promise<Batch> {
  const { client, retrier, batch: id, signal } = source;
  for (let last: Batch | undefined; ;) {
    await retrier.run(() => appendResults(source, output));
    // What ended because the server did may be short of rows although the batch has ended since.
    if (last) return last;
    const batch = await retrier.run(() => client.get(id, signal));
    if (!isFinal(batch.status))
      await sleep(REOPEN_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
    else if (batch.status !== 'completed' || output.rows >= batch.rows.total) return batch;
    else last = batch;
  }
}

async function appendResults(
  { client, retrier, batch, signal }: ResultsSource,
  output: Output,
): Promise<void> {
  const after = lineOf(output.lastLine);
  const body = await client.followResults(batch, after, signal);
  retrier.succeeded();
  /** What has come of a line that has not ended. */
  let begun = Buffer.alloc(0);
  try {
    for await (const { buffer, byteOffset, byteLength } of body) {
      const chunk = Buffer.from(buffer, byteOffset, byteLength);
      const end = chunk.lastIndexOf(LF) + 1;
      const ended = chunk.subarray(0, end);
      if (end > 0) {
        await output.write(begun.length === 0 ? ended : Buffer.concat([begun, ended]));
        begun = Buffer.alloc(0);
      }
      if (end < chunk.length) begun = Buffer.concat([begun, chunk.subarray(end)]);
      retrier.succeeded();
    }
  } catch (error) {
    // Merely silent: nothing to be worried about, but nothing to rely on either.
    if (error instanceof ConnectionError && error.code === 'ETIMEDOUT') return;
    throw error;
  }
  if (begun.length > 0) throw new ConnectionError('ECONNRESET', 'connection lost');
}

/** The line of the input that a row is about; 0 for none. */
function lineOf(row: Buffer): number {
  if (row.length === 0) return 0;
  let line: unknown;
  try {
    ({ line } = JSON.parse(row.toString()) as { line?: unknown });
  } catch {
    // Said below.
  }
  if (typeof line === 'number') return line;
  throw new ProtocolError('a row of the results has no line number');
}

/** Tells how a batch is getting on, until the signal ends it. What goes wrong meanwhile, others notice. */
export async function pollBatch(
  { client, batch, signal }: Omit<ResultsSource, 'retrier'>,
  intervalMs: number,
  onBatch: (batch: Batch) => void,
): Promise<void> {
  while (!signal.aborted) {
    await client.get(batch, signal).then(onBatch, () => {});
    await sleep(intervalMs, undefined, { signal }).catch(() => {});
  }
}
