/** `amulet backfill`: uploads the input in parts, downloads the rows as they are finished, and puts the output in place. */
import { BatchClient, hasDamagedResults, resumeAttempt } from '../../client/batches.ts';
import { Retrier } from '../../client/retry.ts';
import type { Batch } from '../../shared/contract/batches.ts';
import { cancelBatch, batchUrl } from './cancel-batch.ts';
import { startBatch, resumeUpload } from './upload/upload-input.ts';
import { checkSummary, writeSummary } from './output/run-summary.ts';
import { downloadRows, finishRun, noLabelsWarning, writeOutput } from './output/download-rows.ts';
import type { BackfillCommand } from './command-line.ts';
import { clientKey } from '../credentials.ts';
import { conversion } from './output/convert-output.ts';
import { openDestination, openRetryDestination, type Destination } from './output/destination.ts';
import { diskProblem } from '../terminal/disk.ts';
import {
  BadInputError,
  CliError,
  EXIT,
  Interrupted,
  UnwritableOutputError,
  type ExitCode,
} from '../terminal/exit.ts';
import { toCliError, toEarlyError } from './errors.ts';
import { makePlan, type Plan } from './plan.ts';
import { completeOutput, isConverted, PLAIN, type OutputOptions } from './output/output-options.ts';
import { workingPath } from './remote/working-path.ts';
import type { Reporter } from '../terminal/reporter.ts';
import type { Run } from './run.ts';
import { checkRetry, findErrors, type Errors } from './retry-errors.ts';
import { resumeCommand } from './suggested-commands.ts';
import { connectTo, proofOf } from './server.ts';
import type { BackfillState } from './state.ts';
import { entry, plural } from '../terminal/units.ts';

/**
 * @param signal ends the run at once; its reason is an Interrupted
 * @throws CliError
 */
export async function backfill(
  command: BackfillCommand,
  signal: AbortSignal,
  reporter: Reporter,
): Promise<ExitCode> {
  const output = completeOutput(command.out, command.output);
  await checkSummary(command);
  if (command.retryErrors) checkRetry(command, output);
  const remote = { signal, retryTimeoutMs: command.retryTimeoutMs };
  const destination = command.retryErrors
    ? await openRetryDestination(command.out)
    : await openDestination(command.out, isConverted(output), remote).catch((error: unknown) => {
        throw toEarlyError(error);
      });
  try {
    return await withDestination(command, output, destination, signal, reporter);
  } catch (error) {
    const problem = diskProblem(error);
    if (!problem) throw error;
    throw new CliError(problem.exitCode, `${destination.name}: ${problem.reason}`, [], error);
  } finally {
    await destination.release();
  }
}

async function withDestination(
  command: BackfillCommand,
  output: OutputOptions,
  destination: Destination,
  signal: AbortSignal,
  reporter: Reporter,
): Promise<ExitCode> {
  const errors = command.retryErrors
    ? await rowsToRetry(command, output, destination, signal, reporter)
    : undefined;
  if (errors?.lines.length === 0) return EXIT.ok;
  const form = errors?.keep === undefined ? output : { ...output, keep: errors.keep };
  const plan = await makePlan(command, form, destination, signal).catch((error: unknown) => {
    throw toEarlyError(error);
  });
  const { url } = plan;
  if (plan.kind === 'finish') {
    const { rows, failed } = plan.finished;
    await resumeWriting({ command, destination, reporter, signal }, plan);
    reporter.log(entry('Written to', `${destination.name}: ${plural(rows, 'row')}`));
    const code = await finishRun({ command, url, reporter }, plan.state, failed);
    if (failed > 0 && failed === rows) reporter.warn(noLabelsWarning(rows, plan.state));
    return code;
  }
  for (const note of clientKey().notes) reporter.log(note);
  if (plan.kind === 'start') for (const note of plan.notes) reporter.log(note);
  const http = connectTo(url);
  const run: Run = {
    command,
    url,
    client: new BatchClient(http),
    retrier: new Retrier({
      retryTimeoutMs: command.retryTimeoutMs,
      signal,
      onRetry: (retrying) => (run.retrying = retrying),
    }),
    destination,
    reporter,
    onlyRows: errors?.lines,
    signal,
    retrying: undefined,
    state: undefined,
    orphanedBatchUrl: undefined,
    describeProgress: () => '',
  };
  try {
    return await carryOut(run, plan);
  } catch (error) {
    reporter.unwatch();
    await cleanUp(run, error);
    throw toCliError(error, run);
  } finally {
    http.close();
    plan.input?.close();
  }
}

/** @returns undefined for a run that has uploaded them */
async function rowsToRetry(
  command: BackfillCommand,
  output: OutputOptions,
  destination: Destination,
  signal: AbortSignal,
  reporter: Reporter,
): Promise<Errors | undefined> {
  const earlier = command.mode === 'restart' ? undefined : await destination.load();
  if (earlier?.uploaded === true) return undefined;
  const errors = await findErrors(command, output, signal).catch((error: unknown) => {
    throw toEarlyError(error);
  });
  const { lines } = errors;
  const rows =
    lines.length === 0 ? 'no row has an error: nothing to do' : `${plural(lines.length, 'row')} with errors`;
  reporter.log(entry('Retrying', `${command.out}: ${rows}`));
  return errors;
}

/** Writes the output of a run that has all its rows. */
async function resumeWriting(
  run: Pick<Run, 'command' | 'destination' | 'reporter' | 'signal'>,
  { state, finished }: Plan & { kind: 'finish' },
): Promise<void> {
  const { command, destination } = run;
  const output = (await destination.hasRows()) ? await destination.openOutput() : undefined;
  try {
    if (output && output.rows !== finished.rows) {
      const found = `${workingPath(command.out)}.partial has ${plural(output.rows, 'row')}, not ${finished.rows}`;
      throw new CliError(EXIT.failed, `${found}: start over with --restart`);
    }
    await writeOutput(run, state, finished, output);
  } catch (error) {
    const hints = ['Resume with:', `  ${resumeCommand(command)}`];
    if (error instanceof UnwritableOutputError)
      throw new CliError(EXIT.temporary, error.message, hints, error);
    if (!(error instanceof Interrupted)) throw error;
    throw new CliError(error.exitCode, 'interrupted while the output was being written', hints);
  } finally {
    await output?.close();
  }
}

async function carryOut(run: Run, plan: Exclude<Plan, { kind: 'finish' }>): Promise<ExitCode> {
  const started = plan.kind === 'start' ? await startBatch(run, plan) : await resume(run, plan);
  if (started) return downloadRows(run, started.state, started.batch);
  await finishEmpty(run, plan);
  return EXIT.ok;
}

async function resume(
  run: Run,
  { state, batch: id, input }: Plan & { kind: 'resume' },
): Promise<StartedBatch> {
  const { client, retrier, signal, reporter, destination, url } = run;
  run.state = state;
  run.describeProgress = () => 'before anything was done';
  let batch: Batch | undefined = await retrier.run(() => client.get(id, signal));
  const proof = proofOf(url.href);
  if (state.url !== url.href || state.url_proof !== proof) {
    // The server has moved or knows another key; the batch is there.
    Object.assign(state, { url: url.href, url_proof: proof });
    await destination.save(state);
  }
  if (batch.status === 'failed') {
    reporter.log(`The batch had failed: ${batch.error?.message ?? 'unknown reason'}. Resuming it.`);
    batch = await retrier.run(resumeAttempt(client, id, signal));
  } else if (hasDamagedResults(batch) && batch.status !== 'canceled') {
    reporter.log('Some rows of the batch are damaged on the server. Labelling them again.');
    batch = await retrier.run(resumeAttempt(client, id, signal));
  }
  if (batch.status !== 'open') state.uploaded = true;
  else if (input) batch = await resumeUpload(run, state, id, input);
  else
    throw new CliError(EXIT.failed, 'the server has forgotten that the upload was complete: this is a bug');
  return batch && { state, batch };
}

/** Undefined for an input without records. */
type StartedBatch = { state: BackfillState; batch: Batch } | undefined;

/** Writes an empty output for an input without records; no batch is made for it. */
async function finishEmpty(
  { command, destination, reporter, signal }: Run,
  plan: Exclude<Plan, { kind: 'finish' }>,
): Promise<void> {
  const origin = plan.kind === 'start' ? { options: plan.options } : plan.state;
  const form = (plan.kind === 'start' ? plan : plan.state).output ?? PLAIN;
  const output = await destination.openOutput();
  await writeSummary(command, undefined, form, output.outcomes, {});
  const convert = conversion(form, origin, signal);
  await destination.finish(
    { state: undefined, finished: { rows: 0, failed: 0 }, convert, replace: command.force },
    output,
  );
  reporter.log(entry('Written to', `${destination.name}: 0 rows`));
}

/** Cancels the batch and removes the files of a run that cannot be resumed. */
async function cleanUp(run: Run, error: unknown): Promise<void> {
  const { state, url, destination } = run;
  const useless = error instanceof BadInputError;
  if (!useless && destination.resumable) return;
  if (state?.batch != null && !(await cancelBatch(url, state.batch)))
    run.orphanedBatchUrl = batchUrl(url, state.batch);
  if (useless) await destination.discard();
}
