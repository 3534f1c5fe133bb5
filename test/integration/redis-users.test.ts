/** Redis with TLS and users. TEST_REDIS=tls-acl runs all tests on one; this is what is true of every run. */
import { readdirSync, truncateSync } from 'node:fs';
import path from 'node:path';
import { Redis } from 'ioredis';
import { expect, test } from 'vitest';
import type { Job } from '../../src/shared/contract/jobs.ts';
import { newGroupId, newJobId } from '../../src/shared/contract/ids.ts';
import { newSecret } from '../../src/shared/runtime/webhook-secret.ts';
import { BatchCalls } from '../support/api/batches.ts';
import { canMakeCertificates } from '../support/network/certificates.ts';
import { Receiver } from '../support/webhooks/receiver.ts';
import { freePort, OwnRedis } from '../support/redis/redis.ts';
import { SecureRedis } from '../support/redis/secure-redis.ts';
import { eventually, Stack } from '../support/processes/stack.ts';

test.skipIf(!canMakeCertificates())(
  'TLS with an authority of its own, and users with the least rights',
  async () => {
    const redis = await SecureRedis.start(await freePort());
    const receiver = await Receiver.start();
    const stack = await Stack.start({
      redisUrl: redis.url,
      webhooks: true,
      env: {
        WEBHOOK_SECRET: newSecret(),
        WEBHOOK_SCHEMES: 'http',
        WEBHOOK_ALLOW: `127.0.0.1:${receiver.port}`,
      },
    });
    const { body } = await stack.post<Job>(
      '/v1/jobs',
      { text: 'a joy', webhook: { url: receiver.url() } },
      { Prefer: 'wait=60' },
    );
    expect(body.status).toBe('succeeded');
    // A worker ends this one as failed: the index of its only part is damaged before it is complete.
    const calls = new BatchCalls(stack);
    const id = await calls.open();
    await calls.putPart(id, 1, '{"text":"a joy"}\n');
    const parts = path.join(calls.folder(id), 'parts');
    truncateSync(
      path.join(
        parts,
        readdirSync(parts).find((name) => name.endsWith('.index'))!,
      ),
      1,
    );
    await calls.complete(id, [{ number: 1 }]);
    expect(await calls.finished(id)).toMatchObject({ status: 'failed', error: { code: 'input_damaged' } });
    expect((await calls.delete(id)).status).toBe(204);
    await eventually(() => Promise.resolve(receiver.received.length > 0 ? true : undefined));
    await stack.stop();
    await receiver.stop();
    // Fails when a user was refused something.
    await redis.stop();
  },
);

test('a user with too few rights: 503, and a line that names the command', async () => {
  const redis = await OwnRedis.start();
  const admin = new Redis(redis.url);
  await admin.call('ACL', 'SETUSER', 'weak', 'on', '>secret', '~*', '&*', '+@all', '-mget');
  admin.disconnect();
  const stack = await Stack.start({
    redisUrl: redis.url.replace('//', '//weak:secret@'),
    workers: 0,
  });
  const id = newJobId(newGroupId('normal', 'sst2-minilm'));
  const { status, body } = await stack.get(`/v1/jobs/${id}`);
  expect({ status, body }).toMatchObject({ status: 503, body: { code: 'redis_unavailable' } });
  const line = await eventually(() =>
    Promise.resolve(
      stack.api.output.split('\n').find((each) => each.includes('the Redis user lacks a permission')),
    ),
  );
  expect(JSON.parse(line)).toMatchObject({
    command: 'mget',
    reason: expect.stringContaining('mget') as string,
  });
  await stack.stop();
  await redis.stop();
});
