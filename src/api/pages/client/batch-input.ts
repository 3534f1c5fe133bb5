/** The request that submits a file as a batch: `POST /v1/batches` (docs/bulk.md). */
import { formatByName } from '../../../shared/bulk/file-formats.ts';

export const fileFormats = ['ndjson', 'csv', 'csv-semicolons', 'tsv', 'lines'] as const;
export type FileFormat = (typeof fileFormats)[number];

export interface BatchOptions {
  format: FileFormat;
  gzip: boolean;
  /** How quotes in CSV are read; undefined: the default of the format. */
  quote?: '"' | 'none' | 'line' | undefined;
  textField: string;
  /** Labels per text: a number, or `all`. */
  topK: string;
  /** undefined: the default model. */
  model: string | undefined;
}

export interface BatchInput {
  /** With the query. */
  path: string;
  headers: Record<string, string>;
}

const TYPES: Readonly<Record<FileFormat, string>> = {
  ndjson: 'application/x-ndjson',
  csv: 'text/csv',
  'csv-semicolons': 'text/csv',
  tsv: 'text/tab-separated-values',
  lines: 'text/plain',
};

/** The character between the fields of a CSV; undefined for formats without fields. */
export const delimiters: Readonly<Partial<Record<FileFormat, string>>> = {
  csv: ',',
  'csv-semicolons': ';',
  tsv: '\t',
};

const DEFAULT_FIELD = 'text';
const DEFAULT_TOP_K = '1';

/** The format that the form proposes for a file; the person sees it and can choose another. */
export function proposedFormat(name: string): FileFormat {
  const { format = 'lines', delimiter } = formatByName(name) ?? {};
  return delimiter === '\t' ? 'tsv' : format;
}

/** The request, without options that equal their defaults. */
export function batchInput({ format, gzip, quote, textField, topK, model }: BatchOptions): BatchInput {
  const query = new URLSearchParams();
  if (format === 'csv-semicolons') query.set('delimiter', ';');
  if (format in delimiters && quote !== undefined) query.set('quote', quote);
  if (format !== 'lines' && textField !== DEFAULT_FIELD) query.set('text_field', textField);
  if (topK !== DEFAULT_TOP_K) query.set('top_k', topK);
  if (model !== undefined) query.set('model', model);
  return {
    path: query.size === 0 ? '/v1/batches' : `/v1/batches?${query}`,
    headers: {
      'Content-Type': TYPES[format],
      ...(gzip ? { 'Content-Encoding': 'gzip' } : {}),
    },
  };
}
