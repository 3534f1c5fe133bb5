/** The checker that fault tests and long runs end with finds every leftover, and reports nothing else. */
import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import { whatIsLeft } from '../support/redis/invariants.ts';

let redis: Redis;
let prefix: string;

beforeEach(() => {
  redis = new Redis(inject('redisUrl'));
  prefix = `{test-${randomBytes(5).toString('hex')}}`;
});
afterEach(() => {
  redis.disconnect();
});

const left = () => whatIsLeft(inject('redisUrl'), prefix);

test('an idle instance leaves no unexpected keys', async () => {
  await redis.hset(`${prefix}:models`, 'sst2', '{}');
  await redis.hset(`${prefix}:backlog`, 'texts classify-sst2', 0, 'ended classify-sst2', 7);
  await redis.hset(`${prefix}:classify-sst2:meta`, 'version', 'bullmq');
  await redis.set(`${prefix}:job:1`, '{}', 'EX', 60);
  expect(await left()).toEqual([]);
});

test.each<[string, (at: string) => Promise<unknown>, string]>([
  [
    'a waiting job',
    (at) => redis.lpush(`${at}:classify-sst2:wait`, '1'),
    'jobs are left in classify-sst2:wait',
  ],
  ['an active job', (at) => redis.lpush(`${at}:bulk-sst2:active`, '1'), 'jobs are left in bulk-sst2:active'],
  [
    'a delivery',
    (at) => redis.zadd(`${at}:deliveries:delayed`, 1, '1'),
    'jobs are left in deliveries:delayed',
  ],
  [
    'a lease of a dead worker',
    (at) => redis.set(`${at}:classify-sst2:1:lock`, 'token', 'EX', 60),
    'a lease is held: classify-sst2:1:lock',
  ],
  ['a result without a TTL', (at) => redis.set(`${at}:job:1`, '{}'), 'job:1 stays for ever'],
  ['an unknown key', (at) => redis.set(`${at}:new`, ''), 'new stays for ever'],
  [
    'a key with another structure',
    (at) => redis.set(`${at}:owners`, ''),
    'owners is a string instead of a set',
  ],
  ['an event', (at) => redis.xadd(`${at}:outbox`, '*', 'id', 'evt'), 'events are left in the outbox'],
  ['a batch', (at) => redis.sadd(`${at}:batches-running`, '1'), 'batches are still running'],
  [
    'a backlog that does not add up to zero',
    (at) => redis.hset(`${at}:backlog`, 'texts low-sst2', -1),
    'the backlog has -1 texts low-sst2',
  ],
  ['a deadline', (at) => redis.zadd(`${at}:deadlines`, 1, '1'), 'deadlines of finished jobs are left'],
])('%s is found', async (_, leave, said) => {
  await leave(prefix);
  expect(await left()).toEqual([said]);
});
