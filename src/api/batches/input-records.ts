/** Reads the stored records of a batch chunk by chunk, with the names of their columns, while its results are sent. */
import { inputOf, toHeader } from '../../shared/bulk/csv.ts';
import { chunkRecords, type StoredRecord } from '../../shared/bulk/parse.ts';
import { BlobNotFound, type BlobStore } from '../../shared/blobs/blob-store.ts';
import type { BatchSpec } from '../../shared/contract/batches.ts';
import { DamagedInput, readIndex, readRecords } from '../../shared/store/batches/input.ts';
import {
  batchColumnsKey,
  partColumnsKey,
  readEntry,
  type Manifest,
  type PlacedPart,
} from '../../shared/store/batches/layout.ts';

export class InputRecords {
  readonly id: string;
  readonly spec: BatchSpec;
  readonly manifest: Manifest;
  readonly #store: BlobStore;
  #index: { part: PlacedPart; bytes: Buffer } | undefined;

  constructor(store: BlobStore, id: string, spec: BatchSpec, manifest: Manifest) {
    this.#store = store;
    this.id = id;
    this.spec = spec;
    this.manifest = manifest;
  }

  /** @throws DamagedInput, BlobError */
  async ofChunk(chunk: number): Promise<Generator<StoredRecord, void, undefined>> {
    const part = this.manifest.partOf(chunk);
    if (this.#index?.part !== part) this.#index = { part, bytes: await readIndex(this.#store, part) };
    const entry = readEntry(this.#index.bytes, chunk - part.firstChunk);
    const bytes = await readRecords(this.#store, part, entry);
    return chunkRecords(bytes, inputOf(this.spec, part), part.firstLine - 1 + entry.firstLine);
  }

  /**
   * The column names of a part of a CSV.
   * @returns undefined when an earlier version stored the part, and its header was too long
   * @throws DamagedInput, BlobError
   */
  async columnsOf(part: PlacedPart): Promise<readonly string[] | undefined> {
    const short = part.columns ?? this.spec.columns;
    if (short !== undefined) return short;
    const key = this.spec.header === undefined ? partColumnsKey(part.blob) : batchColumnsKey(this.id);
    let json: string;
    try {
      json = (await this.#store.read(key)).toString();
    } catch (error) {
      if (error instanceof BlobNotFound) return undefined;
      throw error;
    }
    const names = parseNames(json);
    const input = inputOf(this.spec, part);
    if (names && toHeader(names, input).digest === input.header?.digest) return names;
    throw new DamagedInput('the names of its columns are damaged in the blob store');
  }
}

function parseNames(json: string): string[] | undefined {
  try {
    const names: unknown = JSON.parse(json);
    return Array.isArray(names) ? names.map(String) : undefined;
  } catch {
    return undefined;
  }
}
