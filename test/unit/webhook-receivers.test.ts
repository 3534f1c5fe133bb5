/** Which URLs and addresses webhooks may go to. What gets through here is reached from inside the operator's network. */
import { BlockList, isIP } from 'node:net';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { loadConfig } from '../../src/shared/runtime/config.ts';
import {
  addressProblem,
  parseAllowed,
  readReceiver,
  receiverPolicy,
  type ReceiverPolicy,
} from '../../src/shared/runtime/receivers.ts';
import { fuzz } from '../support/inputs/fuzz.ts';

/** The rules of the default settings, with a few receivers allowed. */
function policy(allow = '', env: Record<string, string> = {}): ReceiverPolicy {
  return receiverPolicy(loadConfig({ WEBHOOK_ALLOW: allow, WEBHOOK_SCHEMES: 'http,https', ...env }));
}
const STRICT = policy();

/** Why a URL is refused; undefined when it is not. */
function refusal(url: string, rules: ReceiverPolicy = STRICT): string | undefined {
  const receiver = readReceiver(url, rules);
  return 'problem' in receiver ? receiver.problem : undefined;
}

describe('addresses that are not public', () => {
  // The first and the last of each range, and addresses inside that are targets of their own.
  const IPV4: [string, string, string[]][] = [
    ['0.0.0.0/8', 'no address', ['0.0.0.0', '0.0.0.1', '0.255.255.255']],
    ['10.0.0.0/8', 'private', ['10.0.0.0', '10.255.255.255']],
    ['100.64.0.0/10', 'private to a provider', ['100.64.0.0', '100.127.255.255', '100.100.100.200']],
    ['127.0.0.0/8', 'this machine itself', ['127.0.0.0', '127.0.0.1', '127.255.255.255']],
    [
      '169.254.0.0/16',
      'link-local, where metadata services are',
      ['169.254.0.0', '169.254.169.254', '169.254.170.2', '169.254.255.255'],
    ],
    ['172.16.0.0/12', 'private', ['172.16.0.0', '172.31.255.255']],
    ['192.168.0.0/16', 'private', ['192.168.0.0', '192.168.255.255']],
    ['192.0.0.0/24', 'reserved', ['192.0.0.0', '192.0.0.192', '192.0.0.255']],
    ['192.0.2.0/24', 'reserved', ['192.0.2.0', '192.0.2.255']],
    ['192.88.99.0/24', 'reserved', ['192.88.99.0', '192.88.99.255']],
    ['198.18.0.0/15', 'reserved', ['198.18.0.0', '198.19.255.255']],
    ['198.51.100.0/24', 'reserved', ['198.51.100.0', '198.51.100.255']],
    ['203.0.113.0/24', 'reserved', ['203.0.113.0', '203.0.113.255']],
    ['224.0.0.0/4', 'multicast', ['224.0.0.0', '224.0.0.251', '239.255.255.255']],
    ['240.0.0.0/4', 'reserved', ['240.0.0.0', '255.255.255.254']],
    ['255.255.255.255/32', 'broadcast', ['255.255.255.255']],
    // Looks public; on Azure it is the platform that hands out secrets of the machine.
    ['168.63.129.16/32', 'the platform of Azure', ['168.63.129.16']],
  ];
  const IPV6: [string, string, string[]][] = [
    ['::/128', 'no address', ['::', '0:0:0:0:0:0:0:0']],
    ['::1/128', 'this machine itself', ['::1', '0:0:0:0:0:0:0:1']],
    ['fc00::/7', 'private', ['fc00::', 'fd00:ec2::254', 'fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff']],
    ['fe80::/10', 'link-local, where metadata services are', ['fe80::1', 'febf:ffff::1']],
    ['fec0::/10', 'private', ['fec0::1', 'feff:ffff::1']],
    ['ff00::/8', 'multicast', ['ff00::', 'ff02::1', 'ff05::2']],
    ['::ffff:0:0/96, mapped', 'private', ['::ffff:10.0.0.1', '::ffff:a00:1', '::FFFF:192.168.0.1']],
    ['::ffff:0:0/96, mapped, of loopback', 'this machine itself', ['::ffff:127.0.0.1', '::ffff:7f00:1']],
    ['::/96, compatible', 'not routed', ['::10.0.0.1', '::127.0.0.1', '::169.254.169.254', '::8.8.8.8']],
    ['::ffff:0:0:0/96, translated', 'IPv4 in disguise', ['::ffff:0:10.0.0.1', '::ffff:0:7f00:1']],
    [
      '64:ff9b::/96, NAT64',
      'IPv4 in disguise',
      ['64:ff9b::10.0.0.1', '64:ff9b::a9fe:a9fe', '64:ff9b::8.8.8.8'],
    ],
    ['64:ff9b:1::/48, local NAT64', 'IPv4 in disguise', ['64:ff9b:1::a00:1', '64:ff9b:1:a00:0:100::']],
    ['2002::/16, 6to4', 'IPv4 in disguise', ['2002:a00:1::', '2002:a9fe:a9fe::1', '2002:808:808::']],
    ['2001::/32, Teredo', 'IPv4 in disguise', ['2001::1', '2001:0:4136:e378:8000:63bf:3fff:fdd2']],
    [
      'ISATAP, behind any prefix',
      'IPv4 in disguise',
      [
        '2001:4860::5efe:10.0.0.1',
        '2a00:1450:4001:82a::5efe:169.254.169.254',
        '2a00:1450:4001:82a:200:5efe:7f00:1',
        '2a00:1450:4001:82a:100:5efe:7f00:1',
        '2a00:1450:4001:82a:300:5efe:7f00:1',
        '2600::5efe:8.8.8.8',
        'fe80::5efe:10.0.0.1',
      ],
    ],
    [
      '2001::/23',
      'reserved',
      ['2001:1::1', '2001:2::1', '2001:3::1', '2001:10::1', '2001:20::1', '2001:30::1'],
    ],
    ['2001:db8::/32, documentation', 'reserved', ['2001:db8::', '2001:db8:ffff::1']],
    ['3fff::/20, documentation', 'reserved', ['3fff::1', '3fff:fff::1']],
    ['2620:4f:8000::/48, AS112', 'reserved', ['2620:4f:8000::1']],
    ['100::/64, discard', 'reserved', ['100::1']],
    ['5f00::/16, segment routing', 'reserved', ['5f00::1']],
    [
      'outside of 2000::/3',
      'not routed',
      ['1::1', '200::1', '1fff::1', '4000::1', '8000::1', 'fbff::1', 'fe00::1'],
    ],
  ];

  test.each(IPV4)('%s is refused (%s)', (_range, what, addresses) => {
    for (const address of addresses) {
      const problem = `${address}, which is not a public address (${what})`;
      expect(addressProblem(address, 443, STRICT)).toBe(problem);
      expect(refusal(`https://${address}/`)).toBe(`leads to ${problem}`);
      expect(refusal(`http://${address}./hook`)).toBe(`leads to ${problem}`);
      // Carried in IPv6, it is the same address.
      expect(addressProblem(`::ffff:${address}`, 443, STRICT)).toBe(problem);
      expect(refusal(`https://[::ffff:${address}]/`)).toBe(`leads to ${problem}`);
    }
  });

  test.each(IPV6)('%s is refused (%s)', (_range, what, addresses) => {
    for (const address of addresses) {
      expect(addressProblem(address, 443, STRICT)).toMatch(`not a public address (${what})`);
      expect(refusal(`https://[${address}]/`)).toMatch(`not a public address (${what})`);
    }
  });

  test.each([
    '1.1.1.1',
    '8.8.8.8',
    // The neighbours of the ranges above.
    '9.255.255.255',
    '11.0.0.0',
    '100.63.255.255',
    '100.128.0.0',
    '126.255.255.255',
    '128.0.0.0',
    '168.63.129.15',
    '169.253.255.255',
    '169.255.0.0',
    '172.15.255.255',
    '172.32.0.0',
    '192.167.255.255',
    '192.169.0.0',
    '198.17.255.255',
    '198.20.0.0',
    '223.255.255.255',
    '2000::1',
    '2001:4860:4860::8888',
    '2606:4700:4700::1111',
    '2a00:1450:4001:82a::200e',
    '3ffe:ffff::1',
    // Nearly ISATAP.
    '2a00:1450:4001:82a:1:5efe:a00:1',
    '2a00:1450:4001:82a:400:5efe:a00:1',
    '2a00:1450:4001:82a:0:5eff:a00:1',
    '2a00:1450:4001:5efe:0:1:a00:1',
    '::ffff:8.8.8.8',
  ])('%s is public', (address) => {
    expect(addressProblem(address, 443, STRICT)).toBeUndefined();
    expect(refusal(`https://${isIP(address) === 6 ? `[${address}]` : address}/hook`)).toBeUndefined();
  });
});

describe('other spellings of an address', () => {
  test.each([
    ['decimal', 'http://2130706433/', '127.0.0.1'],
    ['octal', 'http://017700000001/', '127.0.0.1'],
    ['octal with zeros before it', 'http://01200034567/', '10.0.57.119'],
    ['hexadecimal', 'http://0x7f000001/', '127.0.0.1'],
    ['hexadecimal in capitals', 'http://0XA9FEA9FE/', '169.254.169.254'],
    ['parts in octal', 'http://0177.0.0.01/', '127.0.0.1'],
    ['parts in hexadecimal', 'http://0x7f.0x0.0x0.0x1/', '127.0.0.1'],
    ['parts of every kind', 'http://0xa9.254.0251.0xfe/', '169.254.169.254'],
    ['two parts', 'http://127.1/', '127.0.0.1'],
    ['three parts', 'http://192.168.257/', '192.168.1.1'],
    ['two parts, one of them hexadecimal', 'http://0x7f.1/', '127.0.0.1'],
    ['nothing', 'http://0/', '0.0.0.0'],
    ['nothing in hexadecimal', 'http://0x/', '0.0.0.0'],
    ['a final dot', 'http://127.0.0.1./', '127.0.0.1'],
    ['two final dots', 'http://127.0.0.1../', '127.0.0.1'],
    ['full-width digits', 'http://１２７.０.０.１/', '127.0.0.1'],
    ['digits in circles', 'http://①②⑦.⓪.⓪.①/', '127.0.0.1'],
    ['mathematical digits', 'http://𝟏𝟐𝟕.𝟎.𝟎.𝟏/', '127.0.0.1'],
    ['ideographic full stops', 'http://127。0。0。1/', '127.0.0.1'],
    ['half-width full stops', 'http://10｡0｡0｡1/', '10.0.0.1'],
    ['percent-encoding', 'http://%31%32%37%2e0.0.1/', '127.0.0.1'],
    ['a soft hyphen', 'http://127.0.\u00ad0.1/', '127.0.0.1'],
    ['a zero-width space', 'http://10.0.\u200b0.1/', '10.0.0.1'],
    ['a line break', 'http://127.0.\n0.1/', '127.0.0.1'],
    ['a tab', 'ht\ttp://10.0.\t0.1/', '10.0.0.1'],
    ['white space around it', '  http://10.0.0.1/ ', '10.0.0.1'],
    ['no slashes', 'http:10.0.0.1', '10.0.0.1'],
    ['too many slashes', 'http://////10.0.0.1/', '10.0.0.1'],
    ['backslashes', 'http:\\\\10.0.0.1\\hook', '10.0.0.1'],
    ['a backslash before an at sign', 'http://10.0.0.1\\@example.com/', '10.0.0.1'],
    ['a fragment before an at sign', 'http://10.0.0.1#@example.com/', '10.0.0.1'],
    ['a query before an at sign', 'http://10.0.0.1?@example.com/', '10.0.0.1'],
    ['a scheme in capitals', 'HTTP://10.0.0.1/', '10.0.0.1'],
    ['IPv6 in full', 'http://[0000:0000:0000:0000:0000:0000:0000:0001]/', '::1'],
    ['mapped in full', 'http://[0:0:0:0:0:ffff:127.0.0.1]/', '127.0.0.1'],
    ['mapped in hexadecimal', 'http://[::ffff:a9fe:a9fe]/', '169.254.169.254'],
  ])('%s', (_what, url, address) => {
    expect(refusal(url)).toMatch(`leads to ${address}, which is not a public address`);
    // The same spelling of an address that is allowed is no way around the list either.
    expect(refusal(url, policy(address.includes(':') ? `[${address}]` : address))).toBeUndefined();
  });

  /** Every way in which inet_aton, and with it the URL parser, reads one IPv4 address. */
  const spellings = (address: number): string[] => {
    const parts = [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff) as [
      number,
      number,
      number,
      number,
    ];
    const [a, b] = parts;
    const write = [
      (n: number) => String(n),
      (n: number) => `0${n.toString(8)}`,
      (n: number) => `0x${n.toString(16)}`,
    ];
    return write.flatMap((spell) => [
      parts.map(spell).join('.'),
      [spell(a), spell(b), spell(address & 0xffff)].join('.'),
      [spell(a), spell(address & 0xffffff)].join('.'),
      spell(address),
    ]);
  };

  test('refuses private addresses in every spelling, also embedded in IPv6', () => {
    const block = (base: number, bits: number) =>
      fc.integer({ min: 0, max: 2 ** (32 - bits) - 1 }).map((rest) => (base + rest) >>> 0);
    const notPublic = fc.oneof(
      block(0x0a000000, 8),
      block(0x7f000000, 8),
      block(0xac100000, 12),
      block(0xc0a80000, 16),
      block(0xa9fe0000, 16),
      block(0x64400000, 10),
      block(0x00000000, 8),
      block(0xe0000000, 3),
    );
    fc.assert(
      fc.property(notPublic, (address) => {
        const hex = `${(address >>> 16).toString(16)}:${(address & 0xffff).toString(16)}`;
        const v6 = [
          `::ffff:${hex}`,
          `::${hex}`,
          `::ffff:0:${hex}`,
          `64:ff9b::${hex}`,
          `2002:${hex}::1`,
          `2600::5efe:${hex}`,
          `2600::200:5efe:${hex}`,
        ];
        for (const host of [...spellings(address), ...v6.map((each) => `[${each}]`)])
          expect(refusal(`http://${host}/`), host).toMatch('not a public address');
      }),
    );
  });

  test('every host that the URL parser accepts is checked as a name or an address', () => {
    // A literal that this check took for a name would be connected to without any look at it.
    const anything = fc.oneof(
      fc.string({ unit: fc.constantFrom(...'0123456789abcdefx.:[]%-。1①'), maxLength: 24 }),
      fc.ipV4Extended(),
      fc.ipV6().map((address) => `[${address}]`),
      fc.webAuthority({ withIPv4: true, withIPv4Extended: true, withIPv6: true }),
    );
    const open = new BlockList();
    open.addSubnet('2000::', 3, 'ipv6');
    fc.assert(
      fc.property(anything, (host) => {
        const receiver = readReceiver(`http://${host}/`, STRICT);
        if ('problem' in receiver) return;
        const family = isIP(receiver.host);
        if (family !== 0) expect(addressProblem(receiver.host, receiver.port, STRICT)).toBeUndefined();
        if (family === 6 && !receiver.host.startsWith('::ffff:'))
          expect(open.check(receiver.host, 'ipv6')).toBe(true);
        expect(receiver.host).not.toMatch(/^\[|\.$|%/);
      }),
      fuzz(2000),
    );
  });
});

describe('names of this machine', () => {
  test.each([
    'http://localhost/',
    'http://LOCALHOST/',
    'http://localhost./',
    'http://LocalHost../',
    'http://x.localhost/',
    'http://a.b.LOCALHOST./',
    'http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/',
    'http://ｌｏｃａｌｈｏｓｔ/',
    'http://loc%61lhost/',
    'http://local\u00adhost/',
  ])('%s is refused', (url) =>
    expect(refusal(url)).toMatch(/^leads to .*localhost, which is this machine itself$/),
  );

  test.each(['http://localhost.example.com/', 'http://notlocalhost/', 'http://localhost-1.example/'])(
    '%s is another name',
    (url) => expect(refusal(url)).toBeUndefined(),
  );

  test('an operator may vouch for them', () => {
    expect(refusal('http://localhost/', policy('localhost'))).toBeUndefined();
    expect(refusal('http://localhost./', policy('localhost'))).toBeUndefined();
    expect(refusal('http://x.localhost/', policy('localhost'))).toMatch('this machine itself');
    expect(refusal('http://x.localhost/', policy('*.localhost'))).toBeUndefined();
    expect(refusal('http://localhost:3000/', policy('localhost:3000'))).toBeUndefined();
    expect(refusal('http://localhost/', policy('localhost:3000'))).toMatch('this machine itself');
  });
});

describe('the form of a URL', () => {
  test.each<[string, string, string]>([
    ['no URL', 'example.com', 'is not an absolute URL'],
    ['a path', '/hook', 'is not an absolute URL'],
    [
      'half of an emoji',
      'https://example.com/\ud83c',
      'contains a lone surrogate, so it is not valid Unicode',
    ],
    ['nothing', '', 'is not an absolute URL'],
    ['no host', 'http://', 'is not an absolute URL'],
    ['a part above 255', 'http://10.0.0.256/', 'is not an absolute URL'],
    ['five parts', 'http://10.0.0.0.1/', 'is not an absolute URL'],
    ['a zone', 'http://[fe80::1%25eth0]/', 'is not an absolute URL'],
    ['a bare zone', 'http://[fe80::1%eth0]/', 'is not an absolute URL'],
    ['IPv6 without brackets', 'http://::1/', 'is not an absolute URL'],
    ['NUL in the name', 'http://example.com%00.example.org/', 'is not an absolute URL'],
    ['a space in the name', 'http://example.com 10.0.0.1/', 'is not an absolute URL'],
    ['a port above 65535', 'http://example.com:65536/', 'is not an absolute URL'],
    ['a user', 'http://user@example.com/', 'must not contain a user name or password'],
    ['a password', 'http://:secret@example.com/', 'must not contain a user name or password'],
    ['an address as the user', 'http://example.com@10.0.0.1/', 'must not contain a user name or password'],
    ['a space before the user', 'http://1.1.1.1 &@10.0.0.1/', 'must not contain a user name or password'],
    ['an encoded user', 'http://a%40b@example.com/', 'must not contain a user name or password'],
    ['another scheme', 'ftp://example.com/', 'must begin with http:// or https://'],
    ['a file', 'file:///etc/passwd', 'must begin with http:// or https://'],
    ['a Unix socket', 'unix:///run/docker.sock', 'must begin with http:// or https://'],
    ['gopher', 'gopher://example.com:6379/_INFO', 'must begin with http:// or https://'],
    ['data', 'data:text/plain,x', 'must begin with http:// or https://'],
    ['a name that looks like a scheme', 'localhost:3000/hook', 'must begin with http:// or https://'],
    [
      'the port of Redis',
      'http://example.com:6379/',
      'must not have the port 6379 (allowed: 80, 443, 8080, 8443)',
    ],
    ['port 0', 'http://example.com:0/', 'must not have the port 0 (allowed: 80, 443, 8080, 8443)'],
    ['2,049 characters', `http://example.com/${'x'.repeat(2030)}`, 'is longer than 2048 characters'],
  ])('%s', (_what, url, problem) => expect(refusal(url)).toBe(problem));

  test('errors name the allowed schemes, and a list without ports', () => {
    expect(refusal('http://example.com/', policy('', { WEBHOOK_SCHEMES: 'https' }))).toBe(
      'must begin with https://',
    );
    expect(refusal('https://example.com/', policy('', { WEBHOOK_PORTS: ',' }))).toBe(
      'must not have the port 443 (allowed: none)',
    );
  });

  test.each<[string, string, string, number]>([
    ['https://example.com', 'https://example.com', 'example.com', 443],
    ['http://example.com', 'http://example.com', 'example.com', 80],
    ['another port', 'https://example.com:8443/a?b=c', 'example.com', 8443],
    ['the usual port of the other scheme', 'https://example.com:80/', 'example.com', 80],
    ['capitals and a final dot', 'https://EXAMPLE.com./', 'example.com', 443],
    ['an international name', 'https://bücher.example/', 'xn--bcher-kva.example', 443],
    ['a port with zeros before it', 'https://example.com:0443/', 'example.com', 443],
    ['IPv6', 'https://[2606:4700:4700::1111]:8443/', '2606:4700:4700::1111', 8443],
    ['2,048 characters', `https://example.com/${'x'.repeat(2028)}`, 'example.com', 443],
  ])('%s', (_what, url, host, port) =>
    expect(readReceiver(url, STRICT)).toEqual({ url: new URL(url), host, port, trusted: false }),
  );
});

describe('entries of WEBHOOK_ALLOW', () => {
  /** [what, the list, URLs that it opens, URLs that it does not]; the latter are refused, or opened as any other name is. */
  const cases: [string, string, string[], string[]][] = [
    [
      'an address',
      '10.0.0.7',
      ['http://10.0.0.7/', 'https://10.0.0.7:8443/', 'http://[::ffff:10.0.0.7]/', 'http://0xa000007/'],
      ['http://10.0.0.8/', 'http://10.0.0.7:9000/', 'http://[::10.0.0.7]/', 'http://[64:ff9b::10.0.0.7]/'],
    ],
    [
      'an address on a port',
      '10.0.0.7:9000',
      ['http://10.0.0.7:9000/', 'http://[::ffff:a00:7]:9000/'],
      ['http://10.0.0.7/', 'http://10.0.0.7:9001/', 'http://10.0.0.8:9000/', 'http://8.8.8.8:9000/'],
    ],
    [
      'a range',
      '10.1.0.0/16',
      ['http://10.1.0.0/', 'http://10.1.255.255:8080/', 'http://[::ffff:10.1.2.3]/'],
      [
        'http://10.0.255.255/',
        'http://10.2.0.0/',
        'http://10.1.0.1:9000/',
        'http://[::ffff:10.2.0.0]/',
        'http://example.com:9000/',
      ],
    ],
    [
      'a range on a port',
      '10.1.0.0/16:9000',
      ['http://10.1.2.3:9000/'],
      ['http://10.1.2.3/', 'http://10.2.2.3:9000/', 'http://example.com:9001/'],
    ],
    ['an address on the first port', '10.0.0.7:1', ['http://10.0.0.7:1/'], ['http://10.0.0.7/']],
    ['an address on the last port', '10.0.0.7:65535', ['http://10.0.0.7:65535/'], ['http://10.0.0.7/']],
    [
      'a range, and one address on a port of its own',
      '10.1.0.0/16,10.1.0.1:9000',
      ['http://10.1.0.1:9000/', 'http://10.1.0.2/'],
      // The port belongs to the one address, not to its neighbours.
      ['http://10.1.0.2:9000/'],
    ],
    [
      'a range that only carries IPv4',
      '::ffff:10.1.0.0/112',
      ['http://10.1.2.3/', 'http://[::ffff:10.1.2.3]/'],
      ['http://10.2.0.0/', 'http://[fd00::1]/'],
    ],
    [
      'all addresses that carry IPv4',
      '::ffff:0:0/96',
      ['http://10.1.2.3/', 'http://[::ffff:10.1.2.3]/'],
      ['http://[fd00::1]/'],
    ],
    [
      'a range of IPv6 that has more than those does not open IPv4',
      '::ffff:0:0/90',
      [],
      ['http://10.1.2.3/', 'http://[::ffff:10.1.2.3]/'],
    ],
    [
      'an address that only carries IPv4',
      '[::ffff:10.0.0.7]:9000',
      ['http://10.0.0.7:9000/'],
      ['http://10.0.0.7/'],
    ],
    [
      'all of IPv6 does not open IPv4',
      '::/0',
      ['http://[::1]/', 'http://[fd00::1]/'],
      ['http://10.0.0.1/', 'http://[::ffff:10.0.0.1]/'],
    ],
    [
      'all of IPv4 does not open IPv6',
      '0.0.0.0/0',
      ['http://127.0.0.1/'],
      ['http://[::1]/', 'http://[::127.0.0.1]/'],
    ],
    ['an IPv6 address', 'fd00::7', ['http://[fd00::7]/', 'http://[fd00:0:0::7]/'], ['http://[fd00::8]/']],
    [
      'an IPv6 address on a port',
      '[::1]:9000',
      ['http://[::1]:9000/'],
      ['http://[::1]/', 'http://127.0.0.1:9000/'],
    ],
    ['an IPv6 range', 'fd00:1::/32', ['http://[fd00:1:ffff::1]/'], ['http://[fd00:2::1]/']],
    ['an IPv6 range on a port', '[fd00::/8]:9000', ['http://[fd12::1]:9000/'], ['http://[fd12::1]/']],
  ];
  test.each(cases)('%s', (_what, list, open, closed) => {
    const rules = policy(list);
    for (const url of open) expect(refusal(url, rules), url).toBeUndefined();
    for (const url of closed) expect(refusal(url, rules), url).toBeDefined();
  });

  test.each<[string, string, string[], string[]]>([
    [
      'a name',
      'hooks.example',
      ['http://hooks.example/', 'http://HOOKS.example./', 'https://hooks.example:8443/'],
      [
        'http://xhooks.example/',
        'http://a.hooks.example/',
        'http://hooks.example.com/',
        'http://hooks.exampl/',
      ],
    ],
    [
      'a name in capitals, with a final dot',
      'Hooks.EXAMPLE.',
      ['http://hooks.example/'],
      ['http://hooks.example.com/'],
    ],
    [
      'an international name',
      'bücher.example',
      ['http://bücher.example/', 'http://xn--bcher-kva.example/'],
      [],
    ],
    [
      'a name on a port of the policy',
      'hooks.example:8080',
      ['http://hooks.example:8080/'],
      ['http://hooks.example/', 'http://hooks.example:8443/'],
    ],
    [
      'everything below a name',
      '*.a.example',
      ['http://x.a.example/', 'http://y.x.A.example./'],
      ['http://a.example/', 'http://xa.example/', 'http://a.example.com/', 'http://x.b.example/'],
    ],
    [
      'everything below a name, on a port of the policy',
      '*.a.example:8080',
      ['http://x.a.example:8080/'],
      ['http://x.a.example/', 'http://a.example:8080/'],
    ],
  ])(
    '%s is trusted for, wherever it leads; others are looked up and checked',
    (_what, list, open, others) => {
      const rules = policy(list);
      for (const url of open) expect(readReceiver(url, rules), url).toMatchObject({ trusted: true });
      for (const url of others) expect(readReceiver(url, rules), url).toMatchObject({ trusted: false });
    },
  );

  test('an entry with a port allows only that name, and only on that port', () => {
    const rules = policy('hooks.example:9000');
    expect(readReceiver('http://hooks.example:9000/', rules)).toMatchObject({ trusted: true, port: 9000 });
    expect(refusal('http://hooks.example:9001/', rules)).toMatch('must not have the port 9001');
    expect(refusal('http://other.example:9000/', rules)).toMatch('must not have the port 9000');
    expect(refusal('http://8.8.8.8:9000/', rules)).toMatch('must not have the port 9000');
  });

  test("another entry's port does not become that of a name without one", () => {
    // Names may lead into 10.0.0.7 on 9000, which shows when they are looked up; but none is trusted for there.
    const rules = policy('hooks.example,10.0.0.7:9000');
    expect(readReceiver('http://hooks.example/', rules)).toMatchObject({ trusted: true });
    expect(readReceiver('http://hooks.example:9000/', rules)).toMatchObject({ trusted: false });
    expect(readReceiver('http://other.example:9000/', rules)).toMatchObject({ trusted: false });
    expect(addressProblem('10.0.0.7', 9000, rules)).toBeUndefined();
    for (const address of ['10.0.0.8', '8.8.8.8'])
      expect(addressProblem(address, 9000, rules)).toBe(`${address}, where port 9000 is not allowed`);
  });

  test('it opens no schemes', () => {
    const rules = policy('hooks.example,10.0.0.7', { WEBHOOK_SCHEMES: 'https' });
    for (const url of ['http://hooks.example/', 'http://10.0.0.7/'])
      expect(refusal(url, rules)).toBe('must begin with https://');
  });

  test('any address of a range is open, any other is not', () => {
    const range = fc.record({
      base: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
      bits: fc.integer({ min: 8, max: 32 }),
    });
    const dotted = (n: number) => [24, 16, 8, 0].map((shift) => (n >>> shift) & 0xff).join('.');
    fc.assert(
      fc.property(range, fc.integer({ min: 0, max: 2 ** 24 }), ({ base, bits }, distance) => {
        const rules = policy(`${dotted(base)}/${bits}`);
        const size = 2 ** (32 - bits);
        const first = Math.floor(base / size) * size;
        const expected = new BlockList();
        expected.addSubnet(dotted(base), bits);
        for (const address of [first, first + size - 1, first - 1, first + size, base + distance]) {
          const text = dotted(address >>> 0);
          const open = expected.check(text) || addressProblem(text, 80, STRICT) === undefined;
          expect(addressProblem(text, 80, rules) === undefined, text).toBe(open);
        }
      }),
    );
  });

  test.each([
    ['*', 'neither a name nor an address'],
    ['*.', 'neither a name nor an address'],
    ['*example.com', 'neither a name nor an address'],
    ['.example.com', 'neither a name nor an address'],
    ['a..example', 'neither a name nor an address'],
    ['a.*.example', 'neither a name nor an address'],
    ['http://example.com', 'neither a name nor an address'],
    ['example.com/hook', 'neither a name nor an address'],
    ['two words', 'neither a name nor an address'],
    ['10.0.0.256', 'neither a name nor an address'],
    // inet_aton would take these for addresses that nobody means.
    ['10', 'neither a name nor an address'],
    ['10.1', 'neither a name nor an address'],
    ['010.0.0.1', 'neither a name nor an address'],
    ['10/8', 'neither a name nor an address'],
    ['10.0.0.0/33', 'is not a range of addresses'],
    ['10.0.0.0/', 'is not a range of addresses'],
    ['10.0.0.0/-1', 'is not a range of addresses'],
    ['10.0.0.0/8/8', 'is not a range of addresses'],
    ['10.0.0.0/255.0.0.0', 'is not a range of addresses'],
    ['fd00::/129', 'is not a range of addresses'],
    ['example.com:0', '0 is not a port number'],
    ['[::1]:65536', '65536 is not a port number'],
    ['example.com:http', 'neither a name nor an address'],
    ['[::1', 'neither a name nor an address'],
    ['x[::1]', 'neither a name nor an address'],
    ['[::1]x', 'neither a name nor an address'],
    ['[::1]:9000x', 'neither a name nor an address'],
  ])('%s is no entry', (entry, message) => {
    expect(() => parseAllowed(entry)).toThrow(message);
    // The setting names itself and the entry.
    expect(() => policy(`example.com,${entry}`)).toThrow(`WEBHOOK_ALLOW=example.com,${entry}: ${entry}`);
  });
});

test.each(['', '10', '10.1', '010.0.0.1', 'example.com', '::1::', 'fe80::1%eth0/64'])(
  'no webhook goes to %j, which a resolver may give but is not an address',
  (address) => {
    expect(addressProblem(address, 80, policy('0.0.0.0/0,::/0'))).toBe(`${address}, which is not an address`);
  },
);
