/**
 * Results of a chunk in the blob store, and their checksum, which is recorded in Redis when the chunk is counted. A reader gets
 * all bytes that a worker wrote, or an error before the first byte.
 */
import { createHash } from 'node:crypto';
import { BlobNotFound, type BlobStore } from '../../blobs/blob-store.ts';
import { toBuffer } from '../../blobs/byte-streams.ts';

/**
 * Size of the checksum of a chunk's results. Little-endian, and small because Redis keeps one for every chunk of every batch: the
 * first 4 bytes of the SHA-256, and the counts that resume.lua subtracts when the chunk is done again: failed rows (u16), rows
 * with unknown tokens (u16), sum of their shares (u32, SHARE_UNITS).
 */
export const CHECKSUM_BYTES = 12;
const DIGEST_BYTES = 4;
/** Redis sums shares up as whole numbers of 1/10,000: results have four decimals. */
export const SHARE_UNITS = 10_000;
/** Results up to this size are checked in memory; larger ones are read twice. */
const BUFFERED_BYTES = 1024 * 1024;

const LF = 0x0a;

export interface ChunkCounts {
  failedRows: number;
  /** Rows with a label and with tokens that the model cannot read. */
  unknownRows: number;
  /** Sum of the shares of these tokens, each from 0 to 1. */
  unknownShares: number;
}

/** @throws RangeError for more than 65,535 rows, which no chunk has */
export function encodeChecksum(ndjson: Buffer, counts: ChunkCounts): Buffer {
  return checksumOf(createHash('sha256').update(ndjson).digest(), counts);
}

/** @param sha256 of the results @throws RangeError as encodeChecksum */
export function checksumOf(sha256: Buffer, counts: ChunkCounts): Buffer {
  const checksum = Buffer.alloc(CHECKSUM_BYTES);
  sha256.copy(checksum, 0, 0, DIGEST_BYTES);
  checksum.writeUInt16LE(counts.failedRows, 4);
  checksum.writeUInt16LE(counts.unknownRows, 6);
  checksum.writeUInt32LE(Math.round(counts.unknownShares * SHARE_UNITS), 8);
  return checksum;
}

/** The digest in a checksum; undefined when a worker of an earlier version recorded none. */
export function digestOf(checksum: Buffer): Buffer | undefined {
  const recorded = checksum.subarray(0, CHECKSUM_BYTES);
  if (recorded.length < CHECKSUM_BYTES || recorded.every((byte) => byte === 0)) return undefined;
  return recorded.subarray(0, DIGEST_BYTES);
}

/** Results of a chunk differ from what was written. `message` says how; it may be shown to the caller. */
export class DamagedResults extends Error {
  override name = 'DamagedResults';
}

/**
 * The results of a chunk as NDJSON, in pieces. All bytes are read and checked before the first piece.
 * @param rows number of rows of the chunk; called only when there is no digest
 * @throws DamagedResults; BlobError
 */
export async function* readResults(
  store: BlobStore,
  key: string,
  digest: Buffer | undefined,
  rows: () => Promise<number>,
): AsyncGenerator<Uint8Array> {
  try {
    const head = await toBuffer(store.get(key, { end: BUFFERED_BYTES }));
    const isAll = head.length < BUFFERED_BYTES;
    async function* all() {
      yield head;
      if (!isAll) yield* store.get(key, { start: BUFFERED_BYTES });
    }
    const problem = await damageOf(all(), digest, rows);
    if (problem !== undefined) throw new DamagedResults(problem);
    yield* all();
  } catch (error) {
    if (error instanceof BlobNotFound) throw new DamagedResults('they are missing');
    throw error;
  }
}

/** How the results of a chunk differ from what was written. Without a digest only their lines are counted. */
async function damageOf(
  pieces: AsyncIterable<Uint8Array>,
  digest: Buffer | undefined,
  rows: () => Promise<number>,
): Promise<string | undefined> {
  const hash = createHash('sha256');
  let bytes = 0;
  let lines = 0;
  let last: number | undefined;
  for await (const piece of pieces) {
    hash.update(piece);
    bytes += piece.length;
    last = piece.at(-1) ?? last;
    if (digest) continue;
    for (let at = piece.indexOf(LF); at !== -1; at = piece.indexOf(LF, at + 1)) lines++;
  }
  if (digest && hash.digest().subarray(0, digest.length).equals(digest)) return undefined;
  if (last === undefined) return 'they are empty';
  if (last !== LF) return `they end in the middle of a line, after ${bytes} bytes`;
  if (digest) return `their ${bytes} bytes are not those that were stored`;
  const wanted = await rows();
  return lines === wanted ? undefined : `they have ${lines} rows instead of ${wanted}`;
}

/** Whether a blob may be the results of a chunk: a JSON object per row, in their order. @param lines line numbers of the rows */
export function isPlausible(ndjson: Buffer, lines: readonly number[]): boolean {
  if (ndjson.at(-1) !== LF) return false;
  const rows = ndjson.toString('utf8', 0, ndjson.length - 1).split('\n');
  if (rows.length !== lines.length) return false;
  try {
    return rows.every((row, i) => (JSON.parse(row) as { line?: unknown }).line === lines[i]);
  } catch {
    return false;
  }
}
