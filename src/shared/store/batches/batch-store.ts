/**
 * The state of batches in Redis: a hash of a few hundred bytes each, and a bit per chunk. Texts and results are not in
 * here but in the blob store (layout.ts). Every change that must not happen twice, or not after another, is a script.
 */
import { readFileSync } from 'node:fs';
import type { Redis } from 'ioredis';
import {
  batchSpecSchema,
  batchStatusSchema,
  MAX_PARTS,
  storedPartSchema,
  type Batch,
  type BatchSpec,
  type StoredPart,
} from '../../contract/batches.ts';
import type { BatchStatus, FinalBatchStatus } from '../../contract/states.ts';
import { type Webhook, webhookSchema } from '../../contract/webhooks.ts';
import { batchModel, eventId } from '../../contract/ids.ts';
import { redisTime } from '../../redis/time.ts';
import {
  batchChecksumsKey,
  batchDoneKey,
  batchKey,
  batchLeftoversKey,
  batchListKey,
  batchPartsKey,
  batchProgressChannel,
  batchRemovalKey,
  deliveryKey,
  openBatchesKey,
  outboxKey,
  reservedBytesKey,
  runningBatchesKey,
  storedBytesKey,
  uploadsKey,
  workersKey,
} from '../../redis/keys.ts';
import { showWebhook } from '../../contract/events.ts';
import { InputError } from '../../bulk/input.ts';
import { MAX_MANIFEST_BYTES } from './layout.ts';
import { CHECKSUM_BYTES, SHARE_UNITS } from './results.ts';

/** A batch as it is kept. Times are Unix ms. */
export interface BatchRecord {
  owner: string;
  status: BatchStatus;
  spec: BatchSpec;
  created: number;
  queued?: number;
  started?: number;
  finished?: number;
  bytes: number;
  parts: number;
  rows: number;
  /** CSV: records with a quoted field over several lines. */
  multilineRows: number;
  /** Once its input is whole. */
  chunks: number;
  /** Chunks of the parts so far. Parts that an API of an earlier version added are missing. */
  partChunks: number;
  /** Name of its manifest, once its input is whole. */
  manifest?: string;
  /** Chunks that were handed out. */
  next: number;
  chunksDone: number;
  finishedRows: number;
  failedRows: number;
  /** Rows with labels and with tokens outside the model's vocabulary; and the sum of their shares (SHARE_UNITS). */
  unknownRows: number;
  unknownShares: number;
  revision?: string;
  problem?: { code: string; message: string; since: string };
  /** Something in the blob store is damaged; only `resume` takes it back. */
  damage?: { code: string; message: string; since: string };
  /** Chunks whose results were found damaged. */
  damaged?: number[];
  error?: { code: string; message: string };
  /** Since `time` the finished rows have grown from `rows`. */
  rateBase?: { time: number; rows: number };
  webhook?: Webhook;
  /** Id of the latest event that was sent. */
  event?: string;
}

export interface BatchStoreOptions {
  redis: Redis;
  prefix: string;
  ttlS: number;
  openTtlS: number;
}

/** Largest input, in bytes without gzip. */
export interface StorageLimits {
  /** Of one batch. */
  batchBytes: number;
  /** Of all batches that are kept, and of uploads under way. */
  storedBytes: number;
}

/** How many batches an owner may have. */
export interface BatchLimits {
  /** That take parts. */
  open: number;
  /** In any state. */
  kept: number;
}

/** The batch is too large, or would be with the uploads to it that are under way, or all batches together are. */
export type LimitReached = 'too_large' | 'busy' | 'quota';

/** What is looked at when a part is added. */
export interface PartLimits extends StorageLimits {
  /** Of one batch. */
  batchChunks: number;
  /** Parts of an owner's open batches. */
  openParts: number;
}

export type AddPartOutcome =
  | { outcome: 'added' }
  /** `chunks`: the batch has too many; `parts`: the open batches of its owner have. */
  | { outcome: LimitReached | 'chunks' | 'parts' }
  | { outcome: 'exists'; part: StoredPart }
  | { outcome: 'ended'; status: BatchStatus | undefined };

export type CompleteOutcome =
  { outcome: 'queued' | 'changed' } | { outcome: 'ended'; status: BatchStatus | undefined };

export type HandOut =
  | { outcome: 'more'; revision: string | undefined; chunks: number[] }
  | { outcome: 'revision'; revision: string }
  | { outcome: 'completed' | 'ended' };

export interface ChunkDone {
  chunk: number;
  revision: string;
  rows: number;
  failedRows: number;
  /** Rows with labels and with tokens outside the model's vocabulary. */
  unknownRows: number;
  /** Sum of the shares of these tokens, each from 0 to 1. */
  unknownShares: number;
  /** Of its results (results.ts); undefined: they cannot be checked. */
  checksum?: Buffer;
}

const SCRIPTS = {
  create: 5,
  'add-part': 7,
  reserve: 4,
  release: 2,
  'read-parts': 1,
  complete: 5,
  'start-chunk': 2,
  'hand-out': 8,
  end: 9,
  resume: 5,
  'report-problem': 1,
  'report-damage': 2,
  remove: 11,
} as const;
/** Functions that stand in front of a script. */
const INCLUDES: Partial<Record<Script, string>> = {
  'hand-out': 'push-event',
  end: 'push-event',
  'add-part': 'reservations',
  reserve: 'reservations',
  release: 'reservations',
};
type Script = keyof typeof SCRIPTS;
type RunScript = (...args: (string | number | Buffer)[]) => Promise<unknown>;

export class BatchStore {
  readonly #redis: Redis;
  readonly #prefix: string;
  readonly #ttlMs: number;
  readonly #openTtlMs: number;

  constructor({ redis, prefix, ttlS, openTtlS }: BatchStoreOptions) {
    for (const [name, numberOfKeys] of Object.entries(SCRIPTS)) {
      const included = INCLUDES[name as Script];
      redis.defineCommand(commandName(name), {
        numberOfKeys,
        lua: (included === undefined ? '' : readScript(included)) + readScript(name),
      });
    }
    this.#redis = redis;
    this.#prefix = prefix;
    this.#ttlMs = ttlS * 1000;
    this.#openTtlMs = openTtlS * 1000;
  }

  /**
   * Makes a batch, unless there is one with this id already.
   * @param reservation key of the string whose last word reserves the id
   * @returns `unreserved` when the id is not reserved any more: its batch was removed just now; `open` or `kept` when its owner
   *   has as many batches as `limits` permit
   */
  async create(
    id: string,
    owner: string,
    spec: BatchSpec,
    webhook?: Webhook,
    reservation?: string,
    limits: BatchLimits = { open: Number.MAX_SAFE_INTEGER, kept: Number.MAX_SAFE_INTEGER },
  ): Promise<'created' | 'unreserved' | keyof BatchLimits> {
    const outcome = await this.#run(
      'create',
      batchKey(this.#prefix, id),
      batchListKey(this.#prefix, owner),
      batchRemovalKey(this.#prefix),
      reservation ?? batchKey(this.#prefix, id),
      openBatchesKey(this.#prefix, owner),
      id,
      (await redisTime(this.#redis)) + this.#openTtlMs,
      limits.open,
      limits.kept,
      ...Object.entries({
        owner,
        spec: JSON.stringify(spec),
        status: 'open' satisfies BatchStatus,
        bytes: 0,
        parts: 0,
        rows: 0,
        chunks: 0,
        next: 0,
        chunks_done: 0,
        finished_rows: 0,
        failed_rows: 0,
        ...(webhook === undefined ? {} : { webhook: JSON.stringify(webhook) }),
        ...(reservation === undefined ? {} : { reservation }),
      }).flat(),
    );
    return outcome as 'created' | 'unreserved' | keyof BatchLimits;
  }

  /** Forgets open batches of an owner that an API of an earlier version closed, which did not count them. */
  async forgetClosed(owner: string): Promise<void> {
    const ids = Object.keys(await this.#redis.hgetall(openBatchesKey(this.#prefix, owner)));
    const statuses = await Promise.all(
      ids.map((id) => this.#redis.hget(batchKey(this.#prefix, id), 'status')),
    );
    const closed = ids.filter((_, i) => statuses[i] !== 'open');
    if (closed.length > 0) await this.#redis.hdel(openBatchesKey(this.#prefix, owner), ...closed);
  }

  async read(id: string): Promise<BatchRecord | undefined> {
    const fields = await this.#redis.hgetall(batchKey(this.#prefix, id));
    return fields.status === undefined ? undefined : parseBatchRecord(fields);
  }

  /** Batches of an owner, newest first, from the one behind `after` on. */
  async list(owner: string, limit: number, after?: string): Promise<{ id: string; record: BatchRecord }[]> {
    return (await this.page(owner, limit, after)).found;
  }

  /**
   * Looks at `limit` batches of an owner, newest first, from the one behind `after` on.
   * @param wanted which of them are read
   * @returns those, the last one looked at, and whether there is none behind it
   */
  async page(
    owner: string,
    limit: number,
    after?: string,
    wanted: (id: string) => boolean = () => true,
  ): Promise<{ found: { id: string; record: BatchRecord }[]; last: string | undefined; atEnd: boolean }> {
    const from = after === undefined ? '+' : `(${after}`;
    const ids = await this.#redis.zrevrangebylex(
      batchListKey(this.#prefix, owner),
      from,
      '-',
      'LIMIT',
      0,
      limit,
    );
    const read = ids.filter(wanted);
    const records = await Promise.all(read.map((id) => this.read(id)));
    const found = read.flatMap((id, i) => {
      const record = records[i];
      return record ? [{ id, record }] : [];
    });
    return { found, last: ids.at(-1), atEnd: ids.length < limit };
  }

  /**
   * The parts of an open batch, by number.
   * @throws InputError when they are too much to be read
   */
  async parts(id: string): Promise<StoredPart[]> {
    const parts = await this.#run(
      'read-parts',
      batchPartsKey(this.#prefix, id),
      MAX_PARTS,
      MAX_MANIFEST_BYTES,
    );
    if (parts === null) {
      throw new InputError(
        `the parts of this batch list more than ${MAX_MANIFEST_BYTES} bytes of columns: cancel it, and submit the input with fewer columns`,
      );
    }
    return (parts as string[]).map((json) => storedPartSchema.parse(JSON.parse(json)));
  }

  async part(id: string, number: number): Promise<StoredPart | undefined> {
    const json = await this.#redis.hget(batchPartsKey(this.#prefix, id), String(number));
    return json === null ? undefined : storedPartSchema.parse(JSON.parse(json));
  }

  /** Bytes of input that are kept, of all batches. */
  async storedBytes(): Promise<number> {
    return Number((await this.#redis.get(storedBytesKey(this.#prefix))) ?? 0);
  }

  /** Bytes that uploads under way have reserved. */
  async reservedBytes(): Promise<number> {
    return Number((await this.#redis.hget(reservedBytesKey(this.#prefix), 'total')) ?? 0);
  }

  /**
   * Reserves room for an upload, in place of what it had reserved.
   * @param upload `<batch id> <any name>`
   * @param needed bytes of it in all
   * @param wanted the same, if there is as much
   * @param ttlMs until the reservation ends, unless it is renewed
   * @returns the bytes that are reserved, at least `needed`
   */
  async reserve(
    upload: string,
    { needed, wanted, ttlMs }: { needed: number; wanted: number; ttlMs: number },
    limits: StorageLimits,
  ): Promise<{ outcome: 'reserved'; bytes: number } | { outcome: LimitReached }> {
    const [batch = ''] = upload.split(' ', 1);
    const [outcome, bytes] = (await this.#run(
      'reserve',
      batchKey(this.#prefix, batch),
      storedBytesKey(this.#prefix),
      uploadsKey(this.#prefix),
      reservedBytesKey(this.#prefix),
      upload,
      needed,
      wanted,
      ttlMs,
      limits.batchBytes,
      limits.storedBytes,
    )) as ['reserved', number] | [LimitReached];
    return outcome === 'reserved' ? { outcome, bytes } : { outcome };
  }

  /** Gives back what an upload has reserved. */
  async release(upload: string): Promise<void> {
    await this.#run('release', uploadsKey(this.#prefix), reservedBytesKey(this.#prefix), upload);
  }

  /** @param upload whose reservation ends when the part is added */
  async addPart(id: string, part: StoredPart, limits: PartLimits, upload: string): Promise<AddPartOutcome> {
    const [now, openKey] = await Promise.all([redisTime(this.#redis), this.#openKeyOf(id)]);
    const [outcome, detail] = (await this.#run(
      'add-part',
      batchKey(this.#prefix, id),
      batchPartsKey(this.#prefix, id),
      batchRemovalKey(this.#prefix),
      storedBytesKey(this.#prefix),
      uploadsKey(this.#prefix),
      reservedBytesKey(this.#prefix),
      openKey,
      id,
      part.number,
      JSON.stringify(part),
      part.bytes,
      part.rows,
      now + this.#openTtlMs,
      limits.batchBytes,
      limits.storedBytes,
      part.multiline_rows ?? 0,
      upload,
      limits.openParts,
      part.chunks,
      limits.batchChunks,
    )) as [string, string | null];
    if (outcome === 'exists') {
      return { outcome, part: storedPartSchema.parse(JSON.parse(detail ?? '')) };
    }
    if (outcome === 'ended') return { outcome, status: parseStatus(detail) };
    return { outcome } as AddPartOutcome;
  }

  /**
   * The input is whole.
   * @param manifest name of the blob that lists the parts
   */
  async complete(
    id: string,
    { parts, chunks, manifest }: { parts: number; chunks: number; manifest: string },
  ): Promise<CompleteOutcome> {
    const [outcome, status] = (await this.#run(
      'complete',
      batchKey(this.#prefix, id),
      batchPartsKey(this.#prefix, id),
      batchRemovalKey(this.#prefix),
      runningBatchesKey(this.#prefix),
      await this.#openKeyOf(id),
      id,
      parts,
      chunks,
      manifest,
    )) as [string, string | null];
    if (outcome === 'ended') return { outcome, status: parseStatus(status) };
    return { outcome: outcome as 'queued' | 'changed' };
  }

  async startChunk(
    id: string,
    chunk: number,
  ): Promise<{ status: BatchStatus | undefined; revision: string | undefined; done: boolean }> {
    const [status, revision, done] = (await this.#run(
      'start-chunk',
      batchKey(this.#prefix, id),
      batchDoneKey(this.#prefix, id),
      chunk,
    )) as [string | null, string | null, number];
    return { status: parseStatus(status), revision: revision ?? undefined, done: done === 1 };
  }

  /**
   * Counts a finished chunk, once, and says which are to be added to the queue next.
   * @param done undefined: only hand out what the window has room for
   * @param perWorker chunks in the queue, or in hand, per live worker
   */
  async handOut(id: string, perWorker: number, done?: ChunkDone): Promise<HandOut> {
    const event = eventId(id, Date.now());
    const [outcome, revision, ...chunks] = (await this.#run(
      'hand-out',
      batchKey(this.#prefix, id),
      batchDoneKey(this.#prefix, id),
      runningBatchesKey(this.#prefix),
      batchRemovalKey(this.#prefix),
      workersKey(this.#prefix, batchModel(id) ?? ''),
      outboxKey(this.#prefix),
      deliveryKey(this.#prefix, event),
      batchChecksumsKey(this.#prefix, id),
      id,
      done?.chunk ?? '',
      done?.revision ?? '',
      done?.rows ?? 0,
      done?.failedRows ?? 0,
      perWorker,
      this.#ttlMs,
      this.progressChannel,
      event,
      done?.unknownRows ?? 0,
      Math.round((done?.unknownShares ?? 0) * SHARE_UNITS),
      done?.checksum ?? '',
    )) as [HandOut['outcome'], string | null, ...number[]];
    if (outcome === 'more') return { outcome, revision: revision ?? undefined, chunks };
    if (outcome === 'revision') return { outcome, revision: revision ?? '' };
    return { outcome };
  }

  /** Says what keeps a batch from going on just now; the next finished chunk takes it back. */
  async reportProblem(id: string, problem: { code: string; message: string }): Promise<void> {
    await this.#run(
      'report-problem',
      batchKey(this.#prefix, id),
      problem.code,
      JSON.stringify({ ...problem, since: new Date().toISOString() }),
    );
  }

  /**
   * Says that something of a batch is damaged in the blob store. The first report stays until the batch is resumed.
   * @param results of which chunk, if it is a chunk's results; ignored when that chunk is to be done again already
   */
  async reportDamage(
    id: string,
    problem: { code: string; message: string },
    results?: { chunk: number; revision: string },
  ): Promise<void> {
    await this.#run(
      'report-damage',
      batchKey(this.#prefix, id),
      batchDoneKey(this.#prefix, id),
      JSON.stringify({ ...problem, since: new Date().toISOString() }),
      results?.chunk ?? '',
      results?.revision ?? '',
    );
  }

  /**
   * Ends a batch that is not completed. False when it had ended before, or is to expire and its time is not up. The data
   * of an expired one is in `leftovers`.
   */
  async end(
    id: string,
    status: Exclude<FinalBatchStatus, 'completed'>,
    error: { code: string; message: string },
  ): Promise<boolean> {
    const from =
      status === 'failed'
        ? ' queued processing '
        : status === 'expired'
          ? ' open '
          : ' open queued processing ';
    const event = eventId(id, Date.now());
    // A worker ends batches as failed alone, and its user of Redis has no right to the keys that the script needs for others.
    const [leftoversKey, bytesKey, openKey] =
      status === 'failed'
        ? [batchKey(this.#prefix, id), batchKey(this.#prefix, id), batchKey(this.#prefix, id)]
        : [batchLeftoversKey(this.#prefix), storedBytesKey(this.#prefix), await this.#openKeyOf(id)];
    const ended = await this.#run(
      'end',
      batchKey(this.#prefix, id),
      batchPartsKey(this.#prefix, id),
      runningBatchesKey(this.#prefix),
      batchRemovalKey(this.#prefix),
      leftoversKey,
      bytesKey,
      outboxKey(this.#prefix),
      deliveryKey(this.#prefix, event),
      openKey,
      id,
      status,
      JSON.stringify(error),
      this.#ttlMs,
      from,
      this.progressChannel,
      event,
    );
    return ended === 1;
  }

  /**
   * Lets a failed batch go on, or with `restart` begin again. Chunks whose results are damaged are done again, also of a
   * batch that is completed. False when it has not failed and has no damaged results.
   * @param damaged those chunks, whose blobs are gone
   */
  async resume(
    id: string,
    restart: boolean,
    damaged: readonly { chunk: number; rows: number }[] = [],
  ): Promise<boolean> {
    const resumed = await this.#run(
      'resume',
      batchKey(this.#prefix, id),
      batchDoneKey(this.#prefix, id),
      runningBatchesKey(this.#prefix),
      batchRemovalKey(this.#prefix),
      batchChecksumsKey(this.#prefix, id),
      id,
      restart ? '1' : '',
      ...damaged.flatMap(({ chunk, rows }) => [chunk, rows]),
    );
    return resumed === 1;
  }

  /** Forgets a batch. Its blobs are in `leftovers` from then on. */
  remove(id: string): Promise<boolean> {
    return this.#remove(id, false);
  }

  /** The same, unless its time is not up any more: it was completed, or resumed, just now. */
  removeDue(id: string): Promise<boolean> {
    return this.#remove(id, true);
  }

  async #remove(id: string, onlyDue: boolean): Promise<boolean> {
    const [owner, reservation] = await this.#redis.hmget(batchKey(this.#prefix, id), 'owner', 'reservation');
    const removed = await this.#run(
      'remove',
      batchKey(this.#prefix, id),
      batchPartsKey(this.#prefix, id),
      batchDoneKey(this.#prefix, id),
      batchListKey(this.#prefix, owner ?? ''),
      runningBatchesKey(this.#prefix),
      batchRemovalKey(this.#prefix),
      batchLeftoversKey(this.#prefix),
      storedBytesKey(this.#prefix),
      reservation ?? batchKey(this.#prefix, id),
      batchChecksumsKey(this.#prefix, id),
      openBatchesKey(this.#prefix, owner ?? ''),
      id,
      onlyDue ? await redisTime(this.#redis) : '',
    );
    return removed === 1;
  }

  /** Batches that were removed or have expired, and whose blobs may still be there. */
  leftovers(): Promise<string[]> {
    return this.#redis.smembers(batchLeftoversKey(this.#prefix));
  }

  async blobsRemoved(id: string): Promise<void> {
    await this.#redis.srem(batchLeftoversKey(this.#prefix), id);
  }

  /** Batches whose input is whole and which have not ended. */
  running(): Promise<string[]> {
    return this.#redis.smembers(runningBatchesKey(this.#prefix));
  }

  /** Batches whose time is up. */
  async due(limit: number): Promise<string[]> {
    const now = await redisTime(this.#redis);
    return this.#redis.zrangebyscore(batchRemovalKey(this.#prefix), '-inf', now, 'LIMIT', 0, limit);
  }

  /** Unix ms at which a batch is removed, if nothing happens to it; undefined while it is worked on. */
  async removalTime(id: string): Promise<number | undefined> {
    const score = await this.#redis.zscore(batchRemovalKey(this.#prefix), id);
    return score === null ? undefined : Number(score);
  }

  /** An upload goes on: the batch is not given up yet. */
  async keepOpen(id: string): Promise<void> {
    await this.keepUntil(id, (await redisTime(this.#redis)) + this.#openTtlMs);
  }

  /** Keeps a batch that has ended until then (Unix ms) at least. */
  async keepUntil(id: string, time: number): Promise<void> {
    await this.#redis.zadd(batchRemovalKey(this.#prefix), 'XX', 'GT', time, id);
  }

  /** Which chunks are done, a bit each, that of chunk 0 being the highest of the first byte. */
  async doneBits(id: string): Promise<Buffer> {
    return (await this.#redis.getBuffer(batchDoneKey(this.#prefix, id))) ?? Buffer.alloc(0);
  }

  /** Checksums of the results of `count` chunks from `first` on (results.ts), as far as they are recorded. */
  async checksums(id: string, first: number, count: number): Promise<Buffer> {
    const [from, to] = [first * CHECKSUM_BYTES, (first + count) * CHECKSUM_BYTES - 1];
    return this.#redis.getrangeBuffer(batchChecksumsKey(this.#prefix, id), from, to);
  }

  get progressChannel(): string {
    return batchProgressChannel(this.#prefix);
  }

  #run(script: Script, ...args: (string | number | Buffer)[]): Promise<unknown> {
    const commands = this.#redis as unknown as Record<string, RunScript>;
    const command = commands[commandName(script)] as RunScript;
    return command.apply(this.#redis, args);
  }

  /** The open batches of the owner of a batch. */
  async #openKeyOf(id: string): Promise<string> {
    return openBatchesKey(this.#prefix, (await this.#redis.hget(batchKey(this.#prefix, id), 'owner')) ?? '');
  }
}

const readScript = (name: string): string => readFileSync(new URL(`./${name}.lua`, import.meta.url), 'utf8');

const commandName = (script: string): string => `amuletBatch-${script}`;

/** Whether the bit of a chunk is set. */
export function isDone(bits: Buffer, chunk: number): boolean {
  return ((bits[chunk >> 3] ?? 0) & (0x80 >> (chunk & 7))) !== 0;
}

function parseStatus(status: string | null): BatchStatus | undefined {
  return status === null ? undefined : batchStatusSchema.parse(status);
}

/** A batch from the fields of its hash. */
export function parseBatchRecord(fields: Record<string, string>): BatchRecord {
  const number = (name: string) => Number(fields[name] ?? 0);
  const optional = (name: string, key: string) => (fields[name] === undefined ? {} : { [key]: number(name) });
  const json = (name: string) =>
    fields[name] === undefined ? {} : { [name]: JSON.parse(fields[name]) as unknown };
  const base = fields.base_time === undefined ? 'sample' : 'base';
  return {
    owner: fields.owner ?? '',
    status: batchStatusSchema.parse(fields.status),
    spec: batchSpecSchema.parse(JSON.parse(fields.spec ?? '')),
    created: number('created'),
    ...optional('queued', 'queued'),
    ...optional('started', 'started'),
    ...optional('finished', 'finished'),
    bytes: number('bytes'),
    parts: number('parts'),
    rows: number('rows'),
    multilineRows: number('multiline_rows'),
    chunks: number('chunks'),
    partChunks: number('part_chunks'),
    ...(fields.manifest === undefined ? {} : { manifest: fields.manifest }),
    next: number('next'),
    chunksDone: number('chunks_done'),
    finishedRows: number('finished_rows'),
    failedRows: number('failed_rows'),
    unknownRows: number('unknown_rows'),
    unknownShares: number('unknown_shares'),
    ...(fields.revision === undefined ? {} : { revision: fields.revision }),
    ...json('problem'),
    ...json('damage'),
    ...(fields.damaged === undefined ? {} : { damaged: fields.damaged.split(',').map(Number) }),
    ...json('error'),
    ...(fields.webhook === undefined ? {} : { webhook: webhookSchema.parse(JSON.parse(fields.webhook)) }),
    ...(fields.event === undefined ? {} : { event: fields.event }),
    ...(fields.sample_time === undefined
      ? {}
      : { rateBase: { time: number(`${base}_time`), rows: number(`${base}_rows`) } }),
  };
}

/** A shorter time says nothing about the rate. */
const MIN_RATE_MS = 1000;

/**
 * A batch as it is shown.
 * @param expiresAt Unix ms
 * @param now Unix ms
 */
export function toBatch(
  id: string,
  record: BatchRecord,
  expiresAt: number | undefined,
  now = Date.now(),
): Batch {
  const { spec } = record;
  const time = (ms: number | undefined) => (ms === undefined ? null : new Date(ms).toISOString());
  const rate = record.status === 'processing' ? rowsPerSecond(record, now) : finalRate(record);
  const left = record.rows - record.finishedRows;
  return {
    id,
    status: record.status,
    model: { name: batchModel(id) ?? '', revision: record.revision ?? null },
    created_at: new Date(record.created).toISOString(),
    queued_at: time(record.queued),
    started_at: time(record.started),
    finished_at: time(record.finished),
    expires_at: time(expiresAt),
    input: {
      format: spec.format,
      text_field: spec.text_field,
      id_field: spec.id_field ?? null,
      bytes: record.bytes,
      parts: record.parts,
      ...(spec.format === 'csv' ? { multiline_rows: record.multilineRows } : {}),
    },
    top_k: spec.top_k,
    rows: {
      total: record.rows,
      finished: record.finishedRows,
      failed: record.failedRows,
      with_unknown: record.unknownRows,
      mean_unknown: record.unknownRows === 0 ? null : meanShare(record.unknownShares, record.unknownRows),
    },
    rows_per_second: rate === undefined ? null : Math.round(rate * 10) / 10,
    eta_s: record.status === 'processing' && rate !== undefined && rate > 0 ? Math.ceil(left / rate) : null,
    // Damage first: it does not pass by itself.
    problem: record.damage ?? record.problem ?? null,
    error: record.error ?? null,
    metadata: spec.metadata ?? null,
    webhook: showWebhook('batch', record.webhook, record.event),
    urls: { self: `/v1/batches/${id}`, results: `/v1/batches/${id}/results` },
  };
}

/** @param sum in SHARE_UNITS @returns rounded as the shares of results are */
function meanShare(sum: number, rows: number): number {
  return Math.round(sum / rows) / SHARE_UNITS;
}

/** Of the last 5 to 10 seconds, or since the start while that is all there is. */
function rowsPerSecond({ rateBase, started, finishedRows }: BatchRecord, now: number): number | undefined {
  const base = rateBase ?? (started === undefined ? undefined : { time: started, rows: 0 });
  if (!base || now - base.time < MIN_RATE_MS) return undefined;
  return ((finishedRows - base.rows) * 1000) / (now - base.time);
}

/** Of the whole run. */
function finalRate({ started, finished, finishedRows }: BatchRecord): number | undefined {
  if (started === undefined || finished === undefined || finished <= started) return undefined;
  return (finishedRows * 1000) / (finished - started);
}
