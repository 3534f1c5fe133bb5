/** Shows a batch: its progress, its figures and its problems. */
import type { Batch } from '../../../shared/contract/batches.ts';
import { isFinal } from '../../../shared/contract/states.ts';
import { say } from './dom.ts';
import { count, plural } from '../../../shared/contract/quantities.ts';
import { capitalized, duration, rate, stateSentence } from './format.ts';
import { showCounts } from './labels.ts';
import { showPath, type Step } from './path.ts';
import type { Explanation } from './problems.ts';
import { countsOf, tallyOf } from './tally.ts';
import { unknownRows } from './unknown.ts';

/** Whether a batch is completed without a single label. */
export const isAllFailed = ({ status, rows }: Batch): boolean =>
  status === 'completed' && rows.total > 0 && rows.failed === rows.total;

export interface BatchPlaces {
  path: HTMLOListElement;
  progress: HTMLProgressElement;
  figures: HTMLElement;
  labels: HTMLElement;
  tally: HTMLElement;
  status: HTMLElement;
}

/** Screen readers hear the progress in steps of this many percent. */
const SPOKEN_PERCENT = 25;

export function showBatch(
  batch: Batch,
  { path, progress, figures, labels, tally, status }: BatchPlaces,
): void {
  const { rows } = batch;
  const share = rows.total === 0 ? 0 : rows.finished / rows.total;
  progress.value = share;
  progress.classList.toggle('failed', isAllFailed(batch) || batch.status === 'failed');
  showPath(path, stepsOf(batch));
  say(figures, figuresOf(batch));
  showCounts(labels, countsOf(batch));
  say(tally, tallyOf(batch));
  const spoken = Math.floor((share * 100) / SPOKEN_PERCENT) * SPOKEN_PERCENT;
  say(
    status,
    isAllFailed(batch)
      ? `The batch has no labels: ${rows.failed === 1 ? 'its only row failed' : `all ${count(rows.failed)} rows failed`}.`
      : isFinal(batch.status)
        ? `${stateSentence('The batch', batch.status)}: ${plural(rows.finished, 'row')}, ${plural(rows.failed, 'error')}.`
        : `The batch is ${batch.status}: ${spoken} %.`,
  );
}

/**
 * Explains why a completed batch has no labels.
 * @param errors messages of the first failed rows, once they are loaded
 */
export function allFailed({ rows }: Batch, errors: readonly string[]): Explanation {
  const more = rows.failed - errors.length;
  return {
    title:
      rows.failed === 1
        ? 'No labels: the only row failed'
        : `No labels: all ${count(rows.failed)} rows failed`,
    lines: [...errors, ...(errors.length > 0 && more > 0 ? [`… and ${count(more)} more`] : [])],
  };
}

/** Explains why a batch makes no progress, temporarily or for good. */
export function problemOf({ status, error, problem, model }: Batch): Explanation | undefined {
  if (status === 'failed' && error)
    return { title: 'The batch has failed', lines: [capitalized(error.message)] };
  if (problem?.code === 'results_damaged') {
    return { title: 'Results are damaged on the server', lines: [capitalized(problem.message)] };
  }
  if (problem)
    return { title: 'The batch continues once this is resolved', lines: [capitalized(problem.message)] };
  if (model.workers !== 0) return undefined;
  return {
    title: `No worker serves ${model.name} at the moment`,
    lines: ['The batch waits, and continues as soon as a worker is available.'],
  };
}

function figuresOf({ rows, rows_per_second: perSecond, eta_s: eta }: Batch): string {
  const unknown = unknownRows(rows);
  const parts = [
    `${count(rows.finished)} of ${plural(rows.total, 'row')}`,
    ...(perSecond === null || perSecond === 0 ? [] : [`${rate(perSecond)} rows/s`]),
    ...(rows.failed === 0 ? [] : [plural(rows.failed, 'error')]),
    ...(unknown === undefined ? [] : [unknown]),
    ...(eta === null ? [] : [`${duration(eta)} left`]),
  ];
  // Lines break only between two figures.
  return parts.map((part) => part.replaceAll(' ', '\u00a0')).join(' · ');
}

function stepsOf(batch: Batch): Step[] {
  const { status, created_at: created, started_at: started, finished_at: finished } = batch;
  if (isFinal(status)) {
    const seconds = finished === null ? undefined : (Date.parse(finished) - Date.parse(created)) / 1000;
    return [
      { state: 'uploaded', is: 'past' },
      { state: 'queued', is: 'past' },
      ...(started === null ? [] : [{ state: 'processing', is: 'past' } as const]),
      {
        state: status,
        is: status === 'completed' && !isAllFailed(batch) ? 'done' : 'ended',
        note: seconds === undefined ? '' : `after ${duration(seconds)}`,
      },
    ];
  }
  const processing = status === 'processing';
  return [
    { state: 'uploaded', is: status === 'open' ? 'now' : 'past' },
    { state: 'queued', is: status === 'queued' ? 'now' : processing ? 'past' : 'ahead' },
    { state: 'processing', is: processing ? 'now' : 'ahead' },
    { state: 'completed', is: 'ahead' },
  ];
}
