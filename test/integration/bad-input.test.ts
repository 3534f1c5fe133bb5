/** Invalid requests: each is refused with its status, code and a detail that names the mistake. */
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { Stack } from '../support/processes/stack.ts';

let stack: Stack;
let redis: Redis;

beforeAll(async () => {
  redis = new Redis(inject('redisUrl'));
  stack = await Stack.start({ redisUrl: inject('redisUrl'), workers: 0, env: { MAX_WAIT_S: '1' } });
});
afterAll(async () => {
  await stack.stop();
  redis.disconnect();
});

const JSON_TYPE = { 'Content-Type': 'application/json' };
const json = (value: unknown) => ({ body: JSON.stringify(value), headers: JSON_TYPE });

/** A body of `bytes` bytes: an object without fields, padded with white space. */
const sized = (bytes: number) => ({ body: '{}'.padEnd(bytes), headers: JSON_TYPE });
/** The same in chunks, without Content-Length. */
const chunked = (bytes: number) => ({
  ...sized(bytes),
  body: new Blob(['{}'.padEnd(bytes)]).stream(),
  duplex: 'half' as const,
});

/** Requests, and the problem that each must get. */
const CASES: [name: string, init: RequestInit, status: number, code: string, says: string][] = [
  ['no body', {}, 400, 'empty_body', 'send a JSON body'],
  ['an empty body', { body: '', headers: JSON_TYPE }, 400, 'empty_body', 'send a JSON body'],
  ['not JSON', { body: 'hello', headers: JSON_TYPE }, 400, 'malformed_json', 'not valid JSON'],
  [
    'JSON that ends too early',
    { body: '{"text":', headers: JSON_TYPE },
    400,
    'malformed_json',
    'ends too early',
  ],
  [
    'bytes that are not UTF-8',
    { body: Buffer.from('7b2274657874223a22ff227d', 'hex'), headers: JSON_TYPE },
    400,
    'malformed_json',
    'UTF-8',
  ],
  ['{}', json({}), 422, 'invalid_request', 'give `text` or `texts`'],
  ['a list', json([]), 422, 'invalid_request', 'the body must be an object'],
  ['null', json(null), 422, 'invalid_request', 'the body must be an object'],
  ['text and texts', json({ text: 'a', texts: ['b'] }), 422, 'invalid_request', 'not both'],
  ['a number for a text', json({ text: 5 }), 422, 'invalid_request', 'text must be a string'],
  ['an empty text', json({ text: '' }), 422, 'invalid_request', 'must not be empty'],
  ['a blank text', json({ text: ' \n\t\u3000' }), 422, 'invalid_request', 'white space'],
  [
    '5,001 characters',
    json({ text: 'x'.repeat(5001) }),
    422,
    'invalid_request',
    '5001 characters; at most 5000',
  ],
  ['5,001 emoji', json({ text: '🎬'.repeat(5001) }), 422, 'invalid_request', '5001 characters; at most 5000'],
  [
    '257 texts',
    json({ texts: Array.from({ length: 257 }, () => 'x') }),
    422,
    'invalid_request',
    'at most 256',
  ],
  ['no texts', json({ texts: [] }), 422, 'invalid_request', 'at least one'],
  [
    'one bad text among good ones',
    json({ texts: ['a', ' ', { text: 'b', id: 3 }] }),
    422,
    'invalid_request',
    'texts.1',
  ],
  ['an unknown field', json({ text: 'a', txet: 'b' }), 422, 'invalid_request', 'txet is not a known field'],
  [
    'an unknown field of a text',
    json({ texts: [{ text: 'a', lang: 'en' }] }),
    422,
    'invalid_request',
    'texts.0.lang is not',
  ],
  ['top_k 0', json({ text: 'a', top_k: 0 }), 422, 'invalid_request', 'top_k must be at least 1'],
  ['top_k 1e30', json({ text: 'a', top_k: 1e30 }), 422, 'invalid_request', 'top_k must be at most 1000000'],
  ['top_k -1e30', json({ text: 'a', top_k: -1e30 }), 422, 'invalid_request', 'top_k must be at least 1'],
  [
    'expires_in 1e300',
    json({ text: 'a', expires_in: 1e300 }),
    422,
    'invalid_request',
    'expires_in must be at most 604800',
  ],
  ['top_k 1.5', json({ text: 'a', top_k: 1.5 }), 422, 'invalid_request', 'top_k must be a whole number'],
  [
    'text/plain',
    { body: 'hello', headers: { 'Content-Type': 'text/plain' } },
    415,
    'unsupported_media_type',
    'text/plain',
  ],
  [
    'another charset',
    { body: '{"text":"a"}', headers: { 'Content-Type': 'application/json; charset=ISO-8859-1' } },
    415,
    'unsupported_media_type',
    'charset=ISO-8859-1 is not supported; send the body as UTF-8',
  ],
  ['no content type', { body: Buffer.from('{"text":"a"}') }, 415, 'unsupported_media_type', 'it is missing'],
  [
    'a gzip body',
    { body: '{"text":"a"}', headers: { ...JSON_TYPE, 'Content-Encoding': 'gzip' } },
    415,
    'unsupported_media_type',
    'gzip',
  ],
  ['a body of 10 MB', sized(10_000_000), 422, 'invalid_request', 'give `text` or `texts`'],
  ['a body of one more byte', sized(10_000_001), 413, 'body_too_large', '10000000 bytes'],
  ['10 MB in chunks', chunked(10_000_000), 422, 'invalid_request', 'give `text` or `texts`'],
  ['one more byte in chunks', chunked(10_000_001), 413, 'body_too_large', '10000000 bytes'],
  [
    'a 50 MB body',
    { body: Buffer.alloc(50_000_000, 'x'), headers: JSON_TYPE },
    413,
    'body_too_large',
    '10000000 bytes',
  ],
  [
    'a lone surrogate',
    { body: '{"text":"a\\ud800b"}', headers: JSON_TYPE },
    422,
    'invalid_request',
    'lone surrogate',
  ],
  ['a NUL', { body: '{"text":"a\\u0000b"}', headers: JSON_TYPE }, 422, 'invalid_request', 'NUL'],
  ['an unknown model', json({ text: 'a', model: 'nope' }), 404, 'model_not_found', 'known: sst2-minilm'],
  [
    'metadata of 5 KB',
    json({ text: 'a', metadata: { a: 'x'.repeat(5000) } }),
    422,
    'invalid_request',
    'at most 4096',
  ],
  [
    'metadata that is a list',
    json({ text: 'a', metadata: [1] }),
    422,
    'invalid_request',
    'metadata must be an object',
  ],
  [
    'expires_in 0',
    json({ text: 'a', expires_in: 0 }),
    422,
    'invalid_request',
    'expires_in must be at least 1',
  ],
  ['an unknown priority', json({ text: 'a', priority: 'high' }), 422, 'invalid_request', 'normal, low'],
  [
    'a wait that is not a number',
    { ...json({ text: 'a' }), headers: { ...JSON_TYPE, Prefer: 'wait=soon' } },
    400,
    'malformed_header',
    'wait=10',
  ],
];

test.each(CASES)('%s', async (_name, init, status, code, says) => {
  const response = await stack.fetch('/v1/jobs', { method: 'POST', ...init });
  const problem = (await response.json()) as { detail: string; errors?: { path: string }[] };
  expect(problem).toMatchObject({
    status,
    code,
    title: expect.any(String),
    type: `urn:amulet:problem:${code}`,
  });
  expect(response.status).toBe(status);
  expect(response.headers.get('content-type')).toBe('application/problem+json');
  expect(problem.detail).toContain(says);
  const paths = problem.errors?.map(({ path }) => path) ?? [];
  expect(paths).toEqual([...new Set(paths)]);
});

const ID = '019aaf3c5e7b7c3b9d0e5f1a2b3c4d5e';
const JOB = `/v1/jobs/${ID}-n-sst2-minilm`;
const BATCH = `/v1/batches/${ID}-b-sst2-minilm`;
const looksLike = (kind: string, id: string) => `the id of a ${kind} looks like ${id}`;

const parameters = (count: number) => Array.from({ length: count }, (_, i) => `p${i}`).join('&');
const READS: [method: string, path: string, status: number, code: string, says: string][] = [
  ['GET', JOB, 404, 'job_not_found', 'kept for a limited time'],
  ['GET', `/v1/jobs/${ID}-n-no-such-model`, 404, 'job_not_found', 'kept for a limited time'],
  ['DELETE', `/v1/jobs/${ID}-l-sst2-minilm`, 404, 'job_not_found', 'kept for a limited time'],
  [
    'GET',
    '/v1/jobs/42',
    404,
    'job_not_found',
    `there is no job 42; ${looksLike('job', `${ID}-n-sentiment-multilingual`)}`,
  ],
  ['GET', `/v1/jobs/${ID.toUpperCase()}-n-sst2-minilm`, 404, 'job_not_found', 'looks like'],
  ['DELETE', '/v1/jobs/%00', 404, 'job_not_found', 'no job ?;'],
  ['GET', '/v1/jobs/%ff', 404, 'job_not_found', 'no job %ff;'],
  ['GET', '/v1/jobs/a%0d%0ab', 404, 'job_not_found', 'no job a??b;'],
  ['GET', `/v1/jobs/${'x'.repeat(2000)}`, 404, 'job_not_found', `no job ${'x'.repeat(80)}…;`],
  ['GET', BATCH, 404, 'batch_not_found', 'kept for a limited time'],
  ['GET', '/v1/batches/42', 404, 'batch_not_found', looksLike('batch', `${ID}-b-sentiment-multilingual`)],
  ['DELETE', `/v1/batches/${ID}-n-sst2-minilm`, 404, 'batch_not_found', 'looks like'],
  ['GET', '/v1/batches/x/results', 404, 'batch_not_found', 'looks like'],
  ['GET', '/v1/batches/x/parts', 404, 'batch_not_found', 'looks like'],
  ['GET', `/v1/batches/${ID}-b-sst2-minilm:parts`, 404, 'batch_not_found', 'looks like'],
  ['PUT', '/v1/batches/x/parts/1', 404, 'batch_not_found', 'looks like'],
  ['POST', '/v1/batches/x/resume', 404, 'batch_not_found', 'looks like'],
  ['GET', `/v1/webhooks/evt_${ID}`, 404, 'delivery_not_found', 'kept for a limited time'],
  ['GET', '/v1/webhooks/42', 404, 'delivery_not_found', looksLike('delivery', 'evt_')],
  ['POST', '/v1/webhooks/42/redeliver', 404, 'delivery_not_found', 'looks like'],

  ['GET', `${JOB}?wait=-1`, 422, 'invalid_request', 'wait must be a whole number of seconds'],
  ['GET', `${JOB}?wait=1.5`, 422, 'invalid_request', 'wait must be a whole number of seconds'],
  ['GET', `${JOB}?wait=`, 422, 'invalid_request', 'wait must be a whole number of seconds'],
  ['GET', `${JOB}?wait=1&wait=2`, 422, 'invalid_request', 'wait is given twice'],
  ['GET', `${JOB}?wiat=1`, 422, 'invalid_request', 'wiat is not a known field'],
  ['DELETE', `${JOB}?force=true`, 422, 'invalid_request', 'force is not a known field'],
  ['POST', '/v1/jobs?top_k=2', 422, 'invalid_request', 'top_k is not a known field'],
  ['GET', '/v1/jobs?limit=0', 422, 'invalid_request', 'limit must be at least 1'],
  ['GET', '/v1/jobs?limit=101', 422, 'invalid_request', 'limit must be at most 100'],
  ['GET', '/v1/jobs?limit=1e9', 422, 'invalid_request', 'limit must be a whole number'],
  ['GET', `/v1/jobs?limit=${'9'.repeat(400)}`, 422, 'invalid_request', 'limit must be a whole number'],
  ['GET', '/v1/jobs?after=x', 422, 'invalid_request', 'after must be the `next` of another page'],
  ['GET', `/v1/jobs?after=${ID}-b-sst2-minilm`, 422, 'invalid_request', 'after must be the `next`'],
  ['GET', '/v1/batches?after=%00', 422, 'invalid_request', 'after must be the `next`'],
  ['GET', '/v1/webhooks?after=evt_', 422, 'invalid_request', 'after must be the `next`'],
  ['GET', '/v1/models?limit=1', 422, 'invalid_request', 'limit is not a known field'],
  [
    'POST',
    '/v1/batches?text_field=%ff',
    422,
    'invalid_request',
    'text_field has a % that does not start a UTF-8 escape',
  ],
  ['POST', '/v1/batches?text_field=100%', 422, 'invalid_request', 'write % as %25'],
  ['POST', '/v1/batches?model=a&model=b', 422, 'invalid_request', 'model is given twice'],
  ['POST', '/v1/batches?a%5b=1&a[=2', 422, 'invalid_request', 'a[ is given twice'],
  ['GET', `/v1/jobs?${parameters(50)}`, 422, 'invalid_request', 'p0 is not a known field'],
  ['GET', `/v1/jobs?${parameters(51)}`, 422, 'invalid_request', 'the query has more than 50 parameters'],

  ['GET', '/nowhere', 404, 'not_found', 'there is no /nowhere here; see /docs'],
  ['GET', '/v1/jobs/', 404, 'not_found', 'did you mean /v1/jobs?'],
  ['GET', '//v1//jobs', 404, 'not_found', 'did you mean /v1/jobs?'],
  ['GET', '/V1/Jobs', 404, 'not_found', 'did you mean /v1/jobs?'],
  ['POST', '/jobs', 404, 'not_found', 'did you mean /v1/jobs?'],
  ['GET', '/docs/', 404, 'not_found', 'did you mean /docs?'],
  ['GET', '/docs/assets/nope.css', 404, 'not_found', 'there is no /docs/assets/nope.css here'],
  ['GET', '/docs/assets/..%2f..%2fpackage.json', 404, 'not_found', 'there is no'],
  ['GET', '/page/nope.css', 404, 'not_found', 'there is no /page/nope.css here'],
  ['GET', '/page/main.js', 404, 'not_found', 'there is no'],
  ['GET', '/health/nope', 404, 'not_found', 'there is no'],
  ['POST', '/docs/assets/swagger-ui.css', 405, 'method_not_allowed', 'allows only GET, HEAD'],
  ['PUT', '/v1/jobs', 405, 'method_not_allowed', '/v1/jobs allows only POST, GET, HEAD'],
  ['DELETE', '/health', 405, 'method_not_allowed', 'allows only GET, HEAD'],
  ['PATCH', JOB, 405, 'method_not_allowed', 'allows only GET, HEAD, DELETE'],
  ['GET', '/predict', 405, 'method_not_allowed', '/predict allows only POST'],
];

test.each(READS)('%s %s', async (method, path, status, code, says) => {
  const body = method === 'POST' || method === 'PUT' ? json({ text: 'a' }) : {};
  const response = await stack.fetch(path, { method, ...body });
  expect(await response.json()).toMatchObject({
    status,
    code,
    detail: expect.stringContaining(says) as string,
  });
  expect(response.status).toBe(status);
  if (status === 405) expect(response.headers.get('allow')).not.toBe(null);
});

test.each([
  ['HEAD', '/docs/assets/nope.css', 404],
  ['HEAD', '/docs/assets/swagger-ui.css', 200],
  ['HEAD', '/health', 200],
  ['OPTIONS', '/docs/assets/nope.css', 204],
  ['OPTIONS', '/nowhere', 404],
])('%s %s is %i', async (method, path, status) => {
  expect((await stack.fetch(path, { method })).status).toBe(status);
});

test('OPTIONS names the methods of a path', async () => {
  const response = await stack.fetch('/v1/jobs', { method: 'OPTIONS' });
  expect([response.status, response.headers.get('allow')]).toEqual([204, 'POST, GET, HEAD']);
});

test('no refused request had an effect', async () => {
  const keys = await redis.keys(`${stack.prefix}:*`);
  expect(keys.filter((key) => !key.endsWith(':meta'))).toEqual([]);
});

test.each(['text/csv; charset=windows-1252', 'text/plain;charset="UTF-16LE"'])(
  'a batch as %s',
  async (type) => {
    const response = await stack.fetch('/v1/batches', {
      method: 'POST',
      body: 'text\na',
      headers: { 'Content-Type': type },
    });
    expect([response.status, await response.json()]).toMatchObject([
      415,
      { detail: expect.stringContaining('send the body as UTF-8') as string },
    ]);
  },
);

test.each(['utf-8', 'UTF8', '"utf-8"', 'us-ascii'])('charset=%s is UTF-8', async (charset) => {
  const type = `application/json; charset=${charset}`;
  const { status } = await stack.post('/v1/jobs', { text: 'a' }, { 'Content-Type': type });
  expect(status).toBe(202);
});

test('a byte order mark before JSON is ignored', async () => {
  const response = await stack.fetch('/v1/jobs', {
    method: 'POST',
    body: '\ufeff{"text":"a"}',
    headers: JSON_TYPE,
  });
  expect(response.status).toBe(202);
});

test('5,000 emoji are 5,000 characters', async () => {
  const { status } = await stack.post('/v1/jobs', { text: '🎬'.repeat(5000) });
  expect(status).toBe(202);
});

test.each([
  ['?wait=1000000000', {}],
  [`?wait=${'9'.repeat(400)}`, {}],
  ['', { Prefer: 'wait=1000000000' }],
  ['', { Prefer: `respond-async, WAIT="${'9'.repeat(30)}"` }],
])(
  'a wait longer than MAX_WAIT_S ends after MAX_WAIT_S: %s %o',
  async (query, headers: Record<string, string>) => {
    const submitted = await stack.post<{ urls: { self: string } }>('/v1/jobs', { text: 'a' });
    const { self } = submitted.body.urls;
    const response = await stack.fetch(self + query, { headers });
    expect([response.status, await response.json()]).toMatchObject([200, { status: 'queued' }]);
    expect(response.headers.get('preference-applied')).toBe(query === '' ? 'wait=1' : null);
    await stack.fetch(self, { method: 'DELETE' });
    expect((await stack.fetch(self, { method: 'DELETE' })).status).toBe(204);
  },
);

test('the OpenAPI document offers no webhooks without a secret to sign them', async () => {
  const { body } = await stack.get<{
    paths: Record<string, Record<string, { parameters: { name: string }[] }>>;
    components: { schemas: { CreateJob: { properties: object } } };
  }>('/openapi.json');
  expect(body.components.schemas.CreateJob.properties).not.toHaveProperty('webhook');
  const names = body.paths['/v1/batches']!.post!.parameters.map(({ name }) => name);
  expect(names).toContain('model');
  expect(names.filter((name) => name.startsWith('webhook'))).toEqual([]);
  const webhook = { url: 'https://example.com/hook' };
  expect(await stack.post('/v1/jobs', { text: 'a', webhook })).toMatchObject({
    status: 422,
    body: { detail: expect.stringContaining('WEBHOOK_SECRET is not set') as string },
  });
});
