/** Pipelining: requests that a client sends on one connection without waiting for responses. */
import { createServer, type RequestListener, type Server } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { afterEach, describe, expect, inject, test } from 'vitest';
import { oneAtATime } from '../../src/api/load/pipelining.ts';
import { Stack } from '../support/processes/stack.ts';

const MAX = 100;
let server: Server | undefined;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

/** A server with only the rule under test. @returns its port */
async function serve(handle: RequestListener): Promise<number> {
  const listening = createServer(oneAtATime(handle, MAX));
  server = listening;
  await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve));
  return (listening.address() as AddressInfo).port;
}

/** Sends all requests in one write. @returns all data until the connection is closed */
function sendAtOnce(port: number, requests: string[]): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    let answers = '';
    socket.on('data', (data: Buffer) => (answers += data.toString()));
    socket.on('error', () => {});
    socket.on('close', () => resolve(answers));
    socket.write(requests.join(''));
  });
}

const get = (path: string, headers = '') => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n`;
const post = (path: string, body: string) =>
  `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
const CLOSE = 'Connection: close\r\n';

describe('requests of one connection', () => {
  test('are begun one after the other, and answered in their order, bodies included', async () => {
    let open = 0;
    let most = 0;
    const port = await serve((request, response) => {
      most = Math.max(most, ++open);
      let body = '';
      request.setEncoding('utf8').on('data', (text: string) => (body += text));
      // The first request takes longest: handled in parallel, it would be answered last.
      const answer = () => {
        open--;
        response.end(`<${request.url} ${body}>`);
      };
      setTimeout(answer, request.url === '/0' ? 50 : 1);
    });
    const requests = Array.from({ length: MAX }, (_, i) =>
      i % 2 ? post(`/${i}`, `body ${i}`) : get(`/${i}`),
    );
    const answers = await sendAtOnce(port, [...requests, get('/last', CLOSE)]);
    expect(most).toBe(1);
    expect([...answers.matchAll(/<(\S+) (.*?)>/g)].map(([, url, body]) => `${url} ${body}`)).toEqual([
      ...Array.from({ length: MAX }, (_, i) => `/${i} ${i % 2 ? `body ${i}` : ''}`),
      '/last ',
    ]);
  });

  test('one more than may wait closes the connection', async () => {
    const begun: (string | undefined)[] = [];
    const port = await serve((request) => begun.push(request.url));
    const requests = Array.from({ length: MAX + 2 }, (_, i) => get(`/${i}`));
    expect(await sendAtOnce(port, requests)).toBe('');
    expect(begun).toEqual(['/0']);
  });

  test('are not started once the client has left', async () => {
    const begun: (string | undefined)[] = [];
    const port = await serve((request, response) => {
      begun.push(request.url);
      request.socket.destroy();
      response.end();
    });
    await sendAtOnce(port, [get('/0'), get('/1'), get('/2')]);
    expect(begun).toEqual(['/0']);
  });
});

test('the API closes a connection with 10,000 requests at once, more than MAX_PIPELINED_REQUESTS', async () => {
  const stack = await Stack.start({
    redisUrl: inject('redisUrl'),
    workers: 0,
    env: { MAX_PIPELINED_REQUESTS: '3' },
  });
  try {
    const port = Number(new URL(stack.url).port);
    const answered = async (requests: string[]) =>
      (await sendAtOnce(port, requests)).match(/HTTP\/1.1 200/g)?.length ?? 0;
    const three = Array<string>(3).fill(get('/v1/models'));
    expect(await answered([...three, get('/v1/models', CLOSE)])).toBe(4);
    expect(await answered(Array<string>(10_000).fill(get('/v1/models')))).toBeLessThan(4);
  } finally {
    await stack.stop();
  }
});
