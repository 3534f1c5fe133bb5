/**
 * Stores one upload as the blobs of a part, in one pass: gunzip, hash, split into records, group into chunks, write. It needs
 * memory for a chunk, a record and 24 bytes per chunk, whatever the input, because it reads no faster than the blob store writes.
 */
import { createHash } from 'node:crypto';
import { dataKey, indexKey, IndexWriter, partColumnsKey } from '../../shared/store/batches/layout.ts';
import type { BlobStore } from '../../shared/blobs/blob-store.ts';
import { gunzip, GzipError, type GzipProblem } from '../../shared/bulk/gunzip.ts';
import { toStoredHeader, type HeaderLimits } from '../../shared/bulk/csv.ts';
import { InputError, type InputSpec } from '../../shared/bulk/input.ts';
import { SNIFF_BYTES } from '../../shared/bulk/sniff.ts';
import { splitRecords } from '../../shared/bulk/split.ts';
import type { StoredHeader, StoredPart } from '../../shared/contract/batches.ts';
import { AppError } from '../../shared/contract/problems.ts';
import { withPace, type UploadPace } from './upload-pace.ts';

/** Most records of a chunk: bounds the memory of a worker when the texts are tiny. */
export const CHUNK_ROWS = 4096;

export interface UploadOptions {
  /** Name of the blobs, without `.data` and `.index`. */
  blob: string;
  gzip: boolean;
  input: InputSpec;
  /** Checks the first bytes of the content. @param whole there are no further bytes @returns why `input` cannot read them */
  sniff: (head: Uint8Array, whole: boolean) => string | undefined;
  chunkBytes: number;
  maxRecordBytes: number;
  maxHeader: HeaderLimits;
  /** The CSV header from the options of the batch, for an input without a header. */
  storedHeader: StoredHeader;
  /**
   * Called before more of the content is stored.
   * @param bytes of the content so far, after gunzip
   * @throws AppError when a limit is reached
   */
  reserve: (bytes: number) => Promise<void> | undefined;
  /**
   * Called before another chunk is stored.
   * @param chunks of the part, including this one
   * @throws AppError when the limit is reached
   */
  admitChunk: (chunks: number) => void;
  pace: UploadPace;
  /** Called for each received piece. */
  onBytes: () => void;
}

/**
 * @throws AppError: `malformed_body` (invalid or truncated gzip), `upload_idle`, `invalid_request` (no column with the text, a bad
 *   header, another kind of file), those of `reserve` and `admitChunk`; BlobError. No blob is left behind then.
 */
export async function storePart(
  blobs: BlobStore,
  body: AsyncIterable<Uint8Array>,
  options: UploadOptions,
): Promise<Omit<StoredPart, 'number'>> {
  const { blob, input, sniff, chunkBytes, maxRecordBytes, reserve, admitChunk, onBytes } = options;
  let { storedHeader } = options;
  let columns: readonly string[] | undefined;
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
          ({ columns } = next.value);
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
      // When the blob store stops early, this releases the body, so that its rest can be drained.
      await records.return({ lines, multilineRows });
    }
  }

  await blobs.putStream(dataKey(blob), chunks());
  try {
    if (columns !== undefined && storedHeader.columns === undefined)
      await blobs.put(partColumnsKey(blob), Buffer.from(JSON.stringify(columns)));
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
 * @returns undefined as soon as it has more than `maxBytes` after gunzip
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

/** The content of an upload, after gunzip. */
function contentOf(
  body: AsyncIterable<Uint8Array>,
  { gzip, pace }: Pick<UploadOptions, 'gzip' | 'pace'>,
): AsyncIterable<Uint8Array> {
  const received = withPace(body, pace);
  return gzip ? ungzip(received) : received;
}

/** Passes the content through after a check of its start, which is copied: the pieces may be single bytes of large buffers. */
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

/** Deletes the blobs of a part that no batch has. */
export async function dropPart(blobs: BlobStore, blob: string): Promise<void> {
  await blobs.delete([dataKey(blob), indexKey(blob), partColumnsKey(blob)]);
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
  cut: () => 'the gzip data is truncated: is the file complete?',
  damaged: ({ message }) => `the body is not valid gzip: ${message}`,
  trailing: () => 'the body has other data after its gzip data: are two files in one?',
  hole: () => 'the body has zero bytes between gzip members; the data after them would be lost',
  members: ({ message }) => `the gzip data cannot be accepted: ${message}`,
};
