/** Job lists, places in a queue, and the backlogs behind both: they match the jobs, whatever happens to them. */
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { JobMaintenance } from '../../src/api/jobs/maintenance.ts';
import { QueueSet } from '../../src/shared/store/jobs/queue-set.ts';
import { Backlog } from '../../src/shared/store/jobs/backlog.ts';
import type { Job, JobList } from '../../src/shared/contract/jobs.ts';
import { newGroupId, newJobId } from '../../src/shared/contract/ids.ts';
import { EVERYBODY } from '../../src/shared/contract/owner.ts';
import { jobListKey } from '../../src/shared/redis/keys.ts';
import { JobRecords } from '../../src/shared/store/jobs/job-records.ts';
import { whatIsLeft } from '../support/redis/invariants.ts';
import { eventually, Stack } from '../support/processes/stack.ts';

const QUEUE = 'classify-sst2-minilm';
const TTL_S = 600;

let stack: Stack;
let redis: Redis;
let backlog: Backlog;
let queues: QueueSet;
let maintenance: JobMaintenance;

beforeAll(async () => {
  stack = await Stack.start({ redisUrl: inject('redisUrl'), workers: 0 });
  const { prefix } = stack;
  redis = new Redis(inject('redisUrl'), { maxRetriesPerRequest: null });
  backlog = new Backlog(redis, prefix);
  queues = new QueueSet(redis, prefix);
  const records = new JobRecords(redis, prefix, TTL_S);
  maintenance = new JobMaintenance({ redis, prefix, records, queues, backlog, resultTtlS: TTL_S });
});
afterAll(async () => {
  await queues.close();
  redis.disconnect();
  await stack.stop();
});
/** Every test starts with an empty Redis. */
beforeEach(async () => {
  const keys = await redis.keys(`${stack.prefix}:*`);
  if (keys.length > 0) await redis.del(...keys);
});

const json = (body: object, headers: Record<string, string> = {}): RequestInit => ({
  method: 'POST',
  headers: { 'content-type': 'application/json', ...headers },
  body: JSON.stringify(body),
});
const submit = async (body: object, headers?: Record<string, string>): Promise<Job> => {
  const response = await stack.fetch('/v1/jobs', json(body, headers));
  expect(response.status).toBe(202);
  return (await response.json()) as Job;
};
const get = async (id: string) => (await (await stack.fetch(`/v1/jobs/${id}`)).json()) as Job;
const list = async (query = '') => (await (await stack.fetch(`/v1/jobs${query}`)).json()) as JobList;
const size = async (queue = QUEUE) => (await backlog.sizes()).get(queue);

describe('the list of jobs', () => {
  test('shows the newest first, in pages, without results', async () => {
    const made: string[] = [];
    for (let i = 0; i < 7; i++) made.unshift((await submit({ text: `text ${i}`, metadata: { i } })).id);
    const whole = await list();
    expect(whole.jobs.map(({ id }) => id)).toEqual(made);
    expect(whole.next).toBeNull();
    expect(whole.jobs[0]).toMatchObject({ status: 'queued', metadata: { i: 6 } });
    expect(whole.jobs.every((job) => !('results' in job))).toBe(true);

    const pages: string[][] = [];
    let next: string | null = '';
    while (next !== null) {
      const page: JobList = await list(`?limit=3${next === '' ? '' : `&after=${next}`}`);
      pages.push(page.jobs.map(({ id }) => id));
      ({ next } = page);
    }
    expect(pages).toEqual([made.slice(0, 3), made.slice(3, 6), made.slice(6)]);
    // A full last page says that it is the last.
    expect((await list('?limit=7')).next).toBeNull();
  });

  test('shows jobs in every state, but no deleted ones', async () => {
    const [queued, canceled, deleted] = [
      await submit({ text: 'a' }),
      await submit({ text: 'b' }),
      await submit({ text: 'c' }),
    ];
    for (const { id } of [canceled, deleted]) await stack.fetch(`/v1/jobs/${id}`, { method: 'DELETE' });
    await stack.fetch(`/v1/jobs/${deleted.id}`, { method: 'DELETE' });
    expect((await list()).jobs.map(({ id, status }) => [id, status])).toEqual([
      [canceled.id, 'canceled'],
      [queued.id, 'queued'],
    ]);
  });

  test.each(['?limit=0', '?limit=101', '?limit=x', '?after=x', '?before=x'])('refuses %s', async (query) => {
    expect((await stack.fetch(`/v1/jobs${query}`)).status).toBe(422);
  });

  describe('by status and model', () => {
    let made: Job[];
    const idsOf = async (query: string) => (await list(query)).jobs.map(({ id }) => id);

    beforeEach(async () => {
      made = [];
      for (let i = 0; i < 6; i++) made.unshift(await submit({ text: `text ${i}` }));
      for (const { id } of made.slice(0, 4)) await stack.fetch(`/v1/jobs/${id}`, { method: 'DELETE' });
      await stack.fetch(`/v1/jobs/${made[3]!.id}`, { method: 'DELETE' });
    });

    test('shows only matching jobs', async () => {
      const known = made.map(({ id }) => id);
      expect(await idsOf('?status=canceled')).toEqual(known.slice(0, 3));
      expect(await idsOf('?status=queued')).toEqual(known.slice(4));
      expect(await idsOf('?status=succeeded')).toEqual([]);
      expect(await idsOf('?model=sst2-minilm&status=queued')).toEqual(known.slice(4));
      expect(await idsOf('?model=another')).toEqual([]);
      const first = await list('?status=canceled&limit=2');
      expect(first.jobs.map(({ id }) => id)).toEqual(known.slice(0, 2));
      expect(await idsOf(`?status=canceled&limit=2&after=${first.next}`)).toEqual(known.slice(2, 3));
    });

    test('is empty when every job has an outcome', async () => {
      for (const { id } of made) await stack.fetch(`/v1/jobs/${id}`, { method: 'DELETE' });
      for (const status of ['queued', 'processing', 'succeeded'])
        expect(await idsOf(`?status=${status}`)).toEqual([]);
    });

    test('a text that looks like a status does not count', async () => {
      const { id } = await submit({ text: 'x', metadata: { status: 'failed' } });
      await stack.fetch(`/v1/jobs/${id}`, { method: 'DELETE' });
      expect(await idsOf('?status=failed')).toEqual([]);
    });

    test.each([
      ['?status=done', 'queued'],
      ['?status=', 'queued'],
      ['?status=queued&status=failed', 'twice'],
      ['?model=a/b', 'is not a model name'],
    ])('refuses %s', async (query, message) => {
      const response = await stack.fetch(`/v1/jobs${query}`);
      expect(response.status).toBe(422);
      expect(((await response.json()) as { detail: string }).detail).toContain(message);
    });
  });

  test('loses expired records, and no other jobs', async () => {
    const old = (id: string) => newJobId(newGroupId('normal', 'sst2-minilm').replace(/^.{12}/, id));
    const [gone, waiting] = [old('000000000001'), await submit({ text: 'a' })];
    const key = jobListKey(stack.prefix, EVERYBODY);
    await redis.zadd(key, 0, gone);
    await maintenance.run();
    expect(await redis.zrange(key, '0', '-1')).toEqual([waiting.id]);
  });

  describe('with tens of thousands of expired records', () => {
    const key = () => jobListKey(stack.prefix, EVERYBODY);
    async function addGone(count: number): Promise<void> {
      const id = (i: number) =>
        newJobId(newGroupId('normal', 'sst2-minilm').replace(/^.{12}/, i.toString(16).padStart(12, '0')));
      for (let at = 0; at < count; at += 1000) {
        const some = Array.from({ length: 1000 }, (_, i) => [0, id(at + i + 1)]);
        await redis.zadd(key(), ...some.flat());
      }
    }

    test('one maintenance run removes them all', async () => {
      await addGone(30_000);
      const { id } = await submit({ text: 'a' });
      await maintenance.run();
      expect(await redis.zrange(key(), '0', '-1')).toEqual([id]);
    });

    test('a page is returned short, and the next pages lead to the end', async () => {
      await addGone(5000);
      const { id } = await submit({ text: 'a' });
      const first = await list('?limit=1');
      expect([first.jobs.map((job) => job.id), typeof first.next]).toEqual([[id], 'string']);
      const lengths = [];
      for (let next = first.next; next !== null;) {
        const page: JobList = await list(`?limit=1&after=${next}`);
        lengths.push(page.jobs.length);
        next = page.next;
      }
      expect(lengths).toEqual([0, 0]);
    });
  });

  test('keeps a job that waits longer than results are kept', async () => {
    const { id } = await submit({ text: 'a' });
    const patient = new JobMaintenance({
      ...{ redis, prefix: stack.prefix, queues, backlog },
      records: new JobRecords(redis, stack.prefix, TTL_S),
      resultTtlS: -60,
    });
    await patient.run();
    expect((await list()).jobs.map((job) => job.id)).toEqual([id]);
  });
});

describe('a job shows', () => {
  test('its priority, number of texts and expiry, before and after its end', async () => {
    const before = Date.now();
    const job = await submit({ texts: ['a', 'b', 'c'], priority: 'low', expires_in: 500 });
    expect(job).toMatchObject({ priority: 'low', text_count: 3, expires_at: expect.any(String) });
    expect(Math.abs(Date.parse(job.expires_at!) - before - 500_000)).toBeLessThan(60_000);
    expect(await get(job.id)).toMatchObject({ priority: 'low', text_count: 3, expires_at: job.expires_at });
    await stack.fetch(`/v1/jobs/${job.id}`, { method: 'DELETE' });
    const canceled = { status: 'canceled', priority: 'low', text_count: 3, expires_at: job.expires_at };
    expect(await get(job.id)).toMatchObject(canceled);
    expect((await list()).jobs).toMatchObject([canceled]);
    expect(await submit({ text: 'a' })).toMatchObject({
      priority: 'normal',
      text_count: 1,
      expires_at: null,
    });
  });

  test('null where a record of an earlier version has no value', async () => {
    const id = newJobId(newGroupId('normal', 'sst2-minilm'));
    const record = { v: 1, owner: EVERYBODY, status: 'canceled', created: 1000, finished: 2000 };
    await redis.set(`${stack.prefix}:job:${id}`, JSON.stringify(record));
    expect(await get(id)).toMatchObject({ text_count: null, expires_at: null, priority: 'normal' });
    const results = [{ label: 'POSITIVE', score: 1, truncated: false }];
    await redis.set(`${stack.prefix}:job:${id}`, JSON.stringify({ ...record, status: 'succeeded', results }));
    expect(await get(id)).toMatchObject({ text_count: 1 });
  });
});

describe('a repeated Idempotency-Key', () => {
  const header = async (path: string, init: RequestInit) => {
    const response = await stack.fetch(path, init);
    await response.arrayBuffer();
    return [response.status, response.headers.get('idempotent-replayed')];
  };

  test('of a job is marked as a replay', async () => {
    const init = json({ text: 'a' }, { 'idempotency-key': 'k' });
    expect(await header('/v1/jobs', init)).toEqual([202, null]);
    expect(await header('/v1/jobs', init)).toEqual([202, 'true']);
    expect(await header('/v1/jobs', json({ text: 'a' }))).toEqual([202, null]);
    expect(await header('/v1/jobs', json({ text: 'b' }, { 'idempotency-key': 'k' }))).toEqual([422, null]);
  });

  test('of a job that both callers wait for is answered to both, at two API instances', async () => {
    const second = stack.startApi();
    const url = await second.ready;
    const init = json({ text: 'a' }, { 'idempotency-key': 'k', prefer: 'wait=60' });
    const first = stack.fetch('/v1/jobs', init);
    const [job] = await eventually(async () => {
      const { jobs } = await list();
      return jobs.length > 0 ? jobs : undefined;
    });
    const repeat = fetch(`${url}/v1/jobs`, init);
    // The channel of the first instance: both listen there.
    await eventually(async () =>
      (
        await redis.pubsub(
          'NUMSUB',
          ...((await redis.pubsub('CHANNELS', `${stack.prefix}:api:*`)) as string[]),
        )
      ).includes(2)
        ? true
        : undefined,
    );
    await stack.fetch(`/v1/jobs/${job!.id}`, { method: 'DELETE' });
    const answers = await Promise.all([first, repeat]);
    const ends = await Promise.all(answers.map(async (each) => (await each.json()) as Job));
    expect(answers.map(({ status, headers }) => [status, headers.get('idempotent-replayed')])).toEqual([
      [200, null],
      [200, 'true'],
    ]);
    expect(ends.map(({ id, status }) => [id, status])).toEqual(Array(2).fill([job!.id, 'canceled']));
    await second.end('SIGTERM');
  });

  test('of a batch is marked as well, whether opened or submitted whole', async () => {
    const post = (key: string, body?: string): RequestInit => ({
      method: 'POST',
      headers: { 'content-type': 'text/plain', 'idempotency-key': key },
      ...(body === undefined ? {} : { body }),
    });
    expect(await header('/v1/batches?open=true', post('open'))).toEqual([201, null]);
    expect(await header('/v1/batches?open=true', post('open'))).toEqual([201, 'true']);
    expect(await header('/v1/batches', post('whole', 'a\nb\n'))).toEqual([202, null]);
    expect(await header('/v1/batches', post('whole', 'a\nb\n'))).toEqual([202, 'true']);
  });
});

test('the list of batches by status and model', async () => {
  const post = async (query: string, body?: string) => {
    const init = { method: 'POST', headers: { 'content-type': 'text/plain' }, ...(body && { body }) };
    return ((await (await stack.fetch(`/v1/batches${query}`, init)).json()) as { id: string }).id;
  };
  const open = [await post('?open=true'), await post('?open=true')];
  const queued = await post('', 'a\n');
  const canceled = await post('?open=true');
  await stack.fetch(`/v1/batches/${canceled}`, { method: 'DELETE' });
  const page = async (query: string) => {
    const response = await stack.fetch(`/v1/batches${query}`);
    const { batches, next } = (await response.json()) as { batches: { id: string }[]; next: string | null };
    return [batches.map(({ id }) => id), next];
  };
  expect(await page('')).toEqual([[canceled, queued, open[1], open[0]], null]);
  expect(await page('?status=open')).toEqual([[open[1], open[0]], null]);
  expect(await page('?status=open&limit=1')).toEqual([[open[1]], open[1]]);
  expect(await page(`?status=open&limit=1&after=${open[1]}`)).toEqual([[open[0]], null]);
  expect(await page('?status=queued&model=sst2-minilm')).toEqual([[queued], null]);
  expect(await page('?model=another')).toEqual([[], null]);
  expect((await stack.fetch('/v1/batches?status=succeeded')).status).toBe(422);
});

describe('a waiting job', () => {
  test('shows how many jobs of its model and priority are ahead', async () => {
    const jobs: Job[] = [];
    for (let i = 0; i < 4; i++) jobs.push(await submit({ text: `${i}` }, { 'idempotency-key': `k${i}` }));
    const low = await submit({ text: 'x', priority: 'low' });
    expect(jobs.map(({ ahead }) => ahead)).toEqual([0, 1, 2, 3]);
    expect(low.ahead).toBe(0);
    await stack.fetch(`/v1/jobs/${jobs[1]!.id}`, { method: 'DELETE' });
    expect((await get(jobs[3]!.id)).ahead).toBe(2);
    expect(await get(jobs[1]!.id)).not.toHaveProperty('ahead');
    // A repeat adds no job.
    expect((await submit({ text: '3' }, { 'idempotency-key': 'k3' })).ahead).toBe(2);
  });

  test('has its texts counted until it has an outcome', async () => {
    const one = await submit({ texts: ['é', 'bb'] });
    await submit({ text: 'ccc', priority: 'low' });
    expect([await size(), await size('low-sst2-minilm')]).toEqual([
      { texts: 2, bytes: 4 },
      { texts: 1, bytes: 3 },
    ]);
    await stack.fetch(`/v1/jobs/${one.id}`, { method: 'DELETE' });
    expect(await size()).toEqual({ texts: 0, bytes: 0 });
    await submit({ text: 'gone soon', expires_in: 1 });
    await eventually(async () => ((await size())?.texts === 0 ? true : undefined));
  });

  test('is counted once, however often it is added', async () => {
    const group = newGroupId('normal', 'sst2-minilm');
    const job = { id: newJobId(group), owner: 'a', texts: 3, bytes: 30 };
    for (let i = 0; i < 3; i++) {
      expect(await backlog.add(QUEUE, [job])).toEqual({ ahead: 0, size: { texts: 3, bytes: 30 } });
    }
    await backlog.purge(QUEUE, [job.id, job.id]);
    expect(await size()).toEqual({ texts: 0, bytes: 0 });
  });

  test('is no longer counted after a crash kept it out of its queue', async () => {
    const lost = newJobId(newGroupId('normal', 'sst2-minilm').replace(/^.{12}/, '000000000001'));
    const waiting = await submit({ text: 'a' });
    const young = newJobId(newGroupId('normal', 'sst2-minilm'));
    await backlog.add(
      QUEUE,
      [lost, young].map((id) => ({ id, owner: 'a', texts: 5, bytes: 50 })),
    );
    expect((await get(waiting.id)).ahead).toBe(1);
    await maintenance.run();
    // A job that was just added may be on its way into its queue.
    expect(await size()).toEqual({ texts: 6, bytes: 51 });
    expect((await get(waiting.id)).ahead).toBe(0);
    expect(await backlog.page(QUEUE, undefined, 10)).toEqual([waiting.id, young].sort());
  });
});

test('a burst of jobs leaves no unexpected keys', async () => {
  const worker = stack.startWorker();
  await worker.ready;
  await Promise.all(
    Array.from({ length: 200 }, (_, i) =>
      submit({ texts: [`a ${i}`, `b ${i}`], priority: i % 3 === 0 ? 'low' : 'normal' }),
    ),
  );
  await eventually(async () => {
    const sizes = await backlog.sizes();
    return [...sizes.values()].every(({ texts, bytes }) => texts === 0 && bytes === 0) ? true : undefined;
  });
  await worker.end();
  expect(await whatIsLeft(inject('redisUrl'), stack.prefix)).toEqual([]);
  expect((await list('?limit=100')).jobs.every(({ status }) => status === 'succeeded')).toBe(true);
});
