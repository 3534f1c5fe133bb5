/**
 * Checks by the first bytes of a file, before the upload, whether it is something else than its format says, and what to do about it.
 * API, command and page share it. Runs in browsers too.
 */
import type { SourceFile } from './convert.ts';
import { sniffBytes } from './sniff-bytes.ts';
import { sniffRecords, type Reading } from './sniff-records.ts';

/** Bytes of a file to examine, unpacked from gzip. */
export const SNIFF_BYTES = 64 * 1024;

/**
 * @param head the first SNIFF_BYTES, unpacked from gzip
 * @param whole whether `head` is the whole file
 * @returns what the file is and what to do about it, continuing a sentence that begins with its name; undefined when it looks right
 */
export function sniff(
  head: Uint8Array,
  whole: boolean,
  reading: Reading,
  file: SourceFile,
): string | undefined {
  const [a, b, c] = head;
  const bytes = a === 0xef && b === 0xbb && c === 0xbf ? head.subarray(3) : head;
  return (
    sniffBytes(bytes, whole, file) ?? sniffRecords(new TextDecoder().decode(bytes), whole, reading, file)
  );
}
