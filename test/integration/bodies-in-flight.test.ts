/** Unfinished request bodies: the bytes that they hold are limited, shared among keys, and given back in time. */
import { afterAll, afterEach, beforeAll, expect, inject, test } from 'vitest';
import { newKey } from '../../src/shared/runtime/api-keys.ts';
import { keyLines } from '../support/api/key-lines.ts';
import { closeConnections, openConnection, type RawConnection } from '../support/network/raw-connection.ts';
import { eventually, Stack } from '../support/processes/stack.ts';

const KEYS = { slow: newKey(), other: newKey() };
const BUDGET = 200_000;
const TIMEOUT_S = 3;
let stack: Stack;

beforeAll(async () => {
  stack = await Stack.start({
    redisUrl: inject('redisUrl'),
    env: {
      API_KEYS: keyLines(KEYS),
      MAX_BODY_BYTES: '100000',
      MAX_BODIES_BYTES: String(BUDGET),
      BODY_TIMEOUT_S: String(TIMEOUT_S),
      LOG_LEVEL: 'info',
    },
  });
});
afterEach(closeConnections);
afterAll(() => stack.stop());

/** A request with Content-Length `announced` whose body starts with `body`. */
function begin(
  body: string | Buffer,
  { key = KEYS.slow, framing = 'Content-Length: 90000' } = {},
): RawConnection {
  const head = `POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${key}\r\nContent-Type: application/json\r\n${framing}\r\n\r\n`;
  return openConnection(stack.url, head, body);
}

const metric = async (name: string) => {
  const port = /"metrics":(\d+)/.exec(stack.api.output)![1];
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  return Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'm').exec(text)?.[1] ?? 0);
};
const predict = (key: string, text = 'utterly charming') =>
  stack.fetch('/predict', {
    method: 'POST',
    headers: { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' },
    body: JSON.stringify({ text }),
  });

test('many stalled large bodies leave room for another key, and time out', async () => {
  const bodies = Array.from({ length: 10 }, () => begin('x'.repeat(80_000)));
  await eventually(async () => ((await metric('amulet_body_bytes')) > 0 ? true : undefined));
  const refused = await eventually(() =>
    Promise.resolve(bodies.find(({ answer }) => answer().includes('request_id'))),
  );
  expect(refused.answer()).toMatch(/^HTTP\/1.1 503 [^]*retry-after: 1\r\n[^]*"code":"bodies_full"/i);
  expect(await metric('amulet_body_bytes')).toBeLessThanOrEqual(BUDGET / 2);

  const response = await predict(KEYS.other);
  expect(response.status).toBe(200);

  await Promise.all(bodies.map(({ closed }) => closed));
  const codes = bodies.map(({ answer }) => /"code":"(\w+)"/.exec(answer())?.[1]);
  expect(new Set(codes)).toEqual(new Set(['bodies_full', 'body_timeout']));
  expect(bodies.filter(({ answer }) => answer().startsWith('HTTP/1.1 408 '))).not.toEqual([]);
  expect(await metric('amulet_body_bytes')).toBe(0);
  expect((await predict(KEYS.slow)).status).toBe(200);
});

test('a trickling body times out like a stalled one', async () => {
  const { socket, answer, closed } = begin('{');
  const trickle = setInterval(() => socket.write(' '), 100);
  await closed;
  clearInterval(trickle);
  expect(answer()).toMatch(/^HTTP\/1.1 408 [^]*"code":"body_timeout"/);
});

test('a stalled body counts the bytes that were sent, not those of Content-Length', async () => {
  const idle = Array.from({ length: 20 }, () => begin('{"te'));
  await eventually(async () => ((await metric('amulet_body_bytes')) === 80 ? true : undefined));
  expect((await predict(KEYS.slow)).status).toBe(200);
  idle.forEach(({ socket }) => socket.destroy());
  await eventually(async () => ((await metric('amulet_body_bytes')) === 0 ? true : undefined));
});

test('a body of the largest size is accepted, in one piece and in single bytes', async () => {
  const text = JSON.stringify({ text: 'charming', metadata: { note: 'x'.repeat(4000) } });
  const body = Buffer.from(text.padEnd(100_000));
  const singles = [...body].map((byte) => `1\r\n${String.fromCharCode(byte)}\r\n`).join('');
  for (const [sent, framing] of [
    [body, 'Content-Length: 100000'],
    [`${singles}0\r\n\r\n`, 'Transfer-Encoding: chunked'],
  ] as const) {
    const { answer } = begin(sent, { framing });
    await eventually(() => Promise.resolve(answer().includes('\r\n\r\n{') || undefined));
    expect(answer()).toMatch(/^HTTP\/1.1 202 /);
  }
  const tooLong = begin(Buffer.concat([Buffer.from('186a1\r\n'), body, Buffer.from('x')]), {
    framing: 'Transfer-Encoding: chunked',
  });
  await tooLong.closed;
  expect(tooLong.answer()).toMatch(/^HTTP\/1.1 413 /);
  const announced = begin('', { framing: 'Content-Length: 100001' });
  await announced.closed;
  expect(announced.answer()).toMatch(/^HTTP\/1.1 413 /);
});

test('a request that waits for its job holds its body until the response', async () => {
  await Promise.all(stack.workers.map((worker) => worker.end()));
  const body = JSON.stringify({ text: 'charming', metadata: { note: 'x'.repeat(4000) } });
  const { answer, socket } = begin(body, { framing: `Content-Length: ${body.length}\r\nPrefer: wait=30` });
  await eventually(async () => ((await metric('amulet_open_waits')) === 1 ? true : undefined));
  expect(await metric('amulet_body_bytes')).toBe(body.length);
  expect(answer()).toBe('');
  socket.destroy();
  await eventually(async () => ((await metric('amulet_body_bytes')) === 0 ? true : undefined));
});
