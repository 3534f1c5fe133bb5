import { Webhook } from 'standardwebhooks';
import { Webhook as SvixWebhook } from 'svix';
import { expect, test } from 'vitest';
import { isSecret, newSecret } from '../../src/shared/runtime/webhook-secret.ts';

const secretOf = (bytes: number, fill = 0xfb) => `whsec_${Buffer.alloc(bytes, fill).toString('base64')}`;

test('a new secret has 32 random bytes', () => {
  const secrets = Array.from({ length: 100 }, newSecret);
  expect(new Set(secrets).size).toBe(100);
  for (const secret of secrets) {
    expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    expect(isSecret(secret)).toBe(true);
  }
});

test.each([24, 25, 32, 63, 64])(
  'a secret of %i bytes gives the same signature in both libraries',
  (bytes) => {
    const secret = secretOf(bytes);
    expect(isSecret(secret)).toBe(true);
    const [id, at, body] = [`evt_${'0'.repeat(32)}`, new Date(), '{"type":"job.succeeded"}'];
    const signature = new Webhook(secret).sign(id, at, body);
    expect(new SvixWebhook(secret).sign(id, at, body)).toBe(signature);
    const headers = {
      'webhook-id': id,
      'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
      'webhook-signature': signature,
    };
    new SvixWebhook(secret).verify(body, headers);
    expect(() => new SvixWebhook(secretOf(bytes, 0xfc)).verify(body, headers)).toThrow(
      'No matching signature',
    );
  },
);

test.each([
  ['nothing', ''],
  ['only the beginning', 'whsec_'],
  ['no beginning', secretOf(32).slice('whsec_'.length)],
  ['the beginning in capitals', secretOf(32).replace('whsec_', 'WHSEC_')],
  ['23 bytes', secretOf(23)],
  ['65 bytes', secretOf(65)],
  ['no padding', secretOf(32).replace('=', '')],
  ['too much padding', `${secretOf(24)}==`],
  ['base64 for URLs', secretOf(33).replaceAll('+', '-').replaceAll('/', '_')],
  ['white space', `${secretOf(24)}\n`],
  ['white space inside', secretOf(33).replace('+', '+ ')],
  ['other characters, which decoders skip', secretOf(33).replace('+', '+!')],
  ['bits that no byte needs', `${secretOf(32, 0).slice(0, -2)}B=`],
])('%s is none', (_what, value) => expect(isSecret(value)).toBe(false));
