/** The client verifies webhooks signed by the library of Standard Webhooks, and refuses others. */
import { Webhook } from 'standardwebhooks';
import { describe, expect, test } from 'vitest';
import { verifyWebhook, WebhookVerificationError } from '../../src/client/index.ts';
import { newSecret } from '../../src/shared/runtime/webhook-secret.ts';

const secret = newSecret();
const event = { type: 'job.succeeded', thin: false, data: { id: 'j', metadata: { 'é\u2028': '🙂' } } };
const body = JSON.stringify(event);
const signed = (by = secret, at = new Date(), id = 'evt_1') => ({
  'webhook-id': id,
  'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
  'webhook-signature': new Webhook(by).sign(id, at, body),
});

describe('is accepted', () => {
  test('as text or bytes, with headers of node:http or of fetch', async () => {
    const headers = signed();
    expect(await verifyWebhook(body, headers, secret)).toEqual(event);
    expect(await verifyWebhook(Buffer.from(body), new Headers(headers), secret)).toEqual(event);
    // As another library has them.
    const others = new Headers(headers);
    expect(await verifyWebhook(body, { get: (name) => others.get(name) }, secret)).toEqual(event);
    const upper = Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [name.toUpperCase(), value]),
    );
    expect(await verifyWebhook(body, upper, secret)).toEqual(event);
  });

  test('during a rotation of secrets', async () => {
    const old = newSecret();
    const both = {
      ...signed(),
      'webhook-signature': `v1a,xx ${signed(old)['webhook-signature']} ${signed()['webhook-signature']}`,
    };
    expect(await verifyWebhook(body, both, secret)).toEqual(event);
    expect(await verifyWebhook(body, signed(old), [secret, old])).toEqual(event);
  });
});

describe('is refused', () => {
  const minutes = (count: number) => new Date(Date.now() + count * 60_000);

  test.each<[string, string, Record<string, string>]>([
    ['another body', body.replace('succeeded', 'failed'), signed()],
    ['a byte order mark before it', `\ufeff${body}`, signed()],
    ['another id', body, { ...signed(), 'webhook-id': 'evt_2' }],
    ['another time', body, { ...signed(), 'webhook-timestamp': String(Math.floor(Date.now() / 1000) + 1) }],
    ['no time', body, { ...signed(), 'webhook-timestamp': 'now' }],
    ['what is old', body, signed(secret, minutes(-6))],
    ['what is not yet', body, signed(secret, minutes(6))],
    ['the signature of another', body, signed(newSecret())],
    [
      'a signature of another kind',
      body,
      { ...signed(), 'webhook-signature': signed()['webhook-signature'].replace('v1', 'v2') },
    ],
    ['what is no signature', body, { ...signed(), 'webhook-signature': 'v1,ä v1' }],
    ['what is not signed', body, {}],
  ])('%s', async (_, sent, headers) => {
    await expect(verifyWebhook(Buffer.from(sent), headers, secret)).rejects.toBeInstanceOf(
      WebhookVerificationError,
    );
  });

  test('a malformed secret is an error of the receiver', async () => {
    for (const none of ['', 'secret', 'whsec_', 'whsec_%'])
      await expect(verifyWebhook(body, signed(), none)).rejects.toBeInstanceOf(TypeError);
  });
});
