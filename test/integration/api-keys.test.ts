/** API keys: every route needs one, owners are isolated from each other, and rate limits hold. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { keyLine, newKey } from '../../src/shared/runtime/api-keys.ts';
import type { Batch } from '../../src/shared/contract/batches.ts';
import type { Delivery } from '../../src/shared/contract/webhooks.ts';
import type { Job } from '../../src/shared/contract/jobs.ts';
import { newSecret } from '../../src/shared/runtime/webhook-secret.ts';
import { CliProcess } from '../support/processes/cli.ts';
import { Receiver } from '../support/webhooks/receiver.ts';
import { eventually, Process, Stack } from '../support/processes/stack.ts';

const keys = { alice: newKey(), bob: newKey(), slow: newKey() };
type Name = keyof typeof keys;

let folder: string;
let stack: Stack;
let receiver: Receiver;

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'amulet-keys-'));
  const file = path.join(folder, 'keys');
  writeFileSync(
    file,
    `# callers\n${keyLine('bob', keys.bob)}  # the second\n\n${keyLine('slow', keys.slow)}:5\n`,
  );
  receiver = await Receiver.start();
  stack = await Stack.start({
    redisUrl: inject('redisUrl'),
    webhooks: true,
    env: {
      API_KEYS: keyLine('alice', keys.alice),
      API_KEYS_FILE: file,
      WEBHOOK_SECRET: newSecret(),
      WEBHOOK_SCHEMES: 'http',
      WEBHOOK_ALLOW: `127.0.0.1:${receiver.port}`,
      LOG_LEVEL: 'debug',
    },
  });
});
afterAll(async () => {
  await stack.stop();
  await receiver.stop();
  rmSync(folder, { recursive: true });
});

const bearer = (name: Name) => ({ authorization: `Bearer ${keys[name]}` });
const call = async <T>(name: Name, where: string, init: RequestInit = {}) => {
  const response = await stack.fetch(where, {
    ...init,
    headers: { ...(init.headers as object), ...bearer(name) },
  });
  const text = await response.text();
  return {
    status: response.status,
    headers: response.headers,
    body: (/\/(problem\+)?json/.test(response.headers.get('content-type') ?? '')
      ? JSON.parse(text)
      : text) as T,
  };
};
const json = (body: object): RequestInit => ({
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
});
const lines = (body: string, method = 'POST'): RequestInit => ({
  method,
  headers: { 'content-type': 'text/plain' },
  body,
});

interface Document {
  paths: Record<string, Record<string, { security?: object[]; responses: object }>>;
}

/** Every operation, with sample values for its parameters. */
async function operations(): Promise<
  { method: string; path: string; documented: string; secured: boolean }[]
> {
  const { paths } = (await (await stack.fetch('/openapi.json')).json()) as Document;
  return Object.entries(paths).flatMap(([documented, methods]) =>
    Object.entries(methods).map(([method, { security }]) => ({
      method: method.toUpperCase(),
      path: documented
        .replace('{number}', '1')
        .replaceAll(/\{\w+\}/g, '019aaf3c5e7b7c3b9d0e5f1a2b3c4d5e-n-sst2-minilm'),
      documented,
      secured: security !== undefined,
    })),
  );
}

describe('without a key', () => {
  test('every route returns 401 except health and the API description, as the OpenAPI document says', async () => {
    const all = await operations();
    expect(all.length).toBeGreaterThan(20);
    for (const { method, path: where, secured } of all) {
      const response = await stack.fetch(where, { method });
      expect([method, where, response.status === 401]).toEqual([method, where, secured]);
      await response.arrayBuffer();
    }
    const open = all.filter(({ secured }) => !secured).map(({ documented }) => documented);
    expect([...new Set(open)].sort()).toEqual(['/health', '/health/live', '/health/ready']);
    for (const where of ['/openapi.json', '/docs', '/docs/assets/swagger-ui.css', '/'])
      expect((await stack.fetch(where)).status).toBe(200);
  });

  test('unknown paths return 401 as well, so routes cannot be guessed', async () => {
    expect((await stack.fetch('/v1/secrets')).status).toBe(401);
    expect((await stack.fetch('/docsx')).status).toBe(401);
    expect((await stack.fetch('/metrics')).status).toBe(401);
    expect((await stack.fetch('/health/../v1/models')).status).toBe(401);
  });

  test.each([
    ['none', undefined, 'send `Authorization: Bearer <key>`'],
    ['one that is unknown', `Bearer ${newKey()}`, 'this API key is not known here'],
    ['one with something behind it', `Bearer ${keys.alice}x`, 'this API key is not known here'],
    ['the hash of one', `Bearer ${keyLine('x', keys.alice).slice(2)}`, 'this API key is not known here'],
    [
      'another scheme',
      `Basic ${Buffer.from(`alice:${keys.alice}`).toString('base64')}`,
      'Authorization must be `Bearer <key>`',
    ],
    ['no value', 'Bearer', 'Authorization must be `Bearer <key>`'],
  ])('%s: the problem says what to send', async (_, authorization, detail) => {
    const response = await stack.fetch(
      '/v1/models',
      authorization === undefined ? {} : { headers: { authorization } },
    );
    expect(response.status).toBe(401);
    expect(response.headers.get('www-authenticate')).toBe('Bearer realm="amulet"');
    expect(await response.json()).toMatchObject({ code: 'unauthorized', detail });
  });

  test('the body is not read', async () => {
    expect((await stack.post('/v1/jobs', { text: 'x' })).status).toBe(401);
    expect((await stack.fetch('/v1/batches', lines('a\nb\n'))).status).toBe(401);
  });
});

describe('two keys', () => {
  let job: Job;
  let batch: Batch;
  let open: Batch;
  let delivery: string;

  beforeAll(async () => {
    ({ body: job } = await call<Job>(
      'alice',
      '/v1/jobs',
      json({ text: 'mine', webhook: { url: receiver.url() } }),
    ));
    ({ body: batch } = await call<Batch>('alice', '/v1/batches', lines('a\nb\n')));
    ({ body: open } = await call<Batch>('alice', '/v1/batches?open=true', { method: 'POST' }));
    await eventually(async () => {
      const { body } = await call<Batch>('alice', batch.urls.self);
      return body.status === 'completed' ? true : undefined;
    });
    delivery = await eventually(async () => {
      const { body } = await call<Job>('alice', job.urls.self);
      return body.webhook?.delivery ?? undefined;
    });
  });

  test('each reaches all of its own data', async () => {
    expect((await call<Job>('alice', `${job.urls.self}?wait=20`)).body.status).toBe('succeeded');
    expect((await call('alice', batch.urls.results)).status).toBe(200);
    const { status, body } = await call<Delivery>('alice', delivery);
    expect([status, body.urls.source]).toEqual([200, job.urls.self]);
    expect((await call('alice', `${open.urls.self}/parts`)).status).toBe(200);
  });

  test('neither reaches data of the other: a 404 everywhere, and nothing changes', async () => {
    const attempts: [string, RequestInit?][] = [
      [job.urls.self],
      [`${job.urls.self}?wait=1`],
      [job.urls.self, { method: 'DELETE' }],
      [batch.urls.self],
      [batch.urls.results],
      [`${batch.urls.self}/parts`],
      [batch.urls.self, { method: 'DELETE' }],
      [`${batch.urls.self}/resume`, { method: 'POST' }],
      [`${open.urls.self}/parts/1`, lines('a\n', 'PUT')],
      [`${open.urls.self}/complete`, json({ parts: [{ number: 1 }] })],
      [open.urls.self, { method: 'DELETE' }],
      [delivery],
      [`${delivery}/redeliver`, { method: 'POST' }],
      [`${delivery}/cancel`, { method: 'POST' }],
    ];
    for (const [where, init] of attempts) {
      const { status } = await call('bob', where, init);
      expect([init?.method ?? 'GET', where, status]).toEqual([init?.method ?? 'GET', where, 404]);
    }
    expect((await call<Job>('alice', job.urls.self)).body.status).toBe('succeeded');
    expect((await call<Batch>('alice', batch.urls.self)).body.status).toBe('completed');
    expect((await call<Batch>('alice', open.urls.self)).body).toMatchObject({
      status: 'open',
      input: { parts: 0 },
    });
    // Every route with an id in it was tried.
    const tried = new Set(
      attempts.map(([where, init]) =>
        `${init?.method ?? 'GET'} ${where.replace(/\?.*/, '').replace(/[^/]+-(n|b)-sst2-minilm|evt_[^/]+/, '{id}')}`.replace(
          'parts/1',
          'parts/{number}',
        ),
      ),
    );
    const withId = (await operations()).filter(({ documented }) => documented.includes('{id}'));
    expect(
      withId.map(({ method, documented }) => `${method} ${documented}`).filter((each) => !tried.has(each)),
    ).toEqual([]);
  });

  test('lists show only their own data', async () => {
    const ids = async (name: Name, where: string, field: string) => {
      const { body } = await call<Record<string, { id: string }[]>>(name, where);
      return body[field]!.map(({ id }) => id);
    };
    expect((await ids('alice', '/v1/batches', 'batches')).sort()).toEqual([batch.id, open.id].sort());
    expect(await ids('bob', '/v1/batches', 'batches')).toEqual([]);
    expect(await ids('alice', '/v1/jobs', 'jobs')).toContain(job.id);
    expect(await ids('bob', '/v1/jobs', 'jobs')).toEqual([]);
    expect(await ids('alice', '/v1/webhooks', 'deliveries')).toHaveLength(1);
    expect(await ids('bob', '/v1/webhooks', 'deliveries')).toEqual([]);
  });

  test('an Idempotency-Key belongs to one owner', async () => {
    const same = (text: string): RequestInit => {
      const init = json({ text });
      return { ...init, headers: { ...(init.headers as object), 'idempotency-key': 'one' } };
    };
    const [first, second, again] = [
      await call<Job>('alice', '/v1/jobs', same('mine')),
      await call<Job>('bob', '/v1/jobs', same('his')),
      await call<Job>('alice', '/v1/jobs', same('mine')),
    ];
    expect(second.status).toBe(202);
    expect(second.body.id).not.toBe(first.body.id);
    expect(again.body.id).toBe(first.body.id);
  });

  test('each has its own webhook secret', async () => {
    const [mine, his] = await Promise.all(
      (['alice', 'bob'] as const).map(
        async (name) =>
          (await call<{ secrets: { secret: string }[] }>(name, '/v1/webhook-secret')).body.secrets[0]!.secret,
      ),
    );
    expect(mine).toMatch(/^whsec_/);
    expect(mine).not.toBe(his);
  });
});

describe('a key with a limit', () => {
  test('is told how many requests are left, then when to retry; other keys are not affected', async () => {
    const answers = [];
    for (let i = 0; i < 7; i++)
      answers.push(await call<{ code?: string; detail?: string }>('slow', '/v1/models'));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200, 429, 429]);
    expect(answers.map(({ headers }) => headers.get('ratelimit-remaining'))).toEqual([
      '4',
      '3',
      '2',
      '1',
      '0',
      '0',
      '0',
    ]);
    for (const { headers } of answers) {
      expect(headers.get('ratelimit-limit')).toBe('5');
      expect(Number(headers.get('ratelimit-reset'))).toBeGreaterThan(0);
      expect(Number(headers.get('ratelimit-reset'))).toBeLessThanOrEqual(60);
    }
    const last = answers.at(-1)!;
    expect(last.headers.get('retry-after')).toBe(last.headers.get('ratelimit-reset'));
    expect(last.body).toMatchObject({
      code: 'rate_limited',
      detail: 'this key may make at most 5 requests per minute',
    });
    const { status, headers } = await call('alice', '/v1/models');
    expect([status, headers.get('ratelimit-limit')]).toEqual([200, null]);
  });

  test('shares the limit between all API instances', async () => {
    const other = stack.startApi();
    try {
      const url = await other.ready;
      await eventually(async () => ((await fetch(`${url}/health/ready`)).ok ? true : undefined));
      expect((await fetch(`${url}/v1/models`, { headers: bearer('slow') })).status).toBe(429);
    } finally {
      await other.end();
    }
  });
});

test('no key is in any log', async () => {
  const lines = () => stack.api.output.split('/v1/models').length - 1;
  const before = lines();
  await stack.fetch('/v1/models', { headers: { authorization: 'Bearer amk_something-secret' } });
  await call('alice', '/v1/models');
  // It comes through a pipe, later than the answer, and after all about the other request.
  await eventually(() => Promise.resolve(lines() > before ? true : undefined));
  for (const secret of [...Object.values(keys), 'something-secret'])
    expect(stack.api.output).not.toContain(secret);
});

describe('the amulet command', () => {
  test('creates a key, and the line for the server', async () => {
    const cli = new CliProcess(['key', 'create', 'reviews']);
    expect((await cli.ended).code).toBe(0);
    const key = cli.stdout.trim();
    expect(key).toMatch(/^amk_[\w-]{43}$/);
    expect(cli.stderr).toContain(keyLine('reviews', key));
  });

  test.each([
    [[], 'usage: amulet key create NAME'],
    [['create'], 'usage: amulet key create NAME'],
    [['create', 'a b'], '"a b" cannot be the name of a key: it must be 1 to 63 ASCII letters'],
    [['create', 'everybody'], 'everybody cannot be the name of a key'],
  ])('refuses %j', async (args, message) => {
    const { code, said } = await new CliProcess(['key', ...args]).ended;
    expect(code).toBe(2);
    expect(said).toContain(`amulet: ${message}`);
  });

  test('labels a file with the key of the environment; without one it says what is missing', async () => {
    const input = path.join(folder, 'in.txt');
    const out = path.join(folder, 'out.jsonl');
    writeFileSync(input, 'good\nbad\n');
    const run = (env: Record<string, string>) =>
      new CliProcess(['backfill', input, '--out', out, '--url', stack.url], folder, env).ended;
    const refused = await run({ AMULET_API_KEY: '' });
    expect(refused.code).toBe(1);
    expect(refused.said).toContain('no valid API key\nSet AMULET_API_KEY to a key of this server.\n');
    const done = await run({ AMULET_API_KEY: keys.alice });
    expect([done.code, done.said.includes(keys.alice)]).toEqual([0, false]);
    expect(readFileSync(out, 'utf8').trimEnd().split('\n')).toHaveLength(2);
  });
});

describe('a wrong configuration ends the API with one line', () => {
  test.each<[string, Record<string, string>, RegExp]>([
    ['a key in the place of its line', { API_KEYS: keys.alice }, /API_KEYS=…: a key must be name:hash or/],
    [
      'an invalid name',
      { API_KEYS: `a b:${'0'.repeat(64)}` },
      /API_KEYS=…: "a b" cannot be the name of a key: it must be 1 to 63 ASCII letters/,
    ],
    ['both', { AUTH: 'none', API_KEYS: keyLine('a', 'x') }, /AUTH=none and API keys exclude each other/],
    ['a file that is not there', { API_KEYS_FILE: '/nowhere/keys' }, /API_KEYS_FILE=\/nowhere\/keys: ENOENT/],
    [
      'an endless file',
      { API_KEYS_FILE: '/dev/zero' },
      /API_KEYS_FILE=\/dev\/zero: the file is larger than 1,000 bytes/,
    ],
    [
      'one key too many',
      { API_KEYS: `${keyLine('a', 'x')},${keyLine('b', 'y')}`, MAX_API_KEYS: '1' },
      /API_KEYS: 2 keys are more than MAX_API_KEYS=1/,
    ],
    [
      'a file without keys',
      { API_KEYS_FILE: '/dev/null' },
      /API_KEYS_FILE=\/dev\/null: the file has no keys/,
    ],
  ])('%s', async (_, env, line) => {
    const api = new Process('api/main.ts', {
      REDIS_URL: inject('redisUrl'),
      PORT: '0',
      ...env,
    });
    const status = await new Promise((resolve) => api.child.once('close', resolve));
    expect(status).toBe(78);
    expect((JSON.parse(api.output.trim()) as { msg: string }).msg).toMatch(line);
    expect(api.output).not.toContain(keys.alice);
  });

  test('with keys, any address is allowed', async () => {
    const api = new Process('api/main.ts', {
      REDIS_URL: inject('redisUrl'),
      REDIS_PREFIX: '{test-open}',
      PORT: '0',
      HOST: '0.0.0.0',
      API_KEYS: keyLine('a', 'x'),
    });
    await api.ready;
    expect(await api.end()).toBe(0);
  });
});
