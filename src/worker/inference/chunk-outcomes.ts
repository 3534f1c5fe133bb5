/**
 * Counts the failed and partly unknown rows of a chunk in its stored results, not while they are made: an earlier worker may have
 * stored them before dying, with other error rows.
 */
import type { ChunkCounts } from '../../shared/store/batches/results.ts';

// Quotes inside ids and labels are escaped in JSON, so only a field of the row itself matches.
const ERROR_FIELD = ',"error":{';
const UNKNOWN_FIELD = ',"unknown":';
/** Length of the longest share, as in `0.0001`. */
const SHARE_CHARS = 6;

/** @param ndjson a chunk's results */
export function countOutcomes(ndjson: Buffer): ChunkCounts {
  const outcomes = { failedRows: 0, unknownRows: 0, unknownShares: 0 };
  for (let at = ndjson.indexOf(ERROR_FIELD); at !== -1; at = ndjson.indexOf(ERROR_FIELD, at + 1))
    outcomes.failedRows++;
  for (let at = ndjson.indexOf(UNKNOWN_FIELD); at !== -1; at = ndjson.indexOf(UNKNOWN_FIELD, at + 1)) {
    const start = at + UNKNOWN_FIELD.length;
    outcomes.unknownRows++;
    outcomes.unknownShares += Number.parseFloat(ndjson.toString('latin1', start, start + SHARE_CHARS));
  }
  return outcomes;
}
