/** What a run has come to: counts of labels and errors, rate, place of the output, as lines for people and as JSON for programs. */
import { rename, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Batch } from '../../../shared/contract/batches.ts';
import { exists } from '../../terminal/disk.ts';
import { UsageError } from '../../terminal/exit.ts';
import { print } from '../../terminal/print.ts';
import { count, duration, entry, percent, plural, rate, shellWord } from '../../terminal/units.ts';
import type { BackfillCommand } from '../command-line.ts';
import { STANDARD_OUTPUT } from './destination.ts';
import type { Outcomes } from './outcomes.ts';
import { PLAIN, type OutputOptions } from './output-options.ts';
import { placeOf } from '../input/places.ts';
import { withoutSecrets } from '../remote/addresses.ts';
import type { BackfillState, BatchFacts } from '../state.ts';

/** Labels and error codes that a line shows. */
const SHOWN = 8;

/** The JSON of --summary. A field may be added; a change of another kind raises `version`. */
export interface RunSummary {
  version: 1;
  inputs: readonly string[];
  /** `-` is standard output. */
  out: string;
  output_format: string;
  batch: string | null;
  model: { name: string; revision: string | null } | null;
  rows: { total: number; labelled: number; failed: number; truncated: number };
  /** Of the labelled rows; null without any. */
  mean_score: number | null;
  /** Rows by their best label, the most frequent first; at most 1,000 labels. */
  labels: Record<string, number>;
  /** Rows with another label. */
  with_other_label: number;
  /** Error rows by code, the most frequent first. */
  errors: Record<string, number>;
  /** From the first to the last row, on the server; null when not known. */
  seconds: number | null;
  rows_per_second: number | null;
}

export function factsOf({ started_at, finished_at, model }: Batch): BatchFacts {
  const seconds =
    started_at === null || finished_at === null
      ? undefined
      : (Date.parse(finished_at) - Date.parse(started_at)) / 1000;
  return { seconds, model: { name: model.name, revision: model.revision } };
}

/** @throws UsageError when the summary could not be written at the end */
export async function checkSummary({ summary, out, files }: BackfillCommand): Promise<void> {
  if (summary === undefined) return;
  if (summary === '-') {
    if (out === '-') throw new UsageError('--summary - and --out - cannot be used together');
    return;
  }
  const same = [out, ...files].find((file) => path.resolve(file) === path.resolve(summary));
  if (same !== undefined)
    throw new UsageError(`--summary ${summary} is ${same === out ? 'the output' : 'an input'}`);
  const folder = path.dirname(summary);
  if (!(await exists(folder)))
    throw new UsageError(`--summary ${summary}: the folder ${folder} does not exist`);
  const stats = await stat(summary).catch(() => undefined);
  if (stats?.isDirectory() === true) throw new UsageError(`--summary ${summary} is a folder`);
}

/** Writes the summary to the file that --summary names, if any. */
export async function writeSummary(
  { summary: file, files, out }: BackfillCommand,
  state: BackfillState | undefined,
  output: OutputOptions,
  outcomes: Outcomes,
  { seconds, model }: BatchFacts,
): Promise<void> {
  if (file === undefined) return;
  const { labelled, failed, truncated, labels, errors, otherLabels, meanScore } = outcomes;
  const total = labelled + failed;
  const summary: RunSummary = {
    version: 1,
    inputs: files.map(withoutSecrets),
    out,
    output_format: output.output_format,
    batch: state?.batch ?? null,
    model: model ?? null,
    rows: { total, labelled, failed, truncated },
    mean_score: meanScore ?? null,
    labels: Object.fromEntries(mostFrequent(labels)),
    with_other_label: otherLabels,
    errors: Object.fromEntries(mostFrequent(errors)),
    seconds: seconds ?? null,
    rows_per_second: seconds === undefined || seconds === 0 ? null : total / seconds,
  };
  const json = `${JSON.stringify(summary, null, 2)}\n`;
  if (file === '-') {
    print(json);
    return;
  }
  const unfinished = `${file}.writing`;
  await writeFile(unfinished, json);
  await rename(unfinished, file);
}

/** Shares of the labels so far, the most frequent first: `POSITIVE 67 %`. */
export function labelShares({ labels, labelled }: Outcomes): string[] {
  return mostFrequent(labels).map(([label, rows]) => `${label} ${percent(rows / labelled)}`);
}

/** The last lines of a run. */
export function summaryLines(
  { rows, ...batch }: Batch,
  out: string,
  state: BackfillState,
  outcomes: Outcomes,
): string[] {
  const { seconds = 0 } = factsOf({ rows, ...batch });
  // A rate over less than a second is noise.
  const speed = seconds >= 1 ? ` in ${duration(seconds)} (${rate(rows.total / seconds)})` : '';
  const grep = GREP[(state.output ?? PLAIN).output_format];
  const find = out === STANDARD_OUTPUT || grep === undefined ? '' : `: ${grep} '"error":' ${shellWord(out)}`;
  const { labels, errors, labelled, failed, truncated, meanScore, first } = outcomes;
  return [
    entry('Labelled', `${plural(rows.total - rows.failed, 'row')}${speed}`),
    ...(meanScore === undefined
      ? []
      : [entry('Labels', `${shares(labels, labelled)}; mean score ${meanScore.toFixed(3)}`)]),
    ...(truncated === 0
      ? []
      : [entry('Truncated', `${plural(truncated, 'text')} longer than the model reads`)]),
    ...(rows.failed > 0 ? [entry('Errors', `${plural(rows.failed, 'row')}${find}`)] : []),
    ...(failed > 0 ? [entry('', shares(errors, failed))] : []),
    ...first.map(({ line, message }) => entry('', `${inputPlace(line, state)}: ${message}`)),
    // Servers of version 0.1 do not count them.
    ...(rows.with_unknown > 0 ? [entry('Unknown', unknownText(rows))] : []),
    entry('Written to', out),
  ];
}

/** Line of a row in its file. */
export const inputPlace = (line: number, { places, reading }: BackfillState): string =>
  placeOf(line, places, reading?.whole_files);

/** Commands that find the error rows of an output. */
const GREP: Partial<Record<OutputOptions['output_format'], string>> = {
  ndjson: 'grep',
  'ndjson.gz': 'zgrep',
  'ndjson.zst': 'zstdgrep',
};

/** `1,204 rows have tokens that the model does not know (mean share 12 %)` */
function unknownText({ with_unknown: rows, mean_unknown: share }: Batch['rows']): string {
  const mean = share === null ? '' : ` (mean share ${percent(share)})`;
  return `${plural(rows, 'row')} ${rows === 1 ? 'has' : 'have'} tokens that the model does not know${mean}`;
}

/** `POSITIVE 201,000 (67 %), NEGATIVE 99,000 (33 %)` */
function shares(counts: ReadonlyMap<string, number>, total: number): string {
  const all = mostFrequent(counts);
  const shown = all
    .slice(0, SHOWN)
    .map(([name, rows]) => `${name} ${count(rows)} (${percent(rows / total)})`);
  const more = all.length - shown.length;
  return more === 0 ? shown.join(', ') : `${shown.join(', ')} and ${count(more)} more`;
}

const mostFrequent = (counts: ReadonlyMap<string, number>): [string, number][] =>
  [...counts].toSorted(([, a], [, b]) => b - a);
