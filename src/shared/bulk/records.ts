/** Records as bytes, and the marker that replaces a record that is too long to store. */
import { InputError, type InputSpec } from './input.ts';
import { contentEnd, RecordScanner } from './record-scanner.ts';

const LF = 0x0a;
const CR = 0x0d;

/** A scanner of the input's records. */
export function recordScanner({
  format,
  delimiter = ',',
  quote = '"',
}: Pick<InputSpec, 'format' | 'delimiter' | 'quote'>): RecordScanner {
  if (format !== 'csv') return new RecordScanner();
  // csv-parse accepts any string; a single ASCII byte keeps the scanner simple.
  if (delimiter === '"' || !/^[\t -~]$/.test(delimiter)) {
    throw new InputError('the delimiter must be a tab or one printable ASCII character other than a quote');
  }
  return quote === '"' ? new RecordScanner(delimiter) : new RecordScanner();
}

/** A record without its line ending. */
export function content(record: Buffer): Buffer {
  return record.subarray(0, contentEnd(record, 0, record.length));
}

/** Whether the record in a range is an empty line, which is not a row: LF, CR LF, or a CR at the end of the input. */
export function isEmptyLine(bytes: Buffer, start = 0, end = bytes.length): boolean {
  const first = bytes[start];
  if (end - start === 1) return first === LF || first === CR;
  return end - start === 2 && first === CR && bytes[start + 1] === LF;
}

const MARK = Buffer.from('\ufeff');

/** Removes a byte order mark, which stands in the middle of joined files. */
export function withoutMark(record: Buffer): Buffer {
  let from = 0;
  while (record.subarray(from, from + MARK.length).equals(MARK)) from += MARK.length;
  return record.subarray(from);
}

/**
 * First byte of a marker. UTF-8 has no 0xff, and if a record of the input begins with one, the splitter replaces it with 0xfe (not
 * UTF-8 either), so no upload can forge a marker.
 */
export const MARKER = 0xff;
export const NOT_A_MARKER = 0xfe;

export interface TooLong {
  lineFeeds: number;
  maxBytes: number;
}

/** The marker that replaces a record longer than `maxBytes`. */
export function tooLongMarker({ lineFeeds, maxBytes }: TooLong): Buffer {
  return Buffer.from(`\xff${lineFeeds} ${maxBytes}\n`, 'latin1');
}

/** Parses a marker; undefined for any other record. */
export function readMarker(record: Buffer): TooLong | undefined {
  if (record[0] !== MARKER) return undefined;
  const [, lineFeeds, maxBytes] = /^.(\d{1,15}) (\d{1,15})\n$/s.exec(record.toString('latin1')) ?? [];
  return maxBytes === undefined ? undefined : { lineFeeds: Number(lineFeeds), maxBytes: Number(maxBytes) };
}
