/** State in Redis: the classes and scripts that keep it, without processes around them. */
import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, inject, test, vi } from 'vitest';
import { IdempotencyKeys } from '../../src/api/idempotency.ts';
import { Waiters } from '../../src/api/jobs/waiters.ts';
import { backlogKey, jobIdempotencyKey } from '../../src/shared/redis/keys.ts';
import { encodeChecksum } from '../../src/shared/store/batches/results.ts';
import { BatchStore } from '../../src/shared/store/batches/batch-store.ts';
import { toBatch } from '../../src/shared/store/batches/batch-view.ts';
import { loadConfig } from '../../src/shared/runtime/config.ts';
import { recordErrorCodes, rowErrorCodes } from '../../src/shared/contract/problems.ts';
import { BATCH_TRANSITIONS } from '../../src/shared/contract/states.ts';
import { batchStatusSchema } from '../../src/shared/contract/batches.ts';
import type { JobRecord } from '../../src/shared/contract/jobs.ts';
import type { Webhook } from '../../src/shared/contract/webhooks.ts';
import { newBatchId, newGroupId, newJobId } from '../../src/shared/contract/ids.ts';
import { queueName } from '../../src/shared/store/queues.ts';
import { JobRecords, parseDoneMessage } from '../../src/shared/store/jobs/job-records.ts';

const MODEL = 'm';
let redis: Redis;
let subscriber: Redis;
let prefix: string;

beforeEach(async () => {
  redis = new Redis(inject('redisUrl'));
  subscriber = redis.duplicate();
  await subscriber.ping();
  prefix = `{test-${randomBytes(5).toString('hex')}}`;
});
afterEach(() => {
  vi.useRealTimers();
  subscriber.disconnect();
  redis.disconnect();
});

const newId = () => newJobId(newGroupId('normal', MODEL));
const succeeded = (label: string): JobRecord => ({
  v: 1,
  owner: 'everybody',
  status: 'succeeded',
  created: 1,
  started: 2,
  finished: 3,
  results: [{ label, score: 1, truncated: false }],
});

const LIMITS = { batchBytes: 1e6, storedBytes: 1e6, batchChunks: 1e6, openParts: 1e6 };

describe('Idempotency-Key', () => {
  const webhook = (trace: string) => ({
    url: 'https://example.com/',
    events: ['job.succeeded' as const],
    trace,
  });
  const keys = (env = {}) =>
    new IdempotencyKeys(
      { redis, config: loadConfig({ REDIS_PREFIX: prefix, ...env }) },
      { key: jobIdempotencyKey, content: 'body' },
    );

  test('reserves an id for IDEMPOTENCY_TTL_S seconds', async () => {
    const reserved = keys({ IDEMPOTENCY_TTL_S: '600' });
    expect(await reserved.reserve('alice', 'k', 'first', {})).toBeUndefined();
    expect(await reserved.reserve('alice', 'k', 'second', {})).toBe('first');
    expect(await redis.ttl(reserved.redisKey('alice', 'k'))).toBeGreaterThan(0);
    expect(await redis.ttl(reserved.redisKey('alice', 'k'))).toBeLessThanOrEqual(600);
  });

  test('matches a repeat with a webhook, whatever trace it has', async () => {
    const reserved = keys();
    const reserve = (id: string, of: Webhook) => reserved.reserve('alice', 'k', id, { webhook: of });
    expect(await reserve('first', webhook('00-a-b-01'))).toBeUndefined();
    expect(await reserve('second', webhook('00-c-d-01'))).toBe('first');
    const other = { ...webhook('00-a-b-01'), url: 'https://example.com/other' };
    await expect(reserve('third', other)).rejects.toMatchObject({
      code: 'idempotency_mismatch',
    });
  });
});

describe('the outcomes of jobs', () => {
  test('of jobs that end together are all announced to the instance that accepted them', async () => {
    const records = new JobRecords(redis, prefix, 60);
    const messages: string[] = [];
    subscriber.on('message', (channel: string, message: string) => {
      if (channel === 'instance') messages.push(message);
    });
    await subscriber.subscribe('instance');
    const jobs = Array.from({ length: 5 }, (_, i) => ({ id: newId(), record: succeeded(`label ${i}`) }));
    const settled = await Promise.all(
      jobs.map(({ id, record }) => records.settle(id, record, { notify: 'instance' })),
    );
    expect(settled).toEqual(jobs.map(() => ({ settled: true })));
    await subscriber.ping();
    expect(messages.flatMap((message) => parseDoneMessage(message, () => true))).toEqual(jobs);
  });

  test('of jobs that end while Redis writes earlier ones are recorded together', async () => {
    const records = new JobRecords(redis, prefix, 60);
    const messages: string[] = [];
    subscriber.on('message', (_channel: string, message: string) => messages.push(message));
    await subscriber.subscribe('instance');
    const jobs = ['a', 'b', 'c'].map((label) => ({ id: newId(), record: succeeded(label) }));
    const settle = ({ id, record }: (typeof jobs)[number]) =>
      records.settle(id, record, { notify: 'instance' });
    const first = settle(jobs[0]!);
    // The call of the first is sent; its reply arrives in a later turn.
    await new Promise<void>((resolve) => process.nextTick(resolve));
    const second = settle(jobs[1]!);
    await new Promise<void>((resolve) => process.nextTick(resolve));
    const settled = await Promise.all([first, second, settle(jobs[2]!)]);
    expect(settled).toEqual(jobs.map(() => ({ settled: true })));
    await subscriber.ping();
    expect(messages.map((message) => parseDoneMessage(message, () => true))).toEqual([
      [jobs[0]],
      jobs.slice(1),
    ]);
  });

  test('are recorded after a call that failed', async () => {
    const records = new JobRecords(redis, prefix, 60);
    const backlog = backlogKey(prefix, queueName('normal', MODEL));
    const id = newId();
    await redis.set(backlog, 'no sorted set');
    const failed = [records.settle(id, succeeded('a')), records.settle(newId(), succeeded('b'))];
    for (const each of await Promise.allSettled(failed))
      expect(each).toMatchObject({
        status: 'rejected',
        reason: { message: expect.stringMatching('WRONGTYPE') },
      });
    expect(await records.read([id])).toEqual([undefined]);
    await redis.del(backlog);
    expect(await records.settle(id, succeeded('a'))).toEqual({ settled: true });
  });

  test('are looked up every two seconds by waiters, as a message may be lost', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const records = new JobRecords(redis, prefix, 60);
    const logger = pino({ level: 'silent' });
    const waiters = new Waiters({ subscriber, records, channel: 'instance', earlyChannel: 'early', logger });
    const id = newId();
    waiters.expect(id);
    const outcome = waiters.wait(id, { owner: 'alice', announcedOn: 'instance', timeoutMs: 10_000 });
    await records.settle(id, succeeded('a'));
    vi.advanceTimersByTime(2000);
    expect(await outcome).toEqual(succeeded('a'));
    waiters.close();
  });

  test('count once when a caller waits a second time, for the job that follows', async () => {
    const ends: string[] = [];
    const waiters = new Waiters({
      ...{ subscriber, channel: 'instance', earlyChannel: 'early' },
      records: new JobRecords(redis, prefix, 60),
      logger: pino({ level: 'silent' }),
      onEnd: (outcome) => ends.push(outcome),
    });
    const wait = { owner: 'alice', announcedOn: 'instance', timeoutMs: 10_000, provisional: true };
    const [refused, hungUp] = [newId(), newId()];
    waiters.expect(refused, true);
    const outcome = waiters.wait(refused, wait);
    waiters.refuse(refused);
    expect([await outcome, ends]).toEqual([undefined, []]);
    await waiters.wait(hungUp, { ...wait, signal: AbortSignal.abort() });
    expect(ends).toEqual(['given_up']);
    waiters.close();
  });
});

describe('a job that another API instance took in', () => {
  const WAIT = { owner: 'alice', timeoutMs: 10_000 };
  let records: JobRecords;
  let waiters: Waiters;
  let lookedUp: string[];

  beforeEach(() => {
    // Outcomes come by message alone, because nothing is looked up again.
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    records = new JobRecords(redis, prefix, 60);
    lookedUp = [];
    const read = records.read.bind(records);
    records.read = (ids) => {
      lookedUp.push(...ids);
      return read(ids);
    };
    const logger = pino({ level: 'silent' });
    waiters = new Waiters({ subscriber, records, channel: 'here', earlyChannel: 'early', logger });
  });
  afterEach(() => waiters.close());

  const subscribed = async (channel: string) =>
    ((await redis.pubsub('NUMSUB', channel)) as [string, number])[1] > 0;
  const until = async (condition: () => boolean | Promise<boolean>) => {
    while (!(await condition())) await redis.ping();
  };
  /** Resolves once the wait for a job listens, and has looked it up. */
  const listens = (id: string) => until(() => lookedUp.includes(id));

  test('is awaited on the channel of that instance, and nothing is published on its own', async () => {
    const [id, other] = [newId(), newId()];
    const own: string[] = [];
    const listener = redis.duplicate();
    listener.on('message', (_channel: string, message: string) => own.push(message));
    await listener.subscribe(records.announcedOn(id, undefined));
    const outcomes = [id, other].map((each) => waiters.wait(each, { ...WAIT, announcedOn: 'there' }));
    await Promise.all([id, other].map(listens));
    await records.settle(id, succeeded('a'), { notify: 'there' });
    expect(await outcomes[0]).toEqual(succeeded('a'));
    // The other wait still listens.
    await records.settle(other, succeeded('b'), { notify: 'there' });
    expect(await outcomes[1]).toEqual(succeeded('b'));
    await until(async () => !(await subscribed('there')));
    await listener.ping();
    expect(own).toEqual([]);
    listener.disconnect();
  });

  test('that has ended before the wait listens is looked up', async () => {
    const id = newId();
    await records.settle(id, succeeded('a'), { notify: 'there' });
    expect(await waiters.wait(id, { ...WAIT, announcedOn: 'there' })).toEqual(succeeded('a'));
  });

  test('without a waiting caller is announced on its own channel', async () => {
    const id = newId();
    const outcome = waiters.wait(id, { ...WAIT, announcedOn: records.announcedOn(id, undefined) });
    await listens(id);
    await records.settle(id, succeeded('a'));
    expect(await outcome).toEqual(succeeded('a'));
  });
});

describe('an outcome that is announced before it is on disk', () => {
  const WAIT = { owner: 'alice', announcedOn: 'here', timeoutMs: 10_000 };
  const EARLY = { notify: 'here', early: 'early' };
  let records: JobRecords;
  let waiters: Waiters;
  /** Lets the record follow the announcement. */
  let record: () => void;

  beforeEach(async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const disk = redis.duplicate();
    await disk.ping();
    const turn = new Promise<void>((resolve) => (record = resolve));
    const publish = disk.publish.bind(disk);
    disk.publish = async (channel: string, message: string) => {
      const heard = await publish(channel, message);
      await turn;
      return heard;
    };
    records = new JobRecords(disk, prefix, 60);
    const logger = pino({ level: 'silent' });
    const read = new JobRecords(redis, prefix, 60);
    waiters = new Waiters({ subscriber, records: read, channel: 'here', earlyChannel: 'early', logger });
    // Its subscriptions are made.
    await subscriber.ping();
    return () => disk.disconnect();
  });
  afterEach(() => waiters.close());

  test.each([[true], [false]])(
    'ends the wait of its submitter alone, waiting already: %s',
    async (waiting) => {
      const id = newId();
      waiters.expect(id, true);
      let early = waiting ? waiters.wait(id, WAIT) : undefined;
      const others: unknown[] = [];
      const arrived = new Promise((resolve) => subscriber.once('message', resolve));
      const settled = records.settle(id, succeeded('a'), EARLY);
      if (!waiting) await arrived;
      early ??= waiters.wait(id, WAIT);
      const other = waiters.wait(id, WAIT);
      void other.then((outcome) => others.push(outcome));
      expect(await early).toEqual(succeeded('a'));
      expect(others).toEqual([]);
      expect(await redis.exists(`${prefix}:job:${id}`)).toBe(0);
      record();
      expect(await settled).toEqual({ settled: true });
      expect(await other).toEqual(succeeded('a'));
    },
  );

  test('does not replace the outcome that was recorded', async () => {
    const id = newId();
    record();
    await records.settle(id, succeeded('first'), { notify: 'here' });
    const second = await records.settle(id, succeeded('second'), EARLY);
    expect(second).toEqual({ settled: false, existing: succeeded('first') });
    expect(await records.read([id])).toEqual([succeeded('first')]);
  });
});

describe('a batch', () => {
  const store = () => new BatchStore({ redis, prefix, ttlS: 60, openTtlS: 60 });
  const spec = { format: 'lines', text_field: 'text', top_k: 1, chunk_bytes: 1000, first_line: 1 } as const;

  test('is created only under an id that is still reserved for it', async () => {
    const batches = store();
    const [id, other] = [newBatchId(MODEL), newBatchId(MODEL)];
    const reservation = `${prefix}:reservation`;
    const create = (batch: string) => batches.create(batch, { owner: 'alice', spec, reservation });
    expect(await create(id)).toBe('unreserved');
    await redis.set(reservation, `hash ${other}`);
    expect(await create(id)).toBe('unreserved');
    expect(await batches.read(id)).toBeUndefined();
    expect((await batches.page('alice', 10)).found).toEqual([]);
    expect(await create(other)).toBe('created');
    // A repeat finds the batch, even when the reservation has expired meanwhile.
    await redis.del(reservation);
    expect(await create(other)).toBe('created');
    expect((await batches.page('alice', 10)).found.map((each) => each.id)).toEqual([other]);
  });

  test.each(batchStatusSchema.options)(
    'with status %s ends only as BATCH_TRANSITIONS permits',
    async (from) => {
      const batches = store();
      for (const to of ['failed', 'canceled', 'expired'] as const) {
        const id = newBatchId(MODEL);
        await batches.create(id, { owner: 'alice', spec });
        await redis.hset(`${prefix}:batch:${id}`, 'status', from);
        // Due for removal: an open batch expires.
        await redis.zadd(`${prefix}:batches-removal`, 0, id);
        const permitted = BATCH_TRANSITIONS[from].includes(to);
        expect([to, await batches.end(id, to, { code: 'internal_error', message: 'test' })]).toEqual([
          to,
          permitted,
        ]);
        expect((await batches.read(id))!.status).toBe(permitted ? to : from);
      }
    },
  );

  test('claims all chunks after a restart, and the remaining ones after a resume', async () => {
    const batches = store();
    const id = newBatchId(MODEL);
    await batches.create(id, { owner: 'alice', spec });
    const part = { number: 1, blob: 'p', bytes: 10, rows: 3, chunks: 3, sha256: '', lines: 3 };
    await batches.parts.add(id, part, LIMITS, `${id} upload`);
    expect(await batches.complete(id, { parts: 1, chunks: 3, manifest: 'm' })).toEqual({ outcome: 'queued' });
    expect(await batches.chunks.claim(id, 2)).toEqual([0, 1]);
    const done = { chunk: 0, revision: 'r1', rows: 1, failedRows: 0, unknownRows: 0, unknownShares: 0 };
    expect(await batches.chunks.finish(id, 2, done)).toMatchObject({ outcome: 'counted', claimed: [2] });

    const fail = () => batches.end(id, 'failed', { code: 'revision_gone', message: 'gone' });
    await fail();
    expect(await batches.resume(id)).toBe(true);
    expect(await batches.chunks.start(id, 0)).toMatchObject({ revision: 'r1', done: true });
    await fail();
    expect(await batches.resume(id, { restart: true })).toBe(true);
    expect(await batches.chunks.start(id, 0)).toEqual({
      status: 'processing',
      revision: undefined,
      done: false,
    });
    expect(await batches.chunks.claim(id, 3)).toEqual([0, 1, 2]);
    expect(await batches.resume(id, { restart: true })).toBe(false);
  });

  test('counts rows with unknown tokens once per chunk, and from 0 after a restart', async () => {
    const batches = store();
    const id = newBatchId(MODEL);
    await batches.create(id, { owner: 'alice', spec });
    const part = { number: 1, blob: 'p', bytes: 10, rows: 30, chunks: 3, sha256: '', lines: 30 };
    await batches.parts.add(id, part, LIMITS, `${id} upload`);
    await batches.complete(id, { parts: 1, chunks: 3, manifest: 'm' });
    const counted = async () => {
      const { rows } = toBatch(id, (await batches.read(id))!, undefined);
      return [rows.with_unknown, rows.mean_unknown];
    };
    const done = (chunk: number, unknownRows: number, unknownShares: number) => {
      const counts = { failedRows: 0, unknownRows, unknownShares };
      const checksum = encodeChecksum(Buffer.from('results'), counts);
      return batches.chunks.finish(id, 2, { chunk, revision: 'r1', rows: 10, checksum, ...counts });
    };
    // A batch that an earlier version created and half finished has no such counts.
    expect(await counted()).toEqual([0, null]);
    await done(0, 2, 0.75);
    expect(await counted()).toEqual([2, 0.375]);
    await done(0, 2, 0.75);
    await done(1, 0, 0);
    expect(await counted()).toEqual([2, 0.375]);
    await done(2, 1, 0.0001);
    expect(await counted()).toEqual([3, 0.25]);
    // A chunk with damaged results is subtracted from the counts, and counted when it is done again.
    await redis.hset(`${prefix}:batch:${id}`, 'damaged', '0');
    expect(await batches.resume(id, { damaged: [{ chunk: 0, rows: 10 }] })).toBe(true);
    expect(await counted()).toEqual([1, 0.0001]);
    await done(0, 2, 0.75);
    expect(await counted()).toEqual([3, 0.25]);
    await redis.hset(`${prefix}:batch:${id}`, 'status', 'failed');
    expect(await batches.resume(id, { restart: true })).toBe(true);
    expect(await counted()).toEqual([0, null]);
  });

  describe('rows by label and by error code', () => {
    const CHUNKS = 4;
    const NOT_COUNTED = { labels: null, errors: null, truncated: null, mean_score: null, other: null };
    let batches: BatchStore;
    let id: string;
    const key = () => `${prefix}:batch:${id}`;

    beforeEach(async () => {
      batches = store();
      id = newBatchId(MODEL);
      await batches.create(id, { owner: 'alice', spec });
      const part = { number: 1, blob: 'p', bytes: 10, rows: 40, chunks: CHUNKS, sha256: '', lines: 40 };
      await batches.parts.add(id, part, LIMITS, `${id} upload`);
      await batches.complete(id, { parts: 1, chunks: CHUNKS, manifest: 'm' });
    });

    const shown = async () => {
      const { labels, errors, rows } = toBatch(id, (await batches.read(id))!, undefined);
      const { truncated, mean_score, with_other_label: other } = rows;
      return { labels, errors, truncated, mean_score, other };
    };
    interface Finished {
      labels?: Record<string, number>;
      errors?: Record<string, number>;
      scores?: number;
      truncatedRows?: number;
      labelCount?: number;
    }
    const sum = (counts: Record<string, number>) =>
      Object.values(counts).reduce((all, each) => all + each, 0);
    const finish = (
      chunk: number,
      { labels = {}, errors = {}, scores = 0, truncatedRows = 0, labelCount = 3 }: Finished,
      { counts = true } = {},
    ) => {
      const outcomes = { failedRows: sum(errors), unknownRows: 0, unknownShares: 0 };
      return batches.chunks.finish(id, 2, {
        chunk,
        revision: 'r1',
        rows: sum(labels) + sum(errors),
        checksum: encodeChecksum(Buffer.from('results'), outcomes),
        ...outcomes,
        labelCount,
        ...(counts && {
          tally: {
            truncatedRows,
            scores,
            labels: new Map(Object.entries(labels)),
            errors: new Map(Object.entries(errors)),
          },
        }),
      });
    };
    /** As a worker or an API of the version before does it, whose scripts know no such counts. */
    const earlier = {
      finish: (chunk: number, outcome: Finished) => finish(chunk, outcome, { counts: false }),
      async resume(chunk: number, rows: number, failed: number) {
        await redis.setbit(`${key()}:done`, chunk, 0);
        await redis.setrange(`${key()}:checksums`, chunk * 12, '\0'.repeat(12));
        await redis.hincrby(key(), 'chunks_done', -1);
        await redis.hincrby(key(), 'finished_rows', -rows);
        await redis.hincrby(key(), 'failed_rows', -failed);
      },
      async restart() {
        await redis.del(`${key()}:done`, `${key()}:checksums`);
        await redis.hdel(key(), 'revision', 'started');
        await redis.hset(key(), { next: 0, chunks_done: 0, finished_rows: 0, failed_rows: 0 });
      },
    };
    const damage = (chunk: number, rows: number) => {
      const resume = () => batches.resume(id, { damaged: [{ chunk, rows }] });
      return redis.hset(key(), 'damaged', String(chunk)).then(resume);
    };

    test('are summed up, each chunk once', async () => {
      expect(await shown()).toEqual({ labels: {}, errors: {}, truncated: 0, mean_score: null, other: 0 });
      const first = {
        labels: { good: 4, 'not_so good': 5 },
        errors: { e1: 1 },
        scores: 8.1,
        truncatedRows: 2,
      };
      await finish(0, first);
      await finish(0, first);
      await finish(1, { labels: { good: 2, 'ü "quoted"': 1 }, errors: { e2: 1 }, scores: 0.9 });
      await finish(0, first);
      expect(await shown()).toEqual({
        labels: { good: 6, 'not_so good': 5, 'ü "quoted"': 1 },
        errors: { e1: 1, e2: 1 },
        truncated: 2,
        mean_score: 0.75,
        other: 0,
      });
      expect(Object.keys((await shown()).labels!)).toEqual(['good', 'not_so good', 'ü "quoted"']);
    });

    test('of a chunk that is done again are subtracted, then counted anew', async () => {
      await finish(0, { labels: { good: 4, bad: 5 }, errors: { e1: 1 }, scores: -8.1, truncatedRows: 2 });
      await finish(1, { labels: { good: 9 }, errors: { e2: 1 }, scores: 9 });
      expect(await damage(0, 10)).toBe(true);
      expect(await shown()).toEqual({
        labels: { good: 9 },
        errors: { e2: 1 },
        truncated: 0,
        mean_score: 1,
        other: 0,
      });
      // This time another row has failed.
      await finish(0, { labels: { good: 3, bad: 5, new: 1 }, errors: { e3: 1 }, scores: 0 });
      expect(await shown()).toMatchObject({
        labels: { good: 12, bad: 5, new: 1 },
        errors: { e2: 1, e3: 1 },
        mean_score: 0.5,
      });
      await redis.hset(key(), 'status', 'failed');
      expect(await batches.resume(id, { restart: true })).toBe(true);
      expect(await shown()).toMatchObject({ labels: {}, errors: {}, mean_score: null });
      const fields = Object.keys(await redis.hgetall(key()));
      expect(fields.filter((field) => /^(label|error):|tall|score|counted/.test(field))).toEqual([]);
      await finish(2, { labels: { good: 1 } });
      expect(await shown()).toMatchObject({ labels: { good: 1 }, errors: {} });
    });

    test('are null as soon as a worker of an earlier version has finished a chunk', async () => {
      await earlier.finish(0, { labels: { good: 10 } });
      expect(await shown()).toEqual(NOT_COUNTED);
      await finish(1, { labels: { good: 10 } });
      expect(await shown()).toEqual(NOT_COUNTED);
    });

    test('are null when such a worker finishes the last chunk', async () => {
      await finish(0, { labels: { good: 10 } });
      expect(await shown()).toMatchObject({ labels: { good: 10 } });
      await earlier.finish(1, { labels: { good: 10 } });
      expect(await shown()).toEqual(NOT_COUNTED);
      // Nothing is known of this chunk, so nothing could be subtracted.
      await damage(1, 10);
      expect(await shown()).toEqual(NOT_COUNTED);
    });

    test('are never wrong after an API of an earlier version resumed the batch', async () => {
      await finish(0, { labels: { good: 8 }, errors: { e1: 2 } });
      await finish(1, { labels: { good: 10 } });
      await earlier.resume(0, 10, 2);
      expect(await shown()).toEqual(NOT_COUNTED);
      await finish(0, { labels: { good: 9 }, errors: { e1: 1 } });
      expect(await shown()).toEqual(NOT_COUNTED);
      await earlier.restart();
      await finish(0, { labels: { good: 9 }, errors: { e1: 1 } });
      expect(await shown()).toMatchObject({ labels: { good: 9 }, errors: { e1: 1 } });
    });

    test('are null when a chunk is done again whose counts were not kept', async () => {
      await finish(0, { labels: { good: 10 } });
      await finish(1, { labels: { good: 10 } });
      const [first] = await redis.getrangeBuffer(`${key()}:checksums`, CHUNKS * 12, -1);
      expect(first).toBe(10);
      await redis.setrange(`${key()}:checksums`, CHUNKS * 12, '\0'.repeat(14));
      await damage(0, 10);
      expect(await shown()).toEqual(NOT_COUNTED);
      await finish(0, { labels: { good: 10 } });
      expect(await shown()).toEqual(NOT_COUNTED);
    });

    test('keep no counts of single chunks when all of them would take more than 8 MB', async () => {
      // An entry has 14 bytes, and two for each of three labels and twelve codes.
      const most = Math.floor((8 * 1024 * 1024) / 44);
      for (const [chunks, bytes] of [
        [most, most * 12 + 14 + 2],
        [most + 1, 12],
      ] as const) {
        await redis.hset(key(), 'chunks', chunks);
        await earlier.restart();
        await finish(0, { labels: { good: 10 } });
        expect(await redis.strlen(`${key()}:checksums`)).toBe(bytes);
        expect(await shown()).toMatchObject({ labels: { good: 10 } });
      }
    });

    test('are counted for 100 labels, the frequent ones of a chunk first; errors always are', async () => {
      const many = (count: number, from = 0) =>
        Object.fromEntries(Array.from({ length: count }, (_, i) => [`label ${from + i}`, 1]));
      await finish(0, {
        labels: { ...many(99), frequent: 5, ['long'.repeat(51)]: 3 },
        labelCount: 5000,
      });
      expect(await shown()).toMatchObject({ labels: { frequent: 5, 'label 98': 1 }, other: 3 });
      await finish(1, { labels: { ...many(2, 500), 'label 1': 1 }, errors: { e1: 1 }, labelCount: 5000 });
      const { labels, errors, other } = await shown();
      expect(Object.keys(labels!)).toHaveLength(100);
      expect(labels).toMatchObject({ 'label 1': 2 });
      expect({ errors, other }).toEqual({ errors: { e1: 1 }, other: 5 });
      await damage(1, 4);
      expect(await shown()).toMatchObject({ labels: { frequent: 5, 'label 1': 1 }, errors: {}, other: 3 });
    });

    test('have room for every error code', () =>
      expect(rowErrorCodes.length + recordErrorCodes.length).toBeLessThanOrEqual(12));
  });
});
