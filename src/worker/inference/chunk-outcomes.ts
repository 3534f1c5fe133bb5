/** What came of the rows of a chunk, read from its results as they are stored. */
import type { FinishedChunk } from '../../shared/store/batches/chunk-store.ts';

// Quotes inside of an id or a label are escaped in JSON, so only a row's own field reads like these.
const ERROR_FIELD = ',"error":{';
const UNKNOWN_FIELD = ',"unknown":';
/** Longest share as it is written, `0.0001`. */
const SHARE_CHARS = 6;

/** @param ndjson a chunk's results */
export function countOutcomes(
  ndjson: Buffer,
): Pick<FinishedChunk, 'failedRows' | 'unknownRows' | 'unknownShares'> {
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
