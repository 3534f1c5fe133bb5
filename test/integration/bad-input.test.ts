import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { Stack } from '../support/stack.ts';

let stack: Stack;
let redis: Redis;

beforeAll(async () => {
  redis = new Redis(inject('redisUrl'));
  stack = await Stack.start({ redisUrl: inject('redisUrl'), workers: 0 });
});
afterAll(async () => {
  await stack.stop();
  redis.disconnect();
});

const JSON_TYPE = { 'Content-Type': 'application/json' };
const json = (value: unknown) => ({ body: JSON.stringify(value), headers: JSON_TYPE });

/** What is sent, and what must be said about it. */
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
  ['a list', json([]), 422, 'invalid_request', 'must be an object'],
  ['null', json(null), 422, 'invalid_request', 'must be an object'],
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
  ['top_k 1.5', json({ text: 'a', top_k: 1.5 }), 422, 'invalid_request', 'top_k must be a whole number'],
  [
    'text/plain',
    { body: 'hello', headers: { 'Content-Type': 'text/plain' } },
    415,
    'unsupported_media_type',
    'text/plain',
  ],
  ['no content type', { body: Buffer.from('{"text":"a"}') }, 415, 'unsupported_media_type', 'not none'],
  [
    'a gzip body',
    { body: '{"text":"a"}', headers: { ...JSON_TYPE, 'Content-Encoding': 'gzip' } },
    415,
    'unsupported_media_type',
    'gzip',
  ],
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
    'a wait that is no number',
    { ...json({ text: 'a' }), headers: { ...JSON_TYPE, Prefer: 'wait=soon' } },
    400,
    'malformed_header',
    'wait=10',
  ],
];

test.each(CASES)('%s', async (_name, init, status, code, says) => {
  const response = await stack.fetch('/v1/jobs', { method: 'POST', ...init });
  const problem = (await response.json()) as { detail: string };
  expect(problem).toMatchObject({
    status,
    code,
    title: expect.any(String),
    type: `urn:amulet:problem:${code}`,
  });
  expect(response.status).toBe(status);
  expect(response.headers.get('content-type')).toBe('application/problem+json');
  expect(problem.detail).toContain(says);
});

const READS: [method: string, path: string, status: number, code: string][] = [
  ['GET', '/v1/jobs/019aaf3c5e7b7c3b9d0e5f1a2b3c4d5e-n-sst2-minilm', 404, 'job_not_found'],
  ['GET', '/v1/jobs/019aaf3c5e7b7c3b9d0e5f1a2b3c4d5e-n-no-such-model', 404, 'job_not_found'],
  ['GET', '/v1/jobs/42', 422, 'invalid_request'],
  ['DELETE', '/v1/jobs/019aaf3c5e7b7c3b9d0e5f1a2b3c4d5e-l-sst2-minilm', 404, 'job_not_found'],
  ['DELETE', '/v1/jobs/%00', 422, 'invalid_request'],
  ['GET', '/v1/jobs/019aaf3c5e7b7c3b9d0e5f1a2b3c4d5e-n-sst2-minilm?wait=-1', 422, 'invalid_request'],
  ['GET', '/nowhere', 404, 'not_found'],
  ['PUT', '/v1/jobs', 405, 'method_not_allowed'],
];

test.each(READS)('%s %s', async (method, path, status, code) => {
  const response = await stack.fetch(path, { method });
  expect(await response.json()).toMatchObject({ status, code });
  expect(response.status).toBe(status);
});

test('none of it had an effect', async () => {
  const keys = await redis.keys(`${stack.prefix}:*`);
  expect(keys.filter((key) => !key.endsWith(':meta'))).toEqual([]);
});

test('5,000 emoji are 5,000 characters', async () => {
  const { status } = await stack.post('/v1/jobs', { text: '🎬'.repeat(5000) });
  expect(status).toBe(202);
});
