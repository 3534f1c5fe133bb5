/** Rows by label and by error code: of a chunk, as tally.lua counts them in Redis, and of a batch, as the API shows them. */
import type { Batch } from '../../contract/batches.ts';
import type { BatchRecord } from './batch-record.ts';

/** Labels whose rows are counted one by one: bounds what Redis keeps of a batch. */
const MAX_TALLIED_LABELS = 100;
/** A label with a longer name counts among the others. */
const MAX_LABEL_CHARS = 200;
/** Redis sums scores up as whole numbers of 1/10,000. */
const SCORE_UNITS = 10_000;

export interface ChunkTally {
  truncatedRows: number;
  /** Sum of the best scores. */
  scores: number;
  /** Rows by their best label. */
  labels: Map<string, number>;
  /** Failed rows by the code of their error. */
  errors: Map<string, number>;
}

interface TallyArguments {
  named: { maxLabels: number; truncatedRows: number; scoreSum: number; otherRows: number };
  /** Fields of the batch's hash, each followed by the rows to add. */
  pairs: (string | number)[];
}

/** For a chunk that is not counted by label. */
export const NO_TALLY: TallyArguments = {
  named: { maxLabels: 0, truncatedRows: 0, scoreSum: 0, otherRows: 0 },
  pairs: [],
};

/** A tally as arguments of finish-chunk.lua. Frequent labels come first: they are counted while there is room for labels. */
export function tallyArguments(tally: ChunkTally, labelCount: number): TallyArguments {
  const labels = [...tally.labels].toSorted(([, a], [, b]) => b - a);
  const short = labels.filter(([label]) => label.length <= MAX_LABEL_CHARS);
  const long = labels.filter(([label]) => label.length > MAX_LABEL_CHARS);
  return {
    named: {
      maxLabels: Math.min(Math.max(labelCount, 1), MAX_TALLIED_LABELS),
      truncatedRows: tally.truncatedRows,
      scoreSum: Math.round(tally.scores * SCORE_UNITS),
      otherRows: sum(long),
    },
    pairs: [
      ...short.flatMap(([label, rows]) => [`label:${label}`, rows]),
      ...[...tally.errors].flatMap(([code, rows]) => [`error:${code}`, rows]),
    ],
  };
}

/**
 * Labels, errors and the figures about them. All are null when some finished rows were not counted: workers of an earlier version
 * finished them, or a chunk was done again whose counts are not known.
 */
export function shownTally(
  record: BatchRecord,
): Pick<Batch, 'labels' | 'errors'> & Pick<Batch['rows'], 'truncated' | 'with_other_label' | 'mean_score'> {
  const { countedRows, finishedRows, failedRows, labels, errors, otherLabels } = record;
  const labelled = finishedRows - failedRows;
  const isWhole =
    countedRows === finishedRows && sum(errors) === failedRows && sum(labels) + otherLabels === labelled;
  if (!isWhole) {
    return { labels: null, errors: null, truncated: null, with_other_label: null, mean_score: null };
  }
  return {
    labels: frequentFirst(labels),
    errors: frequentFirst(errors),
    truncated: record.truncatedRows,
    with_other_label: otherLabels,
    mean_score: labelled === 0 ? null : Math.round(record.scoreSum / labelled) / SCORE_UNITS,
  };
}

function frequentFirst(counts: BatchRecord['labels']): Record<string, number> {
  const some = counts.filter(([, rows]) => rows > 0);
  return Object.fromEntries(some.toSorted(([a, m], [b, n]) => n - m || (a < b ? -1 : 1)));
}

const sum = (counts: readonly (readonly [string, number])[]): number =>
  counts.reduce((total, [, rows]) => total + rows, 0);
