/** Group commit: jobs that share a BullMQ job are read, canceled, expired and finished one by one. */
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, inject, test } from 'vitest';
import { parseJobId } from '../../src/shared/contract/ids.ts';
import { standIn } from '../support/models/stand-in.ts';
import { eventually, Stack } from '../support/processes/stack.ts';

interface JobBody {
  id: string;
  status: string;
  results: { label: string }[] | null;
}

let stack: Stack;
let redis: Redis;

beforeEach(async () => {
  stack = new Stack({ redisUrl: inject('redisUrl'), workers: 0 });
  stack.url = await stack.api.ready;
  redis = new Redis(inject('redisUrl'));
  await eventually(async () => ((await stack.fetch('/v1/models')).ok ? true : undefined));
});

afterEach(async () => {
  await stack.stop();
  redis.disconnect();
});

/** Submits `count` jobs at once, enough that some share a group. */
async function burst(count: number, body: Record<string, unknown> = {}): Promise<string[]> {
  const answers = await Promise.all(
    Array.from({ length: count }, (_, i) =>
      stack.post<JobBody>('/v1/jobs', { text: `a wonderful film, take ${i}`, ...body }),
    ),
  );
  expect(answers.map(({ status }) => status)).toEqual(Array(count).fill(202));
  return answers.map(({ body: { id } }) => id);
}

function queue(): Queue<{ jobs: { id: string; texts: { text: string }[] }[] }> {
  return new Queue('classify-sst2-minilm', { connection: redis, prefix: stack.prefix });
}

/** Ids of a burst by group. */
function grouped(ids: string[]): Map<string, string[]> {
  const groups = new Map<string, string[]>();
  for (const id of ids) {
    const group = parseJobId(id)!.group;
    groups.set(group, [...(groups.get(group) ?? []), id]);
  }
  return groups;
}

/** A burst of which at least one group has three jobs; returns its ids, and all. */
async function burstWithGroup(
  body?: Record<string, unknown>,
): Promise<{ together: string[]; all: string[] }> {
  const all: string[] = [];
  return eventually(async () => {
    all.push(...(await burst(24, body)));
    const together = [...grouped(all).values()].find((ids) => ids.length >= 3);
    return together && { together, all };
  });
}

describe('while nobody works', () => {
  test('every job of a burst has its own id, and several share a group', async () => {
    const { all } = await burstWithGroup();
    expect(new Set(all).size).toBe(all.length);
    for (const id of all)
      expect((await stack.get<JobBody>(`/v1/jobs/${id}`)).body).toMatchObject({ id, status: 'queued' });
    const waiting = await queue().getWaiting();
    expect(waiting.length).toBe(grouped(all).size);
    expect(waiting.length).toBeLessThan(all.length);
    for (const { data } of waiting) {
      expect(data.jobs.reduce((sum, { texts }) => sum + texts.length, 0)).toBeLessThanOrEqual(32);
    }
  });

  test('a canceled job leaves its group at once, with its text; the others stay', async () => {
    const { together } = await burstWithGroup();
    const [first, second, ...rest] = together as [string, string, ...string[]];
    const group = parseJobId(first)!.group;
    // Two cancellations at once: each must see the group without the other job.
    const answers = await Promise.all(
      [first, second].map((id) => stack.fetch(`/v1/jobs/${id}`, { method: 'DELETE' })),
    );
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    const job = await queue().getJob(group);
    expect(job!.data.jobs.map(({ id }) => id)).toEqual(rest);
    for (const id of [first, second])
      expect((await stack.get<JobBody>(`/v1/jobs/${id}`)).body.status).toBe('canceled');
    for (const id of rest) expect((await stack.get<JobBody>(`/v1/jobs/${id}`)).body.status).toBe('queued');

    await Promise.all(rest.map((id) => stack.fetch(`/v1/jobs/${id}`, { method: 'DELETE' })));
    expect(await queue().getJob(group)).toBeUndefined();
  });

  test('a job cannot be read under the id of another group', async () => {
    // One after the other, so that they are not in one group.
    const [a] = (await burst(1)) as [string];
    const [b] = (await burst(1)) as [string];
    const mixed = a.slice(0, 22) + b.slice(22);
    expect((await stack.get(`/v1/jobs/${mixed}`)).status).toBe(404);
  });

  test('jobs of a group expire one by one', async () => {
    const { together } = await burstWithGroup({ expires_in: 1 });
    for (const id of together) {
      await eventually(async () => {
        const { body } = await stack.get<JobBody>(`/v1/jobs/${id}`);
        return body.status === 'expired' ? true : undefined;
      });
    }
    const { group } = parseJobId(together[0]!)!;
    // The outcome can be read just before the job has left its queue.
    await eventually(async () => ((await queue().getJob(group)) ? undefined : true));
  });
});

test('a group is finished after its worker was killed, and its canceled job stays canceled', async () => {
  const { together, all } = await burstWithGroup();
  await stack.fetch(`/v1/jobs/${together[0]}`, { method: 'DELETE' });
  Object.assign(stack.env, standIn({ tokenMs: 1 }));
  stack.env.LOCK_DURATION_MS = '1000';
  stack.env.STALLED_INTERVAL_MS = '500';
  const first = stack.startWorker();
  await first.ready;
  await first.end('SIGKILL');
  stack.workers.push(stack.startWorker());
  for (const id of all) {
    const { body } = await stack.get<JobBody>(`/v1/jobs/${id}?wait=30`);
    if (id === together[0]) expect(body).toMatchObject({ status: 'canceled', results: null });
    else expect(body).toMatchObject({ status: 'succeeded', results: [{ label: 'POSITIVE' }] });
  }
  expect(await queue().getJobCounts('wait', 'active', 'failed', 'completed')).toEqual({
    wait: 0,
    active: 0,
    failed: 0,
    completed: 0,
  });
});
