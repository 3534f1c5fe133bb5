/** Reads the first rows of an input as the server will read them. */
import type { BatchOptions } from '../../../client/batches.ts';
import { readHeader, toHeader } from '../../../shared/bulk/csv.ts';
import type { InputRow, InputSpec } from '../../../shared/bulk/input.ts';
import { parseChunk, type ParseLimits } from '../../../shared/bulk/parse.ts';
import { content, isEmptyLine, recordScanner, withoutMark } from '../../../shared/bulk/records.ts';
import type { Beginning } from './beginning.ts';
import { specOf } from './records.ts';

export interface FirstRows {
  rows: InputRow[];
  /** Bytes of their records, with empty lines between them. */
  bytes: number;
  /** Columns of CSV. */
  columns: string[];
}

/** The limits of a server with default settings. */
const LIMITS: ParseLimits = { maxTextChars: 5000, maxIdChars: 128 };

/**
 * @param beginning of an input as the server gets it: with the header of CSV
 * @throws InputError for a header that cannot be read
 */
export function firstRows(
  { head, whole }: Beginning,
  options: BatchOptions,
  limits: ParseLimits = LIMITS,
): FirstRows {
  const spec = specOf(options);
  const { header, lines, from, end } = wholeRecords(head, spec);
  const records = head.subarray(from, whole ? head.length : end);
  const named = withoutMark(content(header));
  const columns = named.length === 0 ? [] : readHeader(named, spec, { columns: Infinity, bytes: Infinity });
  const read = spec.format === 'csv' ? { ...spec, header: toHeader(columns, spec) } : spec;
  return { rows: [...parseChunk(records, read, 1 + lines, limits)], bytes: records.length, columns };
}

/** The header of CSV, the lines up to its end, where the records begin after it, and where the last whole one ends. */
function wholeRecords(
  head: Buffer,
  spec: InputSpec,
): { header: Buffer; lines: number; from: number; end: number } {
  const scanner = recordScanner(spec);
  const taken = { header: head.subarray(0, 0), lines: 0, from: 0 };
  let end = 0;
  let found = spec.format !== 'csv';
  for (let next = scanner.scan(head, 0); next !== -1; next = scanner.scan(head, end)) {
    const lineFeeds = scanner.takeLineFeeds();
    if (!found) {
      found = !isEmptyLine(head, end, next);
      Object.assign(taken, { header: head.subarray(end, next), lines: taken.lines + lineFeeds, from: next });
    }
    end = next;
  }
  // A header without a line ending is the whole input, or cut.
  if (!found) return { ...taken, from: head.length, end: head.length };
  return { ...taken, end };
}
