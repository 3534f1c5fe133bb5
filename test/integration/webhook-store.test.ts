/** Deliveries and secrets as they stand in Redis. */
import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { WebhookService } from '../../src/api/webhooks.ts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import type { Attempt } from '../../src/shared/contract/webhooks.ts';
import { eventId, newGroupId, newJobId } from '../../src/shared/contract/ids.ts';
import type { AppError } from '../../src/shared/contract/problems.ts';
import { EVERYBODY } from '../../src/shared/contract/owner.ts';
import { JobRecords, toRecord } from '../../src/shared/store/jobs/job-records.ts';
import { redisTime } from '../../src/shared/redis/time.ts';
import { DeliveryStore, type AfterAttempt } from '../../src/shared/store/deliveries/delivery-store.ts';
import { toDelivery } from '../../src/shared/store/deliveries/delivery-view.ts';
import type { DeliveryRecord } from '../../src/shared/store/deliveries/delivery-record.ts';
import { newDelivery } from '../../src/shared/contract/events.ts';
import { deliveryKey, outboxKey } from '../../src/shared/redis/keys.ts';
import { loadConfig } from '../../src/shared/runtime/config.ts';
import type { DeliveryFilter } from '../../src/shared/store/deliveries/delivery-lists.ts';
import { newSecret } from '../../src/shared/runtime/webhook-secret.ts';
import { MAX_SECRETS, Secrets } from '../../src/shared/store/deliveries/secrets.ts';
import { renderBody } from '../../src/worker/webhooks/payload.ts';

const DAY_MS = 86_400_000;
const WEBHOOK = { url: 'https://hooks.example/', trace: 'trace' };
const AGAIN: AfterAttempt = { status: 'pending', at: 1234 };
const DELIVERED: AfterAttempt = { status: 'delivered', keepS: 100 };
const FAILED: AfterAttempt = { status: 'failed', keepS: 200 };

let redis: Redis;
let prefix: string;
let store: DeliveryStore;

beforeAll(() => {
  redis = new Redis(inject('redisUrl'));
});
beforeEach(() => {
  prefix = `{test-${randomBytes(5).toString('hex')}}`;
  store = new DeliveryStore(redis, prefix);
});
afterEach(async () => {
  const keys = await redis.keys(`${prefix}*`);
  if (keys.length > 0) await redis.del(...keys);
});
afterAll(() => redis.disconnect());

const keyOf = (id: string) => deliveryKey(prefix, id);

/** A delivery as the script that fixes an outcome leaves it. @param at Unix ms of its event */
async function happen(owner = 'alice', at = Date.now()): Promise<string> {
  const job = newJobId(newGroupId('normal', 'model'));
  const id = eventId(job, at);
  await redis.hset(keyOf(id), [...newDelivery('job.succeeded', job, owner, WEBHOOK, at), 'snapshot', '{}']);
  return id;
}

/** The same, known to its owner and with a body. */
async function begin(owner?: string, at?: number): Promise<string> {
  const id = await happen(owner, at);
  await store.lists.add([id]);
  await store.fixBody(id, `body of ${id}`);
  return id;
}

/** What is stored, and what is not. */
async function read(id: string): Promise<DeliveryRecord> {
  const record = await store.read(id);
  expect(record).toBeDefined();
  return { next: undefined, finished: undefined, snapshot: undefined, ...record! };
}

const attemptOf = (ms: number): Attempt => ({
  at: '2026-01-02T03:04:05.006Z',
  outcome: 'server_error',
  status: 500,
  reason: null,
  response: 'sorry',
  ms,
});
const record = async (id: string, next: AfterAttempt, ms = 1) =>
  store.recordAttempt(id, await read(id), attemptOf(ms), next);

/** A page of an owner's deliveries as the API lists them. */
async function page(
  options: DeliveryFilter & { limit: number; after?: string | undefined },
  owner = 'alice',
) {
  const webhooks = new WebhookService({
    config: loadConfig({}),
    withRedis: (call) => call(),
    deliveries: store,
    secrets: new Secrets({ redis, prefix, keyless: [], overlapMs: 0 }),
  });
  const { deliveries, next } = await webhooks.list(owner, { after: undefined, ...options });
  return { ids: deliveries.map(({ id }) => id), next };
}

const ids = async (owner: string, options: { failed?: boolean; limit?: number; after?: string } = {}) => {
  const { failed = false, limit = 100, after } = options;
  return (await page({ limit, after, ...(failed && { status: 'failed' }) }, owner)).ids;
};

test('a delivery is on the list of its owner as soon as it is added, and adding it again changes nothing', async () => {
  const [first, second, other] = [
    await happen('alice', 1000),
    await happen('alice', 2000),
    await happen('bob'),
  ];
  expect(await ids('alice')).toEqual([]);
  const announced = [first, second, other].map((id) => ({
    id,
    owner: id === other ? 'bob' : 'alice',
    url: WEBHOOK.url,
    run: 0,
  }));
  for (let n = 0; n < 2; n++) expect(await store.lists.add([first, second, other])).toEqual(announced);
  expect(await ids('alice')).toEqual([second, first]);
  expect(await ids('bob')).toEqual([other]);
});

test('add() returns pending deliveries: an ended one is only listed, a missing one is neither', async () => {
  const [ended, again] = [await begin(), await begin()];
  await record(ended, DELIVERED);
  await record(again, FAILED);
  await store.redeliver(again, 'alice');
  const gone = eventId(newJobId(newGroupId('normal', 'model')), 1);
  expect(await store.lists.add([gone, ended, again])).toEqual([
    { id: again, owner: 'alice', url: WEBHOOK.url, run: 1 },
  ]);
  expect(await ids('alice')).not.toContain(gone);
  expect(await store.lists.add([])).toEqual([]);
});

describe('the body of a delivery', () => {
  test('is the first one, and replaces the snapshot that it was made of', async () => {
    const id = await happen();
    expect(await store.fixBody(id, 'first')).toBe('first');
    expect(await store.fixBody(id, 'second')).toBe('first');
    const { body, snapshot, status } = await read(id);
    expect([body, snapshot, status]).toEqual(['first', undefined, 'pending']);
  });

  test('is not written when the delivery no longer exists', async () => {
    const id = await happen();
    await redis.del(keyOf(id));
    expect(await store.fixBody(id, 'body')).toBeUndefined();
    expect(await redis.exists(keyOf(id))).toBe(0);
    expect(await store.read(id)).toBeUndefined();
  });
});

describe('the snapshot of a job', () => {
  /** The body of a new job's event. @param id of its text */
  async function settle(id: string): Promise<string> {
    const job = newJobId(newGroupId('normal', 'model'));
    const now = Date.now();
    // As long as URLs may be.
    const webhook = { ...WEBHOOK, url: WEBHOOK.url.padEnd(2048, 'x') };
    const payload = { owner: 'alice', texts: [{ id, text: 'x' }], top_k: 1, created_at: now, webhook };
    const outcome = { status: 'succeeded', started: now, finished: now, revision: 'r' } as const;
    const results = [{ id, label: 'POSITIVE', score: 0.75, truncated: false }];
    await new JobRecords(redis, prefix, 600).settle(job, toRecord(payload, { ...outcome, results }));
    return renderBody(await read(eventId(job, now)), { publicUrl: '', batchTtlMs: 0 });
  }

  test('has all results up to a body of 20 KB, however long the URL of the receiver', async () => {
    const left = 20_480 - (await settle('')).length;
    const [fits, exceeds] = [await settle('x'.repeat(left)), await settle('x'.repeat(left + 1))];
    expect(fits).toHaveLength(20_480);
    expect(JSON.parse(fits)).toMatchObject({ thin: false });
    expect(JSON.parse(exceeds)).toMatchObject({ thin: true });
  });
});

describe('an attempt', () => {
  test('is recorded with the time of the next one; a pending delivery has no TTL', async () => {
    const id = await begin();
    expect(await record(id, AGAIN)).toBe(true);
    expect(await read(id)).toMatchObject({
      status: 'pending',
      next: 1234,
      finished: undefined,
      attempts: 1,
      run_attempts: 1,
      log: [attemptOf(1)],
    });
    expect(await redis.ttl(keyOf(id))).toBe(-1);
  });

  test.each([
    [DELIVERED, 100],
    [FAILED, 200],
  ])('that is the last one: %o', async (next, keepS) => {
    const id = await begin();
    await record(id, AGAIN);
    const before = Date.now();
    expect(await record(id, next, 2)).toBe(true);
    const ended = await read(id);
    expect(ended).toMatchObject({ status: next.status, next: undefined, log: [attemptOf(1), attemptOf(2)] });
    expect(ended.finished).toBeGreaterThanOrEqual(before);
    const ttl = await redis.ttl(keyOf(id));
    expect(ttl).toBeGreaterThan(keepS - 10);
    expect(ttl).toBeLessThanOrEqual(keepS);
    expect(await ids('alice', { failed: true })).toEqual(next.status === 'failed' ? [id] : []);
    expect(await ids('alice')).toEqual([id]);
    // Another process had made one, too.
    expect(await store.recordAttempt(id, ended, attemptOf(3), AGAIN)).toBe(false);
    expect(await read(id)).toEqual(ended);
  });

  test('of an earlier run or of a missing delivery changes nothing', async () => {
    const id = await begin();
    const stale = await read(id);
    await store.redeliver(id, 'alice');
    const again = await read(id);
    expect(await store.recordAttempt(id, stale, attemptOf(1), DELIVERED)).toBe(false);
    expect(await read(id)).toEqual(again);
    await redis.del(keyOf(id));
    expect(await store.recordAttempt(id, again, attemptOf(1), FAILED)).toBe(false);
    expect(await redis.exists(keyOf(id))).toBe(0);
    expect(await redis.zcard(`${prefix}:webhooks-failed:alice`)).toBe(0);
  });

  test('is dropped after 50 later ones', async () => {
    const id = await begin();
    for (let ms = 1; ms <= 53; ms++) await record(id, AGAIN, ms);
    const { attempts, log } = await read(id);
    expect(attempts).toBe(53);
    expect(log.map(({ ms }) => ms)).toEqual(Array.from({ length: 50 }, (_, i) => i + 4));
    const fields = await redis.hkeys(keyOf(id));
    expect(fields.filter((name) => name.startsWith('attempt:'))).toHaveLength(50);
  });
});

describe('a redelivery', () => {
  test.each([['delivered', DELIVERED] as const, ['failed', FAILED] as const])(
    'after it was %s is pending, in the outbox, and there to stay',
    async (_what, next) => {
      const id = await begin();
      await record(id, next);
      expect(await store.redeliver(id, 'alice')).toBe(true);
      expect(await read(id)).toMatchObject({
        status: 'pending',
        run: 1,
        attempts: 1,
        run_attempts: 0,
        next: undefined,
        finished: undefined,
        body: `body of ${id}`,
        log: [attemptOf(1)],
      });
      expect(await redis.ttl(keyOf(id))).toBe(-1);
      expect(await ids('alice', { failed: true })).toEqual([]);
      const outbox = await redis.xrange(outboxKey(prefix), '-', '+');
      expect(outbox.map(([, fields]) => fields)).toEqual([['id', id]]);
    },
  );

  test('of a pending delivery starts the whole schedule again', async () => {
    const id = await begin();
    await record(id, AGAIN);
    await store.redeliver(id, 'alice');
    await store.redeliver(id, 'alice');
    expect(await read(id)).toMatchObject({ run: 2, run_attempts: 0, attempts: 1, next: undefined });
  });

  test('is due when it is requested, not when its event happened', async () => {
    const id = await begin('alice', Date.now() - DAY_MS);
    await record(id, DELIVERED);
    const before = await redisTime(redis);
    await store.redeliver(id, 'alice');
    const shown = toDelivery(id, (await store.read(id))!);
    const due = Date.parse(shown.next_attempt_at!);
    expect(due).toBeGreaterThanOrEqual(before);
    expect(due).toBeLessThanOrEqual(await redisTime(redis));
    expect(due).toBeGreaterThan(Date.parse(shown.created_at));
  });

  test('of a missing delivery is refused', async () => {
    expect(await store.redeliver(`evt_${'0'.repeat(32)}`, 'alice')).toBe(false);
    expect(await redis.keys(`${prefix}*`)).toEqual([]);
  });
});

describe('the lists of deliveries', () => {
  test('are read in pages from the newest to the oldest, per owner', async () => {
    const mine: string[] = [];
    for (let at = 1; at <= 7; at++) {
      mine.unshift(await begin('alice', at));
      await begin('bob', at);
    }
    const pages: string[][] = [];
    for (let after: string | undefined; ;) {
      const page = await ids('alice', { limit: 3, ...(after === undefined ? {} : { after }) });
      if (page.length === 0) break;
      pages.push(page);
      after = page.at(-1);
    }
    expect(pages).toEqual([mine.slice(0, 3), mine.slice(3, 6), mine.slice(6)]);
    expect(await ids('carol')).toEqual([]);
  });

  test('skip and remove expired deliveries, and still fill the page', async () => {
    const mine: string[] = [];
    for (let at = 1; at <= 20; at++) mine.unshift(await begin('alice', at));
    for (const id of mine) await record(id, FAILED);
    const left = mine.filter((_, i) => i % 5 === 0);
    await redis.del(...mine.filter((id) => !left.includes(id)).map(keyOf));
    expect(await ids('alice', { limit: 3 })).toEqual(left.slice(0, 3));
    expect(await ids('alice', { limit: 3, after: left[2]! })).toEqual(left.slice(3));
    expect(await ids('alice', { failed: true })).toEqual(left);
    for (const list of ['webhooks', 'webhooks-failed'])
      expect(await redis.zrange(`${prefix}:${list}:alice`, '0', '-1')).toEqual(left.toReversed());
  });

  test('trim() removes only ids that are older than any delivery', async () => {
    const ageMs = 10 * DAY_MS;
    const now = Date.now();
    // One of them was asked for again, late, and is there for some time to come.
    const [again, old, young, other] = [
      await begin('alice', now - ageMs - 4 * DAY_MS),
      await begin('alice', now - ageMs - 3 * DAY_MS),
      await begin('alice', now - ageMs),
      await begin('bob', now - ageMs - 3 * DAY_MS),
    ];
    for (const id of [again, old, young, other]) await record(id, FAILED);
    await redis.del(keyOf(old), keyOf(young), keyOf(other));
    await store.lists.trim(ageMs);
    for (const list of ['webhooks', 'webhooks-failed']) {
      expect(await redis.zrange(`${prefix}:${list}:alice`, '0', '-1')).toEqual([again, young]);
      expect(await redis.exists(`${prefix}:${list}:bob`)).toBe(0);
    }
  });
});

describe('an owner with more deliveries than are kept', () => {
  test('loses the oldest ended ones; pending ones and those of other owners stay', async () => {
    const [first, second, third, fourth, fifth] = await Promise.all(
      [1000, 2000, 3000, 4000, 5000].map((at) => begin('alice', at)),
    );
    const other = await begin('bob', 1);
    await record(first!, FAILED);
    await record(third!, DELIVERED);
    await record(fourth!, DELIVERED);
    await record(other, DELIVERED);
    expect(await store.lists.removeOldest(5)).toBe(0);
    expect(await store.lists.removeOldest(3)).toBe(2);
    expect(await ids('alice')).toEqual([fifth, fourth, second]);
    expect(await ids('alice', { failed: true })).toEqual([]);
    expect(await redis.exists(keyOf(first!), keyOf(third!))).toBe(0);
    expect(await ids('bob')).toEqual([other]);
    // What is pending is not lost, however little is kept.
    expect(await store.lists.removeOldest(1)).toBe(1);
    expect(await ids('alice')).toEqual([fifth, second]);
  });

  test('loses ids of expired deliveries like ended ones', async () => {
    const [gone, pending] = [await begin('alice', 1000), await begin('alice', 2000)];
    await redis.del(keyOf(gone));
    expect(await store.lists.removeOldest(1)).toBe(1);
    expect(await redis.zrange(`${prefix}:webhooks:alice`, '0', '-1')).toEqual([pending]);
  });
});

describe('secrets', () => {
  const keyless = [newSecret(), newSecret()];
  const secretsWith = (overlapMs: number) => new Secrets({ redis, prefix, keyless, overlapMs });

  test('without API keys are those of the settings, and none is stored', async () => {
    const secrets = secretsWith(DAY_MS);
    expect(await secrets.of(EVERYBODY)).toEqual(keyless.map((secret) => ({ secret, until: undefined })));
    expect(await redis.keys(`${prefix}*`)).toEqual([]);
  });

  test('of an owner are created once, when first needed', async () => {
    const asked = await Promise.all(Array.from({ length: 20 }, () => secretsWith(DAY_MS).of('alice')));
    for (const each of asked) expect(each).toEqual(asked[0]);
    expect(asked[0]).toMatchObject([{ until: undefined }]);
    const [own, others] = [asked[0]![0]!.secret, (await secretsWith(DAY_MS).of('bob'))[0]!.secret];
    expect(new Set([own, others, ...keyless]).size).toBe(4);
  });

  test('that were replaced sign until the overlap ends, behind the current one', async () => {
    const secrets = secretsWith(DAY_MS);
    const [first] = await secrets.of('alice');
    const before = Date.now();
    const rotated = await secrets.rotate('alice');
    expect(rotated).toEqual([
      { secret: expect.stringMatching(/^whsec_/) as string, until: undefined },
      { secret: first!.secret, until: expect.any(Number) as number },
    ]);
    expect(rotated[0]!.secret).not.toBe(first!.secret);
    expect(rotated[1]!.until! - before - DAY_MS).toBeGreaterThanOrEqual(0);
    expect(rotated[1]!.until! - Date.now() - DAY_MS).toBeLessThanOrEqual(0);
    expect(await secrets.of('alice')).toEqual(rotated);
    // A second replacement leaves the end of the first as it is.
    const again = await secrets.rotate('alice');
    expect(again.slice(1).map(({ secret }) => secret)).toEqual(rotated.map(({ secret }) => secret));
    expect(again[2]).toEqual(rotated[1]);
  });

  test('whose overlap has ended do not sign, and are removed at the next replacement', async () => {
    const key = `${prefix}:webhook-secrets:alice`;
    const secrets = secretsWith(DAY_MS);
    const [first] = await secrets.of('alice');
    const [second] = await secrets.rotate('alice');
    await redis.hset(key, first!.secret, Date.now() - 1);
    expect(await secrets.of('alice')).toEqual([second]);
    const [third] = await secrets.rotate('alice');
    expect((await redis.hkeys(key)).sort()).toEqual([second!.secret, third!.secret].sort());
  });

  test('are limited in number: another one is refused until the oldest ends', async () => {
    const key = `${prefix}:webhook-secrets:alice`;
    const secrets = secretsWith(DAY_MS);
    await secrets.of('alice');
    for (let i = 1; i < MAX_SECRETS; i++) await secrets.rotate('alice');
    const full = await secrets.of('alice');
    expect(full).toHaveLength(MAX_SECRETS);
    const refused: unknown = await secrets.rotate('alice').catch((error: unknown) => error);
    expect(refused).toMatchObject({
      code: 'rate_limited',
      message: expect.stringContaining(new Date(full.at(-1)!.until!).toISOString()) as string,
    });
    expect((refused as AppError).options.retryAfterS).toBeLessThanOrEqual(DAY_MS / 1000);
    expect(await secrets.of('alice')).toEqual(full);

    await redis.hset(key, full.at(-1)!.secret, Date.now() - 1);
    const rotated = await secrets.rotate('alice');
    expect(rotated).toHaveLength(MAX_SECRETS);
    expect(await redis.hlen(key)).toBe(MAX_SECRETS);
  });

  test('without an overlap are replaced at once', async () => {
    const secrets = secretsWith(0);
    await secrets.of('alice');
    const rotated = await secrets.rotate('alice');
    expect(rotated).toMatchObject([{ until: undefined }]);
    expect(await secrets.of('alice')).toEqual(rotated);
  });
});

describe('a canceled delivery', () => {
  const GOT_THROUGH: AfterAttempt = { status: 'delivered', keepS: 100 };

  test.each<[string, () => Promise<string>, string | undefined]>([
    ['that waits for its first attempt', () => happen(), 'canceled'],
    [
      'that waits for its next one',
      async () => {
        const id = await begin();
        await record(id, AGAIN);
        return id;
      },
      'canceled',
    ],
    [
      'that was delivered',
      async () => {
        const id = await begin();
        await record(id, DELIVERED);
        return id;
      },
      'delivered',
    ],
    [
      'that was given up',
      async () => {
        const id = await begin();
        await record(id, FAILED);
        return id;
      },
      'failed',
    ],
    ['that is gone', () => Promise.resolve('evt_00000000000000000000000000000000'), undefined],
  ])('%s: %s', async (_, make, status) => {
    const id = await make();
    const isNew = status === 'canceled';
    expect(await store.cancel(id, 300)).toEqual(status && { status, run: 0, isNew });
    expect(await store.cancel(id, 300)).toEqual(status && { status, run: 0, isNew: false });
    if (status === undefined) {
      expect(await redis.exists(keyOf(id))).toBe(0);
      return;
    }
    const after = await read(id);
    expect([after.status, after.next]).toEqual([status, undefined]);
    if (!isNew) return;
    expect(after.finished).toBeGreaterThan(0);
    expect(await redis.ttl(keyOf(id))).toBeGreaterThan(290);
    expect(await store.lists.add([id])).toEqual([]);
  });

  test('can be redelivered with the same body', async () => {
    const id = await begin();
    await store.cancel(id, 300);
    expect(await store.redeliver(id, 'alice')).toBe(true);
    expect(await read(id)).toMatchObject({
      status: 'pending',
      run: 1,
      body: `body of ${id}`,
      finished: undefined,
    });
    expect(await redis.ttl(keyOf(id))).toBe(-1);
    expect(await store.lists.add([id])).toEqual([{ id, owner: 'alice', url: WEBHOOK.url, run: 1 }]);
    // An attempt of the run that was canceled says nothing about this one.
    expect(await store.recordAttempt(id, { ...(await read(id)), run: 0 }, attemptOf(1), GOT_THROUGH)).toBe(
      false,
    );
    expect((await read(id)).status).toBe('pending');
  });

  test.each([
    [AGAIN, false, 'canceled'],
    [FAILED, false, 'canceled'],
    [GOT_THROUGH, true, 'delivered'],
  ] as const)('while an attempt is in flight that leads to %j', async (next, written, status) => {
    const id = await begin();
    const underWay = await read(id);
    await store.cancel(id, 300);
    expect(await store.recordAttempt(id, underWay, attemptOf(7), next)).toBe(written);
    const after = await read(id);
    expect([after.status, after.next, after.attempts]).toEqual([status, undefined, 1]);
    expect(after.log).toMatchObject([{ ms: 7 }]);
    expect(await ids('alice', { failed: true })).toEqual([]);
    expect(await redis.ttl(keyOf(id))).toBeGreaterThan(0);
  });

  test('canceled while an attempt ends, has one of the two outcomes and never a further attempt', async () => {
    for (let n = 0; n < 50; n++) {
      const id = await begin();
      const underWay = await read(id);
      const calls = [
        () => store.cancel(id, 300),
        () => store.recordAttempt(id, underWay, attemptOf(1), n % 2 === 0 ? AGAIN : DELIVERED),
      ];
      await Promise.all((n % 3 === 0 ? calls : calls.toReversed()).map((call) => call()));
      const { status, next, attempts } = await read(id);
      expect(status).toBe(n % 2 === 0 ? 'canceled' : 'delivered');
      expect([next, attempts]).toEqual([undefined, 1]);
    }
  });
});

describe('a list by status or model', () => {
  test('has only matching deliveries, in pages up to the last one', async () => {
    const made: string[] = [];
    for (let at = 1; at <= 9; at++) made.unshift(await begin('alice', at * 1000));
    for (const id of made.filter((_, i) => i % 3 === 0)) await record(id, DELIVERED);
    for (const id of made.filter((_, i) => i % 3 === 1)) await store.cancel(id, 300);
    const of = (rest: number) => made.filter((_, i) => i % 3 === rest);
    expect((await page({ status: 'delivered', limit: 9 })).ids).toEqual(of(0));
    expect((await page({ status: 'canceled', limit: 9 })).ids).toEqual(of(1));
    expect((await page({ status: 'pending', limit: 9 })).ids).toEqual(of(2));
    expect((await page({ model: 'model', limit: 9 })).ids).toEqual(made);
    expect(await page({ model: 'other', limit: 9 })).toEqual({ ids: [], next: null });
    const first = await page({ status: 'pending', limit: 2 });
    expect(first).toEqual({ ids: of(2).slice(0, 2), next: of(2)[1] });
    expect(await page({ status: 'pending', limit: 2, after: first.next! })).toEqual({
      ids: of(2).slice(2),
      next: null,
    });
  });

  test('looks at a bounded number of deliveries per page', async () => {
    const key = `${prefix}:webhooks:alice`;
    const gone = Array.from({ length: 2500 }, (_, i) =>
      eventId(newJobId(newGroupId('normal', 'model')), i + 10_000),
    );
    await redis.zadd(key, ...gone.flatMap((id) => [0, id]));
    const oldest = await begin('alice', 1000);
    const first = await page({ status: 'pending', limit: 5 });
    expect(first).toEqual({ ids: [], next: expect.any(String) as string });
    expect(await page({ status: 'pending', limit: 5, after: first.next! })).toEqual({
      ids: [oldest],
      next: null,
    });
  });
});
