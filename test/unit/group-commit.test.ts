/** Group commit: how many jobs come together in a group, by what the workers have to do. */
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { GroupCommit, type GroupCommitDeps, type WorkerLoad } from '../../src/api/jobs/group-commit.ts';
import type { JobGroup } from '../../src/shared/contract/jobs.ts';

/** Jobs of each group that was sent. */
let sent: number[];
let groups: GroupCommit;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  sent = [];
  const queue = { add: (_name: string, { jobs }: JobGroup) => Promise.resolve(sent.push(jobs.length)) };
  groups = new GroupCommit({
    queues: { get: () => Promise.resolve(queue) },
    backlog: { add: () => Promise.resolve({ ahead: 0, size: { texts: 0, bytes: 0 } }) },
    tracing: { within: (_trace: unknown, run: () => unknown) => run() },
    resultTtlS: 60,
  } as unknown as GroupCommitDeps);
});
afterEach(() => vi.useRealTimers());

async function add(jobs: number, load: WorkerLoad): Promise<void> {
  for (let n = 0; n < jobs; n++)
    groups.add('normal', 'm', { owner: 'o', texts: [{ text: 't' }], top_k: 1, created_at: 1 }, load);
  for (let n = 0; n < 4; n++) await turn();
}

test('while a worker is idle, a job is sent at once', async () => {
  await add(1, { workers: 1, awaited: 8 });
  expect(sent).toEqual([1]);
});

test.each([
  { workers: 1, awaited: 9, together: 5 },
  { workers: 1, awaited: 64, together: 10 },
  { workers: 2, awaited: 64, together: 5 },
  { workers: 4, awaited: 256, together: 10 },
  { workers: 1, awaited: 1000, together: 32 },
])('with $awaited awaited jobs and $workers workers, $together are sent together', async (row) => {
  await add(row.together - 1, row);
  expect(sent).toEqual([]);
  await add(1, row);
  expect(sent).toEqual([row.together]);
});

test('jobs that are too few are sent after a moment, or once a worker is idle', async () => {
  const busy = { workers: 1, awaited: 64 };
  await add(3, busy);
  expect(sent).toEqual([]);
  vi.advanceTimersByTime(30);
  await add(0, busy);
  expect(sent).toEqual([3]);

  await add(3, busy);
  await add(1, { workers: 1, awaited: 2 });
  expect(sent).toEqual([3, 4]);
});

test('a group has at most 32 texts; more jobs form further groups in the same write', async () => {
  await add(70, { workers: 1, awaited: 1000 });
  expect(sent).toEqual([32, 32, 6]);
});
