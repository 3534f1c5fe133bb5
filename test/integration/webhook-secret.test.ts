/** Whose deliveries and secrets are whose: the routes for several owners, and a real webhook process that signs. */
import { Redis } from 'ioredis';
import { Webhook } from 'standardwebhooks';
import { Webhook as SvixWebhook } from 'svix';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { KeySet, keyLine, newKey, parseKeyLine, type ApiKey } from '../../src/shared/runtime/api-keys.ts';
import { createApp } from '../../src/api/app.ts';
import { inFlightLimits } from '../../src/api/load/in-flight.ts';
import { WebhookService } from '../../src/api/webhooks.ts';
import { loadConfig } from '../../src/shared/runtime/config.ts';
import type { Delivery } from '../../src/shared/contract/webhooks.ts';
import { createLogger } from '../../src/shared/runtime/logger.ts';
import { EVERYBODY } from '../../src/shared/contract/owner.ts';
import { JobRecords } from '../../src/shared/store/jobs/job-records.ts';
import { createRedisGuard } from '../../src/shared/redis/connections.ts';
import { DeliveryStore } from '../../src/shared/store/deliveries/delivery-store.ts';
import { newSecret } from '../../src/shared/runtime/webhook-secret.ts';
import { Secrets } from '../../src/shared/store/deliveries/secrets.ts';
import type { Problem } from '../support/api/batches.ts';
import { answer, Receiver, type Received } from '../support/webhooks/receiver.ts';
import { settleJob } from '../support/api/settled-jobs.ts';
import { eventually, Stack } from '../support/processes/stack.ts';

interface ShownSecrets {
  secrets: { secret: string; valid_until: string | null }[];
}

const KEYLESS = newSecret();
const UNKNOWN = `evt_${'0'.repeat(32)}`;
let redis: Redis;
let receiver: Receiver;
let stack: Stack;
let app: ReturnType<typeof createApp>;
let keyless: ReturnType<typeof createApp>;
const keys: ApiKey[] = [];
const keyOfOwner = new Map<string, string>();
let records: JobRecords;

beforeAll(async () => {
  redis = new Redis(inject('redisUrl'));
  receiver = await Receiver.start((received, response) =>
    answer(received.path.startsWith('/refuse') ? 400 : 204)(received, response),
  );
  stack = await Stack.start({
    redisUrl: inject('redisUrl'),
    workers: 0,
    webhooks: true,
    env: {
      WEBHOOK_SECRET: KEYLESS,
      WEBHOOK_SCHEMES: 'http',
      WEBHOOK_ALLOW: `127.0.0.1:${receiver.port}`,
      // Two attempts.
      WEBHOOK_RETRY_S: '0.1',
    },
  });
  const config = loadConfig(stack.env);
  const withRedis = createRedisGuard(redis, config.REDIS_TIMEOUT_MS);
  const webhooks = new WebhookService({
    config,
    withRedis,
    deliveries: new DeliveryStore(redis, stack.prefix),
    secrets: new Secrets({
      redis,
      prefix: stack.prefix,
      keyless: config.WEBHOOK_SECRET,
      overlapMs: config.WEBHOOK_SECRET_OVERLAP_S * 1000,
    }),
  });
  /** Dependencies of routes that no test here calls. */
  const unused = undefined as never;
  const parts = {
    config,
    withRedis,
    webhooks,
    admins: new KeySet([]),
    jobs: unused,
    submission: unused,
    batches: unused,
    results: unused,
    catalog: unused,
    stats: unused,
    durability: unused,
    version: '0',
    stopping: new AbortController().signal,
    logger: createLogger('api', 'silent'),
    limit: () => Promise.resolve(),
    inFlight: inFlightLimits(config),
    observe: (_c: unknown, next: () => Promise<void>) => next(),
  };
  app = createApp({ ...parts, keys: { find: (presented) => new KeySet(keys).find(presented) } });
  keyless = createApp({ ...parts, keys: undefined });
  records = new JobRecords(redis, stack.prefix, 600);
});
afterAll(async () => {
  await stack.stop();
  await receiver.stop();
  redis.disconnect();
});

/** The key of an owner, created when first needed. */
function keyOf(owner: string): string {
  const known = keyOfOwner.get(owner);
  if (known !== undefined) return known;
  const key = newKey();
  keys.push(parseKeyLine(keyLine(owner, key)));
  keyOfOwner.set(owner, key);
  return key;
}

async function call<T>(owner: string, path: string, method = 'GET'): Promise<{ status: number; body: T }> {
  const response =
    owner === EVERYBODY
      ? await keyless.request(path, { method })
      : await app.request(path, { method, headers: { authorization: `Bearer ${keyOf(owner)}` } });
  return { status: response.status, body: (await response.json()) as T };
}

let paths = 0;

/** Ends a job of an owner, and waits for its webhook. */
async function tell(owner: string, path = `/hook-${paths++}`): Promise<{ id: string; received: Received }> {
  const { event: id } = await settleJob(records, receiver.url(path), owner);
  const received = await eventually(() => Promise.resolve(receiver.at(path)[0]));
  await eventually(async () => {
    const { body } = await call<Delivery>(owner, `/v1/webhooks/${id}`);
    return body.status === 'pending' ? undefined : body;
  });
  return { id, received };
}

const read = async (owner: string) => (await call<ShownSecrets>(owner, '/v1/webhook-secret')).body.secrets;
const rotate = async (owner: string) =>
  (await call<ShownSecrets>(owner, '/v1/webhook-secret/rotate', 'POST')).body.secrets;

const signatures = ({ headers }: Received) => String(headers['webhook-signature']).split(' ');

/** Whether both libraries accept the signature with this secret. */
function verifies({ headers, body }: Received, secret: string): boolean {
  const results = [Webhook, SvixWebhook].map((Library) => {
    try {
      new Library(secret).verify(body, headers as Record<string, string>);
      return true;
    } catch {
      return false;
    }
  });
  expect(results[0]).toBe(results[1]);
  return results[0]!;
}

describe('a secret', () => {
  test('belongs to one owner, and signs only the deliveries of that owner', async () => {
    const [alice] = await read('alice');
    const [bob] = await read('bob');
    expect(alice).toEqual({ secret: expect.stringMatching(/^whsec_/) as string, valid_until: null });
    expect(await read('alice')).toEqual([alice]);
    expect(bob!.secret).not.toBe(alice!.secret);
    const { received } = await tell('alice');
    expect(signatures(received)).toHaveLength(1);
    expect(verifies(received, alice!.secret)).toBe(true);
    expect(verifies(received, bob!.secret)).toBe(false);
    expect(verifies(received, KEYLESS)).toBe(false);
  });

  test('created for the first delivery is the one that is read later', async () => {
    const { received } = await tell('carol');
    const [carol] = await read('carol');
    expect(verifies(received, carol!.secret)).toBe(true);
  });

  test('that was replaced signs beside the new one during the overlap, and other owners keep theirs', async () => {
    const [[old], bob] = [await read('dora'), await read('bob')];
    const rotated = await rotate('dora');
    const [current] = rotated;
    expect(rotated).toEqual([
      { secret: current!.secret, valid_until: null },
      { secret: old!.secret, valid_until: expect.any(String) as string },
    ]);
    expect(new Date(rotated[1]!.valid_until!).getTime()).toBeGreaterThan(Date.now());
    expect(await read('dora')).toEqual(rotated);
    expect(await read('bob')).toEqual(bob);

    const { received: during } = await tell('dora');
    expect(signatures(during)).toHaveLength(2);
    for (const { secret } of rotated) expect(verifies(during, secret)).toBe(true);

    await redis.hset(`${stack.prefix}:webhook-secrets:dora`, old!.secret, Date.now() - 1);
    const { received: afterwards } = await tell('dora');
    expect(signatures(afterwards)).toHaveLength(1);
    expect(verifies(afterwards, current!.secret)).toBe(true);
    expect(verifies(afterwards, old!.secret)).toBe(false);
    expect(await read('dora')).toEqual([current]);
  });

  test('is neither shown nor replaced without an API key', async () => {
    for (const [path, method] of [
      ['/v1/webhook-secret', 'GET'],
      ['/v1/webhook-secret/rotate', 'POST'],
    ] as const) {
      const { status, body } = await call<Problem>(EVERYBODY, path, method);
      expect([status, body.code]).toEqual([403, 'no_api_key']);
      expect(JSON.stringify(body)).not.toContain('whsec_');
    }
    const { received } = await tell(EVERYBODY);
    expect(verifies(received, KEYLESS)).toBe(true);
  });
});

describe("another owner's delivery", () => {
  test('cannot be read or sent again, just like one that does not exist', async () => {
    const { id } = await tell('alice');
    const before = await call<Delivery>('alice', `/v1/webhooks/${id}`);
    expect(before).toMatchObject({ status: 200, body: { id, status: 'delivered' } });
    for (const owner of ['bob', EVERYBODY, 'ALICE']) {
      for (const [suffix, method] of [
        ['', 'GET'],
        ['/redeliver', 'POST'],
      ] as const) {
        const theirs = await call<Problem>(owner, `/v1/webhooks/${id}${suffix}`, method);
        const none = await call<Problem>(owner, `/v1/webhooks/${UNKNOWN}${suffix}`, method);
        expect(theirs).toMatchObject({ status: 404, body: { code: 'delivery_not_found' } });
        const anonymous = (problem: Problem) => ({
          ...problem,
          detail: problem.detail.replace(/evt_\w+/, ''),
        });
        // Each response has another id.
        expect(Object.keys(theirs.body)).toEqual(Object.keys(none.body));
        expect(anonymous(theirs.body).detail).toBe(anonymous(none.body).detail);
      }
    }
    expect(await call('alice', `/v1/webhooks/${id}`)).toEqual(before);
  });

  test('is only on the list of its owner, and no cursor for others', async () => {
    const { id: first } = await tell('erin');
    const { id: theirs } = await tell('frank', '/refuse-1');
    const { id: last } = await tell('erin', '/refuse-2');
    const list = async (owner: string, query = '') => {
      const path = `/v1/webhooks${query}`;
      const { body } = await call<{ deliveries: Delivery[]; next: string | null }>(owner, path);
      return [body.deliveries.map(({ id }) => id), body.next];
    };
    expect(await list('erin')).toEqual([[last, first], null]);
    expect(await list('frank')).toEqual([[theirs], null]);
    expect(await list('erin', '?status=failed')).toEqual([[last], null]);
    expect(await list('frank', '?status=failed')).toEqual([[theirs], null]);
    expect(await list('erin', '?limit=1')).toEqual([[last], last]);
    expect(await list('erin', `?limit=1&after=${last}`)).toEqual([[first], null]);
    // In between, by its time.
    expect(await list('erin', `?after=${theirs}`)).toEqual([[first], null]);
    expect(await list('grace')).toEqual([[], null]);
  });

  test('is sent again by its owner with the same id and the current secrets', async () => {
    const path = '/refuse-3';
    const { id, received } = await tell('heidi', path);
    const [current] = await rotate('heidi');
    expect(verifies(received, current!.secret)).toBe(false);
    const { status, body } = await call<Delivery>('heidi', `/v1/webhooks/${id}/redeliver`, 'POST');
    expect([status, body]).toMatchObject([
      202,
      { id, status: 'pending', redeliveries: 1, attempts: [{}, {}] },
    ]);
    const again = await eventually(() => Promise.resolve(receiver.at(path)[2]));
    expect(again.body).toBe(received.body);
    expect(again.headers['webhook-id']).toBe(id);
    expect(verifies(again, current!.secret)).toBe(true);
  });
});

test.each(['?limit=0', '?limit=101', '?limit=-1', '?limit=1e1', '?status=sent', '?after=x', '?before=1'])(
  'a list with %s is rejected',
  async (query) => {
    expect(await call<Problem>('alice', `/v1/webhooks${query}`)).toMatchObject({
      status: 422,
      body: { code: 'invalid_request' },
    });
  },
);
