/** The results of a batch, read in the order of the input from the blobs that workers wrote, one per chunk. */
import { setTimeout as sleep } from 'node:timers/promises';
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
}

export interface ReadOptions {
  /** Line of the last record that is not wanted; 0 = all are. */
  after: number;
  /** Wait for what is not finished. */
  follow: boolean;
  /** The caller hung up, or the server shuts down. */
  signal: AbortSignal;
}

/** How often a follower looks whether there is more. A chunk takes about a second. */
const LOOK_AGAIN_MS = 400;

export class BatchResults {
  readonly #parts: BatchResultsParts;

  constructor(parts: BatchResultsParts) {
    this.#parts = parts;
  }

  /**
   * NDJSON, in pieces that may end within a line.
   * @throws whatever Redis or the blob store throw, also in the middle: what came before is right
   */
  async *read(
    id: string,
    first: BatchRecord,
    { after, follow, signal }: ReadOptions,
  ): AsyncGenerator<Uint8Array> {
    const { withRedis, batches, blobs } = this.#parts;
    const look = () =>
      withRedis(async () => ({ record: await batches.read(id), bits: await batches.doneBits(id) }));
    const wait = () => sleep(LOOK_AGAIN_MS, undefined, { signal }).catch(() => {});

    let record: BatchRecord | undefined = first;
    while (record?.manifest === undefined) {
      if (!record || !follow || isFinalBatch(record.status) || signal.aborted) return;
      await wait();
      ({ record } = await look());
    }
    const store = await blobs();
    const manifest = Manifest.parse(
      await store.read(manifestKey(id, record.manifest)),
      record.spec.first_line,
    );
    let chunk = await chunkBehind(store, manifest, after);
    let skipping = after > 0;
    let { bits } = await look();
    while (chunk < record.chunks && !signal.aborted) {
      if (isDone(bits, chunk)) {
        // Nothing is done before a revision is fixed, so it is there in a record that was read after the bits.
        if (record.revision === undefined) ({ record, bits } = await this.#lookAgain(id, look));
        const pieces = store.get(resultsKey(id, record.revision ?? '', chunk));
        yield* skipping ? linesAfter(pieces, after) : pieces;
        skipping = false;
        chunk++;
        continue;
      }
      const seen = await look();
      if (!seen.record) return;
      record = seen.record;
      bits = seen.bits;
      if (isDone(bits, chunk)) continue;
      if (isFinalBatch(record.status)) chunk++;
      else if (follow) await wait();
      else return;
    }
  }

  async #lookAgain<T extends { record: BatchRecord | undefined }>(
    id: string,
    look: () => Promise<T>,
  ): Promise<T & { record: BatchRecord }> {
    const seen = await look();
    if (seen.record) return { ...seen, record: seen.record };
    throw new Error(`batch ${id} was removed while its results were read`);
  }
}

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
