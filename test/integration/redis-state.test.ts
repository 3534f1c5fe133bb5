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
});
