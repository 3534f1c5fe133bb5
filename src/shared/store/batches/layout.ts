/**
 * Names of a batch's blobs, and the formats of index and manifest, by which a chunk is found.
 *
 *     batches/<batch>/manifest-<parts>.json           the parts of the input
 *     batches/<batch>/parts/<number>-<upload>.data    records of a part, chunk after chunk
 *     batches/<batch>/parts/<number>-<upload>.index   position of each chunk
 *     batches/<batch>/parts/<number>-<upload>.columns column names of a header that is too long for Redis, JSON
 *     batches/<batch>/columns                         the same, of a header that came without records
 *     batches/<batch>/results/<revision>/<chunk>      NDJSON, a line per record
 *
 * Chunks are counted from 0 through all parts, in the order of the parts' numbers.
 */
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { storedPartSchema, type StoredPart } from '../../contract/batches.ts';
import { inSlices } from '../../runtime/in-slices.ts';

export const batchPrefix = (batch: string): string => `batches/${batch}/`;
export const partBlob = (batch: string, number: number, upload: string): string =>
  `${batchPrefix(batch)}parts/${number}-${upload}`;
export const dataKey = (blob: string): string => `${blob}.data`;
export const indexKey = (blob: string): string => `${blob}.index`;
export const partColumnsKey = (blob: string): string => `${blob}.columns`;
export const batchColumnsKey = (batch: string): string => `${batchPrefix(batch)}columns`;
export const manifestKey = (batch: string, name: string): string =>
  `${batchPrefix(batch)}manifest-${name}.json`;
export const resultsKey = (batch: string, revision: string, chunk: number): string =>
  `${batchPrefix(batch)}results/${revision}/${chunk}`;

/** A chunk inside its part. */
export interface ChunkEntry {
  /** First byte in the part's data. */
  offset: number;
  bytes: number;
  rows: number;
  /** Line of the part on which its first record begins, from 1. */
  firstLine: number;
}

export const ENTRY_BYTES = 24;

/**
 * The index of a part: 24 bytes a chunk, little-endian: offset (f64), first line (f64), bytes (u32), rows (u32). It has
 * this form in memory, too, because a part can have a million chunks.
 */
export class IndexWriter {
  #buffer = Buffer.alloc(64 * ENTRY_BYTES);
  #used = 0;

  /** Number of entries so far. */
  get entries(): number {
    return this.#used / ENTRY_BYTES;
  }

  /** The index so far, until the next entry is added. */
  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.#used);
  }

  add({ offset, bytes, rows, firstLine }: ChunkEntry): void {
    if (this.#used === this.#buffer.length) {
      const larger = Buffer.alloc(2 * this.#used);
      this.#buffer.copy(larger);
      this.#buffer = larger;
    }
    const index = this.#buffer;
    let at = index.writeDoubleLE(offset, this.#used);
    at = index.writeDoubleLE(firstLine, at);
    at = index.writeUInt32LE(bytes, at);
    this.#used = index.writeUInt32LE(rows, at);
  }
}

/** @throws RangeError when the index has no such chunk */
export function readEntry(index: Buffer, chunk: number): ChunkEntry {
  const at = chunk * ENTRY_BYTES;
  return {
    offset: index.readDoubleLE(at),
    firstLine: index.readDoubleLE(at + 8),
    bytes: index.readUInt32LE(at + 16),
    rows: index.readUInt32LE(at + 20),
  };
}

export function countEntries(index: Buffer): number {
  return index.length / ENTRY_BYTES;
}

const manifestSchema = z.object({ v: z.literal(1), parts: z.array(z.unknown()) });

/** Largest manifest that is read. With 10,000 parts one has up to 9 MB; those of earlier versions had the names of all columns. */
export const MAX_MANIFEST_BYTES = 32 * 1024 * 1024;

export function encodeManifest(parts: readonly StoredPart[]): Buffer {
  return Buffer.from(JSON.stringify({ v: 1, parts: [...parts] } satisfies z.input<typeof manifestSchema>));
}

/** The parts; equal columns are one array in memory, because most parts have the same. */
function* parsedParts(parts: readonly unknown[]): Generator<StoredPart> {
  let columns: string[] | undefined;
  for (const json of parts) {
    const part = storedPartSchema.parse(json);
    if (isDeepStrictEqual(part.columns, columns)) part.columns &&= columns;
    columns = part.columns;
    yield part;
  }
}

/** A part with its position in the input. */
export interface PlacedPart extends StoredPart {
  /** Number of its first chunk in the whole input. */
  firstChunk: number;
  /** Number of its first line in the whole input. */
  firstLine: number;
}

/** The parts of an input, placed one behind the other. */
export class Manifest {
  readonly parts: readonly PlacedPart[];

  /** @param firstLine number of the input's first line */
  constructor(parts: readonly StoredPart[], firstLine: number) {
    let chunk = 0;
    let line = firstLine;
    this.parts = parts.map((part) => {
      const placed = { ...part, firstChunk: chunk, firstLine: line };
      chunk += part.chunks;
      line += part.lines;
      return placed;
    });
  }

  /** @throws SyntaxError or ZodError when `json` was not made by encodeManifest */
  static async parse(json: Buffer, firstLine: number): Promise<Manifest> {
    const { parts } = manifestSchema.parse(JSON.parse(json.toString()));
    return new Manifest(await inSlices(parsedParts(parts)), firstLine);
  }

  /** @throws RangeError when the input has no such chunk */
  partOf(chunk: number): PlacedPart {
    const part = this.parts.findLast(({ firstChunk, chunks }) => firstChunk <= chunk && chunks > 0);
    if (!part || chunk >= part.firstChunk + part.chunks) throw new RangeError(`there is no chunk ${chunk}`);
    return part;
  }

  /** The last part with chunks that begins on or before `line`. */
  partAtLine(line: number): PlacedPart | undefined {
    return this.parts.findLast(({ firstLine, chunks }) => firstLine <= line && chunks > 0);
  }
}
