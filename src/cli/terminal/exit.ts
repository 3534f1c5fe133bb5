/** Exit codes, and the errors that end the command with one of them. */
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
  /** Further lines for the user, such as the command that resumes the run. */
  readonly hints: readonly string[];

  constructor(exitCode: ExitCode, message: string, hints: readonly string[] = [], cause?: unknown) {
    super(message, { cause });
    this.exitCode = exitCode;
    this.hints = hints;
  }
}

/** The command line or a file that it names is wrong. Nothing has been uploaded. */
export class UsageError extends CliError {
  override name = 'UsageError';

  constructor(message: string, hints: readonly string[] = []) {
    super(EXIT.usage, message, hints);
  }
}

/** The content of the input cannot be uploaded, so the run cannot be resumed either. */
export class BadInputError extends CliError {
  override name = 'BadInputError';

  constructor(message: string, cause?: unknown) {
    super(EXIT.failed, message, [], cause);
  }
}

/** The input could not be read to its end for a temporary reason. The uploaded parts stay useful. */
export class UnreadableInputError extends Error {
  override name = 'UnreadableInputError';
}

/** The finished output could not be put into its place; the rows are here. The message is for the user. */
export class UnwritableOutputError extends Error {
  override name = 'UnwritableOutputError';
}

/** The input is no longer the one that the run began with. The message is for the user. */
export class ChangedInputError extends Error {
  override name = 'ChangedInputError';
}

/** The batch ended without being completed. */
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

/** Reason of the abort signal when the user or the system stops the command. */
export class Interrupted extends Error {
  override name = 'Interrupted';
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode) {
    super('interrupted');
    this.exitCode = exitCode;
  }
}
