/**
 * The sums of the backlogs equal a recount of their members, and each job has one outcome, in any order of adding, settling and
 * purging, by scripts of this version and of the one before side by side.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { newGroupId, newJobId, parseJobId, type Priority } from '../../src/shared/contract/ids.ts';
import type { JobRecord } from '../../src/shared/contract/jobs.ts';
import {
  backlogKey,
  backlogTotalsKey,
  deadlinesKey,
  jobDoneChannel,
  jobKey,
  jobListKey,
  outboxKey,
  ownersKey,
} from '../../src/shared/redis/keys.ts';
import { Backlog, type QueuedJob } from '../../src/shared/store/jobs/backlog.ts';
import { JobRecords } from '../../src/shared/store/jobs/job-records.ts';
import { queueName } from '../../src/shared/store/queues.ts';

const OWNERS = ['alice', 'bob'];
const PRIORITIES = ['normal', 'low'] as const;
const QUEUES = PRIORITIES.map((priority) => queueName(priority, 'm'));

/** A script of version 0.1, as its processes ran it. */
const before = (...names: string[]) =>
  names
    .map((name) =>
      readFileSync(new URL(`../fixtures/previous-version/scripts/${name}.lua`, import.meta.url), 'utf8'),
    )
    .join('\n');
const OLD_ADD = before('take-in');
const OLD_SETTLE = before('leave-backlog', 'settle');

interface Group {
  priority: Priority;
  jobs: QueuedJob[];
}

let redis: Redis;
beforeAll(() => {
  redis = new Redis(inject('redisUrl'));
});
afterAll(() => redis.disconnect());

const version = fc.constantFrom('this', 'before');
const group = fc.record({
  priority: fc.constantFrom(...PRIORITIES),
  sizes: fc.array(
    fc.record({
      owner: fc.constantFrom(...OWNERS),
      texts: fc.integer({ min: 1, max: 9 }),
      bytes: fc.nat(500),
    }),
    { minLength: 1, maxLength: 4 },
  ),
});
const someJobs = fc.array(fc.nat(99), { minLength: 1, maxLength: 6 });
const step = fc.oneof(
  fc.record({ kind: fc.constant('add' as const), group, version }),
  fc.record({ kind: fc.constant('add again' as const), of: fc.nat(9), version }),
  fc.record({ kind: fc.constant('settle' as const), jobs: someJobs, version }),
  fc.record({ kind: fc.constant('purge' as const), jobs: someJobs }),
);

function recordOf(owner: string, finished: number): JobRecord {
  return { v: 1, owner, status: 'succeeded', created: 1, started: 2, finished, texts: 1 };
}

test('sums equal a recount, and outcomes stay, after any order of changes', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 25 }), async (steps) => {
      const prefix = `{test-${randomBytes(5).toString('hex')}}`;
      const backlog = new Backlog(redis, prefix);
      const records = new JobRecords(redis, prefix, 60);
      const groups: Group[] = [];
      const outcomes = new Map<string, number>();
      /** Texts that left each backlog, and jobs that are in it: what the scripts are to arrive at. */
      const ended = new Map(QUEUES.map((queue) => [queue, 0]));
      const waiting = new Map(QUEUES.map((queue) => [queue, new Map<string, QueuedJob>()]));
      let clock = 0;

      const add = async ({ priority, jobs }: Group, by: string) => {
        const queue = queueName(priority, 'm');
        for (const job of jobs) waiting.get(queue)!.set(job.id, job);
        if (by === 'this') await backlog.add(queue, jobs);
        else await addAsBefore(prefix, queue, jobs);
      };
      const pick = (jobs: number[]) => {
        const all = groups.flatMap((each) => each.jobs.map((job) => ({ job, priority: each.priority })));
        return all.length === 0 ? [] : jobs.map((n) => all[n % all.length]!);
      };
      const leave = (id: string, priority: Priority) => {
        const queue = queueName(priority, 'm');
        const job = waiting.get(queue)!.get(id);
        waiting.get(queue)!.delete(id);
        ended.set(queue, ended.get(queue)! + (job?.texts ?? 0));
      };

      for (const each of steps) {
        if (each.kind === 'add') {
          const { priority, sizes } = each.group;
          const id = newGroupId(priority, 'm');
          const made = { priority, jobs: sizes.map((size) => ({ id: newJobId(id), ...size })) };
          groups.push(made);
          await add(made, each.version);
        } else if (each.kind === 'add again') {
          const known = groups[each.of % Math.max(1, groups.length)];
          if (known) await add(known, each.version);
        } else if (each.kind === 'settle') {
          const jobs = pick(each.jobs);
          const finished = ++clock;
          if (each.version === 'this')
            await Promise.all(jobs.map(({ job }) => records.settle(job.id, recordOf(job.owner, finished))));
          else if (jobs.length > 0) await settleAsBefore(prefix, jobs, finished);
          for (const { job, priority } of jobs) {
            leave(job.id, priority);
            if (!outcomes.has(job.id)) outcomes.set(job.id, finished);
          }
        } else {
          for (const { job, priority } of pick(each.jobs)) {
            await backlog.purge(queueName(priority, 'm'), [job.id, job.id]);
            leave(job.id, priority);
          }
        }
      }

      for (const queue of QUEUES) {
        const jobs = [...waiting.get(queue)!.values()];
        const members = await redis.zrange(backlogKey(prefix, queue), '0', '-1');
        expect(members).toEqual(jobs.map(({ id, texts, bytes }) => `${id} ${texts} ${bytes}`).sort());
        const sum = (of: 'texts' | 'bytes') => jobs.reduce((total, job) => total + job[of], 0);
        expect((await backlog.sizes()).get(queue) ?? { texts: 0, bytes: 0 }).toEqual({
          texts: sum('texts'),
          bytes: sum('bytes'),
        });
        expect((await backlog.ended()).get(queue) ?? 0).toBe(ended.get(queue));
      }
      const found = await records.read([...outcomes.keys()]);
      expect(found.map((record) => (record as JobRecord).finished)).toEqual([...outcomes.values()]);
      for (const owner of OWNERS) {
        const ids = groups.flatMap(({ jobs }) =>
          jobs.filter((job) => job.owner === owner).map(({ id }) => id),
        );
        expect(await redis.zrange(jobListKey(prefix, owner), '0', '-1')).toEqual(ids.sort());
      }
      const keys = await redis.keys(`${prefix}*`);
      if (keys.length > 0) await redis.del(...keys);
    }),
    { numRuns: 60 },
  );
});

async function addAsBefore(prefix: string, queue: string, jobs: QueuedJob[]): Promise<void> {
  const owners = [...new Set(jobs.map(({ owner }) => owner))];
  const keys = [backlogKey(prefix, queue), backlogTotalsKey(prefix), ownersKey(prefix)];
  const lists = owners.map((owner) => jobListKey(prefix, owner));
  const args = jobs.flatMap((job) => [job.id, owners.indexOf(job.owner) + 1, job.texts, job.bytes]);
  const all = [...keys, ...lists, queue, owners.length, ...owners, ...args];
  await redis.eval(OLD_ADD, 3 + lists.length, ...all.map(String));
}

async function settleAsBefore(
  prefix: string,
  jobs: { job: QueuedJob; priority: Priority }[],
  finished: number,
): Promise<void> {
  const queueOf = (id: string) => queueName(parseJobId(id)!.priority, 'm');
  const keys = jobs.flatMap(({ job }) => [jobKey(prefix, job.id), backlogKey(prefix, queueOf(job.id))]);
  const args = jobs.flatMap(({ job }) => [
    ...[JSON.stringify(recordOf(job.owner, finished)), 60, job.id, queueOf(job.id)],
    ...[jobDoneChannel(prefix, job.id), '', ''],
  ]);
  const shared = [deadlinesKey(prefix), outboxKey(prefix), backlogTotalsKey(prefix)];
  const all = [...shared, ...keys, 8192, jobs.length, ...args];
  await redis.eval(OLD_SETTLE, 3 + keys.length, ...all.map(String));
}
