/**
 * The life of a batch as callers see it: create, upload, complete, read, list, cancel, resume. No HTTP in here; batch-results.ts
 * reads the results, and maintenance.ts does the periodic work.
 */
import { InputError } from '../../shared/bulk/input.ts';
import type { Batch, BatchPart, StoredPart } from '../../shared/contract/batches.ts';
import { batchModel, newBatchId } from '../../shared/contract/ids.ts';
import { AppError } from '../../shared/contract/problems.ts';
import { isFinal, type BatchStatus } from '../../shared/contract/states.ts';
import { toBatch } from '../../shared/store/batches/batch-view.ts';
import type { BatchRecord } from '../../shared/store/batches/batch-record.ts';
import { findChunk, readManifest } from '../../shared/store/batches/input.ts';
import {
  batchColumnsKey,
  encodeManifest,
  manifestKey,
  resultsKey,
} from '../../shared/store/batches/layout.ts';
import { batchIdempotencyKey, cancelChannel } from '../../shared/redis/keys.ts';
import { requireOptions } from '../asked-options.ts';
import { IdempotencyKeys } from '../idempotency.ts';
import { toPage, type ListOptions } from '../list-page.ts';
import type { CompleteBatchBody } from '../requests.ts';
import { notFound, notOpen, tooManyBatches } from './batch-problems.ts';
import type { BatchQueue } from './batch-queue.ts';
import { chunkBytesFor, headerLimits, toSpec, type NewBatch } from './batch-spec.ts';
import type { BlobRemoval } from './blob-removal.ts';
import { requireSameParts } from './compare-parts.ts';
import type { PartUploads, Upload } from './part-uploads.ts';
import type { Deps } from '../deps.ts';

export interface BatchServiceDeps extends Deps<
  'config' | 'redis' | 'withRedis' | 'batchStore' | 'blobs' | 'catalog' | 'admission'
> {
  queue: BatchQueue;
  uploads: PartUploads;
  blobRemoval: BlobRemoval;
}

/** A batch that was created by this request, or by an earlier one with the same idempotency key. */
export interface SubmittedBatch {
  batch: Batch;
  /** An earlier request with the same idempotency key created it. */
  replayed: boolean;
}

/** Batches that one page of a filtered list may look at. */
const MAX_LOOKED = 1000;

/** Shortest time between two recounts of the open batches of owners who have too many. */
const RECOUNT_MS = 10_000;

export class BatchService {
  readonly #deps: BatchServiceDeps;
  #recountedAt = -Infinity;
  readonly #idempotencyKeys: IdempotencyKeys;

  constructor(deps: BatchServiceDeps) {
    this.#deps = deps;
    this.#idempotencyKeys = new IdempotencyKeys(deps, { key: batchIdempotencyKey, content: 'query' });
  }

  /** Creates a batch that takes parts, or finds the one that was created with the same idempotency key. */
  async open(owner: string, input: NewBatch): Promise<SubmittedBatch> {
    const { id, existed } = await this.#create(owner, input);
    return { batch: await this.get(owner, id), replayed: existed };
  }

  /** Stores a whole input as it streams in and queues its batch, which from then on reaches a final state without its caller. */
  async submit(owner: string, input: NewBatch, upload: Upload): Promise<SubmittedBatch> {
    const { id } = await this.#create(owner, input);
    try {
      const { part, added } = await this.#deps.uploads.add(id, 1, upload);
      // A part that was stored just now needs no comparison with what Redis has, unless another one was added meanwhile.
      const batch =
        (added ? await this.#queueParts(owner, id, [part]) : undefined) ??
        (await this.complete(owner, id, { parts: [{ number: 1, sha256: part.sha256 }] }));
      return { batch, replayed: !added };
    } catch (error) {
      if (error instanceof AppError && error.code === 'part_conflict') {
        throw new AppError(
          'idempotency_mismatch',
          'this Idempotency-Key was used for a request with another body',
        );
      }
      // Without an idempotency key its caller cannot find this batch again.
      if (input.idempotencyKey === undefined) await this.#remove(id).catch(() => {});
      throw error;
    }
  }

  /** @returns the part, and whether this request added it */
  async putPart(
    owner: string,
    id: string,
    number: number,
    upload: Upload,
  ): Promise<{ part: BatchPart; added: boolean }> {
    await this.#deps.withRedis(() => this.#findOwn(owner, id));
    const { part, added } = await this.#deps.uploads.add(id, number, upload);
    return { part: shownPart(part), added };
  }

  async parts(owner: string, id: string): Promise<BatchPart[]> {
    return this.#deps.withRedis(async () => {
      const { record, parts } = await this.#readOpen(owner, id);
      const manifest = await readManifest(await this.#deps.blobs(), id, record);
      return (manifest?.parts ?? parts).map(shownPart);
    });
  }

  /**
   * Closes the input and queues the batch.
   * @throws AppError `parts_mismatch`, `batch_not_open`, `invalid_request` for an input without a record
   */
  async complete(owner: string, id: string, { parts: wanted }: CompleteBatchBody): Promise<Batch> {
    for (;;) {
      const { record, parts } = await this.#deps.withRedis(() => this.#readOpen(owner, id));
      if (record.status !== 'open') return this.#completedBefore(owner, id, record.status);
      requireSameParts(wanted, parts);
      const batch = await this.#queueParts(owner, id, parts);
      if (batch) return batch;
    }
  }

  /** @throws AppError `batch_not_found` when the batch is unknown, removed, or another owner's */
  async get(owner: string, id: string): Promise<Batch> {
    return this.#deps.withRedis(async () => this.#show(id, await this.#findOwn(owner, id)));
  }

  /** @throws AppError `batch_not_found` */
  async read(owner: string, id: string): Promise<BatchRecord> {
    return this.#deps.withRedis(() => this.#findOwn(owner, id));
  }

  /** A page of an owner's batches, newest first. */
  async list(
    owner: string,
    { limit, after, status, model }: ListOptions<BatchStatus>,
  ): Promise<{ batches: Batch[]; next: string | null }> {
    const { withRedis, batchStore } = this.#deps;
    const filtered = status !== undefined || model !== undefined;
    const page = { limit, after, filtered, maxLooked: MAX_LOOKED };
    const hasModel = (id: string) => model === undefined || batchModel(id) === model;
    return withRedis(async () => {
      const { entries, next } = await toPage(page, async (from, count) => {
        const slice = await batchStore.page(owner, count, from, hasModel);
        const found = slice.found.filter(({ record }) => status === undefined || record.status === status);
        return { ...slice, found };
      });
      return { batches: await Promise.all(entries.map(({ id, record }) => this.#show(id, record))), next };
    });
  }

  /** Cancels a batch, or removes it if it is final. @returns undefined when removed */
  async cancel(owner: string, id: string): Promise<Batch | undefined> {
    return this.#deps.withRedis(async () => {
      const { batchStore, redis, config, queue } = this.#deps;
      const record = await this.#findOwn(owner, id);
      if (isFinal(record.status)) {
        await this.#remove(id);
        return undefined;
      }
      if (await batchStore.end(id, 'canceled', CANCELED)) {
        await redis.publish(cancelChannel(config.REDIS_PREFIX), id);
        await queue.dequeueChunks(id, record);
      }
      return this.#show(id, await this.#findOwn(owner, id));
    });
  }

  /**
   * Resumes a failed batch, or with `restart` starts it from its first chunk. Chunks with damaged results are processed again, also those of
   * a completed or processing batch.
   */
  async resume(owner: string, id: string, { restart }: { restart: boolean }): Promise<Batch> {
    const { withRedis, batchStore, blobs, queue } = this.#deps;
    const record = await this.read(owner, id);
    const { status, revision } = record;
    const damagedChunks = status === 'canceled' || revision === undefined ? [] : (record.damaged ?? []);
    const damaged: { chunk: number; rows: number }[] = [];
    if (damagedChunks.length > 0) {
      const store = await blobs();
      for (const chunk of damagedChunks)
        damaged.push({ chunk, rows: (await findChunk(store, id, record, chunk)).rows });
      // Before the chunks are queued, because a worker keeps results that it finds.
      await store.delete(damagedChunks.map((chunk) => resultsKey(id, revision as string, chunk)));
    }
    return withRedis(async () => {
      if (!(await batchStore.resume(id, { restart, damaged }))) {
        throw new AppError(
          'batch_not_failed',
          `the batch is ${status}; only a failed batch, or one with damaged results, can be resumed`,
        );
      }
      // If this fails, maintenance does it a little later.
      await queue.enqueueMissingChunks(id).catch(() => {});
      return this.#show(id, await this.#findOwn(owner, id));
    });
  }

  async #create(owner: string, input: NewBatch): Promise<{ id: string; existed: boolean }> {
    return this.#deps.withRedis(async () => {
      const { catalog, batchStore, admission, config } = this.#deps;
      const model = await catalog.resolve(input.model);
      const { threshold, function_to_apply: apply } = input;
      const asked = [
        ...(threshold === undefined ? [] : (['threshold'] as const)),
        ...(apply === undefined ? [] : (['function_to_apply'] as const)),
      ];
      requireOptions({ threshold, apply }, asked, model);
      await admission.requireRoom();
      const chunkBytes = chunkBytesFor(config, model.chunk_bytes);
      const { spec, columns } = toSpec(input, chunkBytes, headerLimits(config));
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
        // With a reserved id, too: the request that reserved it may have died before it created the batch.
        const outcome = await batchStore.create(id, {
          owner,
          spec,
          webhook: input.webhook,
          reservation: redisKey,
          limits,
        });
        if (outcome === 'created') {
          if (spec.header !== undefined) await this.#storeColumns(id, columns ?? []);
          return { id, existed };
        }
        // The batch under this idempotency key was removed meanwhile, and with it the reservation.
        if (outcome === 'unreserved') continue;
        if (outcome === 'kept' || performance.now() - this.#recountedAt < RECOUNT_MS)
          throw tooManyBatches(outcome, config);
        this.#recountedAt = performance.now();
        await batchStore.forgetClosed(owner);
      }
    });
  }

  /** Stores column names that are too long for Redis. Repeated by a request with the same Idempotency-Key. */
  async #storeColumns(id: string, columns: readonly string[]): Promise<void> {
    const store = await this.#deps.blobs();
    await store.put(batchColumnsKey(id), Buffer.from(JSON.stringify(columns)));
  }

  /** @returns undefined when the open batch has another number of parts by now: nothing has changed then */
  async #queueParts(owner: string, id: string, parts: readonly StoredPart[]): Promise<Batch | undefined> {
    const { withRedis, batchStore, blobs, queue } = this.#deps;
    const chunks = parts.reduce((sum, part) => sum + part.chunks, 0);
    if (chunks === 0) throw new InputError('the input has no records');
    const store = await blobs();
    // The manifest is named by its number of parts, so one that is written too late overwrites no other.
    const manifest = String(parts.length);
    await store.put(manifestKey(id, manifest), encodeManifest(parts));
    const completed = await withRedis(() =>
      batchStore.complete(id, { parts: parts.length, chunks, manifest }),
    );
    if (completed.outcome === 'changed') {
      // Without this, the manifest would stay as long as the batch.
      await store.delete([manifestKey(id, manifest)]).catch(() => {});
      return undefined;
    }
    if (completed.outcome === 'ended') {
      if (completed.status === undefined) throw notFound(id);
      return this.#completedBefore(owner, id, completed.status);
    }
    // If this fails, maintenance does it a little later.
    await withRedis(() => queue.enqueueMissingChunks(id)).catch(() => {});
    return this.get(owner, id);
  }

  /** Answers a repeated `complete`. @throws AppError `batch_not_open` when the batch ended before it was complete */
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

  /**
   * A batch, and its parts while it is open. Redis drops the parts of a batch when it is completed: only if it is still open
   * after they were read, they are all of them.
   * @throws AppError `batch_not_found`
   */
  async #readOpen(owner: string, id: string): Promise<{ record: BatchRecord; parts: StoredPart[] }> {
    await this.#findOwn(owner, id);
    const parts = await this.#deps.batchStore.parts.list(id);
    return { record: await this.#findOwn(owner, id), parts };
  }

  async #remove(id: string): Promise<void> {
    const { batchStore, blobRemoval } = this.#deps;
    await batchStore.remove(id);
    blobRemoval.runInBackground();
  }

  async #show(id: string, record: BatchRecord): Promise<Batch> {
    const { batchStore, catalog } = this.#deps;
    const batch = toBatch(id, record, await batchStore.removalTime(id));
    if (isFinal(batch.status)) return batch;
    return { ...batch, model: { ...batch.model, workers: await catalog.workersOf(batch.model.name) } };
  }
}

function shownPart({ number, sha256: digest, bytes, rows, lines }: StoredPart): BatchPart {
  return { number, sha256: digest, bytes, rows, lines };
}

const CANCELED = { code: 'batch_canceled', message: 'the batch was canceled' };
