/**
 * The input of a batch, read back from the blob store. Disks and people damage files: everything is compared with what Redis and
 * the manifest say of it, so that damage is reported and never classified.
 */
import { BlobNotFound, type BlobStore } from '../../blobs/blob-store.ts';
import {
  countEntries,
  dataKey,
  ENTRY_BYTES,
  indexKey,
  Manifest,
  manifestKey,
  MAX_MANIFEST_BYTES,
  readEntry,
  type ChunkEntry,
} from './layout.ts';
import type { BatchRecord } from './batch-record.ts';
import type { StoredPart } from '../../contract/batches.ts';

/** A blob of the input differs from what was written. `message` names the part; it may be shown to the caller. */
export class DamagedInput extends Error {
  override name = 'DamagedInput';
}

/**
 * The parts of a batch whose input is complete.
 * @returns undefined while the batch is open
 * @throws DamagedInput; BlobError, also `blob_not_found`
 */
export async function readManifest(
  store: BlobStore,
  id: string,
  { manifest: name, spec, chunks }: Pick<BatchRecord, 'manifest' | 'spec' | 'chunks'>,
): Promise<Manifest | undefined> {
  if (name === undefined) return undefined;
  const json = await store.read(manifestKey(id, name), { end: MAX_MANIFEST_BYTES + 1 });
  if (json.length > MAX_MANIFEST_BYTES) {
    throw new DamagedInput(
      `the list of its parts has more than ${MAX_MANIFEST_BYTES} bytes, because an earlier version kept the names of all columns: submit the input again, with fewer columns`,
    );
  }
  let manifest: Manifest;
  try {
    manifest = await Manifest.parse(json, spec.first_line);
  } catch {
    throw new DamagedInput(
      'the list of its parts is damaged in the blob store: it is not the JSON that was stored',
    );
  }
  const listed = manifest.parts.reduce((sum, part) => sum + part.chunks, 0);
  if (listed !== chunks) {
    throw new DamagedInput(
      `the list of its parts is damaged in the blob store: it has ${listed} chunks instead of ${chunks}`,
    );
  }
  return manifest;
}

/**
 * The index of a part (see `readEntry`), with every entry checked.
 * @throws DamagedInput; BlobError, also `blob_not_found`
 */
export async function readIndex(store: BlobStore, part: StoredPart): Promise<Buffer> {
  const index = await store.read(indexKey(part.blob));
  const wrong = indexProblem(index, part);
  if (wrong !== undefined) {
    throw new DamagedInput(
      `the index of part ${part.number} of its input is damaged in the blob store: ${wrong}`,
    );
  }
  return index;
}

/**
 * First line of a chunk, counted in the whole input, and its number of rows.
 * @throws RangeError when the batch has no such chunk; DamagedInput; BlobError, also `blob_not_found`
 */
export async function findChunk(
  store: BlobStore,
  id: string,
  record: Pick<BatchRecord, 'manifest' | 'spec' | 'chunks'>,
  chunk: number,
): Promise<{ line: number; rows: number }> {
  const manifest = await readManifest(store, id, record);
  if (!manifest) throw new RangeError(`batch ${id} has no chunks yet`);
  const part = manifest.partOf(chunk);
  const { firstLine, rows } = readEntry(await readIndex(store, part), chunk - part.firstChunk);
  return { line: part.firstLine - 1 + firstLine, rows };
}

/** How an index differs from its part: chunks must follow each other without a gap, and add up to the rows of the part. */
function indexProblem(index: Buffer, { chunks, rows, lines }: StoredPart): string | undefined {
  if (index.length !== chunks * ENTRY_BYTES)
    return `${index.length} of ${chunks * ENTRY_BYTES} bytes are there`;
  let offset = 0;
  let firstLine = 0;
  let counted = 0;
  for (let chunk = 0; chunk < countEntries(index); chunk++) {
    const entry = readEntry(index, chunk);
    const lineFits =
      Number.isSafeInteger(entry.firstLine) && entry.firstLine > firstLine && entry.firstLine <= lines;
    if (entry.offset !== offset || !lineFits) return `its entry ${chunk + 1} is not the one that was stored`;
    offset += entry.bytes;
    counted += entry.rows;
    ({ firstLine } = entry);
  }
  return counted === rows ? undefined : `it has ${counted} rows instead of ${rows}`;
}

/**
 * The records of one chunk, as they were stored.
 * @throws DamagedInput; BlobError, also `blob_not_found`
 */
export async function readRecords(store: BlobStore, part: StoredPart, entry: ChunkEntry): Promise<Buffer> {
  const bytes = await store.read(dataKey(part.blob), {
    start: entry.offset,
    end: entry.offset + entry.bytes,
  });
  if (bytes.length === entry.bytes) return bytes;
  throw new DamagedInput(
    `part ${part.number} of its input is cut short in the blob store: it ends at byte ${entry.offset + bytes.length}, inside a chunk that goes to byte ${entry.offset + entry.bytes}`,
  );
}

/** The error of a batch or request whose input is damaged or missing; undefined for other errors. */
export function inputProblem(
  error: unknown,
): { code: 'input_lost' | 'input_damaged'; message: string } | undefined {
  if (error instanceof DamagedInput) return { code: 'input_damaged', message: error.message };
  if (error instanceof BlobNotFound)
    return { code: 'input_lost', message: 'its input is no longer in the blob store' };
  return undefined;
}
