/** The form in which results are asked for: NDJSON or a table, with columns of the input beside them. */
import { csvFields } from '../../shared/bulk/csv.ts';
import { invalidRequest } from '../middleware/problems.ts';

export const resultFormats = ['ndjson', 'csv', 'tsv'] as const;

export interface ResultForm {
  format: (typeof resultFormats)[number];
  /** Names of the columns of the input to keep; `all` of them; undefined: none. */
  keep: 'all' | readonly string[] | undefined;
  /** Tables: a column of scores for each label. */
  scoreColumns: boolean;
  /** Tables: no apostrophe before text that a spreadsheet would take for a formula. */
  raw: boolean;
}

export interface FormLimits {
  /** Most columns of a table. */
  columns: number;
}

interface FormQuery {
  format?: ResultForm['format'] | undefined;
  keep?: string | undefined;
  score_columns?: 'true' | 'false' | undefined;
  raw?: 'true' | 'false' | undefined;
}

/** @returns undefined for the results as they are stored. @throws AppError `invalid_request` */
export function readForm(query: FormQuery, limits: FormLimits): ResultForm | undefined {
  const { format = 'ndjson', keep, score_columns, raw } = query;
  if (format === 'ndjson') {
    for (const [path, value] of Object.entries({ score_columns, raw }))
      if (value !== undefined) throw invalidRequest([{ path, message: 'applies to CSV and TSV only' }]);
    if (keep === undefined) return undefined;
  }
  return {
    format,
    keep: keep === undefined ? undefined : readKeep(keep, limits),
    scoreColumns: score_columns === 'true',
    raw: raw === 'true',
  };
}

/** `*`, or names as a CSV record: `"*"` is a column with this name. */
function readKeep(keep: string, limits: FormLimits): NonNullable<ResultForm['keep']> {
  if (keep === '*') return 'all';
  const names = csvFields(Buffer.from(keep), {});
  if ('problem' in names) throw refusedKeep(`${names.problem}; separate names by commas`);
  if (names.length > limits.columns)
    throw refusedKeep(
      `names ${names.length} columns; at most ${limits.columns} are allowed (MAX_CSV_COLUMNS)`,
    );
  const repeated = names.find((name, i) => names.indexOf(name) !== i);
  if (repeated !== undefined) throw refusedKeep(`names "${repeated}" twice`);
  return names;
}

export const refusedKeep = (message: string) => invalidRequest([{ path: 'keep', message }]);
