/** Arbitrary payloads in the queues, as an older, newer or foreign program may leave: workers still serve later jobs. */
import { randomInt } from 'node:crypto';
import { Queue } from 'bullmq';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, inject, onTestFailed, test } from 'vitest';
import type { Job } from '../../src/shared/contract/jobs.ts';
import { outboxKey } from '../../src/shared/redis/keys.ts';
import { newSecret } from '../../src/shared/runtime/webhook-secret.ts';
import { answer, Receiver } from '../support/webhooks/receiver.ts';
import { tellOnFailure } from '../support/api/batches.ts';
import { fuzz } from '../support/inputs/fuzz.ts';
import { eventually, Stack } from '../support/processes/stack.ts';

let stack: Stack;
let receiver: Receiver;
let redis: Redis;
let queues: Queue[];

beforeAll(async () => {
  redis = new Redis(inject('redisUrl'));
  receiver = await Receiver.start(answer(204));
  stack = await Stack.start({
    redisUrl: inject('redisUrl'),
    webhooks: true,
    env: {
      WEBHOOK_SECRET: newSecret(),
      WEBHOOK_SCHEMES: 'http',
      WEBHOOK_ALLOW: `127.0.0.1:${receiver.port}`,
    },
  });
  queues = ['classify-sst2-minilm', 'low-sst2-minilm', 'bulk-sst2-minilm', 'deliveries'].map(
    (name) => new Queue(name, { connection: redis, prefix: stack.prefix }),
  );
});
afterAll(async () => {
  await Promise.all(queues.map((queue) => queue.close()));
  await stack.stop();
  await receiver.stop();
  redis.disconnect();
});

const id = fc.oneof(
  fc.string({ maxLength: 10 }),
  fc.constantFrom(
    `${'0'.repeat(32)}-n-sst2-minilm`,
    `${'0'.repeat(32)}-b-sst2-minilm`,
    `evt_${'0'.repeat(32)}`,
  ),
);
const nearMiss = fc.record(
  {
    v: fc.constantFrom(1, 2, 3, '2'),
    jobs: fc.array(
      fc.record(
        {
          id,
          owner: fc.string(),
          texts: fc.array(
            fc.record({ id: fc.string(), text: fc.oneof(fc.string({ unit: 'binary' }), fc.integer()) }),
          ),
          top_k: fc.constantFrom(1, 0, null, 1e9, -1),
          created_at: fc.double(),
          expires_at: fc.integer(),
          notify: fc.string(),
          webhook: fc.jsonValue(),
          metadata: fc.jsonValue(),
        },
        { requiredKeys: ['id'] },
      ),
      { maxLength: 3 },
    ),
    batch: id,
    chunk: fc.integer({ min: -1, max: 5 }),
    id,
    run: fc.integer(),
    host: fc.string(),
  },
  { requiredKeys: [] },
);
const payload = fc.oneof(nearMiss, fc.jsonValue());

test('foreign payloads harm no other job', async () => {
  // Workers may fail on a payload long after it was added, so fc.assert does not know the seed of what they fail on.
  const { seed = randomInt(2 ** 31), ...parameters } = fuzz(10);
  let step = 'adding payloads';
  tellOnFailure(() => stack);
  onTestFailed(() => console.log(`FUZZ_SEED=${seed} repeats it; it failed while ${step}`));
  await fc.assert(
    fc.asyncProperty(fc.array(payload, { minLength: 20, maxLength: 20 }), async (payloads) => {
      await Promise.all(queues.map((queue) => queue.addBulk(payloads.map((data) => ({ name: 'x', data })))));
      // Entries of the outbox whose deliveries nobody has written, or somebody else has.
      const pipeline = redis.pipeline();
      for (const data of payloads) pipeline.xadd(outboxKey(stack.prefix), '*', 'id', JSON.stringify(data));
      await pipeline.exec();
    }),
    { ...parameters, seed },
  );
  const before = receiver.received.length;
  const { body } = await stack.post<Job>('/v1/jobs', { text: 'fine', webhook: { url: receiver.url() } });
  step = `waiting for job ${body.id}`;
  const finished = await eventually(async () => {
    const { body: job } = await stack.get<Job>(body.urls.self);
    return job.finished_at === null ? undefined : job;
  });
  expect(finished.status).toBe('succeeded');
  step = 'waiting for its webhook';
  await eventually(() => Promise.resolve(receiver.received.length > before ? true : undefined));
  step = 'waiting for an empty outbox';
  await eventually(async () => ((await redis.xlen(outboxKey(stack.prefix))) === 0 ? true : undefined));
  expect([...stack.workers, stack.webhooks, stack.api].map((process) => process?.running)).toEqual([
    true,
    true,
    true,
  ]);
});
