/** The client's calls, against a server with scripted responses. */
import { describe, expect, test } from 'vitest';
import { AmuletClient, ApiError, ConnectionError, type ClientOptions } from '../../src/client/index.ts';

type Answer = Response | Error;
interface Sent {
  url: string;
  method: string;
  headers: Headers;
  body: unknown;
}

/** A client whose requests are answered by these, in turn, the last again and again. */
function client(answers: (() => Answer)[], options: Partial<ClientOptions> = {}) {
  const sent: Sent[] = [];
  const fetch: typeof globalThis.fetch = async (url, init = {}) => {
    const { method = 'GET', headers, body, signal } = init;
    signal?.throwIfAborted();
    const text = body ? new TextDecoder().decode(body as Uint8Array) : 'null';
    sent.push({ url: new Request(url).url, method, headers: new Headers(headers), body: JSON.parse(text) });
    const answer = answers[Math.min(sent.length, answers.length) - 1]!();
    if (answer instanceof Error) throw answer;
    return Promise.resolve(answer);
  };
  return { sent, amulet: new AmuletClient({ url: 'http://amulet.test', fetch, ...options }) };
}

const json =
  (status: number, body: unknown, headers: Record<string, string> = {}) =>
  (): Response =>
    new Response(JSON.stringify(body), { status, headers });
const unreachable = () => new TypeError('fetch failed', { cause: { code: 'ECONNRESET' } });
const JOB = { id: 'j-n-m', status: 'succeeded', results: [{ label: 'A', score: 1, truncated: false }] };

const failure = (promise: Promise<unknown>): Promise<Error> =>
  promise.then(
    () => {
      throw new Error('it succeeded');
    },
    (error: unknown) => error as Error,
  );

describe('requests', () => {
  test('go below a base path, with the key', async () => {
    const { sent, amulet } = client([json(202, JOB)], { url: 'https://host/amulet/', apiKey: 'amk_1' });
    await amulet.submit('a', { top_k: null, metadata: { n: 1 } });
    expect(sent).toHaveLength(1);
    expect(sent[0]).toMatchObject({
      url: 'https://host/amulet/v1/jobs',
      method: 'POST',
      body: { texts: ['a'], top_k: null, metadata: { n: 1 } },
    });
    expect(sent[0]!.headers.get('authorization')).toBe('Bearer amk_1');
    expect(sent[0]!.headers.get('prefer')).toBeNull();
  });

  test.each<[string, Partial<ClientOptions>, RegExp]>([
    ['no URL', { url: '127.0.0.1:3000' }, /"127\.0\.0\.1:3000" is not a URL/],
    ['another protocol', { url: 'ftp://host' }, /neither http: nor https:/],
    ['a password', { url: 'http://me:amk_secret@host' }, /must not contain a user name or password/],
    ['a key of two lines', { apiKey: 'amk_secret\namk_secret' }, /^apiKey: contains characters/],
    ['a key that is a sentence', { apiKey: 'the amk_secret' }, /^apiKey: contains characters/],
  ])('%s is refused at once, and nothing secret repeated', (_, options, message) => {
    let error: unknown;
    try {
      client([json(200, JOB)], options);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(TypeError);
    expect((error as Error).message).toMatch(message);
    expect((error as Error).message).not.toContain('secret');
  });

  test('a line feed after the key is ignored', async () => {
    const { sent, amulet } = client([json(200, JOB)], { apiKey: 'amk_1\r\n' });
    await amulet.get('a');
    expect(sent[0]!.headers.get('authorization')).toBe('Bearer amk_1');
  });

  test('classify lets the server hold the response, and polls no more after it', async () => {
    const { sent, amulet } = client([json(200, JOB)]);
    expect(await amulet.classify('a')).toMatchObject({ label: 'A' });
    expect(sent.map(({ headers }) => headers.get('prefer'))).toEqual(['wait=25']);
  });

  test('ids are escaped in paths', async () => {
    const { sent, amulet } = client([json(200, JOB)]);
    await amulet.get('../models?');
    expect(sent[0]!.url).toBe('http://amulet.test/v1/jobs/..%2Fmodels%3F');
  });

  test('pages are requested on demand', async () => {
    const { sent, amulet } = client([
      json(200, { jobs: [{ id: 'b' }, { id: 'a' }], next: 'a' }),
      json(200, { jobs: [{ id: '0' }], next: null }),
    ]);
    const ids: string[] = [];
    for await (const { id } of amulet.jobs()) ids.push(id);
    expect(ids).toEqual(['b', 'a', '0']);
    expect(sent.map(({ url }) => url)).toEqual([
      'http://amulet.test/v1/jobs?limit=100',
      'http://amulet.test/v1/jobs?limit=100&after=a',
    ]);
  });
});

describe('retries', () => {
  test.each([
    ['429 with Retry-After', json(429, { code: 'queue_full' }, { 'Retry-After': '0' })],
    ['503', json(503, { code: 'redis_unavailable' })],
    ['a proxy that has lost its server', () => new Response('<html>', { status: 502 })],
    ['a lost connection', unreachable],
  ])('%s: the same request, under the same key', async (_, failure) => {
    const { sent, amulet } = client([failure, json(202, JOB)]);
    await amulet.submit('a');
    expect(sent).toHaveLength(2);
    const [first, second] = sent.map(({ headers }) => headers.get('idempotency-key'));
    expect(first).toMatch(/^[0-9a-f]{32}$/);
    expect(second).toBe(first);
    await amulet.submit('a');
    expect(sent[2]!.headers.get('idempotency-key')).not.toBe(first);
  });

  test("no permanent error, which contains the server's message", async () => {
    const errors = [{ path: 'texts.0', message: 'must not be empty' }];
    const problem = { title: 'Not valid', detail: 'no', code: 'invalid_request', errors, request_id: 'r1' };
    const { sent, amulet } = client([json(422, problem)]);
    const error = await failure(amulet.submit(''));
    expect(sent).toHaveLength(1);
    expect(error).toBeInstanceOf(ApiError);
    expect(error).toMatchObject({ status: 422, code: 'invalid_request', errors, requestId: 'r1' });
    expect(error.message).toBe('Not valid: no');
  });

  test('until the time limit, then throws the last failure', async () => {
    const { sent, amulet } = client([json(503, { code: 'redis_full' })], { patienceMs: 500 });
    expect(await failure(amulet.submit('a'))).toMatchObject({ name: 'ApiError', code: 'redis_full' });
    expect(sent.length).toBeGreaterThan(1);
    const once = client([unreachable], { patienceMs: 0 });
    const error = await failure(once.amulet.submit('a'));
    expect(error).toBeInstanceOf(ConnectionError);
    expect(error).toMatchObject({ code: 'ECONNRESET', message: 'connection lost' });
    expect(once.sent).toHaveLength(1);
  });

  test('a signal ends the pause with its reason', async () => {
    const { amulet } = client([json(503, {}, { 'Retry-After': '60' })], { patienceMs: 60_000 });
    const stop = new AbortController();
    setTimeout(() => stop.abort(new Error('enough')), 30);
    expect((await failure(amulet.submit('a', { signal: stop.signal }))).message).toBe('enough');
  });

  test('a cancel whose response was lost does not delete the canceled job', async () => {
    const canceled = { id: 'j', status: 'canceled' };
    const { sent, amulet } = client([unreachable, json(200, canceled)]);
    expect(await amulet.cancel('j')).toEqual(canceled);
    expect(sent.map(({ method }) => method)).toEqual(['DELETE', 'GET']);

    const removed = client([unreachable, json(404, { code: 'job_not_found' })]);
    expect(await removed.amulet.cancel('j')).toBeUndefined();
    expect(await failure(client([json(404, { code: 'job_not_found' })]).amulet.cancel('j'))).toMatchObject({
      code: 'job_not_found',
    });
  });
});

test('a redirect is not followed, since the key is for one server', async () => {
  const { amulet } = client([() => new Response(null, { status: 307, headers: { Location: 'http://b' } })]);
  expect(await failure(amulet.models())).toMatchObject({ name: 'ApiError', status: 307 });
});

test('a URL that is not HTTP is refused at once', () => {
  expect(() => new AmuletClient({ url: 'localhost:3000' })).toThrow(TypeError);
  expect(() => new AmuletClient({ url: 'amulet' })).toThrow(TypeError);
});

test('wait polls until the job is final, and stops at its timeout', async () => {
  const waiting = { ...JOB, status: 'queued', results: null };
  const { sent, amulet } = client([json(200, waiting), json(200, JOB)]);
  expect(await amulet.wait('j')).toMatchObject({ status: 'succeeded' });
  expect(sent.map(({ url }) => new URL(url).search)).toEqual(['?wait=25', '?wait=25']);

  const never = client([json(200, waiting)]);
  const error = await failure(never.amulet.wait('j', { timeoutMs: 20 }));
  expect(error).toMatchObject({ name: 'WaitTimeoutError', code: 'wait_timeout', latest: waiting });
});

describe('a server that is down beyond the timeout', () => {
  const waiting = { ...JOB, status: 'queued', results: null };
  /** Accepts, and never answers. */
  const silent: typeof globalThis.fetch = (_, init) =>
    new Promise((_resolve, reject) => {
      const { signal } = init ?? {};
      signal?.addEventListener('abort', () => reject(signal.reason as Error));
    });
  const within = async (ms: number, promise: Promise<unknown>) => {
    const startedAt = performance.now();
    const error = await failure(promise);
    expect(performance.now() - startedAt).toBeLessThan(ms);
    return error;
  };

  test("a job not seen yet: the server's failure", async () => {
    const { amulet } = client([unreachable]);
    expect(await within(20_000, amulet.wait('j', { timeoutMs: 300 }))).toMatchObject({ code: 'ECONNRESET' });
    expect(await within(20_000, amulet.classify('a', { timeoutMs: 300 }))).toMatchObject({
      code: 'ECONNRESET',
    });
    const hung = new AmuletClient({ url: 'http://amulet.test', fetch: silent });
    expect(await within(20_000, hung.wait('j', { timeoutMs: 300 }))).toMatchObject({ code: 'ETIMEDOUT' });
    expect(await within(20_000, hung.batchById('b').wait({ timeoutMs: 300 }))).toMatchObject({
      code: 'ETIMEDOUT',
    });
  });

  test('a job seen before: not ended, as far as is known', async () => {
    const { amulet } = client([json(200, waiting), unreachable]);
    const error = await within(20_000, amulet.wait('j', { timeoutMs: 1000 }));
    expect(error).toMatchObject({ name: 'WaitTimeoutError', latest: waiting });
  });

  test('rows arrive without the empty lines of the heartbeat', async () => {
    const rows = [1, 2].map((line) => ({ line, label: 'A', score: 1, truncated: false }));
    const body = `\n\n${JSON.stringify(rows[0])}\n\n${JSON.stringify(rows[1])}\n\n`;
    const batch = { id: 'b', status: 'completed', rows: { total: 2 } };
    const { sent, amulet } = client([() => new Response(body), json(200, batch)]);
    const come: unknown[] = [];
    for await (const row of amulet.batchById('b').results()) come.push(row);
    expect(come).toEqual(rows);
    // Exactly application/x-ndjson is what a client of version 0.1 sends, which cannot skip them.
    expect(sent[0]!.headers.get('accept')).not.toBe('application/x-ndjson');
  });

  test('reading results stops at the time limit', async () => {
    const noAnswer = () => new TypeError('fetch failed', { cause: { code: 'ETIMEDOUT' } });
    const { amulet } = client([noAnswer], { patienceMs: 100 });
    await expect(amulet.batchById('b').results().next()).rejects.toMatchObject({ code: 'ETIMEDOUT' });
  });
});

test('a resume whose response was lost has succeeded', async () => {
  const running = { id: 'b', status: 'processing', rows: { total: 1, finished: 0, failed: 0 } };
  const done = json(409, { code: 'batch_not_failed' });
  const { sent, amulet } = client([unreachable, done, json(200, running)]);
  expect(await amulet.batchById('b').resume()).toEqual(running);
  expect(sent.map(({ method }) => method)).toEqual(['POST', 'POST', 'GET']);
  expect(await failure(client([done]).amulet.batchById('b').resume())).toMatchObject({ status: 409 });
});
