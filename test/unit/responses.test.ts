/** What every response has in common, whatever answers: headers for browsers, and the id of the request. Over a real connection. */
import { once } from 'node:events';
import { request, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createApp, type AppDeps } from '../../src/api/app.ts';
import { createHttpServer } from '../../src/api/http-server.ts';
import type { NewJob } from '../../src/api/jobs/job-submission.ts';
import { inFlightLimits } from '../../src/api/load/in-flight.ts';
import { KeySet } from '../../src/shared/runtime/api-keys.ts';
import { loadConfig } from '../../src/shared/runtime/config.ts';
import { createLogger } from '../../src/shared/runtime/logger.ts';

const submitted: NewJob[] = [];
let server: Server;

beforeAll(async () => {
  const config = loadConfig({});
  const submit = (_owner: string, input: NewJob) => {
    submitted.push(input);
    return Promise.resolve({ job: { status: 'queued', urls: { self: '/v1/jobs/x' } }, replayed: false });
  };
  const app = createApp({
    config,
    keys: undefined,
    admins: new KeySet([]),
    inFlight: inFlightLimits(config),
    observe: (_c, next) => next(),
    logger: createLogger('api', 'silent'),
    version: '0',
    submission: { submit } as unknown as AppDeps['submission'],
  } as Partial<AppDeps> as AppDeps);
  server = createHttpServer(app.fetch, config).listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterAll(() => server.close());

interface Answer extends Pick<IncomingMessage, 'headers'> {
  status: number | undefined;
  body: string;
}

async function call(
  method: string,
  path: string,
  headers: Record<string, string> = {},
  body?: string,
): Promise<Answer> {
  const { port } = server.address() as AddressInfo;
  const sent = request({ port, method, path, headers: { connection: 'close', ...headers } });
  sent.end(body);
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  return { status: response.statusCode, headers: response.headers, body: await text(response) };
}

const JSON_TYPE = { 'content-type': 'application/json' };
const ONE_TEXT = JSON.stringify({ text: 'charming' });

test.each<[string, number, Parameters<typeof call>]>([
  ['a probe', 200, ['GET', '/health/live']],
  ['HEAD', 200, ['HEAD', '/health/live']],
  ['a page', 200, ['GET', '/']],
  ['a file', 200, ['GET', '/page/page.css']],
  ['the OpenAPI document', 200, ['GET', '/openapi.json']],
  ['a job', 202, ['POST', '/v1/jobs', JSON_TYPE, ONE_TEXT]],
  ['an invalid body', 400, ['POST', '/v1/jobs', JSON_TYPE, '{"text"']],
  ['an invalid field', 422, ['POST', '/v1/jobs', JSON_TYPE, '{"text": 1}']],
  ['an unknown path', 404, ['GET', '/nowhere']],
  ['an unknown method', 405, ['PATCH', '/v1/jobs']],
  ['OPTIONS', 204, ['OPTIONS', '/v1/jobs']],
  ['a refused page of another origin', 403, ['GET', '/v1/jobs', { origin: 'https://evil.example' }]],
  ['an unexpected error', 500, ['GET', '/v1/models']],
])('%s has the security headers and a request id', async (_, status, parameters) => {
  const { headers, ...answer } = await call(...parameters);
  expect(answer).toMatchObject({ status });
  expect(headers).toMatchObject({
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin',
    'origin-agent-cluster': '?1',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
    'x-dns-prefetch-control': 'off',
    'x-download-options': 'noopen',
    'x-frame-options': 'SAMEORIGIN',
    'x-permitted-cross-domain-policies': 'none',
    'x-xss-protection': '0',
    'x-request-id': expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
  });
  expect(headers).not.toHaveProperty('strict-transport-security');
  if (headers['content-type'] === 'application/problem+json')
    expect(JSON.parse(answer.body)).toMatchObject({ status, request_id: headers['x-request-id'] });
});

test('an unchanged file has them, too', async () => {
  const { etag } = (await call('GET', '/page/page.css')).headers;
  const { status, headers } = await call('GET', '/page/page.css', { 'if-none-match': etag ?? '' });
  expect(status).toBe(304);
  expect(headers).toMatchObject({ 'x-content-type-options': 'nosniff', 'x-request-id': /./ });
});

test('an answer of the server itself has the security headers, too', async () => {
  const { status, headers } = await call('GET', '/health/live', { host: 'no host' });
  expect(status).toBe(400);
  expect(headers).toMatchObject({ 'x-content-type-options': 'nosniff', 'x-frame-options': 'SAMEORIGIN' });
});

test.each<[string, string, boolean]>([
  ['letters, digits, _, - and =', 'Call_7-a=', true],
  ['255 characters', 'a'.repeat(255), true],
  ['256 characters', 'a'.repeat(256), false],
  ['a space', 'a b', false],
  ['a comma', 'a,b', false],
  ['nothing', '', false],
])("a caller's request id with %s", async (_, id, kept) => {
  const { headers, body } = await call('GET', '/nowhere', { 'x-request-id': id });
  if (kept) expect(headers['x-request-id']).toBe(id);
  else expect(headers['x-request-id']).toMatch(/^[0-9a-f-]{36}$/);
  expect(JSON.parse(body)).toMatchObject({ request_id: headers['x-request-id'] });
});

test('headers of the job, and those of a problem', async () => {
  const job = await call('POST', '/v1/jobs', JSON_TYPE, ONE_TEXT);
  expect(job.headers).toMatchObject({ location: '/v1/jobs/x', 'retry-after': '1' });
  expect(job.headers).toMatchObject({ 'content-type': 'application/json' });
  expect(job.headers['content-length']).toBe(String(job.body.length));
  expect((await call('PATCH', '/v1/jobs')).headers).toMatchObject({ allow: 'POST, GET, HEAD' });
});

test.each([
  'application/json',
  'application/json;charset=utf-8',
  'application/json ; charset=UTF-8',
  'APPLICATION/JSON',
  'application/vnd.example.v2+json',
])('a body of %s is read as JSON', async (type) => {
  submitted.length = 0;
  const { status } = await call('POST', '/v1/jobs', { 'content-type': type }, ONE_TEXT);
  expect(status).toBe(202);
  expect(submitted).toMatchObject([{ texts: [{ text: 'charming' }], topK: 1 }]);
});

test('the first invalid part of a request is named: query, then headers, then body', async () => {
  const pathsOf = async (path: string, headers: Record<string, string>) => {
    const { status, body } = await call('POST', path, { ...JSON_TYPE, ...headers }, '{"txt": 1}');
    expect(status).toBe(422);
    return (JSON.parse(body) as { errors: { path: string }[] }).errors.map((error) => error.path);
  };
  const badKey = { 'idempotency-key': ' '.repeat(3) + 'é' };
  expect(await pathsOf('/v1/jobs?wait=1', badKey)).toEqual(['wait']);
  expect(await pathsOf('/v1/jobs', badKey)).toEqual(['idempotency-key']);
  expect(await pathsOf('/v1/jobs', {})).toContain('txt');
});
