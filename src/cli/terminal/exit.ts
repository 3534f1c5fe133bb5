/** How the command ends, other than by finishing its work. */
import type { Batch } from '../../shared/contract/batches.ts';

/** The exit codes, as `--help` and docs/backfill-cli.md document them. */
export const EXIT = {
  /** Every row has its labels. */
  ok: 0,
  failed: 1,
  usage: 2,
  /** Finished, and some rows carry errors. */
  rowErrors: 3,
  /** EX_TEMPFAIL of sysexits.h: the same command with --resume may succeed later. */
  temporary: 75,
  interrupted: 130,
  terminated: 143,
  /** As of a process that SIGPIPE ends. */
  closedPipe: 141,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** Ends the command. The message is for the user, without `amulet:` before it; empty = silently. */
export class CliError extends Error {
  override name = 'CliError';
  readonly exitCode: ExitCode;
  /** Further lines for the user, such as the command to go on with. */
  readonly hints: readonly string[];

  constructor(exitCode: ExitCode, message: string, hints: readonly string[] = [], cause?: unknown) {
    super(message, { cause });
    this.exitCode = exitCode;
    this.hints = hints;
  }
}

/** The command line is wrong, or what it names is. Nothing has been uploaded. */
export class UsageError extends CliError {
  override name = 'UsageError';

  constructor(message: string, hints: readonly string[] = []) {
    super(EXIT.usage, message, hints);
  }
}

/** What is in the input cannot be uploaded, so there is nothing to go on with either. */
export class BadInputError extends CliError {
  override name = 'BadInputError';

  constructor(message: string, cause?: unknown) {
    super(EXIT.failed, message, [], cause);
  }
}

/** The input could not be read to its end, for a reason that may pass. What is uploaded is of use. */
export class UnreadableInputError extends Error {
  override name = 'UnreadableInputError';
}

/** The batch came to another end than its rows'. */
export class BatchEndedError extends Error {
  override name = 'BatchEndedError';
  readonly batch: Batch;

  constructor(batch: Batch) {
    super(`the batch is ${batch.status}`);
    this.batch = batch;
  }
}

/** Rows of the batch are damaged on the server. */
export class DamagedResultsError extends Error {
  override name = 'DamagedResultsError';

  constructor({ problem }: Batch) {
    super(problem?.message ?? 'results of the batch are damaged on the server');
  }
}

/** Why the command was told to stop; the reason of the signal that everything listens to. */
export class Interrupted extends Error {
  override name = 'Interrupted';
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode) {
    super('interrupted');
    this.exitCode = exitCode;
  }
}
