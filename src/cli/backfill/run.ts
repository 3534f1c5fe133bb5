/** State and dependencies that all steps of a run share. */
import type { BatchClient } from '../../client/batches.ts';
import type { Retrier, Retrying } from '../../client/retry.ts';
import type { BackfillCommand } from './command-line.ts';
import type { Destination } from './output/destination.ts';
import type { Reporter } from '../terminal/reporter.ts';
import type { ErrorLines } from './retry-errors.ts';
import type { BackfillState } from './state.ts';
import { elapsedSince } from '../terminal/units.ts';

export interface Run {
  readonly command: BackfillCommand;
  readonly url: URL;
  readonly client: BatchClient;
  readonly retrier: Retrier;
  readonly destination: Destination;
  readonly reporter: Reporter;
  /** Lines of the only rows to run; undefined: all. */
  readonly onlyRows: ErrorLines | undefined;
  /** Aborted with an Interrupted when the command must end at once. */
  readonly signal: AbortSignal;
  /** The reason why requests to the server are being retried now. */
  retrying: Retrying | undefined;
  /** Set once a batch exists. */
  state: BackfillState | undefined;
  /** URL of an unwanted batch that could not be canceled. */
  orphanedBatchUrl: string | undefined;
  /** Progress, for the message after an interruption: `while uploading, at 61%`. */
  describeProgress: () => string;
}

/** Text that the progress line shows in place of figures while requests are retried. */
export function retryText({ retrying, url }: Run): string | undefined {
  return retrying && `${url.host}: ${retrying.reason} for ${elapsedSince(retrying.since)}; retrying`;
}
