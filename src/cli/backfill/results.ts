/** Brings the rows of a batch to an output, in order, each once, over any number of connections. */
import { setTimeout as sleep } from 'node:timers/promises';
import { hasDamagedResults, type BatchClient } from '../../client/batches.ts';
import { ConnectionError, ProtocolError } from '../../client/errors.ts';
import type { Retrier } from '../../client/retry.ts';
import type { Batch } from '../../shared/contract/batches.ts';
import { isFinal } from '../../shared/contract/states.ts';
import { DamagedResultsError } from '../terminal/exit.ts';
import type { Output } from './output.ts';

export interface ResultsSource {
  client: BatchClient;
  retrier: Retrier;
  /** Id of the batch. */
  batch: string;
  signal: AbortSignal;
}

/** Of which weights the rows of an output are; undefined: not known. */
export interface RowsRevision {
  readonly known: string | undefined;
  /** Before there is a row of it. */
  save: (revision: string) => Promise<void>;
}

/** Before asking again when an answer ended although the batch goes on: the server is on its way out. */
const REOPEN_MS = 500;
/** Between looks at a batch that has not started: the first ones, and the others. */
const FIRST_LOOK_MS = 50;
const LOOK_MS = 2000;
const LF = 0x0a;

/**
 * Goes on behind the output's last row, until the batch is final; returns the batch. A completed one has all its rows in
 * the output then, or the server does not have them. When it was started again with other weights, so are the rows.
 * @throws DamagedResultsError
 */
export async function followResults(
  source: ResultsSource,
  output: Output,
  revision: RowsRevision,
): Promise<Batch> {
  const { client, retrier, batch: id, signal } = source;
  const pause = (ms: number) => sleep(ms, undefined, { signal }).catch(() => signal.throwIfAborted());
  /** The last answer ended before its time. */
  let brokenOff = false;
  /** Rows were asked for, and whether the batch had ended before. */
  let asked: { ended: boolean } | undefined;
  let lookMs = FIRST_LOOK_MS;
  for (;;) {
    // A batch that breaks off may have been started again, so each try begins with a look at it.
    const ended = await retrier.run(async () => {
      const batch = await client.get(id, signal);
      const final = isFinal(batch.status);
      if (await discardOtherRevision(batch.model.revision, output, revision)) asked = undefined;
      // What ended because the server did may be short of rows although the batch has ended since.
      const whole = batch.status === 'completed' && output.rows >= batch.rows.total;
      if (final && (whole || asked?.ended === true)) return batch;
      // Every further try would break off at the same row.
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

/** Whether the output's rows were of other weights; they are gone then. */
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
  { client, retrier, batch, signal }: ResultsSource,
  output: Output,
): Promise<void> {
  const after = lineOf(output.lastLine);
  // An answer that breaks off before it has given anything is no success.
  const body = await client.followResults(batch, after, signal);
  /** What has come of a line that has not ended. */
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
    // Merely silent: nothing to be worried about, but nothing to rely on either.
    if (error instanceof ConnectionError && error.code === 'ETIMEDOUT') return;
    throw error;
  }
  if (partial.length > 0) throw new ConnectionError('ECONNRESET', 'connection lost');
}

/** The server sends an empty line when it has nothing else to send for a while. @param lines whole ones */
function withoutEmptyLines(lines: Buffer): Buffer {
  if (lines[0] !== LF && !lines.includes('\n\n')) return lines;
  return lines.filter((byte, i) => byte !== LF || (i > 0 && lines[i - 1] !== LF)) as Buffer;
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
