/** The format of a file by its name: one table for the command, the client and the page. It runs in browsers, too. */

export interface NamedFormat {
  format: 'ndjson' | 'csv' | 'lines';
  /** CSV: the character between fields, unless it is a comma. */
  delimiter?: '\t';
}

/** `.json` is JSON Lines under another name, or one JSON array, of which sniff.ts says how to convert it. */
const FORMATS = new Map<string, NamedFormat>([
  ['jsonl', { format: 'ndjson' }],
  ['ndjson', { format: 'ndjson' }],
  ['json', { format: 'ndjson' }],
  ['csv', { format: 'csv' }],
  ['tsv', { format: 'csv', delimiter: '\t' }],
  ['txt', { format: 'lines' }],
]);

/**
 * @param name a file name or path; `.gz` or `.zst` at its end is skipped, since compression is recognised by the first bytes
 * @returns undefined for a name without one of these extensions
 */
export function formatByName(name: string): NamedFormat | undefined {
  const [, extension = ''] = /\.([a-z]+)(?:\.(?:gz|zst|zstd))?$/i.exec(name) ?? [];
  return FORMATS.get(extension.toLowerCase());
}
