/**
 * What is left of acknowledged jobs when Redis dies, and when its machine does. docs/operations.md says what to promise.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterEach, describe, expect, test } from 'vitest';
import type { Job } from '../../src/shared/contract/jobs.ts';
import { standIn } from '../support/models/stand-in.ts';
import { nothingLeft } from '../support/redis/invariants.ts';
import { cannotLosePower, MortalRedis } from '../support/redis/power-failure.ts';
import { OwnRedis } from '../support/redis/redis.ts';
import { eventually, Stack } from '../support/processes/stack.ts';

let redis: { stop: () => Promise<void> };
let stack: Stack;

afterEach(async () => {
  await stack.stop();
  await redis.stop();
});

const ready = () => eventually(async () => ((await stack.fetch('/health/ready')).ok ? true : undefined));

/** Callers that post until they are answered with anything but a 202. @returns ids as they are acknowledged */
function post(callers: number): { ids: string[]; done: Promise<unknown> } {
  const ids: string[] = [];
  const run = async () => {
    for (;;) {
      const { status, body } = await stack.post<Job>('/v1/jobs', { text: 'a wonderful film' });
      if (status !== 202) {
        expect(status).toBe(503);
        return;
      }
      ids.push(body.id);
    }
  };
  return { ids, done: Promise.all(Array.from({ length: callers }, run)) };
}

async function lostOf(ids: string[]): Promise<string[]> {
  const lost: string[] = [];
  for (const id of ids) {
    const { status } = await stack.get(`/v1/jobs/${id}`);
    expect([200, 404]).toContain(status);
    if (status === 404) lost.push(id);
  }
  return lost;
}

/** A worker finishes them all, and nothing half-written is in the way of the others. */
async function expectFinished(ids: string[], redisUrl: string): Promise<void> {
  stack.workers.push(stack.startWorker());
  for (const id of ids) {
    await eventually(async () => {
      const { body } = await stack.get<Job>(`/v1/jobs/${id}?wait=30`);
      return body.status === 'succeeded' ? true : undefined;
    });
  }
  await nothingLeft(redisUrl, stack.prefix);
}

/** @returns what was acknowledged when the system had every byte: while an fsync runs, Redis keeps new ones to itself */
const writtenOf = (ids: string[], connection: Redis) =>
  eventually(async () => {
    const acknowledged = [...ids];
    const written = (await connection.info('persistence')).includes('aof_buffer_length:0\r');
    return written ? acknowledged : undefined;
  });

test('appendfsync everysec, Redis is killed again and again under load: what was written stays', async () => {
  const own = await OwnRedis.start(['--appendfsync', 'everysec']);
  redis = own;
  const connection = new Redis(own.url, { maxRetriesPerRequest: null });
  connection.on('error', () => {});
  stack = await Stack.start({ redisUrl: own.url, workers: 0, env: standIn() });
  const all: string[] = [];
  const written: string[] = [];
  for (let round = 0; round < 10; round++) {
    const { ids, done } = post(4);
    await eventually(() => Promise.resolve(ids.length > round ? true : undefined));
    written.push(...(await writtenOf(ids, connection)));
    await own.kill();
    await done;
    await own.restart();
    await ready();
    all.push(...ids);
  }
  connection.disconnect();
  const lost = await lostOf(all);
  console.log(`10 kills with appendfsync everysec: lost ${lost.length} jobs of ${all.length}`);
  expect(lost.filter((id) => written.includes(id))).toEqual([]);
  await expectFinished(
    all.filter((id) => !lost.includes(id)),
    own.url,
  );
});

const reason = cannotLosePower === undefined ? '' : ` (skipped: ${cannotLosePower})`;

describe.skipIf(cannotLosePower !== undefined)(`the machine of Redis loses power${reason}`, () => {
  /** @returns what was acknowledged before and after a moment at which all was on the disk, and what of all is lost */
  async function lose(appendfsync: string) {
    const mortal = await MortalRedis.start(['--appendfsync', appendfsync]);
    redis = mortal;
    const { url } = mortal.redis;
    stack = await Stack.start({ redisUrl: url, workers: 0, env: standIn() });
    const { ids, done } = post(4);
    await eventually(() => Promise.resolve(ids.length > 20 ? true : undefined));
    const synced = [...ids];
    await mortal.synced();
    await sleep(200);
    const bytes = await mortal.losePower();
    await done;
    await mortal.redis.restart();
    await ready();
    const lost = await lostOf(ids);
    console.log(`appendfsync ${appendfsync}: lost ${lost.length} jobs of ${ids.length}, ${bytes} bytes`);
    return { url, synced, ids, lost };
  }

  test('appendfsync always: no acknowledged job is lost', async () => {
    const { url, ids, lost } = await lose('always');
    expect(lost).toEqual([]);
    await expectFinished(ids, url);
  });

  test('appendfsync everysec: what was acknowledged since the last fsync is lost, the rest goes on', async () => {
    const { url, synced, ids, lost } = await lose('everysec');
    expect(lost.filter((id) => synced.includes(id))).toEqual([]);
    await expectFinished(
      ids.filter((id) => !lost.includes(id)),
      url,
    );
  });
});
