/** Reads the results of a batch, in the order of its input, from the blobs that workers wrote: one per chunk. */
import { EventEmitter, once } from 'node:events';
import { findChunk, inputProblem, readIndex, readManifest } from '../../shared/store/batches/input.ts';
import { countEntries, readEntry, resultsKey, type Manifest } from '../../shared/store/batches/layout.ts';
import { CHECKSUM_BYTES, DamagedResults, digestOf, readResults } from '../../shared/store/batches/results.ts';
import { isDone, type BatchRecord } from '../../shared/store/batches/batch-record.ts';
import type { BlobStore } from '../../shared/blobs/blob-store.ts';
import { inputOf } from '../../shared/bulk/csv.ts';
import type { BatchSpec, StoredPart } from '../../shared/contract/batches.ts';
import type { LabelScore } from '../../shared/contract/results.ts';
import { isFinal } from '../../shared/contract/states.ts';
import type { Deps } from '../deps.ts';
import { invalidRequest } from '../middleware/problems.ts';
import { InputRecords } from './input-records.ts';
import { keptColumns } from './kept-columns.ts';
import type { FormLimits, ResultForm } from './result-form.ts';
import { ResultWriter } from './result-writer.ts';

export type BatchResultsDeps = Deps<'withRedis' | 'batchStore' | 'blobs' | 'subscriber'>;

export interface ReadOptions {
  /** Results start after this line of the input; 0: all results. */
  after: number;
  /** Whether to wait for results that are not finished. */
  follow: boolean;
  /** Longest silence during a wait, in ms, before an empty line is sent; default: no limit. */
  heartbeatMs?: number | undefined;
  /** Another form than the stored NDJSON. A table has its header only when `after` is 0. */
  form?: ResultForm | undefined;
  /** Of a form. */
  limits: FormLimits;
  /** The caller hung up, or the server shuts down. */
  signal: AbortSignal;
}

/** Makes another form of the results of a chunk. */
interface Rewriter {
  header: string;
  rows: (ndjson: AsyncIterable<Uint8Array>, chunk: number) => AsyncIterable<Uint8Array>;
}

type ReadChunk = (record: BatchRecord & { revision: string }, chunk: number) => AsyncGenerator<Uint8Array>;

/** Interval at which a follower looks for more results, in case it missed an announcement. */
const LOOK_AGAIN_MS = 500;
/** Sent so that proxies and clients do not take silence for a dead connection. */
const HEARTBEAT = Buffer.from('\n');
/** Chunks whose checksums are read with one command: 12 KB. */
const CHECKSUMS_AT_ONCE = 1024;

export class BatchResults {
  readonly #deps: BatchResultsDeps;
  /** Emits the id of a batch when it has more results. */
  readonly #progress = new EventEmitter().setMaxListeners(0);

  constructor(deps: BatchResultsDeps) {
    this.#deps = deps;
    const { subscriber, batchStore } = deps;
    const subscribe = () => void subscriber.subscribe(batchStore.progressChannel).catch(() => {});
    subscriber.on('ready', subscribe);
    if (subscriber.status === 'ready') subscribe();
    subscriber.on('message', (channel: string, id: string) => {
      if (channel === batchStore.progressChannel) this.#progress.emit(id);
    });
  }

  /**
   * NDJSON, in pieces that may end within a line. When they end without an error, there are no more results for now.
   * @throws errors of Redis and the blob store, the pieces also in the middle: what they yielded before is correct.
   *   DamagedResults, which the batch then shows as its problem; DamagedInput when `after` cannot be found
   */
  async open(id: string, record: BatchRecord, options: ReadOptions): Promise<AsyncGenerator<Uint8Array>> {
    // Before the response starts, so that its status can still report a failure of the blob store.
    const chunk = await this.#firstChunk(id, record, options.after);
    const rewriter = options.form && (await this.#rewriter(id, record, options.form, options.limits));
    return this.#read(id, record, chunk, rewriter, options);
  }

  async *#read(
    id: string,
    first: BatchRecord,
    firstChunk: number | undefined,
    rewriter: Rewriter | undefined,
    { after, follow, heartbeatMs = Infinity, signal }: ReadOptions,
  ): AsyncGenerator<Uint8Array> {
    let sentAt = performance.now();
    /** Waits until there may be more. Between two chunks, and so between two lines. */
    const wait = async (): Promise<Uint8Array[]> => {
      await this.#grown(id, signal, heartbeatMs);
      if (performance.now() - sentAt < heartbeatMs) return [];
      sentAt = performance.now();
      return [HEARTBEAT];
    };
    let record = first;
    while (record.manifest === undefined) {
      if (!follow || isFinal(record.status)) return;
      yield* await wait();
      ({ record } = await this.#look(id));
    }
    if (rewriter && rewriter.header !== '' && after <= 0) yield Buffer.from(rewriter.header);
    let chunk = firstChunk ?? (await this.#firstChunk(id, record, after)) ?? 0;
    const read = await this.#chunkReader(id);
    let skipping = after > 0;
    let { bits } = await this.#look(id);
    let revision: string | undefined;
    while (chunk < record.chunks) {
      signal.throwIfAborted();
      if (isDone(bits, chunk)) {
        if (record.revision === undefined) {
          // A chunk is done only after the revision was fixed, so a record that is read after the bits has it.
          ({ record, bits } = await this.#look(id));
          continue;
        }
        revision ??= record.revision;
        const pieces = read({ ...record, revision }, chunk);
        const wanted = skipping ? linesAfter(pieces, after) : pieces;
        yield* rewriter ? rewriter.rows(wanted, chunk) : wanted;
        sentAt = performance.now();
        skipping = false;
        chunk++;
        continue;
      }
      // The bits are newer than the record: if it had ended, this chunk will never be done.
      if (hasEnded(record)) {
        chunk++;
        continue;
      }
      ({ record, bits } = await this.#look(id));
      if (revision !== undefined && record.revision !== revision) {
        throw new Error(`batch ${id} was restarted while its results were read`);
      }
      if (isDone(bits, chunk) || hasEnded(record)) continue;
      if (!follow || record.status === 'failed') return;
      yield* await wait();
    }
  }

  /** Waits until there may be more. @throws when `signal` fires */
  async #grown(id: string, signal: AbortSignal, longestMs: number): Promise<void> {
    const timeout = AbortSignal.timeout(Math.min(LOOK_AGAIN_MS, longestMs));
    await once(this.#progress, id, { signal: AbortSignal.any([signal, timeout]) }).catch(() => {});
    signal.throwIfAborted();
  }

  /** The chunk where reading starts; undefined while the batch is open. */
  async #firstChunk(id: string, record: BatchRecord, after: number): Promise<number | undefined> {
    const store = await this.#deps.blobs();
    try {
      const manifest = await readManifest(store, id, record);
      return manifest && (await chunkBehind(store, manifest, after));
    } catch (error) {
      // From the first chunk on, results can be read without the input.
      if (inputProblem(error) && after <= 0) return 0;
      throw error;
    }
  }

  /**
   * @returns reads the results of a done chunk after comparing them with its checksum. When they differ, it reports the damage as
   *   the problem of the batch and throws DamagedResults before the first piece
   */
  async #chunkReader(id: string): Promise<ReadChunk> {
    const { withRedis, batchStore, blobs } = this.#deps;
    const store = await blobs();
    let known: { first: number; bytes: Buffer } = { first: 0, bytes: Buffer.alloc(0) };
    const digestFor = async (chunk: number): Promise<Buffer | undefined> => {
      const find = () => digestOf(known.bytes.subarray((chunk - known.first) * CHECKSUM_BYTES));
      const inside = chunk >= known.first && chunk < known.first + CHECKSUMS_AT_ONCE ? find() : undefined;
      if (inside) return inside;
      known = {
        first: chunk,
        bytes: await withRedis(() => batchStore.chunks.checksums(id, chunk, CHECKSUMS_AT_ONCE)),
      };
      return find();
    };
    return async function* (record, chunk) {
      const { revision } = record;
      const digest = await digestFor(chunk);
      const rows = async () => (await findChunk(store, id, record, chunk)).rows;
      try {
        yield* readResults(store, resultsKey(id, revision, chunk), digest, rows);
      } catch (error) {
        if (!(error instanceof DamagedResults)) throw error;
        const place = await placeOf(store, id, record, chunk);
        const cure =
          record.status === 'canceled'
            ? 'Submit the input again'
            : `POST /v1/batches/${id}/resume labels these rows again`;
        const message = `the results of ${place} are damaged in the blob store: ${error.message}. ${cure}`;
        await withRedis(() =>
          batchStore.reportDamage(id, { code: 'results_damaged', message }, { chunk, revision }),
        );
        throw new DamagedResults(message);
      }
    };
  }

  /**
   * @returns undefined for a batch that ended without a complete input, and so without results
   * @throws AppError `invalid_request` when the results cannot have this form; DamagedInput, BlobError
   */
  async #rewriter(
    id: string,
    record: BatchRecord,
    form: ResultForm,
    limits: FormLimits,
  ): Promise<Rewriter | undefined> {
    const store = await this.#deps.blobs();
    const manifest = await readManifest(store, id, record);
    if (!manifest) {
      if (isFinal(record.status)) return undefined;
      throw invalidRequest([{ path: form.keep === undefined ? 'format' : 'keep', message: STILL_OPEN }]);
    }
    const { spec } = record;
    const input = new InputRecords(store, id, spec, manifest);
    const kept = form.keep === undefined ? undefined : await keptColumns(input, form, limits);
    const writer = new ResultWriter({
      form,
      kept,
      hasIds:
        spec.format === 'csv' ? manifest.parts.some((part) => hasIds(spec, part)) : spec.format === 'ndjson',
      hasLabels: (spec.top_k !== 1 || spec.threshold !== undefined) && !form.scoreColumns,
      scoreLabels: form.scoreColumns ? await this.#scoreLabels(id, record, limits) : [],
    });
    const rows = async function* (ndjson: AsyncIterable<Uint8Array>, chunk: number) {
      yield* writer.rows(ndjson, chunk, kept && (await input.ofChunk(chunk)));
    };
    return { header: writer.header, rows: (ndjson, chunk) => this.#reporting(id, rows(ndjson, chunk)) };
  }

  /** Shows damage of the input as the problem of the batch, before the response breaks off. */
  async *#reporting(id: string, rows: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    try {
      yield* rows;
    } catch (error) {
      const problem = inputProblem(error);
      if (problem) await this.#deps.withRedis(() => this.#deps.batchStore.reportDamage(id, problem));
      throw error;
    }
  }

  /** All labels of the model, sorted, from the first row that has some. @throws AppError `invalid_request` without one */
  async #scoreLabels(id: string, { spec }: BatchRecord, limits: FormLimits): Promise<string[]> {
    const refused = (message: string) => invalidRequest([{ path: 'score_columns', message }]);
    if (spec.top_k !== null || spec.threshold !== undefined)
      throw refused('needs a batch with `top_k=all` and no `threshold`');
    const { record, bits } = await this.#look(id);
    const { revision } = record;
    const read = await this.#chunkReader(id);
    for (let chunk = 0; revision !== undefined && chunk < record.chunks; chunk++) {
      const found = isDone(bits, chunk) ? await labelsIn(read({ ...record, revision }, chunk)) : undefined;
      if (!found) continue;
      if (found.length > limits.columns) {
        throw refused(
          `would make ${found.length} columns; at most ${limits.columns} are allowed (MAX_CSV_COLUMNS)`,
        );
      }
      return found.toSorted();
    }
    if (hasEnded(record)) return [];
    throw refused('must wait until a row of the batch has labels: they become the names of columns');
  }

  #look(id: string): Promise<{ record: BatchRecord; bits: Buffer }> {
    const { withRedis, batchStore } = this.#deps;
    return withRedis(async () => {
      // In this order: a record that is final has all its bits.
      const record = await batchStore.read(id);
      if (!record) throw new Error(`batch ${id} was removed while its results were read`);
      return { record, bits: await batchStore.chunks.doneBits(id) };
    });
  }
}

const STILL_OPEN = 'must wait until the batch has its whole input, and with it all columns';

const hasIds = (spec: BatchSpec, part: StoredPart): boolean => inputOf(spec, part).header?.id !== undefined;

/** Labels of the first row with labels; undefined when all rows are errors. */
async function labelsIn(ndjson: AsyncIterable<Uint8Array>): Promise<string[] | undefined> {
  let partial = '';
  const decoder = new TextDecoder();
  for await (const piece of ndjson) {
    const lines = (partial + decoder.decode(piece, { stream: true })).split('\n');
    partial = lines.pop() ?? '';
    for (const line of lines) {
      const { labels } = JSON.parse(line) as { labels?: LabelScore[] };
      if (labels) return labels.map(({ label }) => label);
    }
  }
  return undefined;
}

/** Whether no more results will come. A failed batch may be resumed, so that a reader must not skip its missing chunks. */
const hasEnded = ({ status }: BatchRecord): boolean => isFinal(status) && status !== 'failed';

/** Describes a chunk, with its lines of the input if that is not damaged, too. */
async function placeOf(store: BlobStore, id: string, record: BatchRecord, chunk: number): Promise<string> {
  const name = `chunk ${chunk} of ${record.chunks}`;
  const found = await findChunk(store, id, record, chunk).catch(() => undefined);
  return found ? `${name} (${found.rows} rows, from line ${found.line} of the input)` : name;
}

/** The chunk that contains the first record after `line`. @throws DamagedInput, BlobError */
async function chunkBehind(store: BlobStore, manifest: Manifest, line: number): Promise<number> {
  const part = manifest.partAtLine(line);
  if (line <= 0 || !part) return 0;
  const index = await readIndex(store, part);
  let low = 0;
  let high = countEntries(index) - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (part.firstLine - 1 + readEntry(index, middle).firstLine <= line) low = middle;
    else high = middle - 1;
  }
  return part.firstChunk + low;
}

const LF = 0x0a;
/** The start of every result. */
const LINE = /^\{"line":(\d+)/;

/** The results of a chunk for the records after a line of the input. */
async function* linesAfter(pieces: AsyncIterable<Uint8Array>, after: number): AsyncGenerator<Uint8Array> {
  let rest = Buffer.alloc(0);
  let found = false;
  for await (const piece of pieces) {
    if (found) {
      yield piece;
      continue;
    }
    rest = Buffer.concat([rest, piece]);
    let start = 0;
    for (let end = rest.indexOf(LF); end !== -1; end = rest.indexOf(LF, start)) {
      const [, line] = LINE.exec(rest.toString('latin1', start, Math.min(start + 32, end))) ?? [];
      if (Number(line) > after) {
        found = true;
        yield rest.subarray(start);
        break;
      }
      start = end + 1;
    }
    rest = rest.subarray(start);
  }
}
