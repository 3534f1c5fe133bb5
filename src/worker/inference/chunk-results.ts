/**
 * Writes the results of a chunk to a blob. Usually they have some hundred kilobytes, and are made in memory and written at once.
 * With thousands of labels they have hundreds of megabytes: results above a limit are written while they are made.
 */
import { BlobNotFound, type BlobStore } from '../../shared/blobs/blob-store.ts';
import { checksumOf, encodeChecksum, isPlausible } from '../../shared/store/batches/results.ts';
import type { InputRow } from '../../shared/bulk/input.ts';
import type { RowResult } from '../../shared/contract/results.ts';
import { slicesOf } from '../../shared/runtime/in-slices.ts';
import { countOutcomes, noOutcomes, type ChunkOutcomes } from './chunk-outcomes.ts';

/** Results of up to this size are written at once. */
const BUFFERED_BYTES = 8 * 1024 * 1024;
/** Most scores that are held in memory, 4 bytes each: those of 4096 rows with a thousand labels. */
const SCORES_AT_ONCE = 4096 * 1024;

export interface ChunkResults {
  outcomes: ChunkOutcomes;
  /** As encodeChecksum makes it. */
  checksum: Buffer;
}

/** Cuts the rows of a chunk into portions whose scores fit into memory. */
export function* portionsOf(
  rows: readonly InputRow[],
  labels: number,
  scoresAtOnce = SCORES_AT_ONCE,
): Generator<readonly InputRow[]> {
  const most = Math.max(1, Math.floor(scoresAtOnce / labels));
  for (let from = 0; from < rows.length; from += most) yield rows.slice(from, from + most);
}

/** Results as pieces of whole NDJSON lines, one line per row: with the row's own error, or with the next of the results. */
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
  /** Pieces of whole lines. Its errors are passed on unchanged, and leave no blob behind. */
  ndjson: AsyncGenerator<Buffer, void>;
  rows: readonly InputRow[];
  /** Called before large results get their final name. @throws to keep them from being stored */
  assertWanted: () => Promise<void>;
  bufferedBytes?: number;
}

/** @returns outcomes and checksum of the stored results, which an earlier worker may have written. @throws BlobError */
export async function storeResults(blobs: BlobStore, results: ResultsToStore): Promise<ChunkResults> {
  const { key, ndjson, rows, assertWanted, bufferedBytes = BUFFERED_BYTES } = results;
  const head: Buffer[] = [];
  for (let bytes = 0; bytes <= bufferedBytes;) {
    const next = await ndjson.next();
    if (next.done === true) return storeWhole(blobs, key, Buffer.concat(head), rows);
    head.push(next.value);
    bytes += next.value.length;
  }
  const outcomes = noOutcomes();
  async function* all() {
    for (let piece = head.shift(); piece; piece = head.shift()) yield counted(piece, outcomes);
    for await (const piece of ndjson) yield counted(piece, outcomes);
    await assertWanted();
  }
  const { sha256 } = await blobs.putStream(key, all(), { purpose: 'finish' });
  return { outcomes, checksum: checksumOf(Buffer.from(sha256, 'hex'), outcomes) };
}

function counted(lines: Buffer, outcomes: ChunkOutcomes): Buffer {
  countOutcomes(lines, outcomes);
  return lines;
}

/**
 * Writes results unless the blob exists. Then its outcomes are counted, not ours: an earlier worker may have written it before
 * dying, with other error rows. A blob that cannot be results, because it was damaged since, is replaced.
 */
async function storeWhole(
  blobs: BlobStore,
  key: string,
  ndjson: Buffer,
  rows: readonly InputRow[],
): Promise<ChunkResults> {
  if (await blobs.putIfAbsent(key, ndjson)) return described(ndjson);
  const earlier = await blobs.read(key).catch((error: unknown) => {
    // Just deleted: counted results must exist, so they are written again.
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
