/** Downloads the rows of a batch whose input is complete, shows its progress, and reports the outcome. */
import type { Batch } from '../../../shared/contract/batches.ts';
import { cancelBatch } from '../cancel-batch.ts';
import { conversion } from './convert-output.ts';
import type { ErrorRow } from './outcomes.ts';
import { BatchEndedError, CliError, EXIT, type ExitCode } from '../../terminal/exit.ts';
import { PLAIN } from './output-options.ts';
import type { Output } from './output.ts';
import type { Progress } from '../../terminal/progress-line.ts';
import { merging } from '../retry-errors.ts';
import { followResults, pollBatch } from './results.ts';
import { retryText, type Run } from '../run.ts';
import { factsOf, inputPlace, labelShares, summaryLines, writeSummary } from './run-summary.ts';
import type { BackfillState } from '../state.ts';
import { isUnserved, UnservedModelNotice } from '../unserved.ts';
import { count, elapsedSince, plural } from '../../terminal/units.ts';

const POLL_MS = 1000;

/**
 * @param batch as last seen; its input is complete
 * @throws BatchEndedError when the batch ends without being completed
 */
export async function downloadRows(run: Run, state: BackfillState, batch: Batch): Promise<ExitCode> {
  const { destination, reporter } = run;
  const output = await destination.openOutput();
  try {
    const ended = await follow(run, state, batch, output);
    if (ended.status !== 'completed') throw new BatchEndedError(ended);
    const { total, failed } = ended.rows;
    if (output.rows !== total) {
      const rows = `${count(output.rows)} of ${plural(total, 'row')}`;
      throw new CliError(EXIT.failed, `the server sent ${rows}: this is a bug`);
    }
    await writeOutput(run, state, { rows: total, failed, ...factsOf(ended) }, output);
    for (const line of summaryLines(ended, destination.name, state, output.outcomes)) reporter.log(line);
    const code = await finishRun(run, state, failed);
    if (failed > 0 && failed === total && !run.command.retryErrors)
      reporter.warn(noLabelsWarning(total, state, output.outcomes.first[0]));
    return code;
  } finally {
    await output.close();
  }
}

/** Makes the finished output of all rows. @param output undefined when only the files of the run were to be removed */
export async function writeOutput(
  run: Pick<Run, 'command' | 'destination' | 'reporter' | 'signal'>,
  state: BackfillState,
  finished: NonNullable<BackfillState['finished']>,
  output: Output | undefined,
): Promise<void> {
  const { command, destination, reporter, signal } = run;
  const form = state.output ?? PLAIN;
  if (output) await writeSummary(command, state, form, output.outcomes, finished);
  let done = 0;
  const convert = command.retryErrors
    ? merging(command.out, form, signal)
    : conversion(form, state, signal, (rows) => (done = rows));
  if (convert) reporter.watch(() => ({ label: 'Writing', unit: 'rows', done, total: finished.rows }));
  const replace = command.force || state.force === true;
  await destination.finish({ state, finished, convert, replace }, output);
  reporter.unwatch();
}

/** Removes the batch if asked to, once the output exists. */
export async function finishRun(
  { command, url, reporter }: Pick<Run, 'command' | 'url' | 'reporter'>,
  { batch }: BackfillState,
  failed: number,
): Promise<ExitCode> {
  if (command.deleteBatch && batch !== null && !(await cancelBatch(url, batch))) {
    reporter.log('The batch could not be removed from the server; it will expire by itself.');
  }
  return failed > 0 ? EXIT.rowErrors : EXIT.ok;
}

async function follow(run: Run, state: BackfillState, batch: Batch, output: Output): Promise<Batch> {
  const { client, retrier, signal, reporter, destination } = run;
  let seen = { batch, at: Date.now() };
  run.describeProgress = () => {
    const { total, finished: done } = seen.batch.rows;
    return `with ${count(done)} of ${plural(total, 'row')} done`;
  };
  reporter.watch(() => rowsProgress(run, seen, output));
  const ended = new AbortController();
  const notice = new UnservedModelNotice(run);
  const polling = pollBatch(
    { client, batch: batch.id, signal: AbortSignal.any([signal, ended.signal]) },
    POLL_MS,
    (polled) => {
      seen = { batch: polled, at: Date.now() };
      // The batch does not depend on the list of models that the notice needs.
      void notice.look(polled).catch(() => {});
    },
  );
  try {
    return await followResults(
      { client, retrier, batch: batch.id, signal, keep: state.output?.keep },
      output,
      {
        get known() {
          return state.revision;
        },
        save: async (revision) => {
          state.revision = revision;
          await destination.save(state);
        },
      },
    );
  } finally {
    ended.abort();
    await polling;
  }
}

/** @param seen the batch, and when it was read (Unix ms) */
function rowsProgress(run: Run, { batch, at }: { batch: Batch; at: number }, output: Output): Progress {
  const { rows, status, problem, rows_per_second, eta_s } = batch;
  const delay =
    retryText(run) ??
    (problem && `${problem.message} (${elapsedSince(Date.parse(problem.since))})`) ??
    (isUnserved(batch) ? `no worker serves ${batch.model.name}` : undefined);
  const progress: Progress = {
    label: status === 'queued' ? 'Queued' : 'Classifying',
    unit: 'rows',
    done: rows.finished,
    total: rows.total,
    failed: rows.failed,
    shares: labelShares(output.outcomes),
    delay: delay ?? undefined,
  };
  if (status === 'completed') return { ...progress, label: 'Downloading', done: output.rows };
  return {
    ...progress,
    rate: rows_per_second ?? undefined,
    etaS: eta_s === null ? undefined : Math.max(0, eta_s - (Date.now() - at) / 1000),
  };
}

/** Warning that the output is useless, shown even with --quiet. */
export function noLabelsWarning(total: number, state: BackfillState, first?: ErrorRow): string {
  const cause = first === undefined ? '' : `; ${inputPlace(first.line, state)}: ${first.message}`;
  return total === 1
    ? `the only row has no label${cause}`
    : `no row has a label: all ${count(total)} are errors${cause}`;
}
