/** Records as bytes, and the marker that stands for one too long to be kept. */
import { InputError, type InputSpec } from './input.ts';
import { RecordScanner } from './record-scanner.ts';

const LF = 0x0a;
const CR = 0x0d;
/** A scanner of the input's records. */
export function recordScanner({
  format,
  delimiter = ',',
  quote = '"',
}: Pick<InputSpec, 'format' | 'delimiter' | 'quote'>): RecordScanner {
  if (format !== 'csv') return new RecordScanner();
  // csv-parse takes any string; a byte that is never part of another character keeps the scanner simple.
  if (delimiter === '"' || !/^[\t -~]$/.test(delimiter)) {
    throw new InputError('the delimiter must be a tab or one printable ASCII character other than a quote');
  }
  return quote === '"' ? new RecordScanner(delimiter) : new RecordScanner();
}

/** A record without its line ending: LF, CRLF, or CR CR LF, which programs write that end CRLF once more. */
export function content(record: Buffer): Buffer {
  let end = record.length;
  if (record[end - 1] === LF) end--;
  while (record[end - 1] === CR) end--;
  return record.subarray(0, end);
}

/** Whether a record is an empty line, which is no row: LF, CR LF, or a CR that the input ends with. */
export function isEmptyLine(record: Buffer): boolean {
  const [first, second] = record;
  if (record.length === 1) return first === LF || first === CR;
  return record.length === 2 && first === CR && second === LF;
}

const MARK = Buffer.from('\ufeff');

/** Without the byte order mark that stands in the middle of files which were joined. */
export function withoutMark(record: Buffer): Buffer {
  let from = 0;
  while (record.subarray(from, from + MARK.length).equals(MARK)) from += MARK.length;
  return record.subarray(from);
}

/**
 * First byte of a marker. UTF-8 has no 0xff, and the splitter makes it 0xfe (not UTF-8 either) in a record of the input
 * that begins with one, so no upload can produce a marker.
 */
export const MARKER = 0xff;
export const NOT_A_MARKER = 0xfe;

export interface TooLong {
  lineFeeds: number;
  maxBytes: number;
}

/** The record that stands for one with so many line feeds that was longer than `maxBytes`. */
export function tooLongMarker({ lineFeeds, maxBytes }: TooLong): Buffer {
  return Buffer.from(`\xff${lineFeeds} ${maxBytes}\n`, 'latin1');
}

/** What a record stands for, if it is a marker. */
export function readMarker(record: Buffer): TooLong | undefined {
  if (record[0] !== MARKER) return undefined;
  const [, lineFeeds, maxBytes] = /^.(\d{1,15}) (\d{1,15})\n$/s.exec(record.toString('latin1')) ?? [];
  return maxBytes === undefined ? undefined : { lineFeeds: Number(lineFeeds), maxBytes: Number(maxBytes) };
}
