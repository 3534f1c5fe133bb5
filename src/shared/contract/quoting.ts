/** Meaning of quotes in CSV. Imports nothing: client and page use it too. */

/**
 * `"`: a field in quotes may hold delimiters, line ends and doubled quotes (RFC 4180). `none`: a quote is a character like any
 * other. `line`: as `"` on a line where every quoted field is closed and that has as many fields as the header, as `none` on
 * any other. With `none` and `line` a record is a line, so no stray quote can join records.
 */
export type QuoteMode = '"' | 'none' | 'line';

/** The default for a file: programs that write TSV use quotes as plain characters, or close them on the same line. */
export const defaultQuote = (delimiter: string | undefined): QuoteMode =>
  delimiter === '\t' || delimiter === 'tab' ? 'line' : '"';

/** The delimiter for a record scanner; undefined where quotes hold no line ends. @param delimiter a character, or `tab` */
export function scannedDelimiter(delimiter: string, quote: QuoteMode): string | undefined {
  if (quote !== '"') return undefined;
  return delimiter === 'tab' ? '\t' : delimiter;
}
