/**
 * Consumes the chunk queues of one model: reads a chunk of a batch, classifies its rows and writes their results to a blob.
 *
 * A chunk's results are written before the chunk is counted, each once. When a worker dies in between, another one does the same
 * again, with the same bytes. Counting a chunk returns the numbers of the next ones, so a batch has only as many in the queue as
 * its workers need, however large it is.
 */
import { UnrecoverableError, WaitingError, type Job } from 'bullmq';
import type { Redis } from 'ioredis';
import { BlobError, toAppError, type LazyBlobStore } from '../../shared/blobs/blob-store.ts';
import { DamagedInput, inputProblem, readRecords } from '../../shared/store/batches/input.ts';
import { readEntry, resultsKey } from '../../shared/store/batches/layout.ts';
import type { BatchStore } from '../../shared/store/batches/batch-store.ts';
import { inputOf } from '../../shared/bulk/csv.ts';
import { parseChunk } from '../../shared/bulk/parse.ts';
import type { InputRow } from '../../shared/bulk/input.ts';
import type { Config } from '../../shared/runtime/config.ts';
import { chunkPayloadSchema, type BatchSpec, type ChunkPayload } from '../../shared/contract/batches.ts';
import { unfitThreshold } from '../../shared/contract/options.ts';
import { isFinal } from '../../shared/contract/states.ts';
import { toError } from '../../shared/runtime/to-error.ts';
import type { Logger } from '../../shared/runtime/logger.ts';
import { openWorker, type OpenWorker } from '../../shared/store/open-worker.ts';
import { QueueSet } from '../../shared/store/jobs/queue-set.ts';
import {
  addChunks,
  bulkQueueName,
  CHUNK_BACKOFF,
  chunkBackoffMs,
  chunkJobId,
} from '../../shared/store/queues.ts';
import { inSlices } from '../../shared/runtime/in-slices.ts';
import { BatchInputs, type BatchInput } from './batch-inputs.ts';
import { RowDropped } from './batcher.ts';
import type { Classifier } from './classifier.ts';
import { portionsOf, resultLines, storeResults } from './chunk-results.ts';
import type { ChunkRun } from './worker-metrics.ts';

/** Time that started chunks have to finish after SIGTERM. */
const DRAIN_MS = 5000;

export interface BulkConsumerOptions {
  config: Config;
  redis: Redis;
  batchStore: BatchStore;
  blobs: LazyBlobStore;
  classifier: Classifier;
  model: { name: string; revision: string };
  logger: Logger;
  /** Called for every chunk that was finished here. */
  onChunk: (chunk: ChunkRun) => void;
}

interface InFlight {
  batch: string;
  abort: AbortController;
  /** Some of its rows are done. */
  started: boolean;
}

/** The reason to abort a chunk that goes back to the queue. */
class Stopping extends Error {}

export class BulkConsumer {
  readonly #options: BulkConsumerOptions;
  readonly #workers: readonly OpenWorker[];
  readonly #queues: QueueSet;
  readonly #inFlight = new Set<InFlight>();
  readonly #inputs: BatchInputs;
  #draining = false;

  constructor(options: BulkConsumerOptions) {
    this.#options = options;
    this.#inputs = new BatchInputs(options);
    this.#queues = new QueueSet(options.redis, options.config.REDIS_PREFIX);
    const { name, revision } = options.model;
    this.#workers = [bulkQueueName(name), bulkQueueName(name, revision)].map((queue) =>
      this.#openWorker(queue),
    );
  }

  get chunksInFlight(): number {
    return this.#inFlight.size;
  }

  /** One chunk per model process, and one that is read and tokenised meanwhile. */
  get #concurrency(): number {
    return this.#options.config.MODEL_PROCESSES + 1;
  }

  /** Starts fetching. @param subscriber subscribed to the channel of cancellations */
  start(subscriber: Redis): void {
    subscriber.on('message', (_channel: string, id: string) => {
      for (const chunk of this.#inFlight)
        if (chunk.batch === id) chunk.abort.abort(new RowDropped('canceled'));
    });
    for (const { start } of this.#workers) start();
  }

  /** Fetches no more chunks. Chunks that have not started go back to the queue at once, the others after DRAIN_MS. */
  async drain(): Promise<void> {
    this.#draining = true;
    const closed = Promise.all(this.#workers.map(({ worker }) => worker.close()));
    const giveBack = (all: boolean) => {
      for (const { started, abort } of this.#inFlight) if (all || !started) abort.abort(new Stopping());
    };
    giveBack(false);
    const timer = setTimeout(() => giveBack(true), DRAIN_MS);
    await closed;
    clearTimeout(timer);
    await this.#queues.close();
  }

  #openWorker(queue: string): OpenWorker {
    const { config, redis, logger } = this.#options;
    const opened = openWorker(queue, (job, token) => this.#process(job, token), {
      redis,
      config,
      logger,
      concurrency: this.#concurrency,
      settings: {
        backoffStrategy: (attemptsMade: number, type?: string) =>
          type === CHUNK_BACKOFF ? chunkBackoffMs(attemptsMade) : 0,
      },
    });
    // A chunk that cannot be retried, or was taken over too often: without it the batch cannot be completed.
    opened.worker.on('failed', (job, error) => {
      if (!job || !(error instanceof UnrecoverableError || error.message.includes('stalled'))) return;
      const payload = chunkPayloadSchema.safeParse(job.data).data;
      logger.error({ job: job.id, reason: error.message }, 'chunk failed');
      if (payload) void this.#fail(payload.batch, { code: 'internal_error', message: error.message });
    });
    return opened;
  }

  async #process(job: Job<unknown>, token: string | undefined): Promise<void> {
    const parsed = chunkPayloadSchema.safeParse(job.data);
    if (!parsed.success) {
      throw new UnrecoverableError('this version does not understand the payload of the chunk');
    }
    const { batch, chunk } = parsed.data;
    const inFlight: InFlight = { batch, abort: new AbortController(), started: false };
    this.#inFlight.add(inFlight);
    // Fetched just before the worker was closed.
    if (this.#draining) inFlight.abort.abort(new Stopping());
    try {
      await this.#run(parsed.data, inFlight);
    } catch (error) {
      if (error instanceof RowDropped) {
        if (!(inFlight.abort.signal.reason instanceof Stopping)) return;
        await job.moveToWait(token);
        throw new WaitingError();
      }
      await this.#handleError(batch, chunk, toError(error));
    } finally {
      this.#inFlight.delete(inFlight);
    }
  }

  async #run(payload: ChunkPayload, inFlight: InFlight): Promise<void> {
    const { batch, chunk } = payload;
    const { batchStore, model, onChunk } = this.#options;
    const { status, revision, done } = await batchStore.chunks.start(batch, chunk);
    if (status !== 'processing') this.#inputs.drop(batch);
    if (status !== 'processing' || done) return;
    if (revision !== undefined && revision !== model.revision) {
      await this.#moveToRevision(payload, revision);
      return;
    }
    const input = await this.#inputs.get(batch);
    if (!input) return;
    const unfit = unfitThreshold(input.spec, this.#options.classifier.model);
    if (unfit !== undefined) {
      await this.#fail(batch, { code: 'invalid_request', message: `threshold ${unfit}` });
      return;
    }
    const start = performance.now();
    const blobs = await this.#options.blobs();
    const { rows, options } = await this.#read(batch, input, chunk);
    const key = resultsKey(batch, model.revision, chunk);
    const { outcomes, checksum } = await storeResults(blobs, {
      key,
      ndjson: this.#classify(rows, options, inFlight),
      rows,
      // Results of a counted chunk must not change.
      assertWanted: async () => {
        if ((await batchStore.chunks.start(batch, chunk)).done) throw new RowDropped('done elsewhere');
      },
    });
    const next = await batchStore.chunks.finish(batch, 2 * this.#concurrency, {
      chunk,
      revision: model.revision,
      rows: rows.length,
      ...outcomes,
      labelCount: this.#options.classifier.labelCount,
      checksum,
    });
    const { failedRows, unknownRows } = outcomes;
    onChunk({ rows: rows.length, failedRows, unknownRows, ms: performance.now() - start });
    if (next.outcome === 'completed' || next.outcome === 'ended') this.#inputs.drop(batch);
    if (next.outcome === 'counted') await this.#add(payload, next.claimed, next.revision);
    else if (next.outcome === 'revision') {
      // Workers of other weights were the first to start the batch.
      await this.#moveToRevision(payload, next.revision);
      await blobs.delete([key]);
    } else if (next.outcome === 'ended' && !(await batchStore.read(batch))) {
      // The batch was deleted, with its blobs, before this blob was written.
      await blobs.delete([key]);
    }
  }

  /** The records of a chunk, and the options to classify them with. */
  async #read(
    batch: string,
    { spec, manifest }: BatchInput,
    chunk: number,
  ): Promise<{ rows: InputRow[]; options: BatchSpec }> {
    const { config } = this.#options;
    const blobs = await this.#options.blobs();
    const part = manifest.partOf(chunk);
    const entry = readEntry(await this.#inputs.index(batch, part), chunk - part.firstChunk);
    const bytes = await readRecords(blobs, part, entry);
    const limits = { maxTextChars: config.MAX_TEXT_CHARS, maxIdChars: config.MAX_ID_CHARS };
    const firstLine = part.firstLine - 1 + entry.firstLine;
    const rows = await inSlices(parseChunk(bytes, inputOf(spec, part), firstLine, limits));
    if (rows.length !== entry.rows) {
      throw new DamagedInput(
        `part ${part.number} of its input is damaged in the blob store: ${rows.length} rows instead of ${entry.rows} are read from line ${firstLine} on`,
      );
    }
    return { rows, options: spec };
  }

  /** The results as NDJSON, in the order of the rows, in pieces of whole lines. */
  async *#classify(
    rows: readonly InputRow[],
    options: BatchSpec,
    inFlight: InFlight,
  ): AsyncGenerator<Buffer, void> {
    const { classifier } = this.#options;
    for (const portion of portionsOf(rows, classifier.labelCount)) {
      const texts = portion.flatMap((row) => ('text' in row ? [row.text] : []));
      const settled = () => (inFlight.started = true);
      const results = await classifier.classifyEach(texts, options, inFlight.abort.signal, settled);
      yield* resultLines(portion, results);
    }
  }

  /** @param payload of a chunk of the same batch */
  async #add(payload: ChunkPayload, chunks: readonly number[], revision: string | undefined): Promise<void> {
    if (chunks.length === 0) return;
    await addChunks(await this.#queues.getBulk(this.#options.model.name, revision), payload, chunks);
  }

  /** Moves a chunk to the queue of the revision that its batch is pinned to. */
  async #moveToRevision(payload: ChunkPayload, revision: string): Promise<void> {
    const { batch, chunk } = payload;
    await this.#add(payload, [chunk], revision);
    const record = await this.#options.batchStore.read(batch);
    if (record && !isFinal(record.status)) return;
    // The batch has ended: its queue may have been emptied just before, and may have no worker that would drop the chunk.
    const queue = await this.#queues.getBulk(this.#options.model.name, revision);
    await queue.remove(chunkJobId(batch, chunk)).catch(() => 0);
  }

  /** Fails the batch when its input is lost; otherwise reports the problem and throws, so that the chunk is retried. */
  async #handleError(batch: string, chunk: number, error: Error): Promise<void> {
    const { batchStore, logger } = this.#options;
    logger.warn({ batch, chunk, reason: error.message }, 'chunk attempt failed');
    const lost = inputProblem(error);
    if (lost) {
      // Before the batch ends: the damage stays visible as a problem beside the error.
      if (lost.code === 'input_damaged') await batchStore.reportDamage(batch, lost);
      await this.#fail(batch, lost);
      // Not thrown: the 'failed' handler would end the batch a second time, when it may be resumed already.
      return;
    }
    // The chunk is retried without limit, so the batch must show why it makes no progress.
    const { code, message } =
      error instanceof BlobError
        ? toAppError(error)
        : {
            code: 'internal_error',
            message: `chunk ${chunk} fails and is retried; the logs of the workers say why`,
          };
    // Redis itself may be what fails.
    await batchStore.reportProblem(batch, { code, message }).catch(() => {});
    throw error;
  }

  async #fail(batch: string, error: { code: string; message: string }): Promise<void> {
    try {
      await this.#options.batchStore.end(batch, 'failed', error);
    } catch (failure) {
      this.#options.logger.error({ batch, err: toError(failure) }, 'a failed batch could not be ended');
    }
  }
}
