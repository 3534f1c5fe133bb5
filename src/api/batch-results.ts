/** The results of a batch, read in the order of the input from the blobs that workers wrote, one per chunk. */
import { EventEmitter, once } from 'node:events';
import type { Redis } from 'ioredis';
import {
  countEntries,
  indexKey,
  Manifest,
  manifestKey,
  readEntry,
  resultsKey,
} from '../shared/batches/layout.ts';
import { isDone, type BatchRecord, type BatchStore } from '../shared/batches/store.ts';
import type { BlobStore, LazyBlobStore } from '../shared/blobs/blob-store.ts';
import { isFinalBatch } from '../shared/contract.ts';
import type { WithRedis } from '../shared/redis.ts';

export interface BatchResultsParts {
  withRedis: WithRedis;
  batches: BatchStore;
  blobs: LazyBlobStore;
  /** Used for nothing but subscriptions. */
  subscriber: Redis;
}

export interface ReadOptions {
  /** Line of the last record that is not wanted; 0 = all are. */
  after: number;
  /** Wait for what is not finished. */
  follow: boolean;
  /** The caller hung up, or the server shuts down. */
  signal: AbortSignal;
}

/** How often a follower looks whether there is more when it is not told. */
const LOOK_AGAIN_MS = 500;

export class BatchResults {
  readonly #parts: BatchResultsParts;
  /** An event per batch whose results have grown, by its id. */
  readonly #progress = new EventEmitter().setMaxListeners(0);

  constructor(parts: BatchResultsParts) {
    this.#parts = parts;
    const { subscriber, batches } = parts;
    const subscribe = () => void subscriber.subscribe(batches.progressChannel).catch(() => {});
    subscriber.on('ready', subscribe);
    if (subscriber.status === 'ready') subscribe();
    subscriber.on('message', (channel: string, id: string) => {
      if (channel === batches.progressChannel) this.#progress.emit(id);
    });
  }

  /**
   * NDJSON, in pieces that may end within a line. Pieces that come to their end without an error are all there is for now.
   * @throws whatever Redis or the blob store throw, and the pieces also in the middle: what came before is right
   */
  async open(id: string, record: BatchRecord, options: ReadOptions): Promise<AsyncGenerator<Uint8Array>> {
    // Looked for before the answer begins, so that its status can still say what is wrong with the blob store.
    const chunk = await this.#firstChunk(id, record, options.after);
    return this.#read(id, record, chunk, options);
  }

  async *#read(
    id: string,
    first: BatchRecord,
    firstChunk: number | undefined,
    { after, follow, signal }: ReadOptions,
  ): AsyncGenerator<Uint8Array> {
    const wait = () => this.#grown(id, signal);
    let record = first;
    while (record.manifest === undefined) {
      if (!follow || isFinalBatch(record.status)) return;
      await wait();
      ({ record } = await this.#look(id));
    }
    let chunk = firstChunk ?? (await this.#firstChunk(id, record, after)) ?? 0;
    const store = await this.#parts.blobs();
    let skipping = after > 0;
    let { bits } = await this.#look(id);
    let revision: string | undefined;
    while (chunk < record.chunks) {
      signal.throwIfAborted();
      if (isDone(bits, chunk)) {
        if (record.revision === undefined) {
          // Nothing is done before a revision is fixed, so it is there in a record that is read after the bits.
          ({ record, bits } = await this.#look(id));
          continue;
        }
        revision ??= record.revision;
        const pieces = store.get(resultsKey(id, revision, chunk));
        yield* skipping ? linesAfter(pieces, after) : pieces;
        skipping = false;
        chunk++;
        continue;
      }
      // The bits are newer than the record: when it had ended, they were all there.
      if (hasEnded(record)) {
        chunk++;
        continue;
      }
      ({ record, bits } = await this.#look(id));
      if (revision !== undefined && record.revision !== revision) {
        throw new Error(`batch ${id} was begun again while its results were read`);
      }
      if (isDone(bits, chunk) || hasEnded(record)) continue;
      if (!follow || record.status === 'failed') return;
      await wait();
    }
  }

  /** Waits until there may be more. @throws when `signal` fires */
  async #grown(id: string, signal: AbortSignal): Promise<void> {
    const timeout = AbortSignal.timeout(LOOK_AGAIN_MS);
    await once(this.#progress, id, { signal: AbortSignal.any([signal, timeout]) }).catch(() => {});
    signal.throwIfAborted();
  }

  /** The chunk in which reading begins; undefined while the input is not whole. */
  async #firstChunk(
    id: string,
    { manifest: name, spec }: BatchRecord,
    after: number,
  ): Promise<number | undefined> {
    if (name === undefined) return undefined;
    const store = await this.#parts.blobs();
    const manifest = Manifest.parse(await store.read(manifestKey(id, name)), spec.first_line);
    return chunkBehind(store, manifest, after);
  }

  #look(id: string): Promise<{ record: BatchRecord; bits: Buffer }> {
    const { withRedis, batches } = this.#parts;
    return withRedis(async () => {
      // In this order: what is final in the record has all its bits.
      const record = await batches.read(id);
      if (!record) throw new Error(`batch ${id} was removed while its results were read`);
      return { record, bits: await batches.doneBits(id) };
    });
  }
}

/** A failed one may go on: whoever asks for what is behind the last line must not miss what is missing now. */
const hasEnded = ({ status }: BatchRecord): boolean => isFinalBatch(status) && status !== 'failed';

/** The chunk in which the record behind `line` is to be looked for. */
async function chunkBehind(store: BlobStore, manifest: Manifest, line: number): Promise<number> {
  const part = manifest.partAtLine(line);
  if (line <= 0 || !part) return 0;
  const index = await store.read(indexKey(part.blob));
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
/** Every line of a result begins with it. */
const LINE = /^\{"line":(\d+)/;

/** Those lines of a chunk's results that are behind a line of the input. */
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
