/** The header of a CSV file, which the parts of an upload go without. */
import { content, recordScanner, withoutMark } from '../../shared/bulk/records.ts';
import { readHeader } from '../../shared/bulk/csv.ts';
import { InputError, type InputSpec } from '../../shared/bulk/input.ts';
import { UsageError } from '../terminal/exit.ts';
import { prepend } from './peek.ts';

export interface CsvHeader {
  /** As a CSV record, without its line ending. */
  columns: string;
  /** Number of the first line behind it. */
  firstLine: number;
  /** What is behind it. */
  rest: AsyncGenerator<Buffer, void, undefined>;
}

/** As many as the server takes for a record, unless it is told otherwise. */
const MAX_HEADER_BYTES = 1_000_000;

/**
 * Reads the first record that is not an empty line.
 * @throws UsageError when there is none, or when it lacks a column that is asked for
 */
export async function takeHeader(source: AsyncIterable<Buffer>, input: InputSpec): Promise<CsvHeader> {
  const scanner = recordScanner(input);
  const iterator = source[Symbol.asyncIterator]();
  let read = Buffer.alloc(0);
  let recordStart = 0;
  let scanned = 0;
  let firstLine = 1;
  for (;;) {
    const next = await iterator.next();
    if (next.done !== true) read = Buffer.concat([read, next.value]);
    while (scanned < read.length || (next.done === true && recordStart < read.length)) {
      const found = scanner.scan(read, scanned);
      scanned = found === -1 ? read.length : found;
      if (found === -1 && next.done !== true) break;
      firstLine += scanner.takeLineFeeds();
      const header = content(read.subarray(recordStart, scanned));
      if (header.length > 0) {
        return { columns: check(header, input), firstLine, rest: prepend(read.subarray(scanned), iterator) };
      }
      recordStart = scanned;
    }
    if (next.done === true) throw new UsageError('the input has no header');
    if (read.length - recordStart > MAX_HEADER_BYTES) {
      await iterator.return?.();
      throw new UsageError(`the header is longer than ${MAX_HEADER_BYTES} bytes`);
    }
  }
}

function check(marked: Buffer, input: InputSpec): string {
  const header = withoutMark(marked);
  try {
    // How much of a header the server takes, it says itself, before anything is uploaded.
    readHeader(header, input, { columns: Infinity, bytes: MAX_HEADER_BYTES });
  } catch (error) {
    throw error instanceof InputError ? new UsageError(error.message) : error;
  }
  return header.toString();
}
