/** incomingPieces(): tiny pieces of a body are joined, over a real connection. */
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { incomingPieces } from '../../src/api/middleware/incoming-pieces.ts';

let server: Server | undefined;
let socket: Socket | undefined;
afterEach(() => {
  socket?.destroy();
  server?.close();
});

/** The result of `read` for the body of a request that `send` writes. */
async function received<T>(
  read: (incoming: IncomingMessage) => Promise<T>,
  send: (socket: Socket) => void,
): Promise<T> {
  const result = new Promise<T>((resolve, reject) => {
    server = createServer((incoming, outgoing) => {
      read(incoming).then(resolve, reject);
      incoming.once('close', () => outgoing.end());
    });
  });
  await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve));
  socket = connect((server!.address() as AddressInfo).port, '127.0.0.1');
  socket.on('error', () => {});
  socket.write('POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n');
  send(socket);
  return result;
}

async function collect(incoming: IncomingMessage): Promise<{ pieces: number; text: string }> {
  const pieces: Buffer[] = [];
  for await (const piece of incomingPieces(incoming)) pieces.push(piece);
  return { pieces: pieces.length, text: Buffer.concat(pieces).toString() };
}

const TEXT = Array.from({ length: 20_000 }, (_, i) => String(i % 10)).join('');
const CHUNKS = [...TEXT].map((byte) => `1\r\n${byte}\r\n`);
const END = '0\r\n\r\n';

test('1-byte chunks are joined into larger pieces', async () => {
  const { pieces, text } = await received(collect, (to) => to.write(CHUNKS.join('') + END));
  expect(text).toBe(TEXT);
  expect(pieces).toBeLessThan(TEXT.length / 100);
});

test('packets of one byte are joined as well', async () => {
  const { pieces, text } = await received(collect, (to) => {
    to.setNoDelay(true);
    void (async () => {
      for (const chunk of CHUNKS.slice(0, 2000)) {
        to.write(chunk);
        await new Promise(setImmediate);
      }
      to.write(END);
    })();
  });
  expect(text).toBe(TEXT.slice(0, 2000));
  expect(pieces).toBeLessThan(2000 / 4);
});

test('at most one piece is read ahead while no one takes it', async () => {
  const piece = 'x'.repeat(64 * 1024);
  const { ahead, total } = await received(
    async (incoming) => {
      const pieces = incomingPieces(incoming);
      const first: IteratorResult<Buffer, void> = await pieces.next();
      let all = first.value?.length ?? 0;
      await sleep(300);
      const buffered = incoming.socket.bytesRead;
      for await (const next of pieces) all += next.length;
      return { ahead: buffered, total: all };
    },
    (to) => to.write(`${`10000\r\n${piece}\r\n`.repeat(200)}${END}`),
  );
  expect(ahead).toBeLessThan(20 * piece.length);
  expect(total).toBe(200 * piece.length);
});

test('a broken connection throws its error', async () => {
  const [error, errored] = await received(
    async (incoming) => [await collect(incoming).catch((thrown: unknown) => thrown), incoming.errored],
    (to) => {
      to.write(CHUNKS.slice(0, 5).join(''));
      setTimeout(() => to.destroy(), 50);
    },
  );
  expect(error).toBeInstanceOf(Error);
  expect(error).toBe(errored);
});

test('a body that is left early stays unread, and its connection open', async () => {
  const state = await received(
    async (incoming) => {
      for await (const piece of incomingPieces(incoming)) if (piece.length > 0) break;
      return [incoming.destroyed, incoming.isPaused(), incoming.listenerCount('data')];
    },
    (to) => to.write(`10000\r\n${'x'.repeat(65_536)}\r\n`),
  );
  expect(state).toEqual([false, true, 0]);
});
