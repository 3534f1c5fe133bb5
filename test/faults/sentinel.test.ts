/**
 * A Redis master is replaced by its replica. Replication is asynchronous: what the replica has goes on, what it has not is
 * lost, and these tests tell the two apart. docs/operations.md says what to promise.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Job } from '../../src/shared/contract/jobs.ts';
import { parseJobId } from '../../src/shared/contract/ids.ts';
import { newSecret } from '../../src/shared/runtime/webhook-secret.ts';
import { nothingLeft } from '../support/redis/invariants.ts';
import { standIn } from '../support/models/stand-in.ts';
import { FaultProxy } from '../support/network/proxy.ts';
import { Receiver } from '../support/webhooks/receiver.ts';
import type { OwnRedis } from '../support/redis/redis.ts';
import { RedisGroup } from '../support/redis/sentinel.ts';
import { eventually, Stack } from '../support/processes/stack.ts';

/** Jobs before and after. */
const ENOUGH = 40;
const SERVED = [200, 202];

let group: RedisGroup;
let stack: Stack;
let receiver: Receiver;

beforeEach(async () => {
  receiver = await Receiver.start();
  group = await RedisGroup.start();
});
afterEach(async () => {
  await stack.stop();
  await group.stop();
  await receiver.stop();
});

const start = async (workers: number, redisUrl = group.url) => {
  stack = await Stack.start({
    redisUrl,
    workers,
    webhooks: workers > 0,
    env: {
      ...standIn(),
      LOCK_DURATION_MS: '1500',
      STALLED_INTERVAL_MS: '1000',
      WEBHOOK_SECRET: newSecret(),
      WEBHOOK_SCHEMES: 'http',
      WEBHOOK_ALLOW: `127.0.0.1:${receiver.port}`,
    },
  });
};
const submit = (key: string) =>
  stack.post<Job>(
    '/v1/jobs',
    { text: `text ${key}`, webhook: { url: receiver.url() } },
    { 'Idempotency-Key': key },
  );
const read = (id: string) => stack.get<Job>(`/v1/jobs/${id}`);

/** Callers that post all the time, each job until it is taken. */
class Load {
  /** Key of each job that was acknowledged, by the job's id. */
  readonly acknowledged = new Map<string, string>();
  readonly statuses = new Set<number>();
  readonly #clients: Promise<unknown>;
  #stopping = false;

  constructor() {
    this.#clients = Promise.all(['a', 'b', 'c', 'd'].map((client) => this.#run(client)));
  }

  async more(): Promise<void> {
    const before = this.acknowledged.size;
    await eventually(() => Promise.resolve(this.acknowledged.size >= before + ENOUGH ? true : undefined));
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#clients;
  }

  async #run(client: string): Promise<void> {
    for (let number = 0; !this.#stopping; number++) {
      const key = `${client}-${number}`;
      await eventually(async () => {
        const { status, body } = await submit(key);
        this.statuses.add(status);
        if (SERVED.includes(status)) this.acknowledged.set(body.id, key);
        // Faster repeats would only take the machine from the processes that reconnect.
        else await sleep(150);
        return SERVED.includes(status) || this.#stopping ? true : undefined;
      });
      await sleep(40);
    }
  }
}

/** Whether a server knows a job, waiting or finished. */
const has = (server: OwnRedis, id: string) =>
  group.on(server, async (redis) => {
    const { group: waiting } = parseJobId(id) ?? {};
    return (
      (await redis.exists(`${stack.prefix}:classify-sst2-minilm:${waiting}`, `${stack.prefix}:job:${id}`)) > 0
    );
  });
const missing = async (server: OwnRedis, ids: Iterable<string>) => {
  const lost: string[] = [];
  for (const id of ids) if (!(await has(server, id))) lost.push(id);
  return lost;
};

/** Each has succeeded, stays as it is, and was told of. */
async function expectSucceeded(ids: Iterable<string>): Promise<void> {
  const jobs: Job[] = [];
  for (const id of ids) {
    jobs.push(
      await eventually(async () => {
        const { status, body } = await stack.get<Job>(`/v1/jobs/${id}?wait=30`);
        expect(status).toBe(200);
        return body.finished_at === null ? undefined : body;
      }),
    );
  }
  await nothingLeft(group.urlOf(group.replica), stack.prefix);
  const told = new Set(receiver.received.map(({ body }) => (JSON.parse(body) as { data: Job }).data.id));
  for (const job of jobs) {
    expect(job).toMatchObject({ status: 'succeeded', failed_texts: 0 });
    expect((await read(job.id)).body).toEqual(job);
    expect(told).toContain(job.id);
  }
}

test('the master is killed under load: what its replica has is finished, and callers see 503 at most', async () => {
  await start(1);
  const load = new Load();
  await load.more();
  // One that hangs is passed over.
  group.freezeSentinels(1);
  await group.master.kill();
  await group.drained();
  const before = new Map(load.acknowledged);
  const lost = await missing(group.replica, before.keys());
  await load.more();
  await load.stop();
  group.thawSentinels();
  expect([...load.statuses].filter((status) => ![...SERVED, 503].includes(status))).toEqual([]);
  console.log(`lost ${lost.length} of ${before.size}`);
  await expectSucceeded([...load.acknowledged.keys()].filter((id) => !lost.includes(id)));
  for (const id of lost) expect((await read(id)).status).toBe(404);
});

test('a write that the replica had not received is lost; with min-replicas-to-write it is not accepted', async () => {
  await start(0);
  const kept = (await submit('kept')).body.id;
  await eventually(async () => ((await has(group.replica, kept)) ? true : undefined));
  await group.on(group.master, (redis) => redis.config('SET', 'min-replicas-to-write', '1'));
  await group.cutReplication();
  expect(await submit('refused')).toMatchObject({ status: 503, body: { code: 'redis_unavailable' } });

  await group.on(group.master, (redis) => redis.config('SET', 'min-replicas-to-write', '0'));
  const { status, body: lost } = await submit('lost');
  expect(status).toBe(202);
  await group.master.kill();
  await group.promoted();
  await eventually(async () => ((await stack.fetch('/health/ready')).ok ? true : undefined));
  expect(await read(kept)).toMatchObject({ status: 200, body: { status: 'queued' } });
  expect((await read(lost.id)).status).toBe(404);
  // Its key is as new.
  const again = await submit('lost');
  expect(again.status).toBe(202);
  expect(again.body.id).not.toBe(lost.id);
});

test('a planned failover, with writes paused, loses nothing', async () => {
  await start(1);
  const load = new Load();
  await load.more();
  await group.on(group.master, (redis) => redis.client('PAUSE', 10_000, 'WRITE'));
  await group.failover();
  await group.promoted();
  await load.more();
  await load.stop();
  expect([...load.statuses].filter((status) => ![...SERVED, 503].includes(status))).toEqual([]);
  await expectSucceeded(load.acknowledged.keys());
});

test('a master that is replaced while it is well is left by everybody, before Sentinels make it a replica', async () => {
  await start(1);
  await group.watched(3);
  await group.failover();
  await group.promoted();
  group.freezeSentinels(3);
  await group.abandoned();
  group.thawSentinels();
  const load = new Load();
  await load.more();
  await load.stop();
  await expectSucceeded(load.acknowledged.keys());
});

test('… also by those who could not listen to the Sentinels just then', async () => {
  const [port] = group.sentinelPorts as [number];
  const proxy = await FaultProxy.start(port);
  await start(1, group.urlBy([proxy.port]));
  const { status, body } = await submit('before');
  expect(status).toBe(202);
  await expectSucceeded([body.id]);
  proxy.cut();
  await group.failover();
  await group.promoted();
  await group.blindSentinels();
  proxy.heal();
  await group.abandoned();
  await proxy.stop();
});
