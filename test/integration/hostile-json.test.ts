/** Requests made to cost as much as possible: each limit holds at its value and is refused one beyond it. */
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { Stack } from '../support/processes/stack.ts';

let stack: Stack;

beforeAll(async () => {
  // A body of 10 MB fits; the values that JSON.parse or a schema would make of a hostile one do not.
  const env = { NODE_OPTIONS: '--max-old-space-size=128' };
  stack = await Stack.start({ redisUrl: inject('redisUrl'), workers: 0, env });
});
afterAll(() => stack.stop());

const COMPLETE = '/v1/batches/019aaf3c5e7b7c3b9d0e5f1a2b3c4d5e-b-sst2-minilm/complete';

async function post(path: string, body: string) {
  const response = await stack.fetch(path, {
    method: 'POST',
    body,
    headers: { 'Content-Type': 'application/json' },
  });
  const answer = await response.text();
  return { ...(JSON.parse(answer) as Problem), status: response.status, bytes: Buffer.byteLength(answer) };
}
interface Problem {
  code: string;
  detail: string;
  errors?: { path: string; message: string }[];
  errors_total?: number;
}

describe('bytes of a body', () => {
  test.each([
    ['/v1/jobs', 10_000_000],
    ['/predict', 10_000_000],
    ['/hf/sst2-minilm', 10_000_000],
    [COMPLETE, 2_560_000],
  ])('%s takes %i', async (path, bytes) => {
    expect(await post(path, '{}'.padEnd(bytes))).toMatchObject({ status: 422, code: 'invalid_request' });
    expect(await post(path, '{}'.padEnd(bytes + 1))).toMatchObject({
      status: 413,
      code: 'body_too_large',
      detail: `the body has more than ${bytes} bytes`,
    });
  });
});

const items = (count: number, item = '1') => `[${Array.from({ length: count }, () => item).join()}]`;
const members = (count: number, value = '1') =>
  Array.from({ length: count }, (_, i) => `"k${i}":${value}`).join();
const JOBS = '/v1/jobs';
const PREDICT = '/predict';
const HF = '/hf/sst2-minilm';

describe('the largest valid body of a route is accepted', () => {
  /** Metadata of 4,096 bytes with as many values as fit. */
  const densest = `{"a":${items(2044)}}`;
  const thresholds = `{${members(256, '0.5')}}`;
  test.each([
    [
      JOBS,
      `{"texts":${items(256, '{"id":"i","text":"a"}')},"metadata":${densest},"threshold":${thresholds}}`,
      202,
      undefined,
    ],
    [PREDICT, `{"inputs":${items(256, '["a"]')}}`, 503, 'no_worker'],
    [HF, `{"inputs":${items(256, '"a"')},"options":{${members(90)}}}`, 503, 'no_worker'],
    [
      COMPLETE,
      `{"parts":${items(10_000, `{"number":1,"sha256":"${'a'.repeat(64)}"}`)}}`,
      404,
      'batch_not_found',
    ],
  ])('%s', async (path, body, status, code) => {
    expect(await post(path, body)).toMatchObject({ status, ...(code === undefined ? {} : { code }) });
  });
});

describe('values of a body', () => {
  /** Values in all, with the root and the list. */
  const metadata = (values: number) => `{"metadata":{"a":${items(values - 3)}}}`;
  test.each([
    [JOBS, 3172, metadata, 'metadata'],
    [PREDICT, 612, metadata, 'metadata'],
    [HF, 356, metadata, 'metadata'],
    [COMPLETE, 30_100, metadata, 'metadata'],
    [JOBS, 3172, (values: number) => `{${members(values - 1)}}`, ''],
  ])('%s takes %i', async (path, values, bodyOf, where) => {
    const at = await post(path, bodyOf(values));
    expect(at).toMatchObject({ status: 422, code: 'invalid_request' });
    expect(at.detail).not.toContain(' values');
    const beyond = await post(path, bodyOf(values + 1));
    const message = expect.stringContaining(` ${values} values`) as string;
    expect(beyond).toMatchObject({
      status: 422,
      code: 'invalid_request',
      errors: [{ path: where, message }],
    });
  });
});

describe('items of a list', () => {
  test.each([
    [JOBS, 'texts', 256, '"a"', 202],
    [PREDICT, 'inputs', 256, '["a"]', 503],
    [HF, 'inputs', 256, '"a"', 503],
    [COMPLETE, 'parts', 10_000, '{"number":1}', 404],
  ])('%s takes %s of %i', async (path, list, count, item, status) => {
    expect(await post(path, `{"${list}":${items(count, item)}}`)).toMatchObject({ status });
    expect(await post(path, `{"${list}":${items(count + 1, item)}}`)).toMatchObject({
      status: 422,
      errors: [{ path: list, message: `must have at most ${count} items` }],
    });
  });

  test('events of a webhook', async () => {
    const body = (count: number) =>
      `{"text":"","webhook":{"url":"x","events":${items(count, '"job.failed"')}}}`;
    expect((await post(JOBS, body(16))).detail).not.toContain('events');
    expect((await post(JOBS, body(17))).detail).toContain('webhook.events must have at most 16 items');
  });
});

const BYTES = 5_000_000;
const fill = (unit: string, bytes = BYTES) => unit.repeat(Math.floor(bytes / unit.length));
const long = (unit: string, bytes = BYTES) => `[${fill(unit, bytes)}1]`;
const NO_JSON = 'the body is not valid JSON';

/** Bodies, and the error that each must get. */
const BOMBS: [name: string, path: string, body: () => string, status: number, says: string][] = [
  ['parts that are none', COMPLETE, () => `{"parts":${long('1,', 2e6)}}`, 422, 'parts must have at most'],
  ['texts that are none', JOBS, () => `{"texts":${long('1,')}}`, 422, 'texts must have at most 256 items'],
  ['lists for texts', JOBS, () => `{"texts":${long('[],')}}`, 422, 'texts must have at most 256 items'],
  ['objects for texts', JOBS, () => `{"texts":${long('{},')}}`, 422, 'texts must have at most 256 items'],
  ['events', JOBS, () => `{"webhook":{"events":${long('1,')}}}`, 422, 'webhook takes the body beyond 3172'],
  ['unknown fields', JOBS, () => `{${members(400_000)}}`, 422, 'must have at most 3172 values'],
  ['one field again and again', JOBS, () => `{${fill('"a":1,')}"a":1}`, 422, 'at most 3172 values'],
  ['the same with escapes', JOBS, () => `{${fill('"\\u0061":1,')}"a":1}`, 422, 'at most 3172 values'],
  [
    'options',
    HF,
    () => `{"inputs":"a","options":{${members(400_000)}}}`,
    422,
    'options takes the body beyond',
  ],
  ['parameters', HF, () => `{"parameters":{${members(400_000)}}}`, 422, 'parameters takes the body beyond'],
  [
    'texts for a text',
    PREDICT,
    () => `{"inputs":[${long('"a",')}]}`,
    422,
    'inputs takes the body beyond 612',
  ],
  [
    'metadata of lists',
    JOBS,
    () => `{"metadata":{"a":${long('[],')}}}`,
    422,
    'metadata takes the body beyond',
  ],
  ['lost numbers', JOBS, () => `{"metadata":{"a":${long('-0,')}}}`, 422, 'metadata takes the body beyond'],
  ['nested lists', JOBS, () => `{"texts":${fill('[')}`, 422, 'texts is nested more than 50 levels deep'],
  ['nested objects', JOBS, () => `{"texts":${fill('{"a":')}`, 422, 'nested more than 50 levels deep'],
  ['both in turn', JOBS, () => `{"metadata":${fill('[{"a":')}`, 422, 'nested more than 50 levels deep'],
  ['a root of lists', JOBS, () => fill('['), 422, 'is nested more than 50 levels deep'],
  ['NUL, escaped', JOBS, () => `{"text":"${fill('\\u0000')}"}`, 422, 'contains a NUL'],
  ['lone surrogates', JOBS, () => `{"text":"${fill('\\ud800')}"}`, 422, 'lone surrogate'],
  ['quotes, escaped', JOBS, () => `{"text":"${fill('\\"')}"}`, 422, 'has more than 50000 characters'],
  ['backslashes', JOBS, () => `{"text":"${fill('\\\\')}"}`, 422, 'has more than 50000 characters'],
  ['one long text', JOBS, () => `{"text":"${fill('a')}"}`, 422, 'has more than 50000 characters'],
  ['long texts', JOBS, () => `{"texts":${items(256, `"${'a'.repeat(19_000)}"`)}}`, 422, 'texts.0 has 19000'],
  ['a long number', JOBS, () => `{"metadata":{"n":${fill('1')}}}`, 422, 'number of more than 1000 ch'],
  ['a small number', JOBS, () => `{"metadata":{"n":0.${fill('0')}1}}`, 422, 'number of more than 1000 ch'],
  ['a number of top_k', JOBS, () => `{"top_k":${fill('1')}}`, 422, 'top_k is a number of more than 1000'],
  ['white space', JOBS, () => `{"text":${fill(' \n')}""}`, 422, 'text must not be empty'],
  ['a long name', JOBS, () => `{"${fill('k')}":1}`, 422, 'kkk… is not a known field'],
  ['a long name of controls', JOBS, () => `{"${fill('\\u0001')}":1}`, 422, '… is not a known field'],
  ['long names in texts', JOBS, () => `{"texts":${items(9, `{"${fill('k', 5e5)}":1}`)}}`, 422, 'kkk…'],
  [
    'a long name twice',
    JOBS,
    () => `{${`"${fill('k', 2e6)}":1,`.repeat(2)}"a":1}`,
    422,
    'kkk… is given twice',
  ],
  ['a long name of a number', JOBS, () => `{"metadata":{"${fill('k')}":-0}}`, 422, 'kkk… is -0'],
  ['metadata', JOBS, () => `{"metadata":{"a":"${fill('\\u0000')}"}}`, 422, 'at most 4096 are allowed'],
  ['a long id', JOBS, () => `{"texts":[{"text":"a","id":"${fill('i')}"}]}`, 422, 'more than 1280 characters'],
  ['a long model', JOBS, () => `{"text":"a","model":"${fill('m')}"}`, 422, 'model is not a model name'],
  ['a long receiver', JOBS, () => `{"webhook":{"url":"https://${fill('x')}"}}`, 422, 'is longer than 2048'],
  ['commas', JOBS, () => fill(','), 400, NO_JSON],
  ['quotes', JOBS, () => `{${fill('"')}`, 400, NO_JSON],
  ['colons', JOBS, () => `{"a"${fill(':')}`, 400, NO_JSON],
  ['ends of lists', JOBS, () => fill(']'), 400, NO_JSON],
  ['letters', JOBS, () => fill('t'), 400, NO_JSON],
  ['signs', JOBS, () => `{"metadata":${fill('-')}`, 422, 'number of more than 1000 characters'],
];

test.each(BOMBS)('%s to %s', async (_name, path, bodyOf, status, says) => {
  const answer = await post(path, bodyOf());
  expect([answer.status, answer.code]).toEqual([
    status,
    status === 400 ? 'malformed_json' : 'invalid_request',
  ]);
  expect(answer.detail).toContain(says);
  expect(answer.errors?.length ?? 0).toBeLessThanOrEqual(20);
  expect(answer.bytes).toBeLessThan(4000);
});

describe('entries of `errors`', () => {
  test.each([20, 21])('%i are counted, and 20 are listed', async (count) => {
    const answer = await post(JOBS, `{"text":"a",${members(count)}}`);
    expect(answer).toMatchObject({ status: 422, errors: { length: 20 } });
    expect(answer.errors_total).toBe(count === 20 ? undefined : count);
    expect(answer.detail.endsWith('; and 1 more')).toBe(count === 21);
  });

  test('of 10,000 parts', async () => {
    const answer = await post(COMPLETE, `{"parts":${items(10_000, '{"number":1,"x":1}')}}`);
    expect(answer).toMatchObject({ status: 422, errors: { length: 20 }, errors_total: 10_000 });
  });

  test('the longest response has less than 64 KB', async () => {
    const name = '\\u0001'.repeat(10_000);
    const answer = await post(JOBS, `{${Array.from({ length: 50 }, (_, i) => `"${name}${i}":1`).join()}}`);
    expect(answer).toMatchObject({ status: 422, errors: { length: 20 }, errors_total: 51 });
    expect(answer.bytes).toBeLessThan(65_536);
  });
});

/** Node refuses more than 16 KB of path and headers. */
const LINE = 15_000;
const BATCHES = '/v1/batches?open=true';
const count = (length: number, param: (i: number) => string) =>
  Array.from({ length }, (_, i) => param(i)).join('&');

test.each<[name: string, path: string, headers: Record<string, string>, status: number, says: string]>([
  ['50 parameters', `${JOBS}?${count(50, (i) => `k${i}=`)}`, {}, 422, '; and 30 more'],
  ['51 parameters', `${JOBS}?${count(51, (i) => `k${i}=`)}`, {}, 422, 'more than 50 parameters'],
  ['one 50 times', `${JOBS}?${count(50, () => 'a=1')}`, {}, 422, 'a is given twice'],
  ['50 wrong escapes', `${JOBS}?${count(50, (i) => `${i}%`)}`, {}, 422, '; and 30 more'],
  ['separators', `${JOBS}?${fill('&', LINE)}`, {}, 422, 'more than 50 parameters'],
  ['a long name', `${JOBS}?${fill('k', LINE)}=1`, {}, 422, 'kkk… is not a known field'],
  ['a long name of controls', `${JOBS}?${fill('%01', LINE)}=1`, {}, 422, '… is not a known field'],
  ['a long after', `${JOBS}?after=${fill('a', LINE)}`, {}, 422, 'after must be the `next`'],
  ['a long id', `${JOBS}/${fill('a', LINE)}`, {}, 404, 'there is no job aaa'],
  ['a long path', `/${fill('a/', LINE)}`, {}, 404, 'there is no /a/a'],
  ['slashes', fill('/', LINE), {}, 404, 'did you mean /?'],
  ['a long Prefer', `${JOBS}/x`, { Prefer: fill('a=b,', LINE) }, 404, 'there is no job x'],
  [
    'a long Authorization',
    `${JOBS}/x`,
    { Authorization: `Bearer${fill(' a', LINE)}` },
    404,
    'there is no job x',
  ],
  ['cookies', `${JOBS}/x`, { Cookie: fill('a=b;', LINE) }, 404, 'there is no job x'],
  ['a long tracestate', `${JOBS}/x`, { tracestate: fill('a=b,', LINE) }, 404, 'there is no job x'],
  ['a long X-Request-Id', `${JOBS}/x`, { 'X-Request-Id': fill('a', LINE) }, 404, 'there is no job x'],
])('GET with %s', async (_name, path, headers, status, says) => {
  const response = await stack.fetch(path, { headers });
  const answer = await response.text();
  const { detail, errors } = JSON.parse(answer) as Problem;
  expect([response.status, answer.length < 4000, (errors?.length ?? 0) <= 20]).toEqual([status, true, true]);
  expect(detail).toContain(says);
});

test.each<[name: string, path: string, headers: Record<string, string>, status: number, says: string]>([
  ['nested metadata', `${BATCHES}&metadata=${fill('[', LINE)}`, {}, 422, 'nested more than 50 levels'],
  ['lost numbers', `${BATCHES}&metadata=[${fill('-0,', LINE)}0]`, {}, 422, 'metadata.0 is -0'],
  [
    'a long receiver',
    `${BATCHES}&webhook=https://${fill('a.', LINE)}`,
    {},
    422,
    'longer than 2048 characters',
  ],
  ['a long field', `${BATCHES}&text_field=${fill('%01', LINE)}`, {}, 422, 'more than 2000 characters'],
  ['a long type', JOBS, { 'Content-Type': fill('a/', LINE) }, 415, 'not a/a/'],
  [
    'a long charset',
    JOBS,
    { 'Content-Type': `application/json;charset=${fill('x', LINE)}` },
    415,
    'charset=xxx',
  ],
  ['a long encoding', JOBS, { 'Content-Encoding': fill('z', LINE) }, 415, 'zzz'],
  ['a long Idempotency-Key', JOBS, { 'Idempotency-Key': fill('z', LINE) }, 422, 'must be 1 to 256'],
])('POST with %s', async (_name, path, headers, status, says) => {
  const body = path === JOBS ? { body: '{"text":"a"}' } : {};
  const response = await stack.fetch(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...headers },
    ...body,
  });
  const answer = await response.text();
  expect([response.status, answer.length < 4000]).toEqual([status, true]);
  expect((JSON.parse(answer) as Problem).detail).toContain(says);
});

test('many large bodies at once are answered, and other requests meanwhile', async () => {
  const large = Promise.all(Array.from({ length: 10 }, () => post(JOBS, `{"text":"${fill('\\"')}"}`)));
  expect((await stack.fetch('/health/live')).status).toBe(200);
  for (const { status } of await large) expect([422, 503]).toContain(status);
});
