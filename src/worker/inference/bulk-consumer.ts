/**
 * Chunks of batches in, blobs of results out: the bulk side of an inference process.
 *
 * A chunk's results are written before it is counted, each once; a worker that dies in between only makes another one do
 * the same again, with the same bytes. Counting it hands out the numbers of the next chunks, so a batch has only as many
 * in the queue as its workers need, however large it is.
 */
import { UnrecoverableError, WaitingError, Worker, type Job } from 'bullmq';
import type { Redis } from 'ioredis';
import { BlobError, toAppError, type LazyBlobStore } from '../../shared/blobs/blob-store.ts';
import { DamagedInput, inputProblem, readRecords } from '../../shared/store/batches/input.ts';
import { readEntry, resultsKey } from '../../shared/store/batches/layout.ts';
import type { BatchStore } from '../../shared/store/batches/batch-store.ts';
import { fromStoredHeader } from '../../shared/bulk/csv.ts';
import { parseChunk } from '../../shared/bulk/parse.ts';
import type { InputRow } from '../../shared/bulk/input.ts';
import type { Config } from '../../shared/runtime/config.ts';
import { chunkPayloadSchema, type BatchSpec } from '../../shared/contract/batches.ts';
import { isFinal } from '../../shared/contract/states.ts';
import { toError } from '../../shared/runtime/to-error.ts';
import type { Logger } from '../../shared/runtime/logger.ts';
import {
  addChunks,
  bulkQueueName,
  CHUNK_BACKOFF,
  chunkBackoffMs,
  chunkJobId,
  openQueue,
  type ChunkQueue,
} from '../../shared/store/queues.ts';
import { inSlices } from '../../shared/runtime/in-slices.ts';
import { repeatedWarnings } from '../../shared/runtime/repeated-warnings.ts';
import { BatchInputs, type BatchInput } from './batch-inputs.ts';
import { RowDropped } from './batcher.ts';
import type { Classifier } from './classifier.ts';
import { portionsOf, resultLines, storeResults } from './chunk-results.ts';
import type { ChunkRun } from './worker-metrics.ts';

/** Takeovers of a chunk whose worker was gone before its batch is given up; see consumer.ts. */
const MAX_STALLED_COUNT = 10;
/** Chunks in hand that have begun may go on for so long after SIGTERM. */
const DRAIN_MS = 5000;

export interface BulkConsumerOptions {
  config: Config;
  redis: Redis;
  batches: BatchStore;
  blobs: LazyBlobStore;
  classifier: Classifier;
  model: { name: string; revision: string };
  logger: Logger;
  /** Told of every chunk that was finished here. */
  onChunk: (chunk: ChunkRun) => void;
}

interface InHand {
  batch: string;
  abort: AbortController;
  /** Some of its rows are done. */
  begun: boolean;
}

/** Why a chunk in hand was let go. */
class Stopping extends Error {}

export class BulkConsumer {
  readonly #options: BulkConsumerOptions;
  readonly #workers: Worker<unknown>[];
  readonly #queues = new Map<string, Promise<ChunkQueue>>();
  readonly #inHand = new Set<InHand>();
  readonly #inputs: BatchInputs;
  #draining = false;

  constructor(options: BulkConsumerOptions) {
    this.#options = options;
    this.#inputs = new BatchInputs(options);
    const { name, revision } = options.model;
    this.#workers = [bulkQueueName(name), bulkQueueName(name, revision)].map((queue) =>
      this.#createWorker(queue),
    );
  }

  get chunksInHand(): number {
    return this.#inHand.size;
  }

  /** One for each model process, and one that is being read and tokenised meanwhile. */
  get #concurrency(): number {
    return this.#options.config.MODEL_PROCESSES + 1;
  }

  /** Starts fetching. `subscriber` has the channel of cancellations. */
  start(subscriber: Redis): void {
    subscriber.on('message', (_channel: string, id: string) => {
      for (const chunk of this.#inHand) if (chunk.batch === id) chunk.abort.abort(new RowDropped('canceled'));
    });
    for (const worker of this.#workers) {
      void worker
        .run()
        .catch((error: unknown) =>
          this.#options.logger.error({ err: toError(error) }, 'bulk queue loop ended'),
        );
    }
  }

  /** Fetches no more chunks. Those that have not begun go back to the queue, the others are finished, or go back, too. */
  async drain(): Promise<void> {
    this.#draining = true;
    const closed = Promise.all(this.#workers.map((worker) => worker.close()));
    const giveBack = (all: boolean) => {
      for (const { begun, abort } of this.#inHand) if (all || !begun) abort.abort(new Stopping());
    };
    giveBack(false);
    const timer = setTimeout(() => giveBack(true), DRAIN_MS);
    await closed;
    clearTimeout(timer);
    await Promise.all([...this.#queues.values()].map(async (queue) => (await queue).close()));
  }

  #createWorker(queue: string): Worker<unknown> {
    const { config, redis, logger } = this.#options;
    const worker: Worker<unknown> = new Worker<unknown>(
      queue,
      async (job: Job<unknown>, token?: string) => {
        await this.#process(job, token);
      },
      {
        connection: redis,
        prefix: config.REDIS_PREFIX,
        autorun: false,
        concurrency: this.#concurrency,
        lockDuration: config.LOCK_DURATION_MS,
        stalledInterval: config.STALLED_INTERVAL_MS,
        maxStalledCount: MAX_STALLED_COUNT,
        runRetryDelay: 500,
        settings: {
          backoffStrategy: (attemptsMade: number, type?: string) =>
            type === CHUNK_BACKOFF ? chunkBackoffMs(attemptsMade) : 0,
        },
      },
    );
    worker.on('error', repeatedWarnings(logger, 'bulk queue'));
    // What cannot be tried again, or was taken over too often: without this chunk the batch cannot be completed.
    worker.on('failed', (job, error) => {
      if (!job || !(error instanceof UnrecoverableError || error.message.includes('stalled'))) return;
      const payload = chunkPayloadSchema.safeParse(job.data).data;
      logger.error({ job: job.id, reason: error.message }, 'chunk failed');
      if (payload) void this.#fail(payload.batch, { code: 'internal_error', message: error.message });
    });
    return worker;
  }

  async #process(job: Job<unknown>, token: string | undefined): Promise<void> {
    const parsed = chunkPayloadSchema.safeParse(job.data);
    if (!parsed.success) {
      throw new UnrecoverableError('the payload of this chunk is not one that this version understands');
    }
    const { batch, chunk } = parsed.data;
    const inHand: InHand = { batch, abort: new AbortController(), begun: false };
    this.#inHand.add(inHand);
    // Fetched just before that was over.
    if (this.#draining) inHand.abort.abort(new Stopping());
    try {
      await this.#run(batch, chunk, inHand);
    } catch (error) {
      if (error instanceof RowDropped) {
        if (!(inHand.abort.signal.reason instanceof Stopping)) return;
        await job.moveToWait(token);
        throw new WaitingError();
      }
      await this.#onTrouble(batch, chunk, toError(error));
    } finally {
      this.#inHand.delete(inHand);
    }
  }

  async #run(batch: string, chunk: number, inHand: InHand): Promise<void> {
    const { batches, model, onChunk } = this.#options;
    const { status, revision, done } = await batches.startChunk(batch, chunk);
    if (status !== 'processing') this.#inputs.drop(batch);
    if (status !== 'processing' || done) return;
    if (revision !== undefined && revision !== model.revision) {
      await this.#handOver(batch, chunk, revision);
      return;
    }
    const input = await this.#inputs.get(batch);
    if (!input) return;
    const start = performance.now();
    const blobs = await this.#options.blobs();
    const { rows, options } = await this.#read(batch, input, chunk);
    const key = resultsKey(batch, model.revision, chunk);
    const { outcomes, checksum } = await storeResults(blobs, {
      key,
      ndjson: this.#classify(rows, options, inHand),
      rows,
      // Results that are counted must stay as they are.
      assertWanted: async () => {
        if ((await batches.startChunk(batch, chunk)).done) throw new RowDropped('done elsewhere');
      },
    });
    const next = await batches.handOut(batch, 2 * this.#concurrency, {
      chunk,
      revision: model.revision,
      rows: rows.length,
      ...outcomes,
      checksum,
    });
    const { failedRows, unknownRows } = outcomes;
    onChunk({ rows: rows.length, failedRows, unknownRows, ms: performance.now() - start });
    if (next.outcome === 'completed' || next.outcome === 'ended') this.#inputs.drop(batch);
    if (next.outcome === 'more') await this.#add(batch, next.chunks, next.revision);
    else if (next.outcome === 'revision') {
      // Others were faster to begin with their weights.
      await this.#handOver(batch, chunk, next.revision);
      await blobs.delete([key]);
    } else if (next.outcome === 'ended' && !(await batches.read(batch))) {
      // Removed, with its blobs, before this one was written.
      await blobs.delete([key]);
    }
  }

  /** The records of a chunk, and how they are to be classified. */
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
    const input = {
      format: spec.format,
      textField: spec.text_field,
      idField: spec.id_field,
      delimiter: spec.delimiter,
      quote: spec.quote,
    };
    const limits = { maxTextChars: config.MAX_TEXT_CHARS, maxIdChars: config.MAX_ID_CHARS };
    const firstLine = part.firstLine - 1 + entry.firstLine;
    const rows = await inSlices(
      parseChunk(bytes, { ...input, header: fromStoredHeader(part, input) }, firstLine, limits),
    );
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
    { top_k }: BatchSpec,
    inHand: InHand,
  ): AsyncGenerator<Buffer, void> {
    const { classifier } = this.#options;
    for (const portion of portionsOf(rows, classifier.labelCount)) {
      const texts = portion.flatMap((row) => ('text' in row ? [row.text] : []));
      const settled = () => (inHand.begun = true);
      const results = await classifier.classifyEach(texts, { top_k }, inHand.abort.signal, settled);
      yield* resultLines(portion, results);
    }
  }

  async #add(batch: string, chunks: readonly number[], revision: string | undefined): Promise<void> {
    if (chunks.length > 0) await addChunks(await this.#openQueue(revision), batch, chunks);
  }

  /** Gives a chunk to the workers of the weights that its batch is pinned to. */
  async #handOver(batch: string, chunk: number, revision: string): Promise<void> {
    await this.#add(batch, [chunk], revision);
    const record = await this.#options.batches.read(batch);
    if (record && !isFinal(record.status)) return;
    // Whoever ended it may have emptied that queue just before, and it may have no worker to find out.
    await (await this.#openQueue(revision)).remove(chunkJobId(batch, chunk)).catch(() => 0);
  }

  #openQueue(revision: string | undefined): Promise<ChunkQueue> {
    const { redis, config, model } = this.#options;
    const name = bulkQueueName(model.name, revision);
    let queue = this.#queues.get(name);
    if (!queue) {
      queue = openQueue(name, redis, config.REDIS_PREFIX);
      this.#queues.set(name, queue);
    }
    return queue;
  }

  /** Ends the batch, or says what is wrong and has the chunk tried again. */
  async #onTrouble(batch: string, chunk: number, error: Error): Promise<void> {
    const { batches, logger } = this.#options;
    logger.warn({ batch, chunk, reason: error.message }, 'chunk not done');
    const lost = inputProblem(error);
    if (lost) {
      // Before the end: what is damaged stays visible as a problem beside the error.
      if (lost.code === 'input_damaged') await batches.reportDamage(batch, lost);
      await this.#fail(batch, lost);
      // Nothing more to come from this chunk: 'failed' would end the batch a second time, when it may be resumed already.
      return;
    }
    // Another attempt follows, for as long as it takes: whoever looks at the batch must see why it does not get on.
    const { code, message } =
      error instanceof BlobError
        ? toAppError(error)
        : {
            code: 'internal_error',
            message: `chunk ${chunk} fails on its workers and is tried again; their logs say why`,
          };
    // Redis may be what is wrong.
    await batches.reportProblem(batch, { code, message }).catch(() => {});
    throw error;
  }

  async #fail(batch: string, error: { code: string; message: string }): Promise<void> {
    try {
      await this.#options.batches.end(batch, 'failed', error);
    } catch (failure) {
      this.#options.logger.error({ batch, err: toError(failure) }, 'a failed batch could not be ended');
    }
  }
}
