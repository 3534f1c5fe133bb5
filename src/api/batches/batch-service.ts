/**
 * The life of a batch as callers see it: create, upload, complete, read, cancel, resume. No HTTP in here; how results are
 * read is in batch-results.ts, what happens without a caller in maintenance.ts.
 */
import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import { findChunk, readManifest } from '../../shared/store/batches/input.ts';
import { encodeManifest, manifestKey, partBlob, resultsKey } from '../../shared/store/batches/layout.ts';
import {
  toBatch,
  type BatchRecord,
  type BatchStore,
  type LimitReached,
  type StorageLimits,
  type BatchLimits,
} from '../../shared/store/batches/batch-store.ts';
import type { LazyBlobStore } from '../../shared/blobs/blob-store.ts';
import { fromStoredHeader, readHeader, toStoredHeader, type HeaderLimits } from '../../shared/bulk/csv.ts';
import { InputError, type InputSpec } from '../../shared/bulk/input.ts';
import { defaultQuote } from '../../shared/contract/quoting.ts';
import { sniff } from '../../shared/bulk/sniff.ts';
import { sniffBytes } from '../../shared/bulk/sniff-bytes.ts';
import { sniffRecords, type Reading } from '../../shared/bulk/sniff-records.ts';
import type { Config } from '../../shared/runtime/config.ts';
import { isFinal, type BatchStatus } from '../../shared/contract/states.ts';
import type { Batch, BatchPart, BatchSpec, StoredPart } from '../../shared/contract/batches.ts';
import type { CompleteBatchBody, CreateBatchQuery } from '../requests.ts';
import type { Webhook } from '../../shared/contract/webhooks.ts';
import { AppError } from '../../shared/contract/problems.ts';
import { batchModel, newBatchId, shownId } from '../../shared/contract/ids.ts';
import { cancelChannel } from '../../shared/store/queues.ts';
import type { WithRedis } from '../../shared/redis/connections.ts';
import type { Admission } from '../load/admission.ts';
import type { BatchMaintenance } from './maintenance.ts';
import type { ModelCatalog } from '../model-catalog.ts';
import { IdempotencyKeys } from '../idempotency.ts';
import { Reservation } from './reservation.ts';
import { CHUNK_ROWS, digestUpload, dropPart, storePart } from './upload.ts';
import type { UploadPace } from './upload-pace.ts';

export interface BatchServiceDeps {
  config: Config;
  redis: Redis;
  withRedis: WithRedis;
  batchStore: BatchStore;
  blobs: LazyBlobStore;
  catalog: ModelCatalog;
  admission: Admission;
  maintenance: BatchMaintenance;
  /** Told of every upload that was stored, in bytes without gzip. */
  onUpload: (bytes: number) => void;
}

/** How the input of a batch is to be read, and everything else its maker may say. */
export type NewBatch = Omit<CreateBatchQuery, 'open' | 'format' | 'webhook' | 'webhook_events'> & {
  format: BatchSpec['format'];
  webhook: Webhook | undefined;
  idempotencyKey?: string | undefined;
};

/** A batch that was made, now or by an earlier request with the same idempotency key. */
export interface SubmittedBatch {
  batch: Batch;
  /** An earlier request made it. */
  replayed: boolean;
}

/** Which batches a list has; default: all. */
export interface BatchFilter {
  status?: BatchStatus | undefined;
  model?: string | undefined;
}

export interface Upload {
  body: AsyncIterable<Uint8Array>;
  gzip: boolean;
  /** Without gzip, if they are known. */
  expectedBytes?: number | undefined;
  /** Of a whole input: the caller has named its format, beyond its Content-Type. */
  formatNamed?: boolean;
}

/** Ids on a filtered list that are looked at together, and for one page in all. */
const LIST_PAGE = 200;
const LIST_LOOKS = 1000;

const DEFAULT_CHUNK_BYTES = 256 * 1024;
/** A chunk is a blob of results, and one of a few in the queue: neither crumbs nor boulders, whatever was measured. */
const MIN_CHUNK_BYTES = 16 * 1024;
const MAX_CHUNK_BYTES = 4 * 1024 * 1024;
/** How often an upload says that its batch is to stay open, at least. */
const MAX_KEEP_OPEN_MS = 60_000;

/** How often the open batches of an owner who has too many are looked through at most. */
const RECOUNT_MS = 10_000;

export class BatchService {
  readonly #deps: BatchServiceDeps;
  #recountedAt = -Infinity;
  readonly #idempotencyKeys: IdempotencyKeys;

  constructor(deps: BatchServiceDeps) {
    this.#deps = deps;
    this.#idempotencyKeys = new IdempotencyKeys(deps, { kind: 'idem-batch', content: 'query' });
  }

  /** Makes a batch that takes parts. With an idempotency key, the one that was made under it before. */
  async open(owner: string, input: NewBatch): Promise<SubmittedBatch> {
    const { id, existed } = await this.#create(owner, input);
    return { batch: await this.get(owner, id), replayed: existed };
  }

  /** Takes a whole input as it streams in. Once this resolves, the batch will reach a final state. */
  async submit(owner: string, input: NewBatch, upload: Upload): Promise<SubmittedBatch> {
    const { id } = await this.#create(owner, input);
    try {
      const { part, added } = await this.#upload(id, 1, upload);
      const batch = await this.complete(owner, id, { parts: [{ number: 1, sha256: part.sha256 }] });
      return { batch, replayed: !added };
    } catch (error) {
      if (error instanceof AppError && error.code === 'part_conflict') {
        throw new AppError(
          'idempotency_mismatch',
          'this Idempotency-Key belongs to a request with another body',
        );
      }
      // Nobody knows of it but a caller with an idempotency key, who may try again.
      if (input.idempotencyKey === undefined) await this.#remove(id).catch(() => {});
      throw error;
    }
  }

  /** @returns the part, and whether it is new */
  async putPart(
    owner: string,
    id: string,
    number: number,
    upload: Upload,
  ): Promise<{ part: BatchPart; added: boolean }> {
    await this.#deps.withRedis(() => this.#findOwn(owner, id));
    const { part, added } = await this.#upload(id, number, upload);
    return { part: shownPart(part), added };
  }

  async parts(owner: string, id: string): Promise<BatchPart[]> {
    return this.#deps.withRedis(async () => {
      const { batchStore, blobs } = this.#deps;
      const record = await this.#findOwn(owner, id);
      const manifest = await readManifest(await blobs(), id, record);
      return (manifest?.parts ?? (await batchStore.parts(id))).map(shownPart);
    });
  }

  /** The input is whole. @throws AppError `parts_mismatch`, `batch_not_open`, `invalid_request` for an empty one */
  async complete(owner: string, id: string, { parts: wanted }: CompleteBatchBody): Promise<Batch> {
    const { withRedis, batchStore, blobs, maintenance } = this.#deps;
    const store = await blobs();
    for (;;) {
      const { record, parts } = await withRedis(async () => ({
        record: await this.#findOwn(owner, id),
        parts: await batchStore.parts(id),
      }));
      if (record.status !== 'open') return this.#completedBefore(owner, id, record.status);
      compareParts(wanted, parts);
      const chunks = parts.reduce((sum, part) => sum + part.chunks, 0);
      if (chunks === 0) throw new InputError('there is no record in the input');
      // Its name is the number of parts it has, so one that is written too late overwrites no other.
      const manifest = String(parts.length);
      await store.put(manifestKey(id, manifest), encodeManifest(parts));
      const completed = await withRedis(() =>
        batchStore.complete(id, { parts: parts.length, chunks, manifest }),
      );
      if (completed.outcome === 'changed') {
        // It would stay for as long as the batch.
        await store.delete([manifestKey(id, manifest)]).catch(() => {});
        continue;
      }
      if (completed.outcome === 'ended') {
        if (completed.status === undefined) throw notFound(id);
        return this.#completedBefore(owner, id, completed.status);
      }
      // If this fails, maintenance does it a little later.
      await withRedis(() => maintenance.enqueueMissingChunks(id)).catch(() => {});
      return this.get(owner, id);
    }
  }

  /** @throws AppError `batch_not_found` when it is unknown, removed, or another owner's */
  async get(owner: string, id: string): Promise<Batch> {
    return this.#deps.withRedis(async () => this.#show(id, await this.#findOwn(owner, id)));
  }

  /** @throws AppError `batch_not_found` */
  async read(owner: string, id: string): Promise<BatchRecord> {
    return this.#deps.withRedis(() => this.#findOwn(owner, id));
  }

  /** @returns a page, newest first, and the id that the next one comes after */
  async list(
    owner: string,
    limit: number,
    after?: string,
    { status, model }: BatchFilter = {},
  ): Promise<{ batches: Batch[]; next: string | null }> {
    return this.#deps.withRedis(async () => {
      const found: { id: string; record: BatchRecord }[] = [];
      const wanted = (id: string) => model === undefined || batchModel(id) === model;
      const pageSize = status === undefined && model === undefined ? limit + 1 : LIST_PAGE;
      let from = after;
      let atEnd = false;
      // One more than asked for tells whether there is another page.
      for (let looked = 0; found.length <= limit && looked < LIST_LOOKS && !atEnd; looked += pageSize) {
        const page = await this.#deps.batchStore.page(owner, pageSize, from, wanted);
        found.push(...page.found.filter(({ record }) => status === undefined || record.status === status));
        ({ atEnd } = page);
        from = page.last ?? from;
      }
      const shown = found.slice(0, limit);
      const batches = await Promise.all(shown.map(({ id, record }) => this.#show(id, record)));
      const isMore = found.length > limit;
      return { batches, next: isMore ? (shown.at(-1)?.id ?? null) : atEnd ? null : (from ?? null) };
    });
  }

  /** Cancels a batch that is not final; removes one that is. @returns undefined when removed */
  async cancel(owner: string, id: string): Promise<Batch | undefined> {
    return this.#deps.withRedis(async () => {
      const { batchStore, redis, config, maintenance } = this.#deps;
      const record = await this.#findOwn(owner, id);
      if (isFinal(record.status)) {
        await this.#remove(id);
        return undefined;
      }
      if (await batchStore.end(id, 'canceled', CANCELED)) {
        await redis.publish(cancelChannel(config.REDIS_PREFIX), id);
        await maintenance.dequeueChunks(id, record);
      }
      return this.#show(id, await this.#findOwn(owner, id));
    });
  }

  /**
   * Lets a failed batch go on; with `restart` from the beginning. Chunks whose results were found damaged are done again,
   * also of a batch that is completed or worked on.
   */
  async resume(owner: string, id: string, restart: boolean): Promise<Batch> {
    const { withRedis, batchStore, blobs, maintenance } = this.#deps;
    const record = await this.read(owner, id);
    const { status, revision } = record;
    const damaged = status === 'canceled' || revision === undefined ? [] : (record.damaged ?? []);
    const again: { chunk: number; rows: number }[] = [];
    if (damaged.length > 0) {
      const store = await blobs();
      for (const chunk of damaged)
        again.push({ chunk, rows: (await findChunk(store, id, record, chunk)).rows });
      // First: a worker keeps results that it finds in place of its own.
      await store.delete(damaged.map((chunk) => resultsKey(id, revision as string, chunk)));
    }
    return withRedis(async () => {
      if (!(await batchStore.resume(id, restart, again))) {
        throw new AppError(
          'batch_not_failed',
          `the batch is ${status}; only a failed one, or one with damaged results, can be resumed`,
        );
      }
      // If this fails, maintenance does it a little later.
      await maintenance.enqueueMissingChunks(id).catch(() => {});
      return this.#show(id, await this.#findOwn(owner, id));
    });
  }

  async #create(owner: string, input: NewBatch): Promise<{ id: string; existed: boolean }> {
    return this.#deps.withRedis(async () => {
      const { catalog, batchStore, admission, config } = this.#deps;
      const model = await catalog.resolve(input.model);
      await admission.requireRoom();
      const spec = toSpec(input, this.#chunkBytes(model.chunk_bytes), headerLimits(config));
      const { idempotencyKey, ...request } = input;
      const limits = { open: config.MAX_OPEN_BATCHES, kept: config.MAX_KEPT_BATCHES };
      const fresh = newBatchId(model.name);
      const redisKey =
        idempotencyKey === undefined ? undefined : this.#idempotencyKeys.redisKey(owner, idempotencyKey);
      for (;;) {
        const reserved =
          idempotencyKey === undefined
            ? undefined
            : await this.#idempotencyKeys.reserve(owner, idempotencyKey, fresh, request);
        const id = reserved ?? fresh;
        const existed = reserved !== undefined && (await batchStore.read(id)) !== undefined;
        const outcome = await batchStore.create(id, owner, spec, input.webhook, redisKey, limits);
        if (outcome === 'created') return { id, existed };
        // Whoever reserved it may have died before there was a batch.
        if (outcome === 'unreserved') continue;
        if (outcome === 'kept' || performance.now() - this.#recountedAt < RECOUNT_MS)
          throw tooManyBatches(outcome, config);
        this.#recountedAt = performance.now();
        await batchStore.forgetClosed(owner);
      }
    });
  }

  #chunkBytes(measured: number | undefined): number {
    const { BULK_CHUNK_BYTES } = this.#deps.config;
    if (BULK_CHUNK_BYTES > 0) return BULK_CHUNK_BYTES;
    return Math.min(Math.max(measured ?? DEFAULT_CHUNK_BYTES, MIN_CHUNK_BYTES), MAX_CHUNK_BYTES);
  }

  async #upload(id: string, number: number, upload: Upload): Promise<{ part: StoredPart; added: boolean }> {
    const { withRedis, batchStore, admission, config } = this.#deps;
    const { record, earlier } = await withRedis(async () => {
      const found = await batchStore.read(id);
      if (!found) throw notFound(id);
      const part = await batchStore.part(id, number);
      if (found.status === 'open' && part === undefined) await admission.requireRoom();
      return { record: found, earlier: part };
    });
    if (earlier !== undefined || record.status !== 'open') {
      const known = earlier ?? (await this.#closedPart(id, number, record.status));
      return { part: await this.#repeat(known, upload), added: false };
    }
    const reservation = new Reservation({
      batchStore,
      withRedis,
      batch: id,
      limits: storageLimits(config),
      expectedBytes: upload.expectedBytes,
      ttlMs: config.UPLOAD_LEASE_S * 1000,
      patienceMs: config.UPLOAD_IDLE_S * 1000,
      refusal: (reached) => limitReached(reached, config),
    });
    try {
      return await this.#store(id, record, number, upload, reservation);
    } finally {
      await reservation.release();
    }
  }

  /** Another upload of a part that is there: it is read, to see whether it is the same, and not stored. */
  async #repeat(known: StoredPart, { body, gzip }: Upload): Promise<StoredPart> {
    const pace = paceOf(this.#deps.config);
    return requireSame(known, await digestUpload(body, { gzip, pace, maxBytes: known.bytes }));
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
    const adding = withRedis(() => batchStore.addPart(id, part, limits, reservation.upload));
    const result = await adding.catch(async (error: unknown) => {
      // Refused for certain. After any other failure it may be there, and stays until the batch is removed.
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
      return { part: requireSame(same, part.sha256), added: false };
    }
    if (result.outcome === 'exists') return { part: requireSame(result.part, part.sha256), added: false };
    if (result.outcome === 'parts') throw tooManyParts(config);
    if (result.outcome === 'chunks') throw tooManyChunks(config);
    throw limitReached(result.outcome, config);
  }

  /** @returns to be called while an upload goes on: however long it takes, its batch stays open for it */
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
   * A part of a batch that takes no more.
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

  /** A repeated `complete`: fine, unless the batch ended without one. */
  async #completedBefore(owner: string, id: string, status: BatchStatus): Promise<Batch> {
    const batch = await this.get(owner, id);
    if (batch.queued_at === null) throw notOpen(id, status);
    return batch;
  }

  async #findOwn(owner: string, id: string): Promise<BatchRecord> {
    if (batchModel(id) === undefined) throw notFound(id);
    const record = await this.#deps.batchStore.read(id);
    if (record?.owner !== owner) throw notFound(id);
    return record;
  }

  async #remove(id: string): Promise<void> {
    const { batchStore, maintenance } = this.#deps;
    await batchStore.remove(id);
    maintenance.removeBlobsSoon();
  }

  async #show(id: string, record: BatchRecord): Promise<Batch> {
    const { batchStore, catalog } = this.#deps;
    const batch = toBatch(id, record, await batchStore.removalTime(id));
    if (isFinal(batch.status)) return batch;
    return { ...batch, model: { ...batch.model, workers: await catalog.workersOf(batch.model.name) } };
  }
}

/** What a batch is kept with. @throws AppError `invalid_request` for options that do not go together */
function toSpec(input: NewBatch, chunkBytes: number, limits: HeaderLimits): BatchSpec {
  const { format, text_field, id_field, delimiter, quote, columns, top_k, metadata, first_line } = input;
  if (format !== 'csv') {
    for (const [name, value] of Object.entries({ delimiter, quote, columns })) {
      if (value !== undefined) throw goesWithCsv(name);
    }
  }
  if (format === 'lines') {
    for (const [name, value] of Object.entries({ text_field, id_field })) {
      if (value === undefined) continue;
      const message = 'does not go with plain lines, which have no fields';
      throw new AppError('invalid_request', `${name} ${message}`, { errors: [{ path: name, message }] });
    }
  }
  const quoting = quote ?? defaultQuote(delimiter);
  const spec: BatchSpec = {
    format,
    text_field: text_field ?? 'text',
    ...(id_field === undefined ? {} : { id_field }),
    ...(delimiter === undefined ? {} : { delimiter }),
    ...(format !== 'csv' || quoting === '"' ? {} : { quote: quoting }),
    top_k: top_k === undefined ? 1 : top_k,
    first_line: first_line ?? 1,
    chunk_bytes: chunkBytes,
    ...(metadata === undefined ? {} : { metadata }),
  };
  if (columns === undefined) return spec;
  const finding = sniffRecords(columns, true, readingOf(spec), ANY_FILE);
  if (finding !== undefined) throw new InputError(`the header ${finding}`);
  const names = readHeader(Buffer.from(columns), inputOf(spec), limits);
  return { ...spec, ...toStoredHeader(names, inputOf(spec)) };
}

function headerLimits({ MAX_CSV_COLUMNS, MAX_CSV_HEADER_BYTES }: Config): HeaderLimits {
  return { columns: MAX_CSV_COLUMNS, bytes: MAX_CSV_HEADER_BYTES };
}

const paceOf = ({ UPLOAD_IDLE_S, UPLOAD_MIN_BYTES_PER_S }: Config): UploadPace => ({
  idleMs: UPLOAD_IDLE_S * 1000,
  minBytesPerS: UPLOAD_MIN_BYTES_PER_S,
});

function inputOf(spec: BatchSpec): InputSpec {
  const input = {
    format: spec.format,
    textField: spec.text_field,
    idField: spec.id_field,
    delimiter: spec.delimiter,
    quote: spec.quote,
  };
  return { ...input, header: fromStoredHeader(spec, input) };
}

/** Its name is not known here. */
const ANY_FILE = { gzip: false };

function readingOf(spec: BatchSpec, explicit = true): Reading {
  return {
    format: spec.format,
    delimiter: spec.delimiter,
    textField: spec.text_field,
    explicit,
    option: (name, value) => `${name}=${value === '\t' ? 'tab' : encodeURIComponent(value)}`,
  };
}

interface PartHead {
  head: Uint8Array;
  whole: boolean;
  gzip: boolean;
  formatNamed: boolean | undefined;
}

/** What keeps a part from being read. The beginning of a file is in the first one; its header may be in the options. */
function sniffPart(
  spec: BatchSpec,
  number: number,
  { head, whole, gzip, formatNamed }: PartHead,
): string | undefined {
  const file = { gzip };
  if (number > 1 || (spec.columns ?? spec.header) !== undefined) return sniffBytes(head, whole, file);
  return sniff(head, whole, readingOf(spec, formatNamed ?? true), file);
}

/** @throws AppError `part_conflict` unless `sha256` is that of the part */
function requireSame(part: StoredPart, sha256: string | undefined): StoredPart {
  if (part.sha256 === sha256) return part;
  throw new AppError(
    'part_conflict',
    `part ${part.number} is there already, with another content (sha256 ${part.sha256})`,
  );
}

function shownPart({ number, sha256: digest, bytes, rows, lines }: StoredPart): BatchPart {
  return { number, sha256: digest, bytes, rows, lines };
}

/** @throws AppError `parts_mismatch` naming the parts that differ */
function compareParts(wanted: CompleteBatchBody['parts'], parts: readonly StoredPart[]): void {
  const there = new Map(parts.map((part) => [part.number, part]));
  const missing = wanted.filter(({ number }) => !there.has(number)).map(({ number }) => number);
  const different = wanted
    .filter(({ number, sha256: digest }) => {
      const part = there.get(number);
      return part && digest !== undefined && digest.toLowerCase() !== part.sha256;
    })
    .map(({ number }) => number);
  const named = new Set(wanted.map(({ number }) => number));
  const unnamed = parts.filter(({ number }) => !named.has(number)).map(({ number }) => number);
  const faults = [
    ['not uploaded', missing],
    ['uploaded with another content', different],
    ['uploaded, but not named', unnamed],
  ] as const;
  const said = faults.flatMap(([fault, numbers]) =>
    numbers.length === 0
      ? []
      : `${fault}: ${numbers.slice(0, 10).join(', ')}${numbers.length > 10 ? ', …' : ''}`,
  );
  if (said.length > 0) throw new AppError('parts_mismatch', said.join('; '));
}

const CANCELED = { code: 'batch_canceled', message: 'the batch was canceled' };

function goesWithCsv(name: string): AppError {
  const message = 'goes with CSV only';
  return new AppError('invalid_request', `${name} ${message}`, { errors: [{ path: name, message }] });
}

export function notFound(id: string): AppError {
  const why =
    batchModel(id) === undefined
      ? 'the id of a batch looks like 019aaf3c5e7b7c3b9d0e5f1a2b3c4d5e-b-sst2-minilm'
      : 'finished batches are kept for a limited time';
  return new AppError('batch_not_found', `there is no batch ${shownId(id)}; ${why}`);
}

function notOpen(id: string, status: BatchStatus): AppError {
  return new AppError('batch_not_open', `the batch ${id} is ${status} and takes no more parts`);
}

function storageLimits({ MAX_BATCH_BYTES, MAX_STORED_BYTES }: Config): StorageLimits {
  return { batchBytes: MAX_BATCH_BYTES, storedBytes: MAX_STORED_BYTES };
}

function limitReached(reached: LimitReached, { MAX_BATCH_BYTES, MAX_STORED_BYTES }: Config): AppError {
  switch (reached) {
    case 'too_large':
      return new AppError('body_too_large', `a batch may have ${MAX_BATCH_BYTES} bytes, uncompressed`);
    case 'busy':
      return new AppError(
        'quota_reached',
        `a batch may have ${MAX_BATCH_BYTES} bytes, uncompressed, and other uploads to it hold the rest; try again when they have ended`,
        { retryAfterS: 10 },
      );
    case 'quota':
      return new AppError(
        'quota_reached',
        `all batches together, with uploads under way, may have ${MAX_STORED_BYTES} bytes; delete finished ones, or wait until they expire`,
        { retryAfterS: 60 },
      );
  }
}

const LIST_OPEN = 'GET /v1/batches?status=open lists them, DELETE /v1/batches/{id} cancels one';

function tooManyBatches(
  reached: keyof BatchLimits,
  { MAX_OPEN_BATCHES, MAX_KEPT_BATCHES }: Config,
): AppError {
  const detail =
    reached === 'open'
      ? `a key may have ${MAX_OPEN_BATCHES} open batches: complete or cancel some (${LIST_OPEN}), or wait until they expire`
      : `a key may have ${MAX_KEPT_BATCHES} batches: DELETE /v1/batches/{id} finished ones, or wait until they expire`;
  return new AppError('quota_reached', detail, { retryAfterS: 60 });
}

function tooManyParts({ MAX_OPEN_PARTS }: Config): AppError {
  return new AppError(
    'quota_reached',
    `the open batches of a key may have ${MAX_OPEN_PARTS} parts: complete or cancel some (${LIST_OPEN}), or send larger parts`,
    { retryAfterS: 60 },
  );
}

function tooManyChunks({ MAX_BATCH_CHUNKS }: Config): AppError {
  return new AppError(
    'body_too_large',
    `a batch may have ${MAX_BATCH_CHUNKS} pieces of work (MAX_BATCH_CHUNKS), each of ${CHUNK_ROWS} records or less: submit the input as several batches, or have the limit or BULK_CHUNK_BYTES raised`,
  );
}
