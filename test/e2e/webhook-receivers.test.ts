/** The receivers of docs/webhooks.md: each gets a real webhook of a real job, and forged ones. */
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { Webhook } from 'standardwebhooks';
import type { Job } from '../../src/shared/contract/jobs.ts';
import { newSecret } from '../../src/shared/runtime/webhook-secret.ts';
import { receiverPrograms, RunningReceiver } from '../support/webhooks/receiver-programs.ts';
import { eventually, Stack } from '../support/processes/stack.ts';

const secret = newSecret();
const programs = receiverPrograms();
const receivers = new Map<string, RunningReceiver>();
let stack: Stack;

beforeAll(async () => {
  for (const program of programs) {
    if (program.missing === undefined)
      receivers.set(program.language, await RunningReceiver.start(program, secret));
  }
  stack = await Stack.start({
    redisUrl: inject('redisUrl'),
    webhooks: true,
    env: {
      WEBHOOK_SECRET: secret,
      WEBHOOK_SCHEMES: 'http',
      WEBHOOK_ALLOW: [...receivers.values()].map(({ url }) => new URL(url).host).join(','),
    },
  });
});
afterAll(async () => {
  await stack.stop();
  for (const receiver of receivers.values()) await receiver.stop();
});

describe.each(programs)('$language', ({ language, missing }) => {
  const name = missing === undefined ? '' : ` (skipped: ${missing})`;

  describe.skipIf(missing !== undefined)(`the receiver of the docs${name}`, () => {
    let receiver: RunningReceiver;

    beforeAll(() => {
      receiver = receivers.get(language)!;
    });

    test('accepts the webhook of a job, and counts its repeat once', async () => {
      const { status, body: job } = await stack.post<Job>('/v1/jobs', {
        text: 'utterly charming',
        webhook: { url: receiver.url },
      });
      expect(status).toBe(202);
      await eventually(() => Promise.resolve(receiver.lines.length > 0 ? true : undefined));
      expect(receiver.lines).toEqual([`job.succeeded ${job.id} POSITIVE`]);

      const { body: ended } = await stack.get<Job>(job.urls.self);
      const path = ended.webhook!.delivery!;
      expect((await stack.post(`${path}/redeliver`, {})).status).toBe(202);
      const delivery = await eventually(async () => {
        const { body } = await stack.get<{ status: string; attempts: { status: number }[] }>(path);
        return body.attempts.length === 2 ? body : undefined;
      });
      expect(delivery).toMatchObject({ status: 'delivered', attempts: [{ status: 204 }, { status: 204 }] });
      expect(receiver.lines).toHaveLength(1);
    });

    describe('refuses', () => {
      const body = JSON.stringify({ type: 'job.succeeded', data: { id: 'forged' } });
      const signed = (by: string, at = new Date(), id = 'evt_1'): Record<string, string> => ({
        'content-type': 'application/json',
        'webhook-id': id,
        'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
        'webhook-signature': new Webhook(by).sign(id, at, body),
      });

      test('(a valid webhook is accepted)', async () => {
        const before = receiver.lines.length;
        expect(await receiver.post(body, signed(secret, new Date(), 'evt_right'))).toBe(204);
        await eventually(() => Promise.resolve(receiver.lines.length > before ? true : undefined));
      });

      test.each<[string, string, () => Record<string, string>]>([
        ['another body', body.replace('forged', 'changed'), () => signed(secret)],
        ['another id', body, () => ({ ...signed(secret), 'webhook-id': 'evt_2' })],
        ['another timestamp', body, () => ({ ...signed(secret), 'webhook-timestamp': '1' })],
        ['what is old', body, () => signed(secret, new Date(Date.now() - 600_000))],
        ['the signature of another', body, () => signed(newSecret())],
        ['what is not signed', body, () => ({})],
      ])('%s', async (_, sent, headers) => {
        const before = receiver.lines.length;
        expect(await receiver.post(sent, headers())).toBe(400);
        expect(receiver.lines).toHaveLength(before);
      });
    });
  });
});
