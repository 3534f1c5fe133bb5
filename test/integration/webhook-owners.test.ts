/** One owner's receivers hang, hundreds of them; another's deliveries go on meanwhile. Real processes and connections. */
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { JobRecords } from '../../src/shared/store/jobs/job-records.ts';
import { Receiver } from '../support/webhooks/receiver.ts';
import { settleJob } from '../support/api/settled-jobs.ts';
import { eventually, Stack } from '../support/processes/stack.ts';

const PLACES = 40;
/** Four times as many as are left, less the last one. */
const MOST_OF_ONE = 32;
const HOSTS = 300;

let receiver: Receiver;
let hanging: Receiver;
let stack: Stack;
let redis: Redis;
let records: JobRecords;

beforeAll(async () => {
  receiver = await Receiver.start();
  // Listens on all of 127.0.0.0/8: each address is another host.
  hanging = await Receiver.startEverywhere(() => {
    // Never answers.
  });
  stack = await Stack.start({
    redisUrl: inject('redisUrl'),
    webhooks: true,
    env: {
      WEBHOOK_SCHEMES: 'http',
      WEBHOOK_ALLOW: `127.0.0.1:${receiver.port},127.0.0.0/8:${hanging.port}`,
      WEBHOOK_CONCURRENCY: String(PLACES),
      // Longer than the test.
      WEBHOOK_TIMEOUT_MS: '120000',
    },
  });
  redis = new Redis(inject('redisUrl'));
  records = new JobRecords(redis, stack.prefix, 600);
});
afterAll(async () => {
  redis.disconnect();
  await stack.stop();
  await receiver.stop();
  await hanging.stop();
});

test('an owner with hundreds of receivers that hang leaves slots for others', async () => {
  for (let i = 0; i < HOSTS; i++) {
    await settleJob(records, `http://127.1.${i >> 8}.${i & 255}:${hanging.port}/`, 'mallory');
  }
  await eventually(() => Promise.resolve(hanging.received.length >= MOST_OF_ONE ? true : undefined));
  const events = await Promise.all(
    Array.from({ length: 50 }, () => settleJob(records, receiver.url(), 'alice').then(({ event }) => event)),
  );
  await eventually(() => Promise.resolve(receiver.received.length >= events.length ? true : undefined));
  const came = receiver.received.map(({ headers }) => headers['webhook-id']);
  expect(came.toSorted()).toEqual(events.toSorted());
  // All of them are still under way.
  expect(hanging.received).toHaveLength(MOST_OF_ONE);
});
