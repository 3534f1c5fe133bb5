/** What the name of a file says about its content. */
import type { InputFormat } from './types.ts';

export interface NamedFormat {
  format?: InputFormat;
  /** CSV: between fields. */
  delimiter?: string;
}

const FORMATS: Record<string, NamedFormat> = {
  jsonl: { format: 'ndjson' },
  ndjson: { format: 'ndjson' },
  csv: { format: 'csv' },
  tsv: { format: 'csv', delimiter: '\t' },
  txt: { format: 'lines' },
};

/** Nothing, when the name says nothing. */
export function formatOf(name: string): NamedFormat {
  const [, extension = ''] = /\.([a-z]+)(?:\.gz)?$/i.exec(name) ?? [];
  return FORMATS[extension.toLowerCase()] ?? {};
}
