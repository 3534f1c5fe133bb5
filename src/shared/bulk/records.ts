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
  return record.subarray(0, contentEnd(record, 0, record.length));
}

/** Where the line ending begins of the record between two places. Places and no view: uploads may have millions of empty lines. */
export function contentEnd(bytes: Buffer, start: number, end: number): number {
  let at = end;
  if (at > start && bytes[at - 1] === LF) at--;
  while (at > start && bytes[at - 1] === CR) at--;
  return at;
}

/** Whether the record between two places is an empty line, which is no row: LF, CR LF, or a CR that the input ends with. */
export function isEmptyLine(bytes: Buffer, start = 0, end = bytes.length): boolean {
  const first = bytes[start];
  if (end - start === 1) return first === LF || first === CR;
  return end - start === 2 && first === CR && bytes[start + 1] === LF;
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
