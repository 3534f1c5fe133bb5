/** On a Redis Cluster, whose slot with the keys changes its owner while there is work. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Batch } from '../../src/shared/contract/batches.ts';
import type { Job } from '../../src/shared/contract/jobs.ts';
import { newSecret } from '../../src/shared/runtime/webhook-secret.ts';
import { BatchCalls } from '../support/api/batches.ts';
import { standIn } from '../support/models/stand-in.ts';
import { nothingLeft } from '../support/redis/invariants.ts';
import { Receiver } from '../support/webhooks/receiver.ts';
import { RedisCluster } from '../support/redis/redis-cluster.ts';
import type { OwnRedis } from '../support/redis/redis.ts';
import { eventually, Stack } from '../support/processes/stack.ts';

const PREFIX = '{cluster-test}';
/** Jobs before and after. */
const ENOUGH = 15;
const SERVED = [200, 202];
const UNAVAILABLE = 503;
const ALLOWED = [...SERVED, UNAVAILABLE];
const ROWS = 60;
const SLOW_TEXTS = 200;

let cluster: RedisCluster;
let stack: Stack;
let receiver: Receiver;

beforeEach(async () => {
  receiver = await Receiver.start();
  cluster = await RedisCluster.start(PREFIX);
  stack = await Stack.start({
    redisUrl: cluster.url,
    webhooks: true,
    env: {
      // The job that is canceled takes a second.
      ...standIn({ tokenMs: 1 }),
      REDIS_PREFIX: PREFIX,
      LOCK_DURATION_MS: '1500',
      STALLED_INTERVAL_MS: '1000',
      BULK_CHUNK_BYTES: '512',
      WEBHOOK_SECRET: newSecret(),
      WEBHOOK_SCHEMES: 'http',
      WEBHOOK_ALLOW: `127.0.0.1:${receiver.port}`,
    },
  });
});
afterEach(async () => {
  await stack.stop();
  await cluster.stop();
  await receiver.stop();
});

/** A caller that posts all the time, each job until it is taken. */
class Load {
  readonly ids: string[] = [];
  readonly statuses = new Set<number>();
  readonly #client: Promise<void>;
  #stopping = false;

  /** @param name begins its idempotency keys */
  constructor(name: string) {
    this.#client = this.#run(name);
  }

  async more(): Promise<void> {
    const enough = this.ids.length + ENOUGH;
    await eventually(() => Promise.resolve(this.ids.length >= enough ? true : undefined));
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#client;
  }

  async #run(name: string): Promise<void> {
    for (let number = 0; !this.#stopping; number++) {
      await eventually(async () => {
        const { status, body } = await stack.post<Job>(
          '/v1/jobs',
          { text: `text ${number}`, webhook: { url: receiver.url() } },
          { 'Idempotency-Key': `${name}-${number}` },
        );
        this.statuses.add(status);
        if (SERVED.includes(status)) this.ids.push(body.id);
        return SERVED.includes(status) ? true : undefined;
      });
      await sleep(10);
    }
  }
}

/** Each job has succeeded and was told of, and nothing else is left. */
async function expectSucceeded(ids: string[], owner: OwnRedis): Promise<void> {
  for (const id of ids) {
    await eventually(async () => {
      const { status, body } = await stack.get<Job>(`/v1/jobs/${id}?wait=30`);
      // On a busy machine nodes lose sight of each other for a moment.
      expect(status === UNAVAILABLE || body.status === 'succeeded').toBe(true);
      return status === UNAVAILABLE ? undefined : true;
    });
  }
  await nothingLeft(owner.url, PREFIX);
  const told = new Set(receiver.received.map(({ body }) => (JSON.parse(body) as { data: Job }).data.id));
  expect(ids.filter((id) => !told.has(id))).toEqual([]);
}

test('the owner of the slot is failed over, killed, and another node gets the slot: nothing is lost', async () => {
  const { owner, replica, other } = cluster;
  const calls = new BatchCalls(stack);
  const batch = await calls.submit(
    Array.from({ length: ROWS }, (_, i) => JSON.stringify({ id: `r${i}`, text: `row ${i} is fine` })).join(
      '\n',
    ),
  );
  const load = new Load('a');
  await load.more();
  await cluster.failover(owner, replica);
  await load.more();
  await load.stop();

  await cluster.replicated(replica);
  await replica.kill();
  const more = new Load('b');
  await cluster.promoted(owner);
  await more.more();
  await cluster.moveSlot(owner, other);
  await more.more();
  const { body: doomed } = await stack.post<Job>('/v1/jobs', { texts: Array(SLOW_TEXTS).fill('a slow one') });
  expect((await stack.fetch(`/v1/jobs/${doomed.id}`, { method: 'DELETE' })).ok).toBe(true);
  await more.stop();

  expect([...load.statuses, ...more.statuses].filter((status) => !ALLOWED.includes(status))).toEqual([]);
  await expectSucceeded([...load.ids, ...more.ids], other);
  expect((await stack.get<Job>(`/v1/jobs/${doomed.id}`)).body.status).toBe('canceled');
  expect((await stack.get<Batch>(`/v1/batches/${batch}`)).body).toMatchObject({
    status: 'completed',
    rows: { total: ROWS, finished: ROWS, failed: 0 },
  });
});
