/**
 * One upload → the blobs of a part, in one pass: undo gzip, hash, find the ends of records, cut chunks, write. Memory is a
 * chunk, a record and 24 bytes for each chunk, whatever comes, because the blob store takes no faster than it writes.
 */
import { createHash } from 'node:crypto';
import { dataKey, indexKey, IndexWriter } from '../../shared/store/batches/layout.ts';
import type { BlobStore } from '../../shared/blobs/blob-store.ts';
import { gunzip, GzipError, type GzipProblem } from '../../shared/bulk/gunzip.ts';
import { toStoredHeader, type HeaderLimits } from '../../shared/bulk/csv.ts';
import { InputError, type InputSpec } from '../../shared/bulk/input.ts';
import { SNIFF_BYTES } from '../../shared/bulk/sniff.ts';
import { splitRecords } from '../../shared/bulk/split.ts';
import type { StoredHeader, StoredPart } from '../../shared/contract/batches.ts';
import { AppError } from '../../shared/contract/problems.ts';
import { withPace, type UploadPace } from './upload-pace.ts';

/** Records in a chunk at most: a bound on what a worker holds when the texts are tiny. */
export const CHUNK_ROWS = 4096;

export interface UploadOptions {
  /** Without `.data` and `.index`. */
  blob: string;
  gzip: boolean;
  input: InputSpec;
  /** Told the first bytes of the content, and whether they are all: says what they are if they cannot be read as `input`. */
  sniff: (head: Uint8Array, whole: boolean) => string | undefined;
  chunkBytes: number;
  maxRecordBytes: number;
  maxHeader: HeaderLimits;
  /** The CSV header of the batch, if the input has none. */
  storedHeader: StoredHeader;
  /**
   * Asked before more of the content is stored.
   * @param bytes of it so far, without gzip
   * @throws AppError when there is no room for them
   */
  reserve: (bytes: number) => Promise<void> | undefined;
  /**
   * Asked before another chunk is stored.
   * @param chunks of the part, with this one
   * @throws AppError when there may not be so many
   */
  admitChunk: (chunks: number) => void;
  pace: UploadPace;
  /** Called whenever bytes have come. */
  onBytes: () => void;
}

/**
 * @throws AppError: `malformed_body` (gzip that is none, or breaks off), `upload_idle`, `invalid_request` (no column with the
 *   text, a bad header, another kind of file), those of `reserve` and `admitChunk`; BlobError. Nothing is left behind then.
 */
export async function storePart(
  blobs: BlobStore,
  body: AsyncIterable<Uint8Array>,
  options: UploadOptions,
): Promise<Omit<StoredPart, 'number'>> {
  const { blob, input, sniff, chunkBytes, maxRecordBytes, reserve, admitChunk, onBytes } = options;
  let { storedHeader } = options;
  const hash = createHash('sha256');
  const index = new IndexWriter();
  let bytes = 0;
  let rows = 0;
  let lines = 0;
  let multilineRows = 0;

  async function* content() {
    for await (const piece of contentOf(body, options)) {
      bytes += piece.length;
      const reserving = reserve(bytes);
      if (reserving) await reserving;
      hash.update(piece);
      onBytes();
      yield piece;
    }
  }
  async function* chunks() {
    const limits = { chunkRows: CHUNK_ROWS, chunkBytes, maxRecordBytes, header: options.maxHeader };
    const records = splitRecords(sniffed(content(), sniff), input, limits);
    let offset = 0;
    try {
      for (;;) {
        const next = await records.next();
        if (next.done === true) {
          ({ lines, multilineRows } = next.value);
          const { columns } = next.value;
          if (columns !== undefined) storedHeader = toStoredHeader(columns, input);
          return;
        }
        const chunk = next.value;
        admitChunk(index.entries + 1);
        index.add({ offset, bytes: chunk.bytes.length, rows: chunk.rows, firstLine: chunk.firstLine });
        offset += chunk.bytes.length;
        rows += chunk.rows;
        yield chunk.bytes;
      }
    } finally {
      // The blob store may want no more. Whoever does not let go of the body keeps its rest from being read.
      await records.return({ lines, multilineRows });
    }
  }

  await blobs.putStream(dataKey(blob), chunks());
  try {
    await blobs.put(indexKey(blob), index.bytes);
  } catch (error) {
    await dropPart(blobs, blob).catch(() => {});
    throw error;
  }
  return {
    blob,
    sha256: hash.digest('hex'),
    bytes,
    rows,
    lines,
    chunks: index.entries,
    ...storedHeader,
    ...(multilineRows === 0 ? {} : { multiline_rows: multilineRows }),
  };
}

/**
 * The SHA-256 of an upload in hex, without storing it.
 * @returns undefined as soon as it has more than `maxBytes`, without gzip
 * @throws AppError `malformed_body`, `upload_idle`
 */
export async function digestUpload(
  body: AsyncIterable<Uint8Array>,
  options: Pick<UploadOptions, 'gzip' | 'pace'> & { maxBytes: number },
): Promise<string | undefined> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const piece of contentOf(body, options)) {
    bytes += piece.length;
    if (bytes > options.maxBytes) return undefined;
    hash.update(piece);
  }
  return hash.digest('hex');
}

/** What was uploaded, without gzip. */
function contentOf(
  body: AsyncIterable<Uint8Array>,
  { gzip, pace }: Pick<UploadOptions, 'gzip' | 'pace'>,
): AsyncIterable<Uint8Array> {
  const received = withPace(body, pace);
  return gzip ? ungzip(received) : received;
}

/** The content, after a look at its beginning. Of that a copy is kept: the pieces may be single bytes of large buffers. */
async function* sniffed(
  content: AsyncIterable<Uint8Array>,
  sniff: UploadOptions['sniff'],
): AsyncGenerator<Uint8Array> {
  const head = Buffer.alloc(SNIFF_BYTES);
  let kept = 0;
  const look = (whole: boolean): Buffer => {
    const bytes = head.subarray(0, kept);
    const finding = sniff(bytes, whole);
    if (finding !== undefined) throw new InputError(`the input ${finding}`);
    return bytes;
  };
  for await (const piece of content) {
    if (kept === head.length) {
      yield piece;
      continue;
    }
    const taken = Math.min(piece.length, head.length - kept);
    head.set(piece.subarray(0, taken), kept);
    kept += taken;
    if (kept < head.length) continue;
    yield look(false);
    if (taken < piece.length) yield piece.subarray(taken);
  }
  if (kept < head.length) yield look(true);
}

/** Removes the blobs of a part that nobody refers to. */
export async function dropPart(blobs: BlobStore, blob: string): Promise<void> {
  await blobs.delete([dataKey(blob), indexKey(blob)]);
}

async function* ungzip(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* gunzip(source);
  } catch (error) {
    if (!(error instanceof GzipError)) throw error;
    throw new AppError('malformed_body', GZIP_PROBLEMS[error.problem](error), { cause: error });
  }
}

const GZIP_PROBLEMS: Record<GzipProblem, (error: GzipError) => string> = {
  cut: () => 'the gzip stream breaks off before its end: is the file whole?',
  damaged: ({ message }) => `the body is not valid gzip: ${message}`,
  trailing: () => 'the body has something else behind its gzip data: are two files in one?',
  hole: () => 'the gzip stream has a hole of zeros: what lies behind it would be lost',
  members: ({ message }) => `the gzip stream cannot be taken: ${message}`,
};
