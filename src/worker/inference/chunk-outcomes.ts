/**
 * Counts the rows of a chunk by outcome in its stored results, not while they are made: an earlier worker may have stored them
 * before dying, with other error rows.
 */
import type { ChunkCounts } from '../../shared/store/batches/results.ts';
import type { ChunkTally } from '../../shared/store/batches/tally.ts';

export interface ChunkOutcomes extends ChunkCounts {
  tally: ChunkTally;
}

export const noOutcomes = (): ChunkOutcomes => ({
  failedRows: 0,
  unknownRows: 0,
  unknownShares: 0,
  tally: { truncatedRows: 0, scores: 0, labels: new Map(), errors: new Map() },
});

// Quotes inside ids and labels are escaped in JSON, so only a field of the row itself matches; the entries of `labels` begin with
// `{"label"`.
const ERROR_FIELD = ',"error":{';
const CODE = /^"code":"(\w+)"/;
const UNKNOWN_FIELD = ',"unknown":';
const TRUNCATED_FIELD = ',"truncated":true';
const LABEL_FIELD = ',"label":"';
const SCORE_FIELD = '","score":';
/** Length of the longest share, as in `0.0001`. */
const SHARE_CHARS = 6;
/** More than any code has, with `"code":""`. */
const CODE_CHARS = 64;
/** Length of the longest number in JSON, as in `-1.2345678901234567e-300`. */
const NUMBER_CHARS = 25;

/**
 * @param ndjson whole lines of a chunk's results
 * @param outcomes to which they are added
 */
export function countOutcomes(ndjson: Buffer, outcomes = noOutcomes()): ChunkOutcomes {
  const { tally } = outcomes;
  for (const at of endsOf(ERROR_FIELD, ndjson)) {
    outcomes.failedRows++;
    const [, code] = CODE.exec(ndjson.toString('latin1', at, at + CODE_CHARS)) ?? [];
    if (code !== undefined) addOne(tally.errors, code);
  }
  for (const at of endsOf(UNKNOWN_FIELD, ndjson)) {
    outcomes.unknownRows++;
    outcomes.unknownShares += Number.parseFloat(ndjson.toString('latin1', at, at + SHARE_CHARS));
  }
  for (const _ of endsOf(TRUNCATED_FIELD, ndjson)) tally.truncatedRows++;
  for (const at of endsOf(LABEL_FIELD, ndjson)) {
    const end = ndjson.indexOf(SCORE_FIELD, at);
    const written = ndjson.toString('utf8', at, end);
    addOne(tally.labels, written.includes('\\') ? (JSON.parse(`"${written}"`) as string) : written);
    const from = end + SCORE_FIELD.length;
    const score = Number.parseFloat(ndjson.toString('latin1', from, from + NUMBER_CHARS));
    if (Number.isFinite(score)) tally.scores += score;
  }
  return outcomes;
}

/** Indexes after each occurrence of a field. */
function* endsOf(field: string, ndjson: Buffer): Generator<number> {
  for (let at = ndjson.indexOf(field); at !== -1; at = ndjson.indexOf(field, at)) {
    at += field.length;
    yield at;
  }
}

function addOne(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}
