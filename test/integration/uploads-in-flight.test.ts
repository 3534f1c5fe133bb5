/** Slow and stalled uploads: their number is limited and shared among keys, and uploads below the minimum rate are ended. */
import { afterAll, afterEach, beforeAll, expect, inject, test } from 'vitest';
import { newKey } from '../../src/shared/runtime/api-keys.ts';
import { keyLines } from '../support/api/key-lines.ts';
import { closeConnections, openConnection, type RawConnection } from '../support/network/raw-connection.ts';
import { eventually, Stack } from '../support/processes/stack.ts';

const KEYS = { slow: newKey(), other: newKey() };
let stack: Stack;

beforeAll(async () => {
  stack = await Stack.start({
    redisUrl: inject('redisUrl'),
    env: {
      API_KEYS: keyLines(KEYS),
      MAX_UPLOADS: '4',
      UPLOAD_IDLE_S: '3',
      UPLOAD_MIN_BYTES_PER_S: '100',
      LOG_LEVEL: 'info',
    },
  });
});
afterEach(closeConnections);
afterAll(() => stack.stop());

const LINE = '{"text":"utterly charming"}\n';

/** Starts an upload that does not end. */
function begin(): RawConnection {
  return openConnection(
    stack.url,
    `POST /v1/batches HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${KEYS.slow}\r\nContent-Type: application/x-ndjson\r\nContent-Length: 1000000\r\n\r\n${LINE}`,
  );
}

const openUploads = async () => {
  const port = /"metrics":(\d+)/.exec(stack.api.output)![1];
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  return Number(/^amulet_open_uploads\S* (\d+)$/m.exec(text)![1]);
};
const submit = (key: string) =>
  stack.fetch('/v1/batches', {
    method: 'POST',
    headers: { Authorization: `Bearer ${key}`, 'Content-Type': 'application/x-ndjson' },
    body: LINE,
  });

test('one key holds at most half of the upload slots, so that another key can upload', async () => {
  const held = [begin(), begin()];
  await eventually(async () => ((await openUploads()) === 2 ? true : undefined));
  const refused = await submit(KEYS.slow);
  expect([refused.status, refused.headers.get('retry-after'), await refused.json()]).toMatchObject([
    503,
    '5',
    { code: 'uploads_full' },
  ]);
  expect((await submit(KEYS.other)).status).toBe(202);
  held.forEach(({ socket }) => socket.destroy());
  await eventually(async () => ((await openUploads()) === 0 ? true : undefined));
  expect((await submit(KEYS.slow)).status).toBe(202);
});

test('an upload that sends a byte now and then is ended like one that stalls', async () => {
  const { socket, answer, closed } = begin();
  const trickle = setInterval(() => socket.write(' '), 500);
  await closed;
  clearInterval(trickle);
  expect(answer()).toMatch(/^HTTP\/1.1 408 [^]*"code":"upload_idle"/);
  expect(answer()).toMatch(/only \d+ bytes were received in 3 s/);
  expect(await openUploads()).toBe(0);
});
