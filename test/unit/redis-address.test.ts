import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { loadConfig } from '../../src/shared/runtime/config.ts';
import { redisAddress } from '../../src/shared/redis/address.ts';
import { canMakeCertificates, CertificateAuthority } from '../support/network/certificates.ts';

const dir = mkdtempSync(path.join(tmpdir(), 'amulet-tls-'));
afterAll(() => rmSync(dir, { recursive: true }));

const at = (env: Record<string, string>) => redisAddress(loadConfig(env));

test('uses TLS only for rediss://', () => {
  expect(at({ REDIS_URL: 'redis://h' })).toEqual({ url: 'redis://h', options: {} });
  expect(at({ REDIS_URL: 'rediss://h' })).toEqual({ url: 'rediss://h', options: { tls: {} } });
  expect(at({ REDIS_URL: 'rediss+cluster://h' }).options).toMatchObject({ tls: {} });
  expect(at({ REDIS_URL: 'redis+cluster://h' }).options).not.toHaveProperty('tls');
  const toBoth = { tls: {}, sentinelTLS: {}, enableTLSForSentinelMode: true };
  expect(at({ REDIS_URL: 'rediss+sentinel://h/m' }).options).toMatchObject(toBoth);
  expect(at({ REDIS_URL: 'redis+sentinel://h/m' }).options).not.toHaveProperty('sentinelTLS');
});

test('a cluster needs a prefix that keeps all keys in one slot', () => {
  expect(at({ REDIS_URL: 'redis+cluster://h' }).options).toMatchObject({ clusterKey: '{amulet}:' });
  expect(() => at({ REDIS_URL: 'redis+cluster://h', REDIS_PREFIX: 'amulet' })).toThrow(
    /^REDIS_PREFIX=amulet: a cluster needs braces/,
  );
});

const broken = path.join(dir, 'broken.pem');
writeFileSync(broken, '-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n');
const noPem = path.join(dir, 'no.pem');
writeFileSync(noPem, 'no certificate');

test.each([
  [{ REDIS_TLS_CA_FILE: '/not/there' }, /^REDIS_TLS_CA_FILE=\/not\/there: ENOENT/],
  [{ REDIS_TLS_CA_FILE: noPem }, /^REDIS_TLS_CA_FILE=.*no\.pem: is not a PEM file/],
  [{ REDIS_TLS_CERT_FILE: broken, REDIS_TLS_KEY_FILE: broken }, /^REDIS_TLS_…_FILE: /],
  [{ REDIS_TLS_CERT_FILE: broken }, /need each other/],
])('%o: one line', (files, message) => {
  expect(() => at({ REDIS_URL: 'rediss://h', ...files })).toThrow(message);
});

test.skipIf(!canMakeCertificates())('files are for TLS', () => {
  const authority = new CertificateAuthority();
  const REDIS_TLS_CA_FILE = authority.file;
  expect(at({ REDIS_URL: 'rediss://h', REDIS_TLS_CA_FILE }).options.tls?.ca).toBeInstanceOf(Buffer);
  expect(() => at({ REDIS_URL: 'redis://h', REDIS_TLS_CA_FILE })).toThrow('does not begin with rediss');
  authority.remove();
});
