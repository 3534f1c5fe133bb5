/** The same-origin guard of an API without keys, started as in docker-compose.yml: requests that web pages make browsers send. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { newSecret } from '../../src/shared/runtime/webhook-secret.ts';
import { composeFile, containerEnvironment } from '../support/processes/compose-file.ts';
import { Stack, type Process } from '../support/processes/stack.ts';

let stack: Stack;
let metricsPort: number;

beforeAll(async () => {
  const { DATA_DIR: _, ...env } = containerEnvironment(composeFile.services.api!, {
    WEBHOOK_SECRET: newSecret(),
  });
  const redisUrl = inject('redisUrl');
  const ports = { PORT: '0', REDIS_URL: redisUrl, LOG_LEVEL: 'info', METRICS_HOST: '127.0.0.1' };
  stack = await Stack.start({ redisUrl, workers: 1, env: { ...env, ...ports } });
  metricsPort = Number(/"metrics":(\d+)/.exec(stack.api.output)?.[1]);
});
afterAll(() => stack.stop());

/** Sends a request as it is written, and reads the answer to its end. */
async function raw(head: string[], { body = '', port = Number(new URL(stack.url).port) } = {}) {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  const length = body === '' ? [] : [`Content-Length: ${Buffer.byteLength(body)}`];
  socket.write([...head, 'Connection: close', ...length, '', body].join('\r\n'));
  const answer = await text(socket);
  return { status: Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1]), answer };
}

const host = (): string => `Host: localhost:${new URL(stack.url).port}`;
const FORM = ['Content-Type: text/plain', 'Sec-Fetch-Mode: no-cors'];
const MAKE_BATCH = 'POST /v1/batches?webhook=https%3A%2F%2Fevil.example%2F HTTP/1.1';

async function batches(): Promise<number> {
  const { body } = await stack.get<{ batches: unknown[] }>('/v1/batches');
  return body.batches.length;
}

describe('a page of another origin', () => {
  test.each<[string, string[]]>([
    ['as every browser says', ['Origin: https://evil.example']],
    ['as newer ones say, too', ['Origin: https://evil.example', 'Sec-Fetch-Site: cross-site']],
    ['that hides its origin', ['Origin: null']],
  ])('cannot create a batch with a webhook by a simple POST, %s', async (_, headers) => {
    const { status, answer } = await raw([MAKE_BATCH, host(), ...FORM, ...headers], { body: 'a text\n' });
    expect(status).toBe(403);
    expect(answer).toContain('"code":"foreign_origin"');
    expect(answer).not.toMatch(/access-control/i);
    expect(await batches()).toBe(0);
  });

  test('is refused under its own name that resolves to this machine', async () => {
    for (const line of ['GET /v1/jobs HTTP/1.1', 'GET / HTTP/1.1', 'HEAD /v1/models HTTP/1.1', MAKE_BATCH])
      expect([line, (await raw([line, 'Host: evil.example:3000'])).status]).toEqual([line, 403]);
    expect((await raw(['GET /v1/jobs HTTP/1.1', 'Host: evil.example', host()])).status).toBe(403);
    const whole = ['GET http://localhost/v1/jobs HTTP/1.1', 'Host: evil.example'];
    expect((await raw(whole)).status).toBe(403);
    const forwarded = ['GET /v1/jobs HTTP/1.1', 'Host: evil.example', 'X-Forwarded-Host: localhost'];
    expect((await raw(forwarded)).status).toBe(403);
  });

  test('is not permitted by a preflight', async () => {
    const ask = ['Origin: https://evil.example', 'Access-Control-Request-Method: DELETE'];
    const { status, answer } = await raw(['OPTIONS /v1/batches HTTP/1.1', host(), ...ask]);
    expect(status).toBe(403);
    expect(answer).not.toMatch(/access-control/i);
  });

  test('cannot read metrics or health', async () => {
    const worker = Number(new URL(await stack.healthUrl(stack.workers[0]!)).port);
    for (const [port, where] of [
      [metricsPort, '/metrics'],
      [worker, '/metrics'],
      [worker, '/health'],
    ] as const) {
      expect((await raw([`GET ${where} HTTP/1.1`, 'Host: evil.example'], { port })).status).toBe(403);
      expect((await raw([`GET ${where} HTTP/1.1`, 'Host: localhost'], { port })).status).toBe(200);
    }
  });
});

describe('other requests are answered', () => {
  test.each<[string, string[]]>([
    ['a program on the machine', ['Host: 127.0.0.1:3000']],
    ['a container of the same network', ['Host: api:3000']],
    ['a container of another one', ['Host: host.docker.internal:3000']],
    ['a probe by address', ['Host: 172.18.0.3:3000']],
    [
      'its own page',
      ['Host: localhost:3000', 'Origin: http://localhost:3000', 'Sec-Fetch-Site: same-origin'],
    ],
    ['a followed link', ['Host: localhost', 'Sec-Fetch-Site: cross-site', 'Sec-Fetch-Mode: navigate']],
  ])('%s', async (_, headers) => {
    expect((await raw(['GET /v1/jobs HTTP/1.1', ...headers])).status).toBe(200);
  });

  test('the OpenAPI document lists the 403', async () => {
    const { body } = await stack.get<{ paths: Record<string, { get?: { responses: object } }> }>(
      '/openapi.json',
    );
    expect(Object.keys(body.paths['/v1/jobs']!.get!.responses)).toContain('403');
  });
});

test('AUTH=none on every address refuses pages of other origins under any name', async () => {
  const api: Process = stack.startApi({ AUTH: 'none', PUBLIC_URL_DEFAULT: '' });
  try {
    const port = Number(new URL(await api.ready).port);
    const name = 'Host: amulet.example';
    const ask = (...headers: string[]) => raw(['GET /health/live HTTP/1.1', name, ...headers], { port });
    expect((await ask()).status).toBe(200);
    expect((await ask('Origin: https://amulet.example')).status).toBe(200);
    expect((await ask('Origin: https://evil.example')).status).toBe(403);
  } finally {
    await api.end();
  }
});
