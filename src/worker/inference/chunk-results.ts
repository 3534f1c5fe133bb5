/**
 * Writes the results of a chunk. They are mostly some hundred kilobytes, made in memory and written as a whole. With thousands
 * of labels a row they are hundreds of megabytes: what is beyond a bound is written while it is made.
 */
import { BlobNotFound, type BlobStore } from '../../shared/blobs/blob-store.ts';
import {
  checksumOf,
  encodeChecksum,
  isPlausible,
  type ChunkCounts,
} from '../../shared/store/batches/results.ts';
import type { InputRow } from '../../shared/bulk/input.ts';
import type { RowResult } from '../../shared/contract/results.ts';
import { slicesOf } from '../../shared/runtime/in-slices.ts';
import { countOutcomes } from './chunk-outcomes.ts';

/** Results of up to so many bytes are written as a whole. */
const BUFFERED_BYTES = 8 * 1024 * 1024;
/** Scores of the model that are held at a time, 4 bytes each: all those of 4096 rows with a thousand labels. */
const SCORES_AT_ONCE = 4096 * 1024;

export interface ChunkResults {
  outcomes: ChunkCounts;
  /** As encodeChecksum makes it. */
  checksum: Buffer;
}

/** The rows of a chunk, as many together as may be classified before their results are written. */
export function* portionsOf(
  rows: readonly InputRow[],
  labels: number,
  scoresAtOnce = SCORES_AT_ONCE,
): Generator<readonly InputRow[]> {
  const most = Math.max(1, Math.floor(scoresAtOnce / labels));
  for (let from = 0; from < rows.length; from += most) yield rows.slice(from, from + most);
}

/** Whole lines of NDJSON, one for each row: with its own error, or with the next of the results. */
export async function* resultLines(
  rows: readonly InputRow[],
  results: Iterable<RowResult>,
): AsyncGenerator<Buffer, void> {
  for await (const lines of slicesOf(eachLine(rows, results))) yield Buffer.concat(lines);
}

function* eachLine(rows: readonly InputRow[], results: Iterable<RowResult>): Generator<Buffer> {
  const next = results[Symbol.iterator]();
  for (const row of rows) {
    const { line, id } = row;
    const outcome = 'text' in row ? (next.next().value as RowResult) : { error: row.error };
    yield Buffer.from(`${JSON.stringify({ line, ...(id === undefined ? {} : { id }), ...outcome })}\n`);
  }
}

export interface ResultsToStore {
  key: string;
  /** Pieces of whole lines. An error of it passes unchanged, and leaves nothing behind. */
  ndjson: AsyncGenerator<Buffer, void>;
  rows: readonly InputRow[];
  /** Asked before large results get their name. @throws whatever is to be thrown instead */
  assertWanted: () => Promise<void>;
  bufferedBytes?: number;
}

/** @returns of what is there: an earlier worker may have written it. @throws BlobError */
export async function storeResults(blobs: BlobStore, results: ResultsToStore): Promise<ChunkResults> {
  const { key, ndjson, rows, assertWanted, bufferedBytes = BUFFERED_BYTES } = results;
  const head: Buffer[] = [];
  for (let bytes = 0; bytes <= bufferedBytes;) {
    const next = await ndjson.next();
    if (next.done === true) return storeWhole(blobs, key, Buffer.concat(head), rows);
    head.push(next.value);
    bytes += next.value.length;
  }
  const outcomes: ChunkCounts = { failedRows: 0, unknownRows: 0, unknownShares: 0 };
  async function* all() {
    for (let piece = head.shift(); piece; piece = head.shift()) yield counted(piece, outcomes);
    for await (const piece of ndjson) yield counted(piece, outcomes);
    await assertWanted();
  }
  const { sha256 } = await blobs.putStream(key, all(), { purpose: 'finish' });
  return { outcomes, checksum: checksumOf(Buffer.from(sha256, 'hex'), outcomes) };
}

function counted(lines: Buffer, outcomes: ChunkCounts): Buffer {
  const more = countOutcomes(lines);
  outcomes.failedRows += more.failedRows;
  outcomes.unknownRows += more.unknownRows;
  outcomes.unknownShares += more.unknownShares;
  return lines;
}

/**
 * Writes results unless they are there: an earlier worker that died before it could count them may have met another crash of
 * the model. What cannot be results, because the blob was damaged since, is replaced.
 */
async function storeWhole(
  blobs: BlobStore,
  key: string,
  ndjson: Buffer,
  rows: readonly InputRow[],
): Promise<ChunkResults> {
  if (await blobs.putIfAbsent(key, ndjson)) return described(ndjson);
  const earlier = await blobs.read(key).catch((error: unknown) => {
    // Removed just now: to be counted, the results have to be there.
    if (error instanceof BlobNotFound) return Buffer.alloc(0);
    throw error;
  });
  const lines = rows.map(({ line }) => line);
  if (isPlausible(earlier, lines)) return described(earlier);
  await blobs.put(key, ndjson);
  return described(ndjson);
}

function described(ndjson: Buffer): ChunkResults {
  const outcomes = countOutcomes(ndjson);
  return { outcomes, checksum: encodeChecksum(ndjson, outcomes) };
}
