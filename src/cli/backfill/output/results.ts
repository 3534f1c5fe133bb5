/** Downloads the rows of a batch to an output, in order and each once, over any number of connections. */
import { setTimeout as sleep } from 'node:timers/promises';
import { hasDamagedResults, type BatchClient } from '../../../client/batches.ts';
import { ConnectionError, ProtocolError } from '../../../client/errors.ts';
import type { Retrier } from '../../../client/retry.ts';
import type { Batch } from '../../../shared/contract/batches.ts';
import { isFinal } from '../../../shared/contract/states.ts';
import { DamagedResultsError } from '../../terminal/exit.ts';
import type { OutputOptions } from './output-options.ts';
import type { Output } from './output.ts';

export interface ResultsSource {
  client: BatchClient;
  retrier: Retrier;
  /** Id of the batch. */
  batch: string;
  /** Fields of the input in the rows. */
  keep?: OutputOptions['keep'];
  signal: AbortSignal;
}

/** Model revision of the rows in an output; undefined when not known. */
export interface RowsRevision {
  readonly known: string | undefined;
  /** Called before the first row of a revision. */
  save: (revision: string) => Promise<void>;
}

/** Pause after a response that ended before the batch did: the server is shutting down. */
const REOPEN_MS = 500;
/** First and longest pause between polls of a batch that has not started. */
const FIRST_LOOK_MS = 50;
const LOOK_MS = 2000;
const LF = 0x0a;

/**
 * Appends rows after the output's last one until the batch is final, and returns the batch. The output of a completed batch then
 * has all rows that the server has. If the batch was restarted with other weights, the download restarts, too.
 * @throws DamagedResultsError
 */
export async function followResults(
  source: ResultsSource,
  output: Output,
  revision: RowsRevision,
): Promise<Batch> {
  const { client, retrier, batch: id, signal } = source;
  const pause = (ms: number) => sleep(ms, undefined, { signal }).catch(() => signal.throwIfAborted());
  /** The last response broke off. */
  let brokenOff = false;
  /** Set once rows were requested; `ended`: the batch was final at that time. */
  let asked: { ended: boolean } | undefined;
  let lookMs = FIRST_LOOK_MS;
  for (;;) {
    // A batch whose response broke off may have been restarted, so each attempt reads the batch first.
    const ended = await retrier.run(async () => {
      const batch = await client.get(id, signal);
      const final = isFinal(batch.status);
      if (await discardOtherRevision(batch.model.revision, output, revision)) asked = undefined;
      // A response that ended with its server may lack rows, even if the batch has ended since.
      const whole = batch.status === 'completed' && output.rows >= batch.rows.total;
      if (final && (whole || asked?.ended === true)) return batch;
      // Every further attempt would break off at the same row.
      if (brokenOff && hasDamagedResults(batch)) throw new DamagedResultsError(batch);
      if (!final && batch.model.revision === null) {
        await pause(lookMs);
        lookMs = Math.min(2 * lookMs, LOOK_MS);
        return undefined;
      }
      if (!final && asked) await pause(REOPEN_MS);
      brokenOff = true;
      await appendResults(source, output);
      brokenOff = false;
      asked = { ended: final };
      return undefined;
    });
    if (ended) return ended;
  }
}

/** Clears an output with rows of another model revision. @returns whether it did */
async function discardOtherRevision(
  current: string | null,
  output: Output,
  revision: RowsRevision,
): Promise<boolean> {
  const other = revision.known !== undefined && current !== revision.known && output.rows > 0;
  if (other) await output.clear();
  if (current !== null && current !== revision.known) await revision.save(current);
  return other;
}

async function appendResults(
  { client, retrier, batch, signal, keep }: ResultsSource,
  output: Output,
): Promise<void> {
  const after = lineOf(output.lastLine);
  // A response that breaks off before its first byte does not count as success.
  const body = await client.followResults(batch, after, signal, keep === 'all' ? '*' : keep);
  /** Bytes of an unfinished line. */
  let partial = Buffer.alloc(0);
  try {
    for await (const { buffer, byteOffset, byteLength } of body) {
      const chunk = Buffer.from(buffer, byteOffset, byteLength);
      const end = chunk.lastIndexOf(LF) + 1;
      const ended = chunk.subarray(0, end);
      if (end > 0) {
        const lines = withoutEmptyLines(partial.length === 0 ? ended : Buffer.concat([partial, ended]));
        if (lines.length > 0) await output.write(lines);
        partial = Buffer.alloc(0);
      }
      if (end < chunk.length) partial = Buffer.concat([partial, chunk.subarray(end)]);
      retrier.succeeded();
    }
  } catch (error) {
    // Silence is not a failure, but the connection may be dead: ask again.
    if (error instanceof ConnectionError && error.code === 'ETIMEDOUT') return;
    throw error;
  }
  if (partial.length > 0) throw new ConnectionError('ECONNRESET', 'connection lost');
}

/** Removes the empty lines that the server sends as a heartbeat. @param lines whole lines */
function withoutEmptyLines(lines: Buffer): Buffer {
  if (lines[0] !== LF && !lines.includes('\n\n')) return lines;
  return lines.filter((byte, i) => byte !== LF || (i > 0 && lines[i - 1] !== LF)) as Buffer;
}

/** Input line of a row; 0 without a row. */
function lineOf(row: Buffer): number {
  if (row.length === 0) return 0;
  let line: unknown;
  try {
    ({ line } = JSON.parse(row.toString()) as { line?: unknown });
  } catch {
    // Reported below.
  }
  if (typeof line === 'number') return line;
  throw new ProtocolError('a row of the results has no line number');
}

/** Polls a batch until the signal is aborted. Ignores failures, which the download reports. */
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
