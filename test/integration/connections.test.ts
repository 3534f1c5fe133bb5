/** Connection limits: held requests, downloads and connections are limited, and stuck ones are closed. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, inject, test } from 'vitest';
import { newKey } from '../../src/shared/runtime/api-keys.ts';
import { keyLines } from '../support/api/key-lines.ts';
import { closeConnections, openConnection } from '../support/network/raw-connection.ts';
import { eventually, Stack } from '../support/processes/stack.ts';

const KEYS = { slow: newKey(), other: newKey() };
const MAX_CONNECTIONS = 12;
let stack: Stack;

beforeAll(async () => {
  stack = await Stack.start({
    redisUrl: inject('redisUrl'),
    env: {
      API_KEYS: keyLines(KEYS),
      MAX_REQUESTS: '4',
      MAX_DOWNLOADS: '2',
      MAX_CONNECTIONS: String(MAX_CONNECTIONS),
      ANSWER_IDLE_S: '2',
    },
  });
  // The model is known, and its jobs wait.
  await Promise.all(stack.workers.map((worker) => worker.end()));
});
afterEach(closeConnections);
afterAll(() => stack.stop());

/** A new connection with one request, sent as it is written here. */
function begin(request: string, key = KEYS.slow) {
  const { socket, answer, closed } = openConnection(
    stack.url,
    request.replace(/\r\n/, `\r\nHost: localhost\r\nAuthorization: Bearer ${key}\r\n`),
  );
  const answered = () =>
    eventually(() => Promise.resolve(answer().includes('\r\n\r\n') ? answer() : undefined));
  return { socket, answered, closed, answer };
}
const get = (path: string, headers = '') => `GET ${path} HTTP/1.1\r\n${headers}\r\n`;

async function post<T>(path: string, body: string, type: string): Promise<T> {
  const response = await stack.fetch(path, {
    method: 'POST',
    headers: { Authorization: `Bearer ${KEYS.slow}`, 'Content-Type': type, Connection: 'close' },
    body,
  });
  expect(response.ok).toBe(true);
  return (await response.json()) as T;
}

test('waiting requests leave room for another key, and for probes', async () => {
  const { id } = await post<{ id: string }>('/v1/jobs', '{"text":"charming"}', 'application/json');
  const waiting = [1, 2].map(() => begin(get(`/v1/jobs/${id}?wait=30`)));
  const refused = await eventually(async () => {
    const text = await begin(get('/v1/models', 'Connection: close\r\n')).answered();
    return text.startsWith('HTTP/1.1 503') ? text : undefined;
  });
  expect(refused).toMatch(/retry-after: 1\r\n[^]*"code":"requests_full"/i);
  expect(await begin(get('/v1/models', 'Connection: close\r\n'), KEYS.other).answered()).toMatch(/ 200 /);
  expect(await begin(get('/health/live', 'Connection: close\r\n')).answered()).toMatch(/ 200 /);
  for (const { socket, answer } of waiting) {
    expect(answer()).toBe('');
    socket.destroy();
  }
  await eventually(async () => {
    const text = await begin(get('/v1/models', 'Connection: close\r\n')).answered();
    return text.startsWith('HTTP/1.1 200') || undefined;
  });
});

test('followers of batches leave room for another key, and give it back when they hang up', async () => {
  const { id } = await post<{ id: string }>('/v1/batches?open=true', '', 'application/x-ndjson');
  const follower = begin(get(`/v1/batches/${id}/results?follow=true`));
  await follower.answered();
  const again = () => begin(get(`/v1/batches/${id}/results`, 'Connection: close\r\n')).answered();
  expect(await again()).toMatch(/^HTTP\/1.1 503 [^]*"code":"downloads_full"/);
  // A 404: the batch belongs to the first key; but there is room for the request.
  const others = begin(get(`/v1/batches/${id}/results`, 'Connection: close\r\n'), KEYS.other);
  expect(await others.answered()).toMatch(/^HTTP\/1.1 404 /);
  follower.socket.destroy();
  await eventually(async () => ((await again()).startsWith('HTTP/1.1 200') ? true : undefined));
});

test('connections beyond the limit are closed, and idle ones make room', async () => {
  const idle = Array.from({ length: MAX_CONNECTIONS }, () => begin(get('/health/live')));
  await Promise.all(idle.map(({ answered }) => Promise.race([answered(), sleep(2000)])));
  // The first extra connection is dropped, and makes the server close the idle ones.
  await eventually(async () => {
    const { answer, closed } = begin(get('/health/live', 'Connection: close\r\n'));
    await closed;
    return answer().startsWith('HTTP/1.1 200') || undefined;
  });
  await Promise.any(idle.map(({ closed }) => closed));
});

test('the connection of a GET whose body never arrives closes after the response', async () => {
  const { closed, answer } = begin(get('/health/live', 'Content-Length: 10\r\n'));
  await closed;
  expect(answer()).toMatch(/^HTTP\/1.1 200 [^]*connection: close/i);
});

test('a client that does not read responses is disconnected; one that waits for a job is not', async () => {
  const { id } = await post<{ id: string }>('/v1/jobs', '{"text":"charming"}', 'application/json');
  const waiting = begin(get(`/v1/jobs/${id}?wait=5`));
  const one = await begin(get('/openapi.json', 'Connection: close\r\n')).answered();
  const length = Number(/content-length: (\d+)/i.exec(one)![1]);
  const requests = 100;
  const { socket, answer, closed } = openConnection(stack.url);
  socket.pause();
  socket.write('GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(requests));
  expect(await waiting.answered()).toMatch(/^HTTP\/1.1 200 [^]*"queued"/);
  socket.resume();
  await closed;
  expect(answer().length).toBeLessThan(requests * length);
});
