/** A file as `POST /v1/batches` takes it (docs/bulk.md). */

export const fileFormats = ['ndjson', 'csv', 'csv-semicolons', 'tsv', 'lines'] as const;
export type FileFormat = (typeof fileFormats)[number];

export interface BatchOptions {
  format: FileFormat;
  gzip: boolean;
  /** What quotes mean in CSV; undefined: what is usual for the format. */
  quote?: '"' | 'none' | 'line' | undefined;
  textField: string;
  /** How many labels per text, or `all`. */
  topK: string;
  /** undefined: the default one. */
  model: string | undefined;
}

export interface BatchInput {
  /** With its query. */
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

const EXTENSIONS: Readonly<Record<string, FileFormat>> = {
  jsonl: 'ndjson',
  ndjson: 'ndjson',
  json: 'ndjson',
  csv: 'csv',
  tsv: 'tsv',
};

/** Of CSV, between its fields; undefined for formats without them. */
export const delimiters: Readonly<Partial<Record<FileFormat, string>>> = {
  csv: ',',
  'csv-semicolons': ';',
  tsv: '\t',
};

const DEFAULT_FIELD = 'text';
const DEFAULT_TOP_K = '1';

/** What a file's name says of its format. */
export function formatByName(name: string): FileFormat {
  const [, extension = ''] = /\.([^.]+?)(?:\.gz)?$/i.exec(name) ?? [];
  return EXTENSIONS[extension.toLowerCase()] ?? 'lines';
}

/** The request, with nothing said that goes without saying. */
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
