/** Jobs that were canceled or have expired leave their queue, whatever fails meanwhile. */
import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, inject, test } from 'vitest';
import { JobMaintenance } from '../../src/api/jobs/maintenance.ts';
import { newGroupId, newJobId } from '../../src/shared/contract/ids.ts';
import { leavingKey } from '../../src/shared/redis/keys.ts';
import { Backlog } from '../../src/shared/store/jobs/backlog.ts';
import { JobRecords } from '../../src/shared/store/jobs/job-records.ts';
import { QueueSet } from '../../src/shared/store/jobs/queue-set.ts';
import { JOB_NAME, jobOptions } from '../../src/shared/store/queues.ts';

const MODEL = 'm';
const TTL_S = 600;
let redis: Redis;
let prefix: string;
let queues: QueueSet;

beforeEach(() => {
  redis = new Redis(inject('redisUrl'), { maxRetriesPerRequest: null });
  prefix = `{test-${randomBytes(5).toString('hex')}}`;
  queues = new QueueSet(redis, prefix);
});

afterEach(async () => {
  await queues.close();
  redis.disconnect();
});

/** A group of jobs in its queue. */
async function enqueue(count: number): Promise<{ group: string; ids: string[] }> {
  const group = newGroupId('normal', MODEL);
  const jobs = Array.from({ length: count }, () => ({
    id: newJobId(group),
    owner: 'alice',
    texts: [{ text: 'a' }],
    top_k: 1,
    created_at: Date.now(),
  }));
  const queue = await queues.get('normal', MODEL);
  await queue.add(JOB_NAME, { v: 2, jobs }, jobOptions(group, TTL_S));
  return { group, ids: jobs.map(({ id }) => id) };
}

const jobsOf = async (group: string) => {
  const queue = await queues.get('normal', MODEL);
  return (await queue.getJob(group))?.data.jobs.map(({ id }) => id);
};

test('all jobs of a large group at once', async () => {
  const { group, ids } = await enqueue(32);
  await Promise.all(ids.map((id) => queues.dequeue(id)));
  expect(await jobsOf(group)).toBeUndefined();
});

test('jobs of a group from several instances at once; the others stay', async () => {
  const { group, ids } = await enqueue(32);
  const other = new QueueSet(redis, prefix);
  await Promise.all(ids.slice(1).map((id, i) => (i % 2 ? queues : other).dequeue(id)));
  await other.close();
  expect(await jobsOf(group)).toEqual(ids.slice(0, 1));
});

describe('what a process that died has left is repeated', () => {
  const records = () => new JobRecords(redis, prefix, TTL_S);
  const maintain = () => {
    const backlog = new Backlog(redis, prefix);
    return new JobMaintenance({
      redis,
      prefix,
      records: records(),
      queues,
      backlog,
      resultTtlS: TTL_S,
    }).run();
  };
  const cancel = (id: string) =>
    records().settle(id, { v: 1, owner: 'alice', status: 'canceled', created: 1, finished: 2, texts: 1 });
  const left = () => redis.smembers(leavingKey(prefix));

  test('after the outcome', async () => {
    const { group, ids } = await enqueue(3);
    await Promise.all(ids.slice(1).map((id) => queues.noteLeaving(id)));
    await Promise.all(ids.slice(1).map(cancel));
    await maintain();
    expect(await jobsOf(group)).toEqual(ids.slice(0, 1));
    expect(await left()).toEqual([]);
  });

  test('when the group was emptied and stayed', async () => {
    const { group, ids } = await enqueue(1);
    await queues.noteLeaving(ids[0]!);
    await cancel(ids[0]!);
    const queue = await queues.get('normal', MODEL);
    await (await queue.getJob(group))!.updateData({ v: 2, jobs: [] });
    await maintain();
    expect(await jobsOf(group)).toBeUndefined();
  });

  test('before the outcome: the job stays until it has one, or its group is gone', async () => {
    const { group, ids } = await enqueue(2);
    await Promise.all(ids.map((id) => queues.noteLeaving(id)));
    await maintain();
    expect(await jobsOf(group)).toEqual(ids);
    expect(await left()).toHaveLength(2);
    await cancel(ids[0]!);
    await maintain();
    expect(await jobsOf(group)).toEqual(ids.slice(1));
    await (await queues.get('normal', MODEL)).remove(group);
    await maintain();
    expect(await left()).toEqual([]);
  });

  test('of a full Redis, which cannot note that a job leaves', async () => {
    const { group, ids } = await enqueue(1);
    const add = redis.sadd.bind(redis);
    redis.sadd = () => Promise.reject(new Error('OOM command not allowed'));
    await queues.noteLeaving(ids[0]!);
    redis.sadd = add;
    await cancel(ids[0]!);
    await queues.dequeue(ids[0]!);
    expect(await jobsOf(group)).toBeUndefined();
  });
});
