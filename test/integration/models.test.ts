/** Models without workers: listed last, named in `no_worker`, and removable once nothing needs them. */
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { keyLine, newKey } from '../../src/shared/runtime/api-keys.ts';
import type { Job } from '../../src/shared/contract/jobs.ts';
import type { Model } from '../../src/shared/contract/models.ts';
import { ModelRegistry } from '../../src/shared/store/models.ts';
import { eventually, Stack } from '../support/processes/stack.ts';

let stack: Stack;
let redis: Redis;
let registry: ModelRegistry;
beforeAll(async () => {
  // The worker serves another model than the default one.
  stack = new Stack({
    redisUrl: inject('redisUrl'),
    workers: 0,
    env: { DEFAULT_MODEL: 'absent' },
  });
  stack.url = await stack.api.ready;
  redis = new Redis(inject('redisUrl'));
  registry = new ModelRegistry(redis, stack.prefix);
});
afterAll(async () => {
  await stack.stop();
  redis.disconnect();
});

const info = (name: string) => ({ name, revision: 'r1', labels: ['A'], max_tokens: 512, multi_label: false });
const names = async () =>
  (await stack.get<{ models: Model[] }>('/v1/models')).body.models.map(({ name }) => name);
/** A model whose only worker is gone. */
async function served(name: string): Promise<void> {
  await registry.announce(`worker-${name}`, info(name));
  await registry.withdraw(`worker-${name}`, info(name));
}
const remove = (name: string, headers: Record<string, string> = {}, at = stack.url) =>
  fetch(`${at}/v1/models/${name}`, { method: 'DELETE', headers });

test('without a worker, /health says no_workers with 200, and /health/ready is ready: jobs are accepted', async () => {
  await eventually(async () => ((await stack.fetch('/health/ready')).ok ? true : undefined));
  expect(await stack.get('/health')).toMatchObject({
    status: 200,
    body: { status: 'no_workers', workers: 0 },
  });
  expect(await stack.get('/health/ready')).toMatchObject({
    status: 200,
    body: { status: 'ready', workers: 0 },
  });
  await registry.announce('w', info('one'));
  expect(await stack.get('/health')).toMatchObject({
    body: { status: 'ready', workers: 1, models: { one: 1 } },
  });
});

test('models without workers are listed last, the most recently served first', async () => {
  await served('aaa');
  await served('bbb');
  await registry.announce('w', info('one'));
  expect(await names()).toEqual(['one', 'bbb', 'aaa']);
  const { body } = await stack.get<{ models: Model[] }>('/v1/models');
  expect(body.models[0]?.last_served_at).toBeUndefined();
  // As workers of an earlier version register it.
  expect(body.models.map(({ languages }) => languages)).toEqual([null, null, null]);
  expect(Date.parse(body.models[1]?.last_served_at ?? '')).toBeLessThanOrEqual(Date.now());
});

test('503 no_worker names the served models', async () => {
  await registry.announce('w', info('one'));
  expect(await stack.post('/predict', { text: 'x' })).toMatchObject({
    status: 503,
    body: { code: 'no_worker', detail: 'no worker serves absent at the moment; served: one' },
  });
});

describe('DELETE /v1/models/{name}', () => {
  test('removes a model; a worker that serves it adds it again', async () => {
    await served('old');
    expect(await names()).toContain('old');
    expect((await remove('old')).status).toBe(204);
    expect(await names()).not.toContain('old');
    expect(await redis.hkeys(`${stack.prefix}:revisions`)).not.toContain('old@r1');
    expect((await remove('old')).status).toBe(404);
    await served('old');
    expect(await names()).toContain('old');
  });

  test('is refused while workers serve the model, or jobs wait for it', async () => {
    await registry.announce('w', info('busy'));
    const refused = await remove('busy');
    expect(refused.status).toBe(409);
    expect(await refused.json()).toMatchObject({
      code: 'model_in_use',
      detail: expect.stringContaining('1 live worker'),
    });

    await registry.withdraw('w', info('busy'));
    const { body: job } = await stack.post<Job>('/v1/jobs', { text: 'waits', model: 'busy' });
    const waiting = await remove('busy');
    expect(waiting.status).toBe(409);
    expect(await waiting.json()).toMatchObject({ detail: expect.stringContaining('has 1 waiting text') });
    await stack.fetch(job.urls.self, { method: 'DELETE' });
    expect((await remove('busy')).status).toBe(204);
  });

  test('needs an admin once API keys are set', async () => {
    const [caller, admin] = [newKey(), newKey()];
    const basic = (name: string, key: string) => ({
      Authorization: `Basic ${Buffer.from(`${name}:${key}`).toString('base64')}`,
    });
    const bearer = { Authorization: `Bearer ${caller}` };
    await served('mine');
    const API_KEYS = keyLine('a', caller);
    const keyed = stack.startApi({ API_KEYS });
    const withAdmins = stack.startApi({ API_KEYS, ADMIN_KEYS: keyLine('ops', admin) });
    try {
      const at = await keyed.ready;
      await eventually(async () => ((await fetch(`${at}/health/ready`)).ok ? true : undefined));
      expect((await remove('mine', {}, at)).status).toBe(401);
      expect((await remove('mine', bearer, at)).status).toBe(403);

      const url = await withAdmins.ready;
      await eventually(async () => ((await fetch(`${url}/health/ready`)).ok ? true : undefined));
      for (const headers of [{}, bearer, basic('a', caller), basic('ops', caller)])
        expect((await remove('mine', headers, url)).status).toBe(401);
      expect((await remove('mine', basic('ops', admin), url)).status).toBe(204);
    } finally {
      await Promise.all([keyed.end(), withAdmins.end()]);
    }
  });
});

test('/admin/queues says that ADMIN_KEYS is missing', async () => {
  for (const path of ['/admin/queues', '/admin/queues/', '/admin/queues/queue/x'])
    expect(await stack.get(path)).toMatchObject({
      status: 404,
      body: { code: 'not_found', detail: expect.stringMatching(/ADMIN_KEYS.*key create ops/) },
    });
});
