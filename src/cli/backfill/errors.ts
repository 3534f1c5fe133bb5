/** Converts a failure of a run into a CliError: the message, how to continue, and the exit code. */
import { ApiError, ConnectionError, isTemporary, ProtocolError } from '../../client/errors.ts';
import { GaveUpError } from '../../client/retry.ts';
import { diskProblem } from '../terminal/disk.ts';
import {
  BatchEndedError,
  ChangedInputError,
  CliError,
  DamagedResultsError,
  EXIT,
  Interrupted,
  UnreadableInputError,
  UnwritableOutputError,
  UsageError,
} from '../terminal/exit.ts';
import type { Run } from './run.ts';
import { restartWith, resumeCommand, shownFiles } from './suggested-commands.ts';
import { duration } from '../terminal/units.ts';
import { OtherInputError } from './upload/upload.ts';

/** @returns a CliError, or the error itself for a bug */
export function toCliError(error: unknown, run: Run): unknown {
  const converted = convert(error, run);
  if (run.orphanedBatchUrl === undefined || !(converted instanceof CliError) || converted.message === '')
    return converted;
  const { exitCode, message, hints } = converted;
  return new CliError(exitCode, message, [...hints, notCanceled(run.orphanedBatchUrl)], converted);
}

/** Advice where nothing has ever answered. */
const NO_SERVER = 'Start a server there, or name another with --url.';
/** Responses of a web server that has no such path, when they are not problem documents of the API. */
const OTHER_SERVER = new Set([404, 405, 501]);

/** Advice on an unwanted batch. @param batch its URL */
export function notCanceled(batch: string): string {
  return `The batch could not be canceled and may continue. To cancel it: DELETE ${batch}`;
}

/** The same before anything was sent to the server. */
export function toEarlyError(error: unknown): unknown {
  if (error instanceof Interrupted)
    return new CliError(error.exitCode, 'interrupted before anything was uploaded');
  if (error instanceof ChangedInputError) return new UsageError(error.message);
  if (error instanceof UnreadableInputError) return new CliError(EXIT.temporary, error.message, [], error);
  return error;
}

function convert(error: unknown, run: Run): unknown {
  if (error instanceof CliError) return error;
  if (error instanceof Interrupted) return interruptedError(error, run);
  if (error instanceof GaveUpError) {
    const reason = `gave up after ${duration(run.command.retryTimeoutMs / 1000)} without success: ${error.message}`;
    const hints = run.state || !(error.cause instanceof ConnectionError) ? resumeHints(run) : [NO_SERVER];
    return new CliError(EXIT.temporary, `${run.url.href}: ${reason}`, hints, error);
  }
  if (error instanceof OtherInputError) {
    return new UsageError(
      `${shownFiles(run.command.files)} ${run.command.files.length === 1 ? 'is' : 'are'} not the input that was uploaded before: ${error.message}`,
      restartHints(run),
    );
  }
  if (error instanceof ChangedInputError) return new UsageError(error.message, restartHints(run));
  if (error instanceof UnreadableInputError || error instanceof UnwritableOutputError)
    return new CliError(EXIT.temporary, error.message, resumeHints(run), error);
  if (error instanceof BatchEndedError) return batchEndedError(error, run);
  if (error instanceof DamagedResultsError) {
    const hints = run.destination.resumable ? ['To label these rows again:', ...resumeCommandLines(run)] : [];
    return new CliError(EXIT.failed, error.message, hints, error);
  }
  if (error instanceof ApiError) return apiError(error, run);
  if (error instanceof ConnectionError) {
    const wrongHost = error.code === 'ENOTFOUND';
    const exitCode = wrongHost ? EXIT.usage : EXIT.failed;
    return new CliError(exitCode, `${run.url.href}: ${error.message}`, wrongHost ? [NO_SERVER] : [], error);
  }
  if (error instanceof ProtocolError)
    return new CliError(EXIT.failed, error.message, resumeHints(run), error);
  return localError(error, run);
}

function interruptedError({ exitCode }: Interrupted, run: Run): CliError {
  if (exitCode === EXIT.closedPipe) return new CliError(exitCode, '');
  const message = `interrupted ${run.describeProgress()}`;
  if (!run.state) return new CliError(exitCode, message);
  if (!run.destination.resumable)
    return new CliError(
      exitCode,
      message,
      run.orphanedBatchUrl === undefined ? ['The batch was canceled.'] : [],
    );
  const hints = run.state.uploaded
    ? ['The batch continues on the server. Download the rest with:']
    : ['The server keeps the uploaded parts for some time. Resume with:'];
  return new CliError(exitCode, message, [...hints, ...resumeCommandLines(run)]);
}

function batchEndedError({ batch }: BatchEndedError, run: Run): CliError {
  const why = batch.error ? `: ${batch.error.message} (${batch.error.code})` : '';
  const message = `the batch ${batch.status === 'failed' ? 'has failed' : `was ${batch.status}`}${why}`;
  // Without its input the server cannot resume the batch.
  const resumable = batch.status === 'failed' && batch.error?.code !== 'input_lost';
  const hints = resumable
    ? ['To resume, once the cause is fixed:', ...resumeCommandLines(run), ...restartHints(run)]
    : restartHints(run);
  return new CliError(EXIT.failed, message, hints);
}

function apiError(error: ApiError, run: Run): CliError {
  if (error.status === 404 && error.code === 'batch_not_found') {
    const message = `${run.url.href} does not have the batch: it has expired or was removed`;
    return new CliError(EXIT.failed, message, restartHints(run), error);
  }
  const detail = error.detail === undefined ? [] : [error.detail];
  if (error.status === 401) {
    const hint = 'Set AMULET_API_KEY to a key of this server.';
    return new CliError(EXIT.failed, `${run.url.href}: no valid API key`, [hint, ...resumeHints(run)], error);
  }
  if (error.code === undefined && OTHER_SERVER.has(error.status)) {
    const message = `${run.url.href} does not respond like an Amulet server: ${error.status} ${error.title}`;
    return new CliError(EXIT.failed, message, ['Name its address with --url.'], error);
  }
  const hints = run.state && isTemporary(error) ? resumeHints(run) : [];
  return new CliError(
    EXIT.failed,
    `the server refused the request: ${error.title}`,
    [...detail, ...hints],
    error,
  );
}

function localError(error: unknown, run: Run): unknown {
  const problem = diskProblem(error);
  if (!problem) return error;
  return new CliError(problem.exitCode, `${run.command.out}: ${problem.reason}`, resumeHints(run), error);
}

function resumeHints(run: Run): string[] {
  return run.state && run.destination.resumable ? ['Resume with:', ...resumeCommandLines(run)] : [];
}

function resumeCommandLines({ command, state, url }: Run): string[] {
  const pipe =
    command.files[0] === '-' && state?.uploaded === false ? ['  (with the same standard input)'] : [];
  // A new address that has not answered yet.
  const moved = state !== undefined && state.url !== url.href ? url : undefined;
  return [`  ${resumeCommand(command, moved)}`, ...pipe];
}

function restartHints({ command, state, url, destination }: Run): string[] {
  if (!state || !destination.resumable) return [];
  return ['To start over:', `  ${restartWith(command, url, state)}`];
}
