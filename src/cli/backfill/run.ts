/** What all steps of a run share. */
import type { BatchClient } from '../../client/batches.ts';
import type { Retrier, Trouble } from '../../client/retry.ts';
import type { BackfillCommand } from './command-line.ts';
import type { Destination } from './destination.ts';
import type { Reporter } from '../terminal/reporter.ts';
import type { BackfillState } from './state.ts';
import { elapsedSince } from '../terminal/units.ts';

export interface Run {
  readonly command: BackfillCommand;
  readonly url: URL;
  readonly client: BatchClient;
  readonly retrier: Retrier;
  readonly destination: Destination;
  readonly reporter: Reporter;
  /** Aborted, with an Interrupted, when the command is to end at once. */
  readonly signal: AbortSignal;
  /** What is in the way of reaching the server just now. */
  trouble: Trouble | undefined;
  /** Known once something has been begun. */
  state: BackfillState | undefined;
  /** URL of a batch that nobody wants any more and that could not be canceled. */
  orphanedBatchUrl: string | undefined;
  /** How far it is, for somebody who interrupts it: `while uploading, at 61%`. */
  describeProgress: () => string;
}

/** What the progress line shows in place of figures. */
export function retryText({ trouble, url }: Run): string | undefined {
  return trouble && `${url.host}: ${trouble.reason} for ${elapsedSince(trouble.since)}; retrying`;
}
