/** Cuts an input into parts of whole records, so that each can be sent again without the ones before it. */
import { RecordScanner } from '../shared/bulk/record-scanner.ts';
import { Pieces } from '../shared/bulk/byte-stream.ts';

/** Small enough to be sent again without regret; 10,000 of them are 40 GB. */
const PART_BYTES = 4 * 1024 * 1024;
/** Whether a part is full is looked at so often; it is at most so much larger than it should be. */
const SLICE_BYTES = 256 * 1024;
/** Many times what the server takes for a record. In CSV, a quote is missing more likely. */
export const MAX_RECORD_BYTES = 64 * 1024 * 1024;

/**
 * The same input makes the same parts, in whatever pieces it comes.
 * @param delimiter of CSV; undefined: records are lines
 * @throws RangeError when a record does not end
 */
export async function* cutParts(
  source: AsyncIterable<Uint8Array>,
  delimiter: string | undefined,
  partBytes = PART_BYTES,
): AsyncGenerator<Uint8Array, void, undefined> {
  const scanner = new RecordScanner(delimiter);
  /** Whole records. */
  const part = new Pieces();
  /** The record that has not ended. */
  const begun = new Pieces();
  for await (const { bytes, whole } of slices(source, Math.min(SLICE_BYTES, partBytes))) {
    let end = 0;
    for (let next = scanner.scan(bytes, 0); next !== -1; next = scanner.scan(bytes, next)) end = next;
    if (end > 0) {
      part.add(begun.take());
      part.add(bytes.subarray(0, end));
    }
    begun.add(bytes.subarray(end));
    if (begun.bytes > MAX_RECORD_BYTES)
      throw new RangeError(`a record is longer than ${MAX_RECORD_BYTES} bytes: is a quote missing?`);
    if (whole && part.bytes >= partBytes) yield part.take();
  }
  part.add(begun.take());
  if (part.bytes > 0) yield part.take();
}

/**
 * Slices of one size, whatever size the input comes in: parts that are cut at their ends are the same when the input is read
 * again. A slice itself may come in pieces, of which the last makes it `whole`.
 */
async function* slices(
  source: AsyncIterable<Uint8Array>,
  sliceBytes: number,
): AsyncGenerator<{ bytes: Uint8Array; whole: boolean }, void, undefined> {
  let room = sliceBytes;
  for await (const bytes of source) {
    for (let from = 0; from < bytes.length;) {
      const piece = bytes.subarray(from, from + room);
      from += piece.length;
      room -= piece.length;
      yield { bytes: piece, whole: room === 0 };
      if (room === 0) room = sliceBytes;
    }
  }
}
