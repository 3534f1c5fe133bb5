/** The columns of results as a table, beside columns of the input: the same ones from the server and from the command. */
import type { RowResult } from '../contract/results.ts';

export interface ResultTable {
  /** Rows may have ids. */
  ids: boolean;
  /** Names of the columns of the input, without the ids. */
  kept: readonly string[];
  /** A column holds the fields of the input that have none. */
  others: boolean;
  /** Rows have more labels than the best one. */
  labels: boolean;
  /** Labels with a column of scores each. */
  scoreLabels: readonly string[];
}

/** The fields of the input in a row, in the order of the columns; empty texts where the row has none. */
export interface KeptCells {
  /** Undefined: the id is that of the result. */
  id: string | undefined;
  values: readonly string[];
  others: string;
}

export function columnNames({ ids, kept, others, labels, scoreLabels }: ResultTable): string[] {
  return [
    'line',
    ...(ids ? ['id'] : []),
    ...kept,
    ...(others ? ['other_fields'] : []),
    'label',
    'score',
    ...(labels ? ['labels'] : []),
    ...scoreLabels.map((label) => `score_${label}`),
    'truncated',
    'unknown',
    'error',
    'error_message',
  ];
}

/** @param text writes a text as the content of a field */
export function rowCells(
  row: { line: number } & RowResult,
  kept: KeptCells,
  { ids, others, labels, scoreLabels }: ResultTable,
  text: (value: string) => string,
): string[] {
  const id = ids ? [kept.id ?? text(row.id ?? '')] : [];
  const own = [String(row.line), ...id, ...kept.values, ...(others ? [kept.others] : [])];
  if ('error' in row) {
    const none = Array<string>(2 + (labels ? 1 : 0) + scoreLabels.length + 2).fill('');
    return [...own, ...none, row.error.code, text(row.error.message)];
  }
  const scores = new Map(row.labels?.map(({ label, score }) => [label, score]));
  return [
    ...own,
    text(row.label),
    String(row.score),
    ...(labels ? [row.labels === undefined ? '' : JSON.stringify(row.labels)] : []),
    ...scoreLabels.map((label) => numberCell(scores.get(label))),
    String(row.truncated),
    numberCell(row.unknown),
    '',
    '',
  ];
}

const numberCell = (value: number | undefined): string => (value === undefined ? '' : String(value));
