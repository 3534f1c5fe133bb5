/**
 * Caches the specification and the list of parts of the batches that a worker has chunks of, so that it reads them once, not for
 * every chunk. Bounded in batches and in bytes; drops the least recently used batch first.
 */
import { readIndex, readManifest } from '../../shared/store/batches/input.ts';
import type { Manifest, PlacedPart } from '../../shared/store/batches/layout.ts';
import type { BatchStore } from '../../shared/store/batches/batch-store.ts';
import type { LazyBlobStore } from '../../shared/blobs/blob-store.ts';
import type { BatchSpec } from '../../shared/contract/batches.ts';

/** Default bounds. */
const MAX_BATCHES = 64;
const MAX_BYTES = 64 * 1024 * 1024;
/** A part of a manifest in memory, roughly. */
const PART_BYTES = 600;

/** The input of a batch, which never changes. */
export interface BatchInput {
  spec: BatchSpec;
  manifest: Manifest;
}

interface Cached extends BatchInput {
  /** Indexes of parts, by the name of the part's blob. */
  indexes: Map<string, Buffer>;
  /** Approximate memory. */
  bytes: number;
}

export class BatchInputs {
  readonly #batchStore: BatchStore;
  readonly #blobs: LazyBlobStore;
  readonly #limits: { batches: number; bytes: number };
  /** The most recently used comes last. */
  readonly #cached = new Map<string, Cached>();
  readonly #reading = new Map<string, Promise<Cached | undefined>>();

  constructor(
    { batchStore, blobs }: { batchStore: BatchStore; blobs: LazyBlobStore },
    limits = { batches: MAX_BATCHES, bytes: MAX_BYTES },
  ) {
    this.#batchStore = batchStore;
    this.#blobs = blobs;
    this.#limits = limits;
  }

  /** Approximate memory of all batches, in bytes. */
  get bytes(): number {
    return [...this.#cached.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /**
   * @returns undefined when the batch does not exist, or its input is incomplete
   * @throws DamagedInput; BlobError
   */
  async get(batch: string): Promise<Cached | undefined> {
    const kept = this.#cached.get(batch) ?? (await this.#readOnce(batch));
    if (!kept) return undefined;
    this.#cached.delete(batch);
    this.#cached.set(batch, kept);
    this.#dropOldest();
    return kept;
  }

  /** The index of a part of a batch. @throws DamagedInput; BlobError */
  async index(batch: string, part: PlacedPart): Promise<Buffer> {
    const kept = await this.get(batch);
    const known = kept?.indexes.get(part.blob);
    if (known) return known;
    const index = await readIndex(await this.#blobs(), part);
    if (kept && !kept.indexes.has(part.blob)) {
      kept.indexes.set(part.blob, index);
      kept.bytes += index.length;
      this.#dropOldest();
    }
    return index;
  }

  /** Drops a batch that has ended. */
  drop(batch: string): void {
    this.#cached.delete(batch);
  }

  #readOnce(batch: string): Promise<Cached | undefined> {
    const reading = this.#reading.get(batch) ?? this.#read(batch).finally(() => this.#reading.delete(batch));
    this.#reading.set(batch, reading);
    return reading;
  }

  async #read(batch: string): Promise<Cached | undefined> {
    const record = await this.#batchStore.read(batch);
    const manifest = record && (await readManifest(await this.#blobs(), batch, record));
    if (!manifest) return undefined;
    return { spec: record.spec, manifest, indexes: new Map(), bytes: manifest.parts.length * PART_BYTES };
  }

  /** The most recently used batch stays, however large it is. */
  #dropOldest(): void {
    let { bytes } = this;
    for (const [batch, kept] of this.#cached) {
      const fits = this.#cached.size <= this.#limits.batches && bytes <= this.#limits.bytes;
      if (fits || this.#cached.size === 1) return;
      this.#cached.delete(batch);
      bytes -= kept.bytes;
    }
  }
}
