/**
 * The upload of a part: checks the limits, reserves room, stores the blobs and adds the part to its batch. A repeated upload
 * is compared with the stored part and not stored again.
 */
import { randomUUID } from 'node:crypto';
import type { StoredPart } from '../../shared/contract/batches.ts';
import { AppError } from '../../shared/contract/problems.ts';
import type { BatchStatus } from '../../shared/contract/states.ts';
import type { Config } from '../../shared/runtime/config.ts';
import type { BatchRecord } from '../../shared/store/batches/batch-record.ts';
import { readManifest } from '../../shared/store/batches/input.ts';
import { partBlob } from '../../shared/store/batches/layout.ts';
import { limitReached, notFound, notOpen, tooManyChunks, tooManyParts } from './batch-problems.ts';
import { inputOf } from '../../shared/bulk/csv.ts';
import { headerLimits, sniffPart } from './batch-spec.ts';
import { requireSamePart } from './compare-parts.ts';
import { Reservation, storageLimits } from './reservation.ts';
import { digestUpload, dropPart, storePart } from './store-part.ts';
import type { UploadPace } from './upload-pace.ts';
import type { Deps } from '../deps.ts';

export interface PartUploadDeps extends Deps<'config' | 'withRedis' | 'batchStore' | 'blobs' | 'admission'> {
  /** Called for each stored upload. @param bytes after gunzip */
  onUpload: (bytes: number) => void;
}

export interface Upload {
  body: AsyncIterable<Uint8Array>;
  gzip: boolean;
  /** Size of the body after gunzip, if it is known. */
  expectedBytes?: number | undefined;
  /** For a whole input: whether the query names its format, not only the Content-Type. */
  formatNamed?: boolean;
}

/** Longest time between two signs of an upload that keep its batch open. */
const MAX_KEEP_OPEN_MS = 60_000;

export class PartUploads {
  readonly #deps: PartUploadDeps;

  constructor(deps: PartUploadDeps) {
    this.#deps = deps;
  }

  /** Stores a part and adds it to its batch, unless the batch has the same part already. */
  async add(id: string, number: number, upload: Upload): Promise<{ part: StoredPart; added: boolean }> {
    const { withRedis, batchStore, admission } = this.#deps;
    const { record, earlier } = await withRedis(async () => {
      const found = await batchStore.read(id);
      if (!found) throw notFound(id);
      const part = await batchStore.parts.read(id, number);
      if (found.status === 'open' && part === undefined) await admission.requireRoom();
      return { record: found, earlier: part };
    });
    if (earlier !== undefined || record.status !== 'open') {
      const known = earlier ?? (await this.#closedPart(id, number, record.status));
      return { part: await this.#repeat(known, upload), added: false };
    }
    const { expectedBytes } = upload;
    const reservation = new Reservation({ ...this.#deps, batch: id, expectedBytes });
    try {
      return await this.#store(id, record, number, upload, reservation);
    } finally {
      await reservation.release();
    }
  }

  /** Reads a repeated upload to compare it with the stored part, without storing it. */
  async #repeat(known: StoredPart, { body, gzip }: Upload): Promise<StoredPart> {
    const pace = paceOf(this.#deps.config);
    return requireSamePart(known, await digestUpload(body, { gzip, pace, maxBytes: known.bytes }));
  }

  async #store(
    id: string,
    { spec, partChunks }: BatchRecord,
    number: number,
    { body, gzip, formatNamed }: Upload,
    reservation: Reservation,
  ): Promise<{ part: StoredPart; added: boolean }> {
    const { withRedis, batchStore, blobs, config } = this.#deps;
    const store = await blobs();
    const blob = partBlob(id, number, randomUUID().slice(-12));
    const uploaded = await storePart(store, body, {
      blob,
      gzip,
      input: inputOf(spec),
      sniff: (head, whole) => sniffPart(spec, number, { head, whole, gzip, formatNamed }),
      chunkBytes: spec.chunk_bytes,
      maxRecordBytes: config.MAX_RECORD_BYTES,
      maxHeader: headerLimits(config),
      storedHeader: { columns: spec.columns, header: spec.header },
      reserve: (bytes) => reservation.cover(bytes),
      admitChunk: (chunks) => {
        if (partChunks + chunks > config.MAX_BATCH_CHUNKS) throw tooManyChunks(config);
      },
      pace: paceOf(config),
      onBytes: this.#keepOpen(id),
    });
    this.#deps.onUpload(uploaded.bytes);
    const part: StoredPart = { number, ...uploaded };
    const limits = {
      ...storageLimits(config),
      batchChunks: config.MAX_BATCH_CHUNKS,
      openParts: config.MAX_OPEN_PARTS,
    };
    const adding = withRedis(() => batchStore.parts.add(id, part, limits, reservation.upload));
    const result = await adding.catch(async (error: unknown) => {
      // Only these refusals are certain. After any other failure the part may have been added, so its blobs stay with the batch.
      if (error instanceof AppError && /^redis_(disk_)?full$/.test(error.code))
        await dropPart(store, blob).catch(() => {});
      throw error;
    });
    if (result.outcome === 'added') {
      reservation.counted();
      return { part, added: true };
    }
    await dropPart(store, blob).catch(() => {});
    if (result.outcome === 'ended') {
      const same = await this.#closedPart(id, number, result.status);
      return { part: requireSamePart(same, part.sha256), added: false };
    }
    if (result.outcome === 'exists') return { part: requireSamePart(result.part, part.sha256), added: false };
    if (result.outcome === 'parts') throw tooManyParts(config);
    if (result.outcome === 'chunks') throw tooManyChunks(config);
    throw limitReached(result.outcome, config);
  }

  /** @returns a function to call for each piece of an upload: it keeps the batch open, however long the upload takes */
  #keepOpen(id: string): () => void {
    const { batchStore, withRedis, config } = this.#deps;
    const intervalMs = Math.min(MAX_KEEP_OPEN_MS, (config.OPEN_BATCH_TTL_S * 1000) / 4);
    let last = -Infinity;
    return () => {
      if (performance.now() - last < intervalMs) return;
      last = performance.now();
      withRedis(() => batchStore.keepOpen(id)).catch(() => {});
    };
  }

  /**
   * A part of a batch that takes no more parts.
   * @throws AppError `batch_not_open` when it has no part of this number, `batch_not_found`
   */
  async #closedPart(id: string, number: number, status: BatchStatus | undefined): Promise<StoredPart> {
    if (status === undefined) throw notFound(id);
    const { batchStore, blobs, withRedis } = this.#deps;
    const record = await withRedis(() => batchStore.read(id));
    const manifest = record && (await readManifest(await blobs(), id, record));
    const part = manifest?.parts.find((other) => other.number === number);
    if (!part) throw notOpen(id, status);
    return part;
  }
}

const paceOf = ({ UPLOAD_IDLE_S, UPLOAD_MIN_BYTES_PER_S }: Config): UploadPace => ({
  idleMs: UPLOAD_IDLE_S * 1000,
  minBytesPerS: UPLOAD_MIN_BYTES_PER_S,
});
