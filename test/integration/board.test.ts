/** The board at `/admin/queues`: only admins see it, it shows every queue, and it changes nothing. */
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { keyLine, newKey } from '../../src/shared/runtime/api-keys.ts';
import type { Job } from '../../src/shared/contract/jobs.ts';
import { eventually, Stack } from '../support/processes/stack.ts';

const admin = newKey();
const caller = newKey();
const basic = (name: string, key: string) => ({
  authorization: `Basic ${Buffer.from(`${name}:${key}`).toString('base64')}`,
});
const ADMIN = basic('ops', admin);
let stack: Stack;

beforeAll(async () => {
  const env = { API_KEYS: keyLine('a', caller), ADMIN_KEYS: keyLine('ops', admin) };
  stack = await Stack.start({ redisUrl: inject('redisUrl'), env });
});
afterAll(async () => {
  await stack.stop();
});

describe('access to the board', () => {
  test.each([
    ['nobody', {}],
    ['a caller with a key', { authorization: `Bearer ${caller}` }],
    ["a caller with a key, as an admin's", basic('a', caller)],
    ['an admin with a wrong key', basic('ops', newKey())],
    ['an admin under another name', basic('root', admin)],
    ['an admin without a key', basic('ops', '')],
    ['an admin, as a caller', { authorization: `Bearer ${admin}` }],
  ])('%s gets 401 everywhere', async (_, headers) => {
    for (const path of ['', '/', '/api/queues', '/queue/deliveries', '/static/favicon.ico']) {
      const { status, headers: answer } = await stack.fetch(`/admin/queues${path}`, { headers });
      expect([path, status]).toEqual([path, 401]);
      expect(answer.get('www-authenticate')).toMatch(/^Basic realm="amulet admin"/);
    }
  });

  test('admin keys open no other route', async () => {
    expect((await stack.fetch('/v1/jobs', { headers: { authorization: `Bearer ${admin}` } })).status).toBe(
      401,
    );
    expect((await stack.fetch('/v1/jobs', { headers: ADMIN })).status).toBe(401);
  });
});

interface Queues {
  queues: {
    name: string;
    readOnlyMode: boolean;
    counts: Record<string, number>;
    jobs: { data: unknown }[];
  }[];
}
const queues = async (query = '') => {
  const response = await stack.fetch(`/admin/queues/api/queues${query}`, { headers: ADMIN });
  expect(response.status).toBe(200);
  return ((await response.json()) as Queues).queues;
};

test('shows every queue and its jobs', async () => {
  const revision = (
    (await (await stack.fetch('/v1/models', { headers: { authorization: `Bearer ${caller}` } })).json()) as {
      models: { revisions: { revision: string }[] }[];
    }
  ).models[0]!.revisions[0]!.revision;
  expect((await queues()).map(({ name, readOnlyMode }) => [name, readOnlyMode]).sort()).toEqual(
    [
      'bulk-sst2-minilm',
      `bulk-sst2-minilm@${revision}`,
      'classify-sst2-minilm',
      'deliveries',
      'low-sst2-minilm',
    ].map((name) => [name, true]),
  );
  for (const worker of stack.workers) await worker.end('SIGTERM');
  const headers = { authorization: `Bearer ${caller}` };
  const { body } = await stack.post<Job>('/v1/jobs', { text: 'it waits' }, headers);
  const waiting = await eventually(async () => {
    const found = await queues('?activeQueue=classify-sst2-minilm&status=waiting&page=1');
    return found.find(({ name }) => name === 'classify-sst2-minilm')?.jobs[0];
  });
  expect(JSON.stringify(waiting.data)).toContain(body.id);
  expect(JSON.stringify(waiting.data)).toContain('it waits');
});

test('changes nothing', async () => {
  const before = await queues();
  for (const [method, path] of [
    ['PUT', 'clean/waiting'],
    ['PUT', 'obliterate'],
    ['PUT', 'empty'],
    ['PUT', 'pause'],
    ['PUT', 'promote'],
    ['POST', 'add'],
    ['DELETE', ''],
    ['PATCH', ''],
  ] as const) {
    const response = await stack.fetch(`/admin/queues/api/queues/classify-sst2-minilm/${path}`, {
      method,
      headers: ADMIN,
    });
    expect([method, path, response.status]).toEqual([method, path, 405]);
  }
  expect(await queues()).toEqual(before);
});

test('serves its page with all assets, and loads nothing from elsewhere', async () => {
  const page = await stack.fetch('/admin/queues', { headers: ADMIN });
  expect(page.status).toBe(200);
  expect(page.headers.get('content-security-policy')).toContain("script-src 'self';");
  const html = await page.text();
  expect(html).toContain('<title>Amulet</title>');
  const files = [...html.matchAll(/(?:src|href)="(static\/[^"]+)"/g)].map(([, file]) => file!);
  expect(files.length).toBeGreaterThan(3);
  for (const file of files) {
    const response = await stack.fetch(`/admin/queues/${file}`, { headers: ADMIN });
    expect([file, response.status, response.headers.get('content-type')?.split('/')[0]]).toEqual([
      file,
      200,
      expect.stringMatching(/^(?:text|image)$/),
    ]);
  }
});

test('is a 404 for callers without ADMIN_KEYS', async () => {
  const api = stack.startApi({ ADMIN_KEYS: '' });
  try {
    const url = await api.ready;
    expect((await fetch(`${url}/admin/queues`, { headers: ADMIN })).status).toBe(401);
    const authorization = `Bearer ${caller}`;
    expect((await fetch(`${url}/admin/queues`, { headers: { authorization } })).status).toBe(404);
  } finally {
    await api.end();
  }
});
