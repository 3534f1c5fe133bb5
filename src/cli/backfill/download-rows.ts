/** Downloads the rows of a batch whose input is complete, shows its progress, and reports the outcome. */
import type { Batch } from '../../shared/contract/batches.ts';
import { cancelBatch } from './cancel-batch.ts';
import { STANDARD_OUTPUT } from './destination.ts';
import { conversion } from './convert-output.ts';
import type { ErrorRow } from './outcomes.ts';
import { BatchEndedError, CliError, EXIT, type ExitCode } from '../terminal/exit.ts';
import { PLAIN, type OutputOptions } from './output-options.ts';
import type { Output } from './output.ts';
import { placeOf } from './places.ts';
import type { Progress } from '../terminal/progress-line.ts';
import { followResults, pollBatch } from './results.ts';
import { retryText, type Run } from './run.ts';
import type { BackfillState } from './state.ts';
import { isUnserved, UnservedModelNotice } from './unserved.ts';
import { count, duration, elapsedSince, entry, percent, plural, rate, shellWord } from '../terminal/units.ts';

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
    const convert = conversion(state.output ?? PLAIN, state.options, run.signal);
    if (convert) reporter.watch(() => ({ label: 'Writing', unit: 'rows', done: total, total }));
    await destination.finish({ state, finished: { rows: total, failed }, convert }, output);
    reporter.unwatch();
    for (const line of summary(ended, destination.name, state, output)) reporter.log(line);
    const code = await finishRun(run, state, failed);
    if (failed > 0 && failed === total)
      reporter.warn(noLabelsWarning(total, state, output.outcomes.first[0]));
    return code;
  } finally {
    await output.close();
  }
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

/** Line of a row in its file. */
const inputPlace = (line: number, { places, reading }: BackfillState): string =>
  placeOf(line, places, reading?.whole_files);
/** Commands that find the error rows of an output. */
const GREP: Partial<Record<OutputOptions['output_format'], string>> = {
  ndjson: 'grep',
  'ndjson.gz': 'zgrep',
  'ndjson.zst': 'zstdgrep',
};

function summary(
  { rows, started_at, finished_at }: Batch,
  out: string,
  state: BackfillState,
  { outcomes }: Output,
): string[] {
  const seconds =
    started_at === null || finished_at === null
      ? 0
      : (Date.parse(finished_at) - Date.parse(started_at)) / 1000;
  // A rate over less than a second is noise.
  const speed = seconds >= 1 ? ` in ${duration(seconds)} (${rate(rows.total / seconds)})` : '';
  const grep = GREP[(state.output ?? PLAIN).output_format];
  const find = out === STANDARD_OUTPUT || grep === undefined ? '' : `: ${grep} '"error":' ${shellWord(out)}`;
  return [
    entry('Labelled', `${plural(rows.total - rows.failed, 'row')}${speed}`),
    ...(rows.failed > 0 ? [entry('Errors', `${plural(rows.failed, 'row')}${find}`)] : []),
    ...outcomes.first.map(({ line, message }) => entry('', `${inputPlace(line, state)}: ${message}`)),
    // Servers of version 0.1 do not count them.
    ...(rows.with_unknown > 0 ? [entry('Unknown', unknownText(rows))] : []),
    entry('Written to', out),
  ];
}

/** `1,204 rows have tokens that the model does not know (mean share 12 %)` */
function unknownText({ with_unknown: rows, mean_unknown: share }: Batch['rows']): string {
  const mean = share === null ? '' : ` (mean share ${percent(share)})`;
  return `${plural(rows, 'row')} ${rows === 1 ? 'has' : 'have'} tokens that the model does not know${mean}`;
}
