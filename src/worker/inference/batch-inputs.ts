/**
 * What a worker keeps in memory of the batches that it has chunks of, so that it reads a list of parts once, and not for every
 * chunk. Bounded in batches and in bytes; what was used longest ago is dropped first.
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

/** What is known of the input of a batch, and never changes. */
export interface BatchInput {
  spec: BatchSpec;
  manifest: Manifest;
}

interface Kept extends BatchInput {
  /** By the name of the part's blob. */
  indexes: Map<string, Buffer>;
  /** Of memory, roughly. */
  bytes: number;
}

export class BatchInputs {
  readonly #batches: BatchStore;
  readonly #blobs: LazyBlobStore;
  readonly #limits: { batches: number; bytes: number };
  /** What was used last comes last. */
  readonly #kept = new Map<string, Kept>();
  readonly #reading = new Map<string, Promise<Kept | undefined>>();

  constructor(
    { batches, blobs }: { batches: BatchStore; blobs: LazyBlobStore },
    limits = { batches: MAX_BATCHES, bytes: MAX_BYTES },
  ) {
    this.#batches = batches;
    this.#blobs = blobs;
    this.#limits = limits;
  }

  /** Bytes of memory that are kept, roughly. */
  get bytes(): number {
    return [...this.#kept.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /**
   * @returns undefined when there is no such batch, or its input is not whole
   * @throws DamagedInput; BlobError
   */
  async get(batch: string): Promise<BatchInput | undefined> {
    return this.#use(batch);
  }

  /** The index of a part of a batch. @throws DamagedInput; BlobError */
  async index(batch: string, part: PlacedPart): Promise<Buffer> {
    const kept = await this.#use(batch);
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

  /** Of a batch that has ended: nothing of it is needed any more. */
  drop(batch: string): void {
    this.#kept.delete(batch);
  }

  async #use(batch: string): Promise<Kept | undefined> {
    const kept = this.#kept.get(batch) ?? (await this.#readOnce(batch));
    if (!kept) return undefined;
    this.#kept.delete(batch);
    this.#kept.set(batch, kept);
    this.#dropOldest();
    return kept;
  }

  #readOnce(batch: string): Promise<Kept | undefined> {
    const reading = this.#reading.get(batch) ?? this.#read(batch).finally(() => this.#reading.delete(batch));
    this.#reading.set(batch, reading);
    return reading;
  }

  async #read(batch: string): Promise<Kept | undefined> {
    const record = await this.#batches.read(batch);
    const manifest = record && (await readManifest(await this.#blobs(), batch, record));
    if (!manifest) return undefined;
    return { spec: record.spec, manifest, indexes: new Map(), bytes: manifest.parts.length * PART_BYTES };
  }

  /** The one that was used last stays, however large it is. */
  #dropOldest(): void {
    let { bytes } = this;
    for (const [batch, kept] of this.#kept) {
      const fits = this.#kept.size <= this.#limits.batches && bytes <= this.#limits.bytes;
      if (fits || this.#kept.size === 1) return;
      this.#kept.delete(batch);
      bytes -= kept.bytes;
    }
  }
}
