/** Takes and checks the header of a CSV file, which becomes an option of the batch. */
import { readHeader } from '../../../shared/bulk/csv.ts';
import { InputError, type InputSpec } from '../../../shared/bulk/input.ts';
import { withoutMark } from '../../../shared/bulk/records.ts';
import { takeHeader } from '../../../shared/bulk/take-header.ts';
import { scannedDelimiter } from '../../../shared/contract/quoting.ts';
import { UsageError } from '../../terminal/exit.ts';

export interface CsvHeader {
  /** As a CSV record, without its line ending. */
  columns: string;
  /** Number of the first line after it. */
  firstLine: number;
  rest: AsyncGenerator<Uint8Array, void, undefined>;
}

/** The server's default limit of a record. */
const MAX_HEADER_BYTES = 1_000_000;

/**
 * @param name of the file in messages, if it is one of several
 * @throws UsageError when the input has no header, or one without a column that the options name
 */
export async function takeCsvHeader(
  source: AsyncIterable<Uint8Array>,
  input: InputSpec,
  name?: string,
): Promise<CsvHeader> {
  const where = name === undefined ? '' : `${name}: `;
  const taken = await takeHeader(source, {
    delimiter: scannedDelimiter(input.delimiter ?? ',', input.quote ?? '"'),
    maxBytes: MAX_HEADER_BYTES,
    tooLong: () => new UsageError(`${where}the header is longer than ${MAX_HEADER_BYTES} bytes`),
  });
  if (!taken) throw new UsageError(`${where}the input has no header`);
  const { header, firstLine, rest } = taken;
  return { columns: check(Buffer.from(header), input, where), firstLine, rest };
}

function check(marked: Buffer, input: InputSpec, where: string): string {
  const header = withoutMark(marked);
  try {
    // The server refuses a header beyond its own limits before anything is uploaded.
    readHeader(header, input, { columns: Infinity, bytes: MAX_HEADER_BYTES });
  } catch (error) {
    throw error instanceof InputError ? new UsageError(`${where}${error.message}`) : error;
  }
  return header.toString();
}
