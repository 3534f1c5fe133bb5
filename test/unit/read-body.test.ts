/** Bodies of requests as they arrive: in one packet with the headers, after them, in pieces. Over real connections. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Context } from 'hono';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { AppEnv } from '../../src/api/env.ts';
import { readBody } from '../../src/api/middleware/read-body.ts';
import { AppError } from '../../src/shared/contract/problems.ts';

const MAX_BYTES = 100;

/** What the handler made of a request. */
interface Read {
  incoming: IncomingMessage;
  body: string;
  /** Bytes that the lease holds. */
  held: number;
}

let server: Server;
const reads: Read[] = [];

beforeAll(async () => {
  server = createServer((incoming, outgoing) => {
    let held = 0;
    const context = { env: { incoming }, req: { header: (name: string) => incoming.headers[name] } };
    const limits = {
      maxBytes: MAX_BYTES,
      tooLarge: () => new AppError('body_too_large', 'too large'),
      timeoutS: 5,
      lease: { add: (bytes: number) => void (held += bytes), release: () => {} },
    };
    void readBody(context as unknown as Context<AppEnv>, limits).then(
      (bytes) => {
        reads.push({ incoming, body: new TextDecoder().decode(bytes), held });
        outgoing.end();
      },
      (error: unknown) => {
        reads.push({ incoming, body: (error as AppError).code, held });
        outgoing.end();
      },
    );
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

const HEADERS = 'POST / HTTP/1.1\r\nHost: x\r\n';
const ofLength = (bytes: number) => `${HEADERS}Content-Length: ${bytes}\r\n\r\n`;

/** Sends packets on one connection, with a pause after each. */
async function send(...packets: string[]): Promise<void> {
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
    .setNoDelay(true)
    .resume();
  for (const packet of packets) {
    socket.write(packet);
    await sleep(20);
  }
}

test.each<[string, string[], string[]]>([
  ['in one packet with the headers', [`${ofLength(5)}hello`], ['hello']],
  ['in a packet after the headers', [ofLength(5), 'hello'], ['hello']],
  ['half with the headers, half after them', [`${ofLength(5)}he`, 'llo'], ['hello']],
  ['in chunks', [`${HEADERS}Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n`], ['hello']],
  ['of no bytes', [ofLength(0)], ['']],
  ['that is missing', [`${HEADERS}\r\n`], ['']],
  ['as long as is allowed', [ofLength(MAX_BYTES) + 'x'.repeat(MAX_BYTES)], ['x'.repeat(MAX_BYTES)]],
  [
    'in one packet with the request that follows',
    [`${ofLength(5)}first${ofLength(6)}second`],
    ['first', 'second'],
  ],
])('a body %s is read, and the connection is free for the next request', async (_, packets, bodies) => {
  reads.length = 0;
  await send(...packets, `${ofLength(4)}last`);
  await expect.poll(() => reads.map(({ body }) => body).toSorted()).toEqual([...bodies, 'last'].toSorted());
  for (const { body, held } of reads) expect(held).toBe(body.length);
  // Otherwise the server's adapter waits for the rest of the body.
  await expect.poll(() => reads.every(({ incoming }) => incoming.readableEnded)).toBe(true);
});

test.each<[string, string[]]>([
  ['announced', [ofLength(MAX_BYTES + 1)]],
  [
    'in chunks',
    [`${HEADERS}Transfer-Encoding: chunked\r\n\r\n65\r\n${'x'.repeat(MAX_BYTES + 1)}\r\n0\r\n\r\n`],
  ],
])('a larger body is refused: %s', async (_, packets) => {
  reads.length = 0;
  await send(...packets);
  await expect.poll(() => reads.length).toBe(1);
  expect(reads[0]).toMatchObject({ body: 'body_too_large', held: 0 });
});
