/** Idle connections outlive Node's 5 s and the 60 s of load balancers, as KEEP_ALIVE_S says, and hold up no shutdown. */
import { createServer } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { afterEach, expect, inject, test } from 'vitest';
import { closeWhenIdle, keepAlive, listen } from '../../src/shared/runtime/listen.ts';

import { Stack } from '../support/processes/stack.ts';

/** Longer than Node keeps an idle connection by default, its margin included. */
const NODES_OWN_MS = 7000;

let stack: Stack | undefined;
let socket: Socket | undefined;
afterEach(async () => {
  socket?.destroy();
  await stack?.stop();
});

/** One connection, as a load balancer keeps it. */
class Connection {
  readonly #socket: Socket;
  #received = '';
  readonly ended: Promise<void>;

  constructor(url: string) {
    this.#socket = socket = connect(Number(new URL(url).port), '127.0.0.1');
    this.ended = new Promise((resolve, reject) => {
      this.#socket.once('end', resolve);
      this.#socket.once('error', reject);
    });
    this.#socket.on('data', (chunk: Buffer) => (this.#received += chunk.toString()));
  }

  /** The head of the answer. */
  async request(path: string): Promise<string> {
    this.#received = '';
    this.#socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`);
    while (!this.#received.includes('\r\n\r\n')) {
      const data = new Promise((resolve) => this.#socket.once('data', resolve));
      await Promise.race([
        data,
        this.ended.then(() => Promise.reject(new Error('the connection was closed'))),
      ]);
    }
    return this.#received;
  }
}

async function start(env: Record<string, string> = {}): Promise<string> {
  stack = new Stack({ redisUrl: inject('redisUrl'), workers: 0, env });
  return (stack.url = await stack.api.ready);
}

test('an idle connection is kept for longer than Node would, and ends with the API', async () => {
  const connection = new Connection(await start());
  expect(await connection.request('/health/live')).toMatch(/^HTTP\/1\.1 200[^]*keep-alive: timeout=75/i);
  await new Promise((resolve) => setTimeout(resolve, NODES_OWN_MS));
  expect(await connection.request('/health/live')).toMatch(/^HTTP\/1\.1 200/);
  // By itself: no connection has to be destroyed.
  expect(await stack?.api.end()).toBe(0);
  await connection.ended;
  expect(stack?.api.output).not.toContain('took too long');
}, 30_000);

test('KEEP_ALIVE_S is obeyed by the API and by the port of its metrics', async () => {
  const url = await start({ KEEP_ALIVE_S: '1', LOG_LEVEL: 'info' });
  const metrics = /"metrics":(\d+)/.exec(stack?.api.output ?? '')?.[1];
  for (const address of [url, `http://127.0.0.1:${metrics}`]) {
    const connection = new Connection(address);
    expect(await connection.request('/metrics')).toMatch(/keep-alive: timeout=1\b/i);
    await connection.ended;
  }
}, 30_000);

test('a request may take longer to send its headers than an idle connection is kept', () => {
  const server = createServer();
  for (const seconds of [1, 75, 3600]) {
    keepAlive(server, seconds);
    expect(server.keepAliveTimeout).toBe(seconds * 1000);
    expect(server.headersTimeout).toBeGreaterThan(server.keepAliveTimeout);
  }
});

test('a connection that becomes idle while the server closes holds it up no longer', async () => {
  let answer = () => {};
  const server = createServer((_request, response) => {
    // Sent before the server closes: it promises the client to keep the connection.
    response.writeHead(200, { 'Content-Length': '2' }).flushHeaders();
    answer = () => response.end('ok');
  });
  keepAlive(server, 3600);
  await listen(server, { host: '127.0.0.1', port: 0, prefix: '' });
  const connection = new Connection(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  await connection.request('/');
  const closed = closeWhenIdle(server);
  answer();
  await closed;
  await connection.ended;
});
