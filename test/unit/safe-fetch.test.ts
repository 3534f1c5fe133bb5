/** One attempt to deliver, against receivers and DNS servers that do all they can to hold it up or lead it astray. */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { Worker } from 'node:worker_threads';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { parseAllowed, type ReceiverPolicy } from '../../src/shared/runtime/receivers.ts';
import { BoundedSocket } from '../../src/worker/webhooks/bounded-socket.ts';
import {
  Blocked,
  SafeFetch,
  TimedOut,
  type Reply,
  type Request,
} from '../../src/worker/webhooks/safe-fetch.ts';
import { DnsServer, type DnsAnswer } from '../support/network/dns-server.ts';

/** Longer than any test may take: what does not end by itself fails the test. */
const ENDLESS_MS = 600_000;
/** As they are by default. */
const LIMITS = { bytes: 65_536, interim: 10 };
/** For what is to run out. */
const SHORT_MS = 200;

/** A receiver on the level of bytes. */
class RawReceiver {
  readonly requests: string[] = [];
  port = 0;
  behave: (socket: Socket) => void = (socket) => socket.end('HTTP/1.1 204 No Content\r\n\r\n');
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('error', () => {});
      let request = '';
      socket.on('data', (data) => {
        request += data.toString();
        const [head = '', body] = request.split('\r\n\r\n');
        const length = Number(/content-length: (\d+)/i.exec(head)?.[1]);
        if (body === undefined || Buffer.byteLength(body) < length) return;
        this.requests.push(request);
        request = '';
        this.behave(socket);
      });
    });
  }

  /** @param host all addresses of this machine, if it is left out */
  static async start(host?: string): Promise<RawReceiver> {
    const receiver = new RawReceiver();
    await new Promise<void>((resolve) => receiver.#server.listen(0, host, resolve));
    receiver.port = (receiver.#server.address() as AddressInfo).port;
    return receiver;
  }

  /** Resolves when the other side has closed them all. */
  async closed(): Promise<void> {
    await Promise.all(
      [...this.#sockets].map((socket) => new Promise((resolve) => socket.once('close', resolve))),
    );
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/**
 * A receiver on 127.0.0.1 in a thread that sleeps while the kernel's queue of its connections is full: the kernel drops the
 * next ones, and the other side tries again after a second.
 */
class SlowToConnect {
  readonly port: number;
  readonly #thread: Worker;
  readonly #fillers: Socket[] = [];

  private constructor(thread: Worker, port: number) {
    this.#thread = thread;
    this.port = port;
  }

  static async start(): Promise<SlowToConnect> {
    const thread = new Worker(
      `const { parentPort } = require('node:worker_threads');
      const server = require('node:net').createServer((socket) => {
        socket.on('error', () => {});
        socket.on('data', () => socket.end('HTTP/1.1 204 No Content\\r\\n\\r\\n'));
      });
      server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => parentPort.postMessage(server.address().port));
      parentPort.on('message', (sleeping) => {
        Atomics.store(sleeping, 0, 1);
        Atomics.wait(sleeping, 1, 0, 600);
      });`,
      { eval: true },
    );
    const [port] = (await once(thread, 'message')) as [number];
    return new SlowToConnect(thread, port);
  }

  /** From now on it sleeps, for 0.6 s. */
  async fill(): Promise<void> {
    const sleeping = new Int32Array(new SharedArrayBuffer(8));
    this.#thread.postMessage(sleeping);
    await expect.poll(() => Atomics.load(sleeping, 0)).toBe(1);
    for (let i = 0; i < 2; i++) {
      const filler = connect(this.port, '127.0.0.1');
      this.#fillers.push(filler.on('error', () => {}));
      await once(filler, 'connect');
    }
  }

  async stop(): Promise<void> {
    for (const filler of this.#fillers) filler.destroy();
    await this.#thread.terminate();
  }
}

let receiver: RawReceiver;
let dns: DnsServer;

beforeAll(async () => {
  dns = await DnsServer.start();
});
afterAll(() => dns.stop());
beforeEach(async () => {
  receiver = await RawReceiver.start();
});
afterEach(() => receiver.stop());

/** Rules under which only loopback can be reached, and only the receiver's port. */
function policy(...allowed: string[]): ReceiverPolicy {
  return {
    schemes: ['http', 'https'],
    ports: [receiver.port],
    allowed: allowed.map(parseAllowed),
  };
}

/** A POST to the receiver. */
function post(request: Partial<Request> = {}, rules = policy('127.0.0.1')): Promise<Reply> {
  return new SafeFetch(rules, [dns.address], LIMITS).post({
    url: `http://127.0.0.1:${receiver.port}/hook`,
    headers: {},
    body: '{}',
    timeoutMs: ENDLESS_MS,
    signal: new AbortController().signal,
    ...request,
  });
}

/** Answers with these bytes, and leaves the connection as it is. */
function says(...pieces: string[]): void {
  receiver.behave = (socket) => pieces.forEach((piece) => socket.write(piece));
}

describe('the request', () => {
  test('is a POST on its own connection, with the given headers and the length in bytes', async () => {
    const body = '{"text":"ein schöner Film 🎬"}';
    expect(await post({ body, headers: { 'webhook-id': 'evt_1' } })).toEqual({
      status: 204,
      retryAfter: undefined,
      body: '',
    });
    await post({ body });
    const [first = '', second = ''] = receiver.requests;
    expect(first).toMatch(/^POST \/hook HTTP\/1\.1\r\n/);
    expect(first.split('\r\n')).toEqual(
      expect.arrayContaining([
        'webhook-id: evt_1',
        `content-length: ${Buffer.byteLength(body)}`,
        'connection: close',
        `Host: 127.0.0.1:${receiver.port}`,
      ]),
    );
    expect(first.endsWith(`\r\n\r\n${body}`)).toBe(true);
    expect(second).not.toContain('webhook-id');
    await receiver.closed();
  });
});

describe('the response', () => {
  test('Retry-After is passed on', async () => {
    says('HTTP/1.1 503 Busy\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n');
    expect(await post()).toMatchObject({ status: 503, retryAfter: '120' });
  });

  test('interim responses are skipped', async () => {
    says(
      'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n',
      'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
    );
    expect(await post()).toMatchObject({ status: 200 });
  });

  test('a redirect is a response like any other, wherever it leads', async () => {
    says(
      `HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:${receiver.port}/other\r\nContent-Length: 0\r\n\r\n`,
    );
    expect(await post()).toMatchObject({ status: 307 });
    expect(receiver.requests).toHaveLength(1);
  });

  test('the second of two responses on one connection is ignored', async () => {
    says('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n');
    expect(await post()).toMatchObject({ status: 200, body: 'ok' });
  });

  describe('body', () => {
    const OK = 'HTTP/1.1 200 OK\r\n';

    test('is kept up to 2 KB', async () => {
      says(`${OK}Content-Length: 2048\r\n\r\n${'x'.repeat(2048)}`);
      expect((await post()).body).toBe('x'.repeat(2048));
      says(`${OK}Content-Length: 3000\r\n\r\n${'x'.repeat(3000)}`);
      expect((await post()).body).toBe('x'.repeat(2048));
    });

    test('is not cut inside a character', async () => {
      // The 683rd euro sign begins at byte 2,046.
      says(`${OK}Content-Length: 3000\r\n\r\n${'€'.repeat(1000)}`);
      expect((await post()).body).toBe('€'.repeat(682));
    });

    test('is valid text whatever its bytes are', async () => {
      receiver.behave = (socket) => {
        socket.write(`${OK}Content-Length: 4\r\n\r\n`);
        socket.write(Buffer.from([0x61, 0x00, 0xff, 0x62]));
      };
      expect((await post()).body).toBe('a\u{fffd}\u{fffd}b');
    });

    test('that never ends is not read to the end, and the connection is closed', async () => {
      receiver.behave = (socket) => {
        socket.write(`${OK}\r\n`);
        const flood = () => {
          while (socket.writable && socket.write('x'.repeat(10_000)));
        };
        socket.on('drain', flood);
        flood();
      };
      expect(await post()).toEqual({ status: 200, retryAfter: undefined, body: 'x'.repeat(2048) });
      await receiver.closed();
    });

    test('that never comes is not waited for', async () => {
      says(`${OK}Content-Length: 100\r\n\r\n`, 'begin');
      expect(await post()).toMatchObject({ status: 200, body: 'begin' });
      await receiver.closed();
    });

    test('that is still arriving at the timeout does not matter: the receiver has taken the event', async () => {
      says(`${OK}Content-Length: 100\r\n\r\n`, 'begin');
      expect(await post({ timeoutMs: 800 })).toMatchObject({ status: 200, body: 'begin' });
    });

    test.each<[string, (socket: Socket) => void]>([
      ['a reset connection', (socket) => socket.resetAndDestroy()],
      ['a closed connection', (socket) => socket.end()],
      ['a chunk without a length', (socket) => socket.write('zz\r\n')],
    ])('that ends in %s changes nothing either', async (_what, end) => {
      receiver.behave = (socket) => {
        socket.write(`${OK}Transfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n`, () =>
          setImmediate(end, socket),
        );
      };
      expect(await post()).toMatchObject({ status: 200 });
      // In one piece with the head.
      says(`${OK}Transfer-Encoding: chunked\r\n\r\nzz\r\n`);
      expect(await post()).toMatchObject({ status: 200, body: '' });
    });
  });

  test.each([
    ['no HTTP', 'hello\r\n\r\n'],
    ['HTTP/0.9', '<html></html>'],
    ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['the banner of SSH', 'SSH-2.0-OpenSSH_9.6\r\n'],
    ['a reply of Redis', '-ERR unknown command\r\n'],
    ['a status of two digits', 'HTTP/1.1 99 X\r\n\r\n'],
    ['a status of four digits', 'HTTP/1.1 2000 X\r\n\r\n'],
    ['a status of letters', 'HTTP/1.1 2xx X\r\n\r\n'],
    ['status 0', 'HTTP/1.1 000 X\r\n\r\n'],
    ['status 600', 'HTTP/1.1 600 X\r\n\r\n'],
    ['status 999', 'HTTP/1.1 999 X\r\n\r\n'],
    ['no status', 'HTTP/1.1\r\n\r\n'],
    // Node says nothing at all of this one unless it is listened for.
    ['an upgrade', 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n'],
    ['an upgrade to nothing', 'HTTP/1.1 101 Switching Protocols\r\n\r\n'],
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok'],
    ['a length, and chunks', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok'],
    ['a header without a colon', 'HTTP/1.1 200 OK\r\nnonsense\r\n\r\n'],
    ['a NUL in a header', 'HTTP/1.1 200 OK\r\nA: \0\r\n\r\n'],
    ['lines that end with LF only', 'HTTP/1.1 200 OK\nContent-Length: 0\n\n'],
    ['headers without end', `HTTP/1.1 200 OK\r\n${`A: ${'x'.repeat(1000)}\r\n`.repeat(100)}`],
  ])('%s is an error, not an answer, and closes the connection', async (_what, bytes) => {
    says(bytes);
    const error = await post().catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(Error);
    // Which makes it the outcome `connection`.
    expect(error).not.toBeInstanceOf(TimedOut);
    expect(error).not.toBeInstanceOf(Blocked);
    expect((error as Error).message).not.toBe('');
    await receiver.closed();
  });

  test.each<[string, (socket: Socket) => void]>([
    ['closes the connection', (socket) => socket.end()],
    ['resets it', (socket) => socket.resetAndDestroy()],
    ['closes it inside the headers', (socket) => socket.end('HTTP/1.1 200 OK\r\nA: b\r\n')],
  ])('a receiver that %s', async (_what, behave) => {
    receiver.behave = behave;
    await expect(post()).rejects.toMatchObject({ code: 'ECONNRESET' });
  });

  test('no server at the address', async () => {
    const request = { url: `http://127.0.0.1:${receiver.port}/` };
    const rules = policy('127.0.0.1');
    await receiver.stop();
    await expect(post(request, rules)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });
});

describe('a receiver that sends too much', () => {
  const INTERIM = 'HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n';
  const DONE = 'HTTP/1.1 204 No Content\r\n\r\n';
  /** Sends it again and again, for as long as the connection is there. */
  const floods =
    (bytes: string, first = '') =>
    (socket: Socket) => {
      const pour = () => {
        while (socket.writable && socket.write(bytes));
      };
      socket.write(first);
      socket.on('drain', pour);
      pour();
    };

  test('ten interim responses are fine, eleven are not', async () => {
    says(INTERIM.repeat(10), DONE);
    expect(await post()).toMatchObject({ status: 204 });
    says(INTERIM.repeat(11), DONE);
    await expect(post()).rejects.toThrow('more than 10 interim responses (1xx) came before the answer');
    await receiver.closed();
  });

  test('interim responses and headers count as bytes', async () => {
    const long = (bytes: number) => `HTTP/1.1 103 Early Hints\r\n${'A: b\r\n'.repeat(bytes / 6)}\r\n`;
    says(long(15_000).repeat(4), DONE);
    expect(await post()).toMatchObject({ status: 204 });
    says(long(15_000).repeat(5), DONE);
    await expect(post()).rejects.toThrow('the response is longer than 65536 bytes');
    await receiver.closed();
  });

  test.each([
    ['interim responses', INTERIM.repeat(1000), 'more than 10 interim responses'],
    ['empty lines', '\r\n'.repeat(30_000), 'the response is longer than 65536 bytes'],
  ])('%s without end', async (_what, bytes, message) => {
    receiver.behave = floods(bytes);
    await expect(post()).rejects.toThrow(message);
    await receiver.closed();
  });

  test.each([
    ['chunks of one byte', '1\r\nx\r\n'.repeat(10_000), '', 'x'.repeat(2048)],
    ['extensions of chunks', `1;${'e'.repeat(1000)}\r\nx\r\n`.repeat(100), '', 'x'],
    ['trailers', 'A: b\r\n'.repeat(10_000), '0\r\n', ''],
  ])('%s without end: it has answered', async (_what, bytes, first, body) => {
    receiver.behave = floods(bytes, `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${first}`);
    const reply = await post();
    expect(reply).toMatchObject({ status: 200 });
    expect(reply.body.startsWith(body)).toBe(true);
    await receiver.closed();
  });

  test('bytes of the same read are not parsed after the connection is destroyed', async () => {
    const { port } = receiver;
    receiver.behave = (socket) => socket.end('x'.repeat(60_000));
    const socket = connect(port, '127.0.0.1');
    const bounded = new BoundedSocket(socket, 65_536);
    bounded.write('POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n');
    const seen: number[] = [];
    bounded.on('data', (piece: Buffer) => {
      seen.push(piece.length);
      if (seen.length === 3) bounded.destroy();
    });
    await once(bounded, 'close');
    expect(seen).toEqual([1024, 1024, 1024]);
    expect(socket.destroyed).toBe(true);
  });
});

describe('a timeout', () => {
  const every = (ms: number, line: string) => (socket: Socket) => {
    const timer = setInterval(() => socket.write(line), ms);
    socket.on('close', () => clearInterval(timer));
  };
  test.each<[string, (socket: Socket) => void]>([
    ['and no byte has come', () => {}],
    ['and the status line is not whole', (socket) => socket.write('HTTP/1.1 200')],
    [
      'and the headers do not end',
      (socket) => {
        socket.write('HTTP/1.1 200 OK\r\n');
        every(20, 'A: b\r\n')(socket);
      },
    ],
    ['and interim answers do not end', every(20, 'HTTP/1.1 100 Continue\r\n\r\n')],
  ])('%s', async (_what, behave) => {
    receiver.behave = behave;
    const error = await post({ timeoutMs: SHORT_MS }).catch((thrown: unknown) => thrown);
    expect(error).toEqual(new TimedOut(`no answer within ${SHORT_MS} ms`));
    await receiver.closed();
  });
});

describe('a signal', () => {
  test('that has fired before prevents the request', async () => {
    const reason = new Error('stopping');
    await expect(post({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(receiver.requests).toEqual([]);
  });

  test('interrupts a request without a response, with its reason', async () => {
    const stopping = new AbortController();
    const reason = new Error('stopping');
    receiver.behave = () => stopping.abort(reason);
    await expect(post({ signal: stopping.signal })).rejects.toBe(reason);
    await receiver.closed();
  });

  test('interrupts a look-up', async () => {
    dns.set('silent.example', 'silence');
    const stopping = new AbortController();
    const reason = new Error('stopping');
    const done = post({ url: `http://silent.example:${receiver.port}/`, signal: stopping.signal });
    await expect.poll(() => dns.count('silent.example', 'A')).toBe(1);
    stopping.abort(reason);
    await expect(done).rejects.toBe(reason);
  });
});

describe('a name', () => {
  let names = 0;
  /** A POST to a new name that has these addresses. */
  const lookUp = (answer: DnsAnswer, rules = policy('127.0.0.1'), request: Partial<Request> = {}) => {
    const name = `r${names++}.example`;
    dns.set(name, answer);
    return { name, done: post({ url: `http://${name}:${receiver.port}/hook`, ...request }, rules) };
  };

  test('is looked up once per attempt, and the connection goes to that address', async () => {
    const { name, done } = lookUp(['127.0.0.1']);
    expect(await done).toMatchObject({ status: 204 });
    expect(receiver.requests[0]).toContain(`Host: ${name}:${receiver.port}\r\n`);
    expect([dns.count(name, 'A'), dns.count(name, 'AAAA')]).toEqual([1, 1]);
    // However long the first answer was good for.
    await post({ url: `http://${name}:${receiver.port}/` });
    expect([dns.count(name, 'A'), dns.count(name, 'AAAA')]).toEqual([2, 2]);
  });

  test.each<[string, DnsAnswer]>([
    ['the other kind has none', ['127.0.0.1']],
    ['the look-up of the other kind fails', { A: ['127.0.0.1'], AAAA: 'failure' }],
    ['only IPv6', ['::1']],
    ['IPv6, and the look-up of IPv4 fails', { A: 'failure', AAAA: ['::1'] }],
    ['IPv4 carried in IPv6', ['::ffff:127.0.0.1']],
    ['several', ['127.0.0.1', '127.0.0.2', '::1']],
  ])('with an address that is allowed: %s', async (_what, answer) => {
    expect(await lookUp(answer, policy('127.0.0.0/8', '::1')).done).toMatchObject({ status: 204 });
  });

  test('with several addresses is reached if one of them accepts connections', async () => {
    const only = await RawReceiver.start('127.0.0.1');
    const rules = { ...policy('127.0.0.0/8'), ports: [only.port] };
    const ask = (...addresses: string[]) => {
      dns.set('several.example', addresses);
      return post({ url: `http://several.example:${only.port}/` }, rules);
    };
    expect(await ask('127.0.0.3', '127.0.0.2', '127.0.0.1')).toMatchObject({ status: 204 });
    await only.stop();
    await expect(ask('127.0.0.3', '127.0.0.2')).rejects.toMatchObject({
      errors: [{ code: 'ECONNREFUSED' }, { code: 'ECONNREFUSED' }],
    });
  });

  test('with more addresses than the limit is tried at eight of each kind', async () => {
    const only = await RawReceiver.start('127.0.0.1');
    const rules = { ...policy('127.0.0.0/8'), ports: [only.port] };
    const others = (count: number) => Array.from({ length: count }, (_, i) => `127.0.1.${i}`);
    const ask = (addresses: string[]) => {
      dns.set('many.example', addresses);
      return post({ url: `http://many.example:${only.port}/` }, rules);
    };
    expect(await ask([...others(7), '127.0.0.1'])).toMatchObject({ status: 204 });
    const error = await ask([...others(8), '127.0.0.1']).catch((thrown: unknown) => thrown);
    expect((error as AggregateError).errors).toHaveLength(8);
    await only.stop();
  });

  test('with several addresses is reached though the working one takes a second to connect', async () => {
    const slow = await SlowToConnect.start();
    try {
      const rules = { ...policy('127.0.0.0/8', '::1'), ports: [slow.port] };
      dns.set('far.example', { A: ['127.0.0.1'], AAAA: ['::1'] });
      const url = `http://far.example:${slow.port}/`;
      await slow.fill();
      expect(await post({ url, timeoutMs: 15_000 }, rules)).toMatchObject({ status: 204 });
    } finally {
      await slow.stop();
    }
  });

  test.each<[string, DnsAnswer, string]>([
    ['a private address', ['10.0.0.1'], '10.0.0.1, which is not a public address (private)'],
    [
      'a metadata service',
      ['169.254.169.254'],
      '169.254.169.254, which is not a public address (link-local, where metadata services are)',
    ],
    ['loopback', ['127.0.0.2'], '127.0.0.2, which is not a public address (this machine itself)'],
    ['0.0.0.0', ['0.0.0.0'], '0.0.0.0, which is not a public address (no address)'],
    ['loopback in IPv6', ['::1'], '::1, which is not a public address (this machine itself)'],
    ['IPv4 mapped into IPv6', ['::ffff:10.0.0.1'], '10.0.0.1, which is not a public address (private)'],
    // The resolver writes it ::127.0.0.1, which a careless reader takes for the address that is allowed.
    [
      'IPv4 in IPv6 as it was once done',
      ['::7f00:1'],
      '::7f00:1, which is not a public address (not routed)',
    ],
    ['NAT64', ['64:ff9b::7f00:1'], '64:ff9b::7f00:1, which is not a public address (IPv4 in disguise)'],
    ['one that is allowed and one that is not', ['127.0.0.1', '10.0.0.1'], '10.0.0.1, which is not'],
    ['the same the other way round', ['10.0.0.1', '127.0.0.1'], '10.0.0.1, which is not'],
    ['one that is allowed, and another in IPv6', ['127.0.0.1', 'fd00::1'], 'fd00::1, which is not'],
    ['one that is public and one that is not', ['1.1.1.1', '10.0.0.1'], '10.0.0.1, which is not'],
    [
      'one that is not, while the other kind fails',
      { A: ['10.0.0.1'], AAAA: 'failure' },
      '10.0.0.1, which is',
    ],
  ])('that leads to %s is blocked', async (_what, answer, where) => {
    const { name, done } = lookUp(answer);
    const error = await done.catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(Blocked);
    expect((error as Error).message).toMatch(`${name} leads to ${where}`);
    expect(receiver.requests).toEqual([]);
  });

  test('may resolve to an address with a port that is allowed for this address only', async () => {
    const rules = { ...policy(`127.0.0.1:${receiver.port}`), ports: [80] };
    expect(await lookUp(['127.0.0.1'], rules).done).toMatchObject({ status: 204 });
    await expect(lookUp(['127.0.0.2'], rules).done).rejects.toThrow(
      `leads to 127.0.0.2, where port ${receiver.port} is not allowed`,
    );
    await expect(lookUp(['1.1.1.1'], rules).done).rejects.toThrow(
      `leads to 1.1.1.1, where port ${receiver.port} is not allowed`,
    );
  });

  test.each<[string, DnsAnswer, (name: string) => string]>([
    ['does not exist', 'no such name', (name) => `the name ${name} does not exist`],
    ['has no address', [], (name) => `the name ${name} has no address`],
    ['has a server that fails', 'failure', (name) => `the name ${name} cannot be looked up (ESERVFAIL)`],
    [
      'has no address of one kind, while the look-up of the other fails',
      { A: [], AAAA: 'failure' },
      (name) => `the name ${name} cannot be looked up (ESERVFAIL)`,
    ],
  ])('that %s is an error that says so', async (_what, answer, message) => {
    const { name, done } = lookUp(answer);
    const error = await done.catch((thrown: unknown) => thrown);
    expect(error).toEqual(new Error(message(name)));
    expect(error).not.toBeInstanceOf(Blocked);
  });

  test('whose DNS servers do not answer fails at the timeout, or when the resolver gives up, if that is sooner', async () => {
    const slow = lookUp('silence', policy(), { timeoutMs: SHORT_MS });
    await expect(slow.done).rejects.toEqual(new TimedOut(`no answer within ${SHORT_MS} ms`));
    const { name, done } = lookUp('silence');
    const error = await done.catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(TimedOut);
    expect(error).toMatchObject({ message: `no DNS server answered for ${name}` });
  });

  test('that the operator allows is looked up with the system resolver, and may resolve to any address', async () => {
    const url = `http://localhost:${receiver.port}/`;
    expect(await post({ url }, policy('localhost'))).toMatchObject({ status: 204 });
    await expect(post({ url }, policy())).rejects.toThrow(
      'the URL leads to localhost, which is this machine itself',
    );
    expect(dns.count('localhost', 'A')).toBe(0);
  });
});

test('a URL that was valid when it was submitted is checked again', async () => {
  const error = await post({}, policy()).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(Blocked);
  expect((error as Error).message).toBe(
    'the URL leads to 127.0.0.1, which is not a public address (this machine itself)',
  );
  await expect(post({}, { ...policy('127.0.0.1'), schemes: ['https'] })).rejects.toThrow(
    'the URL must begin with https://',
  );
  expect(receiver.requests).toEqual([]);
});
