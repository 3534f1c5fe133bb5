/** Cuts an input into parts of whole records, so that each part can be retried alone. */
import { RecordScanner } from '../shared/bulk/record-scanner.ts';
import { Pieces } from '../shared/bulk/byte-stream.ts';

/** Small enough to be sent again; 10,000 parts are 40 GB. */
const PART_BYTES = 4 * 1024 * 1024;
/** A part ends at a multiple of this, so it may be this much larger than PART_BYTES. */
const SLICE_BYTES = 256 * 1024;
/** Many times the server's limit of a record. A longer one in CSV most likely lacks a quote. */
export const MAX_RECORD_BYTES = 64 * 1024 * 1024;

/**
 * The same input makes the same parts, whatever pieces it arrives in.
 * @param delimiter of CSV; undefined: records are lines
 * @throws RangeError for an endless record
 */
export async function* cutParts(
  source: AsyncIterable<Uint8Array>,
  delimiter: string | undefined,
  partBytes = PART_BYTES,
): AsyncGenerator<Uint8Array, void, undefined> {
  const scanner = new RecordScanner(delimiter);
  /** Whole records. */
  const part = new Pieces();
  /** The unfinished record. */
  const unfinished = new Pieces();
  for await (const { bytes, whole } of slices(source, Math.min(SLICE_BYTES, partBytes))) {
    let end = 0;
    for (let next = scanner.scan(bytes, 0); next !== -1; next = scanner.scan(bytes, next)) end = next;
    if (end > 0) {
      part.add(unfinished.take());
      part.add(bytes.subarray(0, end));
    }
    unfinished.add(bytes.subarray(end));
    if (unfinished.bytes > MAX_RECORD_BYTES)
      throw new RangeError(`a record is longer than ${MAX_RECORD_BYTES} bytes: is a quote missing?`);
    if (whole && part.bytes >= partBytes) yield part.take();
  }
  part.add(unfinished.take());
  if (part.bytes > 0) yield part.take();
}

/**
 * Cuts a stream into slices of one size, whatever pieces it arrives in, so that parts that end with a slice are the same in a
 * second reading. A slice may consist of several pieces; the last one is `whole`.
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
