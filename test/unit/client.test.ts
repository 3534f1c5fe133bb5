/** The HTTP client of the command on its own: exchanges, timeouts, and which errors are temporary. */
import { createServer, type RequestListener, type Server } from 'node:http';
import { afterEach, describe, expect, test } from 'vitest';
import { ApiError, ConnectionError, isTemporary, ProtocolError } from '../../src/client/errors.ts';
import { retryAfterS } from '../../src/client/exchange.ts';
import { FetchHttp } from '../../src/client/fetch-http.ts';
import { HttpClient } from '../../src/client/http.ts';

let server: Server | undefined;
let client: HttpClient | undefined;
afterEach(async () => {
  client?.close();
  server?.closeAllConnections();
  await new Promise((resolve) => (server ? server.close(resolve) : resolve(undefined)));
  server = client = undefined;
});

async function serve(listener: RequestListener, path = ''): Promise<HttpClient> {
  server = createServer(listener);
  await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve));
  const address = server.address() as { port: number };
  client = new HttpClient(new URL(`http://127.0.0.1:${address.port}${path}`));
  return client;
}
const get = { method: 'GET', path: '/x' } as const;

async function failure(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => {
      throw new Error('it succeeded');
    },
    (error: unknown) => error as Error,
  );
}

describe('an exchange', () => {
  test('below a base path, with a query', async () => {
    const http = await serve((request, response) => response.end(JSON.stringify(request.url)), '/amulet/');
    const query = { a: 'ü &', b: undefined, c: 1 };
    expect(await http.json({ ...get, query })).toBe('/amulet/x?a=%C3%BC+%26&c=1');
  });

  test('a problem document becomes an error with all its members', async () => {
    const http = await serve((_, response) => {
      response.writeHead(503, { 'Retry-After': '7' });
      response.end(JSON.stringify({ title: 'Full', detail: 'try later', code: 'redis_full' }));
    });
    const error = await failure(http.json(get));
    expect(error).toBeInstanceOf(ApiError);
    expect(error).toMatchObject({
      status: 503,
      title: 'Full',
      detail: 'try later',
      code: 'redis_full',
      retryAfterS: 7,
    });
  });

  test("a proxy's page becomes an error with the status alone", async () => {
    const http = await serve((_, response) => response.writeHead(502).end('<html>nginx</html>'));
    expect(await failure(http.json(get))).toMatchObject({
      status: 502,
      title: 'Bad Gateway',
      detail: undefined,
    });
    const other = await serve((_, response) => response.end('<html>hello</html>'));
    expect(await failure(other.json(get))).toBeInstanceOf(ProtocolError);
  });

  test.each([HttpClient, FetchHttp])('of a refusal without end, its status: %o', async (Client) => {
    let closed = 0;
    await serve((_, response) => {
      response.on('close', () => closed++);
      response.writeHead(503);
      const pour = () => {
        while (!response.destroyed && response.write(' '.repeat(65_536)));
      };
      response.on('drain', pour);
      pour();
    });
    const base = new URL(`http://127.0.0.1:${(server!.address() as { port: number }).port}`);
    const options = { base, headers: {}, fetch: globalThis.fetch, idleMs: 60_000 };
    const http = Client === HttpClient ? new HttpClient(base) : new FetchHttp(options);
    expect(await failure(http.json(get))).toMatchObject({ status: 503, title: 'Service Unavailable' });
    await expect.poll(() => closed).toBe(1);
  });

  test('texts of a problem are cut, and so is its list of errors', async () => {
    const long = 'x'.repeat(5000);
    const errors = Array.from({ length: 101 }, () => ({ path: 'texts.0', message: 'no' }));
    const problem = { title: long, detail: long, errors: [{ path: long, message: long }, ...errors] };
    const http = await serve((_, response) => response.writeHead(422).end(JSON.stringify(problem)));
    const error: unknown = await failure(http.json(get));
    const cut = 'x'.repeat(4000);
    const kept = [{ path: cut, message: cut }, ...errors.slice(0, 99)];
    expect(error).toMatchObject({ title: cut, detail: cut, errors: kept });
  });

  test('a truncated response', async () => {
    const http = await serve((_, response) => {
      response.write('half');
      setTimeout(() => response.destroy(), 10);
    });
    expect(await failure(http.json(get))).toMatchObject({ name: 'ConnectionError', code: 'ECONNRESET' });
  });

  test('connection refused', async () => {
    const http = await serve(() => {});
    server!.close();
    expect(await failure(http.json(get))).toMatchObject({
      code: 'ECONNREFUSED',
      message: 'connection refused',
    });
  });

  test('silence, before and within a response', async () => {
    const http = await serve((request, response) => {
      if (request.url === '/y') response.write('half');
    });
    for (const path of ['/x', '/y']) {
      expect(await failure(http.json({ ...get, path, idleMs: 50 }))).toMatchObject({ code: 'ETIMEDOUT' });
    }
  });

  test('a signal ends it with its reason, even within a response', async () => {
    const http = await serve((request, response) => {
      if (request.url === '/y') response.write('half');
    });
    for (const path of ['/x', '/y']) {
      const stop = new AbortController();
      setTimeout(() => stop.abort(new Error('enough')), 30);
      expect((await failure(http.json({ ...get, path, signal: stop.signal }))).message).toBe('enough');
    }
    expect((await failure(http.json({ ...get, signal: AbortSignal.abort(new Error('no')) }))).message).toBe(
      'no',
    );
  });

  test('an upload reports its progress, and a response before its end is accepted', async () => {
    const body = Buffer.alloc(8 * 1024 * 1024, 'x');
    const http = await serve((request, response) => {
      if (request.url === '/y') {
        response.writeHead(409, { 'Content-Type': 'application/json' }).end('{"title":"no"}');
        request.resume();
        return;
      }
      let bytes = 0;
      request.on('data', (chunk: Buffer) => (bytes += chunk.length));
      request.on('end', () => response.end(String(bytes)));
    });
    const sent: number[] = [];
    const put = { method: 'PUT', path: '/x', body, onSent: (bytes: number) => sent.push(bytes) } as const;
    expect(await http.json(put)).toBe(body.length);
    expect(sent.length).toBeGreaterThan(10);
    expect(sent).toEqual(sent.toSorted((a, b) => a - b));
    expect(sent.at(-1)).toBe(body.length);
    expect(await failure(http.json({ ...put, path: '/y' }))).toMatchObject({ status: 409 });
    expect(await http.json(put)).toBe(body.length);
  });
});

test('temporary errors', () => {
  const api = (status: number) => new ApiError(status, {});
  expect([408, 425, 429, 500, 502, 503, 504, 507].every((status) => isTemporary(api(status)))).toBe(true);
  expect([301, 400, 401, 404, 409, 413, 422, 501, 505].some((status) => isTemporary(api(status)))).toBe(
    false,
  );
  expect(isTemporary(new ConnectionError('ECONNRESET', ''))).toBe(true);
  expect(isTemporary(new ConnectionError('CERT_HAS_EXPIRED', ''))).toBe(false);
  expect(isTemporary(new ConnectionError('HPE_INVALID_CONSTANT', ''))).toBe(false);
  expect(isTemporary(new Error())).toBe(false);
});

test('Retry-After in both forms', () => {
  const now = Date.parse('2026-01-01T00:00:00Z');
  expect(retryAfterS('120', now)).toBe(120);
  expect(retryAfterS('Thu, 01 Jan 2026 00:00:30 GMT', now)).toBe(30);
  expect(retryAfterS('Thu, 01 Jan 2025 00:00:30 GMT', now)).toBe(0);
  expect(retryAfterS('soon', now)).toBeUndefined();
  expect(retryAfterS(undefined, now)).toBeUndefined();
});
