/** What a failure means for the user: the line to show, how to go on, and the exit code. */
import { ApiError, ConnectionError, isTemporary, ProtocolError } from '../../client/errors.ts';
import { GaveUpError } from '../../client/retry.ts';
import { diskProblem } from '../terminal/disk.ts';
import {
  BatchEndedError,
  CliError,
  DamagedResultsError,
  EXIT,
  Interrupted,
  UnreadableInputError,
  UsageError,
} from '../terminal/exit.ts';
import type { Run } from './run.ts';
import { restartWith, resumeCommand } from './suggested-commands.ts';
import { duration } from '../terminal/units.ts';
import { OtherInputError } from './upload.ts';

/** @returns a CliError; or the error itself when it is a bug */
export function explain(error: unknown, run: Run): unknown {
  const explained = meaning(error, run);
  if (run.leftBehind === undefined || !(explained instanceof CliError) || explained.message === '')
    return explained;
  const { exitCode, message, hints } = explained;
  return new CliError(exitCode, message, [...hints, notCanceled(run.leftBehind)], explained);
}

/** Of a batch that nobody wants any more. @param batch its URL */
export function notCanceled(batch: string): string {
  return `The batch could not be canceled and may continue. To cancel it: DELETE ${batch}`;
}

function meaning(error: unknown, run: Run): unknown {
  if (error instanceof CliError) return error;
  if (error instanceof Interrupted) return interrupted(error, run);
  if (error instanceof GaveUpError) {
    const reason = `gave up after ${duration(run.command.patienceMs / 1000)} without success: ${error.message}`;
    return new CliError(EXIT.temporary, `${run.url.href}: ${reason}`, goOn(run), error);
  }
  if (error instanceof OtherInputError) {
    return new UsageError(
      `${run.command.file} is not the input that was uploaded before: ${error.message}`,
      beginAnew(run),
    );
  }
  if (error instanceof UnreadableInputError)
    return new CliError(EXIT.temporary, error.message, goOn(run), error);
  if (error instanceof BatchEndedError) return ended(error, run);
  if (error instanceof DamagedResultsError) {
    const hints = run.destination.resumable ? ['To label these rows again:', ...again(run)] : [];
    return new CliError(EXIT.failed, error.message, hints, error);
  }
  if (error instanceof ApiError) return refused(error, run);
  if (error instanceof ConnectionError) {
    const wrongHost = error.code === 'ENOTFOUND';
    return new CliError(wrongHost ? EXIT.usage : EXIT.failed, `${run.url.href}: ${error.message}`, [], error);
  }
  if (error instanceof ProtocolError) return new CliError(EXIT.failed, error.message, goOn(run), error);
  return local(error, run);
}

function interrupted({ exitCode }: Interrupted, run: Run): CliError {
  if (exitCode === EXIT.closedPipe) return new CliError(exitCode, '');
  const message = `interrupted ${run.whereabouts()}`;
  if (!run.state) return new CliError(exitCode, message);
  if (!run.destination.resumable)
    return new CliError(exitCode, message, run.leftBehind === undefined ? ['The batch was canceled.'] : []);
  const goesOn = run.state.uploaded
    ? ['The batch continues on the server. Download the rest with:']
    : ['The server keeps the uploaded parts for some time. Resume with:'];
  return new CliError(exitCode, message, [...goesOn, ...again(run)]);
}

function ended({ batch }: BatchEndedError, run: Run): CliError {
  const why = batch.error ? `: ${batch.error.message} (${batch.error.code})` : '';
  const message = `the batch ${batch.status === 'failed' ? 'has failed' : `was ${batch.status}`}${why}`;
  // The server has lost what it would need to go on.
  const resumable = batch.status === 'failed' && batch.error?.code !== 'input_lost';
  const hints = resumable
    ? ['To resume, once the cause is fixed:', ...again(run), ...beginAnew(run)]
    : beginAnew(run);
  return new CliError(EXIT.failed, message, hints);
}

function refused(error: ApiError, run: Run): CliError {
  if (error.status === 404 && error.code === 'batch_not_found') {
    const message = `${run.url.href} does not have the batch: it has expired or was removed`;
    return new CliError(EXIT.failed, message, beginAnew(run), error);
  }
  const detail = error.detail === undefined ? [] : [error.detail];
  if (error.status === 401) {
    const hint = 'Set AMULET_API_KEY to a key of this server.';
    return new CliError(EXIT.failed, `${run.url.href}: no valid API key`, [hint, ...goOn(run)], error);
  }
  const hints = run.state && isTemporary(error) ? goOn(run) : [];
  return new CliError(
    EXIT.failed,
    `the server refused the request: ${error.title}`,
    [...detail, ...hints],
    error,
  );
}

function local(error: unknown, run: Run): unknown {
  const problem = diskProblem(error);
  if (!problem) return error;
  return new CliError(problem.exitCode, `${run.command.out}: ${problem.reason}`, goOn(run), error);
}

function goOn(run: Run): string[] {
  return run.state && run.destination.resumable ? ['Resume with:', ...again(run)] : [];
}

function again({ command, state, url }: Run): string[] {
  const pipe = command.file === '-' && state?.uploaded === false ? ['  (with the same standard input)'] : [];
  // An address that was given anew, and has not answered yet.
  const moved = state !== undefined && state.url !== url.href ? url : undefined;
  return [`  ${resumeCommand(command, moved)}`, ...pipe];
}

function beginAnew({ command, state, url, destination }: Run): string[] {
  if (!state || !destination.resumable) return [];
  return ['To start over:', `  ${restartWith(command, url, state.options)}`];
}
