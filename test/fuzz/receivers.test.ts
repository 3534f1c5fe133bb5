/** Arbitrary strings as a webhook URL: each is parsed or refused, and no literal address of this network is ever accepted. */
import { BlockList, isIP } from 'node:net';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { readReceiver, type ReceiverPolicy } from '../../src/shared/runtime/receivers.ts';
import { fuzz } from '../support/inputs/fuzz.ts';

const POLICY: ReceiverPolicy = { schemes: ['http', 'https'], ports: [80, 443], allowed: [] };

/** What must never be reached, kept apart from the code under test: RFC 6890 and its updates. It unmaps ::ffff:… itself. */
const INSIDE = new BlockList();
for (const [net, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
] as const) {
  INSIDE.addSubnet(net, bits, 'ipv4');
}
for (const [net, bits] of [
  ['::', 96],
  ['64:ff9b::', 96],
  ['64:ff9b:1::', 48],
  ['100::', 64],
  ['2001::', 32],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['fc00::', 7],
  ['fe80::', 10],
  ['fec0::', 10],
  ['ff00::', 8],
] as const) {
  INSIDE.addSubnet(net, bits, 'ipv6');
}

const number = fc.oneof(
  fc.nat(255).map(String),
  fc.nat(255).map((n) => `0x${n.toString(16)}`),
  fc.nat(255).map((n) => `0${n.toString(8)}`),
  fc.nat(0xffffffff).map(String),
);
const insideIpv4 = fc.oneof(
  fc.constantFrom(
    '127.0.0.1',
    '10.1.2.3',
    '169.254.169.254',
    '192.168.0.1',
    '0.0.0.0',
    '100.64.0.1',
    '172.16.0.1',
  ),
  fc.ipV4(),
);
const host = fc.oneof(
  fc.array(number, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('.')),
  insideIpv4,
  insideIpv4.map((ip) => `[::ffff:${ip}]`),
  insideIpv4.map((ip) => `[::${ip}]`),
  insideIpv4.map((ip) => `[64:ff9b::${ip}]`),
  fc.ipV6().map((ip) => `[${ip}]`),
  fc.constantFrom(
    'localhost',
    'LocalHost.',
    'a.localhost',
    '①②⑦.⓪.⓪.①',
    '127。0。0。1',
    '%31%32%37.0.0.1',
    '0',
    '[::1%25lo]',
  ),
  fc.domain(),
);
const url = fc.oneof(
  fc
    .tuple(
      fc.constantFrom('http://', 'https://', 'HTTPS://', 'https:', 'https:\\\\', '//', 'ftp://', 'http:/\t/'),
      fc.constantFrom('', 'u@', 'u:p@', '@', 'example.com@', 'example.com\\@'),
      host,
      fc.constantFrom('', ':80', ':443', ':22', ':', ':0443', ':99999'),
      fc.constantFrom('', '/', '/a?b#c', '?', '#@example.com', '\\@example.com'),
    )
    .map((parts) => parts.join('')),
  fc.webUrl(),
  fc.string({ unit: 'binary', maxLength: 60 }),
);

test('every URL is judged without throwing; no inside address is accepted', () => {
  fc.assert(
    fc.property(url, (each) => {
      const receiver = readReceiver(each, POLICY);
      if ('problem' in receiver) {
        expect(receiver.problem).not.toBe('');
        return;
      }
      expect(POLICY.ports).toContain(receiver.port);
      expect(receiver.url.username + receiver.url.password).toBe('');
      expect(receiver.host).not.toMatch(/(^|\.)localhost\.?$/i);
      const family = isIP(receiver.host);
      if (family !== 0) expect(INSIDE.check(receiver.host, family === 4 ? 'ipv4' : 'ipv6'), each).toBe(false);
    }),
    fuzz(3000),
  );
});
