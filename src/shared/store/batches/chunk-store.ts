/**
 * Progress of batches, chunk by chunk: which chunks may be queued, which are started and finished, and the checksums of
 * their results.
 */
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { batchStatusSchema } from '../../contract/batches.ts';
import type { BatchStatus } from '../../contract/states.ts';
import { eventId } from '../../contract/ids.ts';
import { batchChecksumsKey, batchDoneKey, batchProgressChannel, deliveryKey } from '../../redis/keys.ts';
import { defineScript } from '../../redis/scripts.ts';
import { CHECKSUM_BYTES, SHARE_UNITS, type ChunkCounts } from './results.ts';
import { scriptKeys } from './script-keys.ts';
import { NO_TALLY, tallyArguments, type ChunkTally } from './tally.ts';
import { RedisStore } from '../redis-store.ts';

export interface FinishedChunk extends ChunkCounts {
  chunk: number;
  revision: string;
  rows: number;
  /** Of its results (results.ts); undefined: they cannot be checked. */
  checksum?: Buffer;
  /** Its rows by label and by error code; undefined: they are not counted, as by a worker of an earlier version. */
  tally?: ChunkTally;
  /** Number of labels of the model; required with a tally. */
  labelCount?: number;
}

export type FinishOutcome =
  /** `claimed`: chunks that the caller must add to the queue of the revision. */
  | { outcome: 'counted'; revision: string; claimed: number[] }
  /** The batch is pinned to another revision; nothing was counted. */
  | { outcome: 'revision'; revision: string }
  | { outcome: 'completed' | 'ended' };

const START = defineScript(
  new URL('./start-chunk.lua', import.meta.url),
  z.tuple([batchStatusSchema.nullable(), z.string().nullable(), z.number()]),
);

const CLAIM = defineScript(new URL('./claim-chunks.lua', import.meta.url), z.array(z.number()).nullable());

const FINISH = defineScript(
  new URL('./finish-chunk.lua', import.meta.url),
  z.union([
    z
      .tuple([z.literal('counted'), z.string(), z.array(z.number())])
      .transform(([outcome, revision, claimed]) => ({ outcome, revision, claimed })),
    z.tuple([z.literal('revision'), z.string()]).transform(([outcome, revision]) => ({ outcome, revision })),
    z.tuple([z.enum(['completed', 'ended'])]).transform(([outcome]) => ({ outcome })),
  ]),
);

export class ChunkStore extends RedisStore {
  readonly #keepMs: number;

  /** @param keepMs ms to keep a completed batch */
  constructor(redis: Redis, prefix: string, keepMs: number) {
    super(redis, prefix);
    this.#keepMs = keepMs;
  }

  /** Starts a chunk. `revision`: of the weights that its batch is pinned to; `done`: the chunk is finished already. */
  async start(
    id: string,
    chunk: number,
  ): Promise<{ status: BatchStatus | undefined; revision: string | undefined; done: boolean }> {
    const [status, revision, done] = await START.run(this.redis, scriptKeys(this.prefix, id), { chunk });
    return { status: status ?? undefined, revision: revision ?? undefined, done: done === 1 };
  }

  /**
   * Claims the next chunks of a batch, which the caller must add to the queue.
   * @param perWorker chunks that may be queued or processing, per live worker
   * @returns undefined when the batch is neither queued nor processing
   */
  async claim(id: string, perWorker: number): Promise<number[] | undefined> {
    const claimed = await CLAIM.run(this.redis, scriptKeys(this.prefix, id), { perWorker });
    return claimed ?? undefined;
  }

  /**
   * Counts a finished chunk, once, and claims the next ones.
   * @param perWorker chunks that may be queued or processing, per live worker
   */
  finish(id: string, perWorker: number, finished: FinishedChunk): Promise<FinishOutcome> {
    const event = eventId(id, Date.now());
    const { tally, labelCount = 0 } = finished;
    const { named, pairs } = tally ? tallyArguments(tally, labelCount) : NO_TALLY;
    return FINISH.run(
      this.redis,
      { ...scriptKeys(this.prefix, id), delivery: deliveryKey(this.prefix, event) },
      {
        id,
        chunk: finished.chunk,
        revision: finished.revision,
        rows: finished.rows,
        failedRows: finished.failedRows,
        unknownRows: finished.unknownRows,
        unknownShares: Math.round(finished.unknownShares * SHARE_UNITS),
        checksum: finished.checksum ?? '',
        perWorker,
        keepMs: this.#keepMs,
        channel: batchProgressChannel(this.prefix),
        event,
        ...named,
      },
      { args: pairs },
    );
  }

  /** Which chunks are finished, a bit each; chunk 0 is the highest bit of the first byte. */
  async doneBits(id: string): Promise<Buffer> {
    return (await this.redis.getBuffer(batchDoneKey(this.prefix, id))) ?? Buffer.alloc(0);
  }

  /** Checksums of the results of `count` chunks from `first` on (results.ts), as far as they are recorded. */
  async checksums(id: string, first: number, count: number): Promise<Buffer> {
    const [from, to] = [first * CHECKSUM_BYTES, (first + count) * CHECKSUM_BYTES - 1];
    return this.redis.getrangeBuffer(batchChecksumsKey(this.prefix, id), from, to);
  }
}
