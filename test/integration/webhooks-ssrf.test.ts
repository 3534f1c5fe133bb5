/**
 * Where webhooks must not go: refused when they are asked for, at the first attempt and at every later one, and the record
 * of the delivery says why. Real processes, a DNS server that lies, and a receiver that sees every connection.
 *
 * Of all addresses only 127.0.0.1 is allowed here, on the ports of the receivers; what webhooks reach at another one of
 * this machine they have reached in spite of the rules.
 */
import { Redis } from 'ioredis';
import type { AddressInfo } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Delivery } from '../../src/shared/contract/webhooks.ts';
import type { Job } from '../../src/shared/contract/jobs.ts';
import { JobRecords } from '../../src/shared/store/jobs/job-records.ts';
import { newSecret } from '../../src/shared/runtime/webhook-secret.ts';
import { BatchCalls } from '../support/api/batches.ts';
import { canMakeCertificates, CertificateAuthority } from '../support/network/certificates.ts';
import { DnsServer, type DnsAnswer } from '../support/network/dns-server.ts';
import { answer, Receiver, type Behaviour } from '../support/webhooks/receiver.ts';
import { settleJob } from '../support/api/settled-jobs.ts';
import { eventually, Stack } from '../support/processes/stack.ts';

/** Three attempts. */
const RETRY_S = '0.1,0.1';
const ATTEMPTS = 3;
const TIMEOUT_MS = 1000;
/** A port that webhooks may not have. */
const SSH = 22;

/** Names of a certificate, 27 KB. */
const MANY_NAMES = Array.from({ length: 1000 }, (_, i) => `n${i}.${'x'.repeat(20)}.example`);

const portOf = (server: Server) => (server.address() as AddressInfo).port;

const tls = canMakeCertificates() ? new CertificateAuthority() : undefined;
let dns: DnsServer;
/** Listens on all addresses of this machine, of which one is allowed. */
let receiver: Receiver;
/** On 127.0.0.1, which is allowed there by its range, and not at all. */
let ofRange: Receiver;
let ofName: Receiver;
let closed: Receiver;
let secure: Receiver | undefined;
let selfSigned: Receiver | undefined;
/** Speaks TLS, and then says what the test has it say. */
let talking: Server | undefined;
let talk: (socket: TLSSocket) => void | Promise<void> = () => {};
let manyNames: Receiver | undefined;
let stack: Stack;
let calls: BatchCalls;
let redis: Redis;
let records: JobRecords;
/** By path; the others are answered with 204. */
const behaviours = new Map<string, Behaviour>();

beforeAll(async () => {
  dns = await DnsServer.start();
  receiver = await Receiver.startEverywhere((received, response) => {
    (behaviours.get(received.path) ?? answer(204))(received, response);
  });
  [ofRange, ofName, closed] = await Promise.all([Receiver.start(), Receiver.start(), Receiver.start()]);
  secure = tls && (await Receiver.start(answer(204), tls.issue('right.example')));
  selfSigned = tls && (await Receiver.start(answer(204), tls.selfSigned('alone.example')));
  manyNames = tls && (await Receiver.start(answer(204), tls.issue('many.example', ...MANY_NAMES)));
  talking =
    tls &&
    createServer({ ...tls.issue('talking.example'), maxVersion: 'TLSv1.2' }, (socket) => {
      socket.on('error', () => {});
      socket.once('data', () => void talk(socket));
    });
  await new Promise<void>((resolve) => (talking ? talking.listen(0, '127.0.0.1', resolve) : resolve()));
  const reachable = [
    ...[receiver, secure, selfSigned, manyNames].flatMap((each) => (each ? [each.port] : [])),
    ...(talking ? [portOf(talking)] : []),
  ];
  stack = await Stack.start({
    redisUrl: inject('redisUrl'),
    webhooks: true,
    env: {
      WEBHOOK_SECRET: newSecret(),
      WEBHOOK_SCHEMES: 'http,https',
      WEBHOOK_PORTS: ['80', '443', ...reachable].join(','),
      WEBHOOK_ALLOW: [
        ...reachable.map((port) => `127.0.0.1:${port}`),
        `127.0.0.0/31:${ofRange.port}`,
        `localhost:${ofName.port}`,
      ].join(','),
      WEBHOOK_DNS: dns.address,
      WEBHOOK_RETRY_S: RETRY_S,
      WEBHOOK_TIMEOUT_MS: String(TIMEOUT_MS),
      ...(tls && { NODE_EXTRA_CA_CERTS: tls.file }),
    },
  });
  calls = new BatchCalls(stack);
  redis = new Redis(inject('redisUrl'));
  records = new JobRecords(redis, stack.prefix, 600);
});
afterAll(async () => {
  redis.disconnect();
  await stack.stop();
  for (const each of [receiver, ofRange, ofName, closed, secure, selfSigned, manyNames, dns])
    await each?.stop();
  talking?.close();
  tls?.remove();
});
afterEach(() => {
  expect(receiver.connections.filter((address) => address !== '127.0.0.1')).toEqual([]);
  expect(closed.connections).toEqual([]);
});

let names = 0;
/** A new name with these addresses: at the first look-up, at the second, …; the last stay. */
function newName(...answers: [DnsAnswer, ...DnsAnswer[]]): string {
  const name = `r${names++}.example`;
  dns.set(name, ...answers);
  return name;
}

let paths = 0;
const newPath = () => `/hook-${paths++}`;
const urlOf = (host: string, path = newPath()) => `http://${host}:${receiver.port}${path}`;

/** The delivery once no attempt is planned any more. */
const ended = (self: string, redeliveries = 0): Promise<Delivery> =>
  eventually(async () => {
    const { body } = await calls.call<Delivery>(self);
    return body.status !== 'pending' && body.redeliveries === redeliveries ? body : undefined;
  });

/** Submits a job whose end is to be told to a URL. @returns its delivery, once that has ended */
async function deliver(url: string): Promise<Delivery> {
  const submitted = await stack.post<Job>('/v1/jobs', {
    text: 'a joy from start to finish',
    webhook: { url },
  });
  expect(submitted).toMatchObject({ status: 202 });
  const self = await eventually(async () => {
    const { body } = await calls.call<Job>(submitted.body.urls.self);
    return body.webhook?.delivery ?? undefined;
  });
  return ended(self);
}

/** The same past the API: what it would have refused, and what it took under other settings. */
async function deliverUnchecked(url: string): Promise<Delivery> {
  const { event } = await settleJob(records, url);
  return ended(`/v1/webhooks/${event}`);
}

/** A delivery of which every attempt was refused for one reason. */
const blocked = (reason: string, attempts = ATTEMPTS) => ({
  status: 'failed',
  next_attempt_at: null,
  attempts: Array.from({ length: attempts }, () => ({
    outcome: 'blocked',
    status: null,
    response: null,
    reason: expect.stringContaining(reason) as string,
  })),
});

/** URLs whose text alone says that they are not allowed, and what is said of them. Few share a host: those take turns. */
const REFUSED: [what: string, url: string, why: string][] = [
  [
    'loopback',
    'http://127.0.0.1/',
    'leads to 127.0.0.1, which is not a public address (this machine itself)',
  ],
  ['all of loopback', 'http://127.8.9.1/', 'leads to 127.8.9.1, which is not a public address'],
  ['a private address', 'http://10.0.0.1/', 'leads to 10.0.0.1, which is not a public address (private)'],
  ['another', 'https://172.31.255.255/', 'leads to 172.31.255.255, which is not a public address (private)'],
  ['one more', 'http://192.168.0.1/', 'leads to 192.168.0.1, which is not a public address (private)'],
  [
    'a metadata service',
    'http://169.254.169.254/latest/meta-data/',
    'leads to 169.254.169.254, which is not a public address (link-local, where metadata services are)',
  ],
  ['no address', 'http://0.0.0.0/', 'leads to 0.0.0.0, which is not a public address (no address)'],
  ['decimal', 'http://2130706434/', 'leads to 127.0.0.2, which'],
  ['octal', 'http://0177.0.0.03/', 'leads to 127.0.0.3, which'],
  ['hexadecimal', 'http://0xa9fea9fe/', 'leads to 169.254.169.254, which'],
  ['shortened', 'http://127.4/', 'leads to 127.0.0.4, which'],
  ['full-width digits', 'http://１２７.０.０.５/', 'leads to 127.0.0.5, which'],
  ['loopback in IPv6', 'http://[::1]/', 'leads to ::1, which is not a public address (this machine itself)'],
  [
    'unique local',
    'http://[fd12:3456::1]/',
    'leads to fd12:3456::1, which is not a public address (private)',
  ],
  ['link-local in IPv6', 'http://[fe80::1]/', 'leads to fe80::1, which is not a public address (link-local'],
  ['IPv4 mapped into IPv6', 'http://[::ffff:127.0.0.1]/', 'leads to 127.0.0.1, which'],
  ['the same in hexadecimal', 'http://[::ffff:a9fe:a9fe]/', 'leads to 169.254.169.254, which'],
  ['NAT64', 'http://[64:ff9b::a9fe:a9fe]/', 'leads to 64:ff9b::a9fe:a9fe, which'],
  ['localhost', 'http://localhost/', 'leads to localhost, which is this machine itself'],
  ['what is below localhost', 'http://x.LocalHost./', 'leads to x.localhost, which is this machine itself'],
  ['a user name', 'http://user@example.com/', 'must not contain a user name or password'],
  ['a host before the host', 'http://example.com:80@127.0.0.6/', 'must not contain a user name or password'],
  ['a port', `http://example.com:${SSH}/`, `must not have the port ${SSH} (allowed: `],
  ['a scheme', 'ftp://example.com/', 'must begin with http:// or https://'],
  ['a file', 'file:///etc/passwd', 'must begin with http:// or https://'],
  ['no host', 'http://', 'is not an absolute URL'],
];

describe('a URL with an address that is not allowed', () => {
  /** Without those of BullMQ, and of the workers about their models. */
  const keys = async () => {
    const all = await redis.keys(`${stack.prefix}*`);
    return all.filter((key) => !/:(meta|stalled-check|models|revisions|workers:.*)$/.test(key)).sort();
  };

  test.each(REFUSED)('is refused when it is submitted: %s, %s', async (_what, url, why) => {
    const before = await keys();
    const query = `webhook=${encodeURIComponent(url)}`;
    const answers = await Promise.all([
      stack.post('/v1/jobs', { text: 'a joy', webhook: { url } }),
      calls.post('{"text":"a joy"}\n', `?${query}`),
      calls.call(`/v1/batches?open=true&${query}`, { method: 'POST' }),
    ]);
    const refusal = (path: string) => ({
      status: 422,
      body: { code: 'invalid_request', errors: [{ path, message: expect.stringContaining(why) as string }] },
    });
    expect(answers).toMatchObject([refusal('webhook.url'), refusal('webhook'), refusal('webhook')]);
    expect(await keys()).toEqual(before);
  });

  // Settings change while deliveries wait.
  test.concurrent.each(REFUSED)(
    'is refused at every attempt, however it got there: %s, %s',
    async (_what, url, why) => {
      expect(await deliverUnchecked(url)).toMatchObject({ url, ...blocked(`the URL ${why}`) });
    },
  );
});

describe('a name', () => {
  test.concurrent.each<[what: string, answer: DnsAnswer, why: string]>([
    ['loopback', ['127.0.0.2'], '127.0.0.2, which is not a public address (this machine itself)'],
    ['a private address', ['10.0.0.1'], '10.0.0.1, which is not a public address (private)'],
    ['a metadata service', ['169.254.169.254'], '169.254.169.254, which is not a public address (link-local'],
    ['loopback in IPv6', ['::1'], '::1, which is not a public address (this machine itself)'],
    ['a private address in IPv6', ['fd00::1'], 'fd00::1, which is not a public address (private)'],
    ['IPv4 mapped into IPv6', ['::ffff:127.0.0.2'], '127.0.0.2, which is not a public address'],
    ['one that is public and one that is not', ['1.1.1.1', '10.0.0.1'], '10.0.0.1, which is not a public'],
    ['the same the other way round', ['10.0.0.1', '1.1.1.1'], '10.0.0.1, which is not a public address'],
    ['a public one, and a private one in IPv6', ['1.1.1.1', 'fd00::1'], 'fd00::1, which is not a public'],
    [
      'one that is allowed and one that is not',
      ['127.0.0.1', '127.0.0.2'],
      '127.0.0.2, which is not a public',
    ],
  ])('that leads to %s is refused at every attempt', async (_what, answers, why) => {
    const name = newName(answers);
    const path = newPath();
    expect(await deliver(urlOf(name, path))).toMatchObject(blocked(`${name} leads to ${why}`));
    expect([dns.count(name, 'A'), dns.count(name, 'AAAA')]).toEqual([ATTEMPTS, ATTEMPTS]);
    expect(receiver.at(path)).toEqual([]);
  });

  test('that leads to a private address is refused to batches, too', async () => {
    const name = newName(['10.0.0.1']);
    const { body: batch } = await calls.post(
      '{"text":"a joy"}\n',
      `?webhook=${encodeURIComponent(urlOf(name))}`,
    );
    const self = await eventually(
      async () => (await calls.get(batch.id)).body.webhook?.delivery ?? undefined,
    );
    expect(await ended(self)).toMatchObject({
      type: 'batch.completed',
      ...blocked(`${name} leads to 10.0.0.1, which is not a public address (private)`),
    });
  });

  test('that resolves elsewhere at a later attempt is refused at that attempt', async () => {
    const name = newName(['127.0.0.1'], ['127.0.0.2'], ['127.0.0.1']);
    const path = newPath();
    behaviours.set(path, (received, response) =>
      answer(receiver.at(path).length === 1 ? 500 : 204)(received, response),
    );
    const { status, attempts } = await deliver(urlOf(name, path));
    expect(status).toBe('delivered');
    expect(attempts).toMatchObject([
      { outcome: 'server_error', status: 500 },
      {
        outcome: 'blocked',
        status: null,
        reason: `${name} leads to 127.0.0.2, which is not a public address (this machine itself)`,
      },
      { outcome: 'delivered', status: 204, reason: null },
    ]);
    expect(receiver.at(path)).toHaveLength(2);
  });

  test('that keeps resolving there is given up', async () => {
    const name = newName(['127.0.0.1'], ['169.254.169.254']);
    const path = newPath();
    behaviours.set(path, answer(503));
    const reason = expect.stringContaining(`${name} leads to 169.254.169.254, which is`) as string;
    expect(await deliver(urlOf(name, path))).toMatchObject({
      status: 'failed',
      attempts: [{ outcome: 'server_error' }, { outcome: 'blocked', reason }, { outcome: 'blocked', reason }],
    });
    expect(receiver.at(path)).toHaveLength(1);
  });

  test('that resolves elsewhere right after the check: the connection goes to the checked address', async () => {
    const name = newName(['127.0.0.1'], ['127.0.0.2']);
    const path = newPath();
    expect(await deliver(urlOf(name, path))).toMatchObject({
      status: 'delivered',
      attempts: [{ outcome: 'delivered' }],
    });
    expect([dns.count(name, 'A'), dns.count(name, 'AAAA')]).toEqual([1, 1]);
    expect(receiver.at(path)).toMatchObject([{ headers: { host: `${name}:${receiver.port}` } }]);
  });

  test.concurrent.each<[what: string, answer: DnsAnswer, outcome: string, reason: (name: string) => string]>([
    ['does not exist', 'no such name', 'connection', (name) => `the name ${name} does not exist`],
    ['has no address', [], 'connection', (name) => `the name ${name} has no address`],
    [
      'has a server that fails',
      'failure',
      'connection',
      (name) => `the name ${name} cannot be looked up (ESERVFAIL)`,
    ],
    ['has a server that says nothing', 'silence', 'timeout', () => `no answer within ${TIMEOUT_MS} ms`],
  ])('that %s is tried again, by the schedule', async (_what, answers, outcome, reason) => {
    const name = newName(answers);
    const attempt = { outcome, status: null, reason: reason(name), response: null };
    expect(await deliver(urlOf(name))).toMatchObject({
      status: 'failed',
      attempts: Array.from({ length: ATTEMPTS }, () => attempt),
    });
  });

  test('that exists at a later attempt is delivered to', async () => {
    const name = newName('no such name', ['127.0.0.1']);
    expect(await deliver(urlOf(name))).toMatchObject({
      status: 'delivered',
      attempts: [
        { outcome: 'connection', reason: `the name ${name} does not exist` },
        { outcome: 'delivered' },
      ],
    });
  });
});

describe('a redirect', () => {
  test.concurrent.each(
    [301, 302, 303, 307, 308].flatMap((status) => [
      [status, 'a private address', () => urlOf('127.0.0.2', '/elsewhere')] as const,
      [status, 'a receiver that is allowed', () => urlOf('127.0.0.1', '/elsewhere')] as const,
    ]),
  )('%i to %s is an answer, and not followed', async (status, _what, location) => {
    const path = newPath();
    behaviours.set(path, answer(status, { location: location() }));
    const attempt = { outcome: 'redirect', status, reason: 'redirects are not followed' };
    expect(await deliver(urlOf('127.0.0.1', path))).toMatchObject({
      status: 'failed',
      attempts: Array.from({ length: ATTEMPTS }, () => attempt),
    });
    expect(receiver.at(path)).toHaveLength(ATTEMPTS);
    expect(receiver.at('/elsewhere')).toEqual([]);
  });
});

describe('sent again', () => {
  const redeliver = async ({ urls }: Delivery): Promise<Delivery> => {
    const { status, body } = await calls.call<Delivery>(`${urls.self}/redeliver`, { method: 'POST' });
    expect(status).toBe(202);
    return ended(urls.self, body.redeliveries);
  };

  test('a refused delivery is checked again, and refused again', async () => {
    const name = newName(['10.0.0.1']);
    const failed = await deliver(urlOf(name));
    expect(failed).toMatchObject(blocked(`${name} leads to 10.0.0.1`));
    expect(await redeliver(failed)).toMatchObject(blocked(`${name} leads to 10.0.0.1`, 2 * ATTEMPTS));
    expect(dns.count(name, 'A')).toBe(2 * ATTEMPTS);
  });

  test('a delivered one is refused once its name resolves elsewhere', async () => {
    const name = newName(['127.0.0.1'], ['127.0.0.2']);
    const path = newPath();
    const delivered = await deliver(urlOf(name, path));
    expect(delivered).toMatchObject({ status: 'delivered' });
    const { status, attempts } = await redeliver(delivered);
    expect([status, attempts.map(({ outcome }) => outcome)]).toEqual([
      'failed',
      ['delivered', ...Array<string>(ATTEMPTS).fill('blocked')],
    ]);
    expect(receiver.at(path)).toHaveLength(1);
  });
});

describe('an entry of the allow list opens exactly what it names', () => {
  const reached = async (url: string) => expect(await deliver(url)).toMatchObject({ status: 'delivered' });
  const refused = async (url: string, why: string) => {
    const { status, body } = await stack.post('/v1/jobs', { text: 'a joy', webhook: { url } });
    expect([status, body]).toMatchObject([
      422,
      { errors: [{ path: 'webhook.url', message: expect.stringContaining(why) as string }] },
    ]);
  };

  test('an address: in any spelling, and under any name', async () => {
    for (const host of ['127.0.0.1', '2130706433', '[::ffff:127.0.0.1]', newName(['127.0.0.1'])]) {
      await reached(urlOf(host));
    }
    await refused(urlOf('127.0.0.2'), 'leads to 127.0.0.2, which is not a public address');
    await refused(`http://127.0.0.1:${closed.port}/`, `must not have the port ${closed.port}`);
  });

  test('a range of addresses', async () => {
    const { port } = ofRange;
    await reached(`http://127.0.0.1:${port}/`);
    await refused(`http://127.0.0.2:${port}/`, `leads to 127.0.0.2, where port ${port} is not allowed`);
    const [inside, outside] = [newName(['127.0.0.1']), newName(['127.0.0.2'])];
    await reached(`http://${inside}:${port}/`);
    expect(await deliver(`http://${outside}:${port}/`)).toMatchObject(
      blocked(`${outside} leads to 127.0.0.2, where port ${port} is not allowed`),
    );
  });

  test('a name: that name, and not its addresses', async () => {
    const { port } = ofName;
    await reached(`http://localhost:${port}/`);
    await refused(`http://127.0.0.1:${port}/`, `must not have the port ${port}`);
    await refused(`http://x.localhost:${port}/`, `must not have the port ${port}`);
    await refused(urlOf('localhost'), 'leads to localhost, which is this machine itself');
  });
});

describe.skipIf(tls === undefined)('TLS', () => {
  const tlsUrl = (name: string, to: Receiver | undefined, path = newPath()) =>
    `https://${name}:${to?.port}${path}`;
  const broken = (reason: string) => ({
    status: 'failed',
    attempts: Array.from({ length: ATTEMPTS }, () => ({
      outcome: 'connection',
      status: null,
      reason: expect.stringContaining(reason) as string,
    })),
  });

  test('a receiver with a valid certificate is delivered to, and gets its name by SNI', async () => {
    dns.set('right.example', ['127.0.0.1']);
    const path = newPath();
    expect(await deliver(tlsUrl('right.example', secure, path))).toMatchObject({ status: 'delivered' });
    expect(secure?.at(path)).toMatchObject([{ servername: 'right.example' }]);
  });

  test('a certificate for another name is refused', async () => {
    const name = newName(['127.0.0.1']);
    expect(await deliver(tlsUrl(name, secure))).toMatchObject(
      broken(`Host: ${name}. is not in the cert's altnames`),
    );
    expect(await deliver(tlsUrl('127.0.0.1', secure))).toMatchObject(broken('is not in the cert'));
  });

  test('a self-signed certificate is refused', async () => {
    dns.set('alone.example', ['127.0.0.1']);
    expect(await deliver(tlsUrl('alone.example', selfSigned))).toMatchObject(
      broken('self-signed certificate'),
    );
    expect(selfSigned?.received).toEqual([]);
  });

  test('the reason does not repeat all names of a certificate', async () => {
    const name = newName(['127.0.0.1']);
    const delivery = await deliver(tlsUrl(name, manyNames));
    expect(delivery).toMatchObject(broken(`Host: ${name}. is not in the cert's altnames`));
    for (const { reason } of delivery.attempts) expect(reason).toHaveLength(501);
  });

  test('a receiver that sends much TLS traffic for few bytes of response is cut off', async () => {
    dns.set('talking.example', ['127.0.0.1']);
    // A record of TLS for each byte: 6 KB are 180 KB.
    talk = async (socket) => {
      for (const byte of `HTTP/1.1 200 OK\r\n${'A: b\r\n'.repeat(1000)}`) {
        await new Promise((resolve) => socket.write(byte, resolve));
      }
    };
    const url = `https://talking.example:${talking && portOf(talking)}/`;
    expect(await deliver(url)).toMatchObject(broken('the response is longer than 131072 bytes'));
  });

  test('a renegotiation is refused', async () => {
    talk = (socket) => void socket.renegotiate({}, () => {});
    const delivery = await deliver(`https://talking.example:${talking && portOf(talking)}/`);
    expect(delivery).toMatchObject(broken('handshake failure'));
  });

  test('does not open addresses that are refused without it', async () => {
    const name = newName(['127.0.0.2']);
    expect(await deliver(tlsUrl(name, secure))).toMatchObject(blocked(`${name} leads to 127.0.0.2, which`));
  });
});
