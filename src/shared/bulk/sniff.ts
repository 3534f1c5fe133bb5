/**
 * What a file looks like by its first bytes, before all of it is sent: something else than its format says, and what to do
 * about it. The API, the `amulet` command and the page ask the same questions. It runs in browsers, too.
 */
import type { SourceFile } from './convert.ts';
import { sniffBytes } from './sniff-bytes.ts';
import { sniffRecords, type Reading } from './sniff-records.ts';

/** So much of a file is looked at, gzip undone. */
export const SNIFF_BYTES = 64 * 1024;

/**
 * @param head the first SNIFF_BYTES, gzip undone
 * @param whole there are no others
 * @returns what the file is and what to do about it, to continue a sentence that begins with its name; undefined when it
 *   looks like what it should be
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
