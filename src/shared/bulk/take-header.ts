/** Takes the header off a CSV stream, since the parts of an upload go without it. It runs in browsers, too. */
import { Pieces, prepend } from './byte-stream.ts';
import { contentEnd, RecordScanner } from './record-scanner.ts';

export interface TakenHeader {
  /** The first record that is not an empty line, without its line ending. */
  header: Uint8Array;
  /** Number of the first line after it. */
  firstLine: number;
  /** The stream after it. */
  rest: AsyncGenerator<Uint8Array, void, undefined>;
}

export interface TakeHeaderOptions {
  /** As scannedDelimiter() of contract/quoting.ts gives it; undefined: a record is a line. */
  delimiter: string | undefined;
  /** Bytes that the header may have while its end has not been found. */
  maxBytes: number;
  /** The error to throw beyond that. */
  tooLong: () => Error;
}

/** @returns undefined when the stream has nothing but empty lines */
export async function takeHeader(
  source: AsyncIterable<Uint8Array>,
  { delimiter, maxBytes, tooLong }: TakeHeaderOptions,
): Promise<TakenHeader | undefined> {
  const iterator = source[Symbol.asyncIterator]();
  const scanner = new RecordScanner(delimiter);
  const record = new Pieces();
  let firstLine = 1;
  for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) {
    const bytes = next.value;
    let from = 0;
    for (let end = scanner.scan(bytes, 0); end !== -1; end = scanner.scan(bytes, from)) {
      record.add(bytes.subarray(from, end));
      firstLine += scanner.takeLineFeeds();
      from = end;
      const header = withoutEnding(record.take());
      if (header.length > 0) return { header, firstLine, rest: prepend(bytes.subarray(end), iterator) };
    }
    record.add(bytes.subarray(from));
    if (record.bytes > maxBytes) {
      await iterator.return?.();
      throw tooLong();
    }
  }
  const header = withoutEnding(record.take());
  if (header.length === 0) return undefined;
  return {
    header,
    firstLine: firstLine + scanner.takeLineFeeds(),
    rest: prepend(new Uint8Array(), iterator),
  };
}

const withoutEnding = (record: Uint8Array): Uint8Array =>
  record.subarray(0, contentEnd(record, 0, record.length));
