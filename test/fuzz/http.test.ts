/**
 * Arbitrary HTTP: near misses of real requests and plain garbage. The answer is one that the OpenAPI document lists for
 * its route, an error is a problem with the status of its code, nothing hangs, and nothing is a 500.
 */
import http from 'node:http';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { problemSchema } from '../../src/shared/contract/responses.ts';
import { PROBLEMS } from '../../src/shared/contract/problems.ts';
import { newSecret } from '../../src/shared/runtime/webhook-secret.ts';
import { fuzz } from '../support/inputs/fuzz.ts';
import { Stack } from '../support/processes/stack.ts';

/** Without a worker: what is accepted stays, and `/predict` says at once that nobody is there. */
let stack: Stack;
let documented: { pattern: RegExp; path: string; methods: Record<string, string[]> }[];
const agent = new http.Agent({ keepAlive: true, maxSockets: 16 });
/** Ids that were given out: half of the requests are about these. */
const known: string[] = [];

beforeAll(async () => {
  stack = await Stack.start({
    redisUrl: inject('redisUrl'),
    workers: 0,
    env: {
      MAX_BODY_BYTES: '20000',
      MAX_TEXT_CHARS: '200',
      MAX_WAIT_S: '0',
      WEBHOOK_SECRET: newSecret(),
      UPLOAD_IDLE_S: '5',
      // Long runs make many thousands of jobs.
      REDIS_TIMEOUT_MS: '20000',
      LOG_LEVEL: 'error',
    },
  });
  const { body } = await stack.get<{
    paths: Record<string, Record<string, { responses: Record<string, unknown> }>>;
  }>('/openapi.json');
  documented = Object.entries(body.paths).map(([path, methods]) => ({
    path,
    pattern: new RegExp(`^${path.replaceAll(/\{\w+\}/g, '[^/]+')}$`),
    methods: Object.fromEntries(
      Object.entries(methods).map(([method, { responses }]) => [
        method.toUpperCase(),
        Object.keys(responses),
      ]),
    ),
  }));
});
afterAll(async () => {
  agent.destroy();
  await stack.stop();
});

// ---------------------------------------------------------------------------------------------------------------------
// What is sent

const hex = (digits: number) => fc.stringMatching(new RegExp(`^[0-9a-f]{${digits}}$`));
const anyText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 250 }),
  fc.string({ unit: 'grapheme', maxLength: 20 }),
  fc.constantFrom('', ' ', 'fine', 'a\0b', '\ud800', '🎬'.repeat(201), 'x'.repeat(200)),
);
const segment = fc.oneof(
  fc.string({ maxLength: 30 }).map(encodeURIComponent),
  hex(32).map((digits) => `${digits}-n-sst2-minilm`),
  hex(32).map((digits) => `${digits}-b-sst2-minilm`),
  hex(32).map((digits) => `evt_${digits}`),
  fc.constantFrom('%00', '%ff', '..', '%2e%2e%2f', '1', '0', '-1', '99999999999999999999', 'x'.repeat(3000)),
);
const path = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('/v1/jobs', '/predict', '/v1/batches', '/v1/webhooks') },
  {
    weight: 6,
    arbitrary: fc
      .tuple(
        fc.constantFrom(
          '/v1/jobs/*',
          '/v1/batches/*',
          '/v1/batches/*/parts/*',
          '/v1/batches/*/parts',
          '/v1/batches/*/complete',
          '/v1/batches/*/results',
          '/v1/batches/*/resume',
          '/v1/webhooks/*',
          '/v1/webhooks/*/redeliver',
          '/hf/*',
        ),
        fc.array(segment, { minLength: 2, maxLength: 2 }),
      )
      .map(([template, parts]) => parts.reduce((filled, part) => filled.replace('*', () => part), template)),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      '/',
      '/info',
      '/v1/models',
      '/health',
      '/docs',
      '/openapi.json',
      '/v1/webhook-secret',
    ),
  },
  { weight: 1, arbitrary: fc.array(segment, { maxLength: 4 }).map((parts) => `/${parts.join('/')}`) },
);
const query = fc.oneof(
  { weight: 2, arbitrary: fc.constant('') },
  {
    weight: 1,
    arbitrary: fc
      .array(
        fc.tuple(
          fc.oneof(
            fc.constantFrom(
              'open',
              'format',
              'text_field',
              'id_field',
              'delimiter',
              'columns',
              'top_k',
              'model',
            ),
            fc.constantFrom(
              'metadata',
              'first_line',
              'webhook',
              'webhook_events',
              'limit',
              'after',
              'follow',
              'wait',
            ),
            fc.string({ maxLength: 8 }),
          ),
          fc.oneof(
            fc.constantFrom(
              'true',
              'false',
              'csv',
              'ndjson',
              'lines',
              'tab',
              ';',
              'all',
              '1',
              '0',
              '-1',
              '1e9',
              '{}',
            ),
            fc.constantFrom(
              'a,text,b',
              '"',
              'batch.completed',
              'https://example.com/',
              'http://127.0.0.1/',
              'nosuch',
            ),
            fc.string({ maxLength: 20 }),
          ),
        ),
        { maxLength: 4 },
      )
      // Not well-formed ones cannot be written as a URL at all.
      .map(
        (pairs) =>
          `?${new URLSearchParams(pairs.map(([k, v]): [string, string] => [k.toWellFormed(), v.toWellFormed()])).toString()}`,
      ),
  },
);
const headerValue = fc.stringMatching(/^[\x20-\x7e]{0,40}$/);
const headers = fc.record(
  {
    'content-type': fc.oneof(
      {
        weight: 4,
        arbitrary: fc.constantFrom('application/json', 'application/x-ndjson', 'text/csv', 'text/plain'),
      },
      { weight: 1, arbitrary: headerValue },
    ),
    'content-encoding': fc.constantFrom('gzip', 'identity', 'br', ''),
    'idempotency-key': headerValue,
    prefer: fc.oneof(fc.constantFrom('wait=0', 'wait=x', 'respond-async', 'wait=1, wait=2'), headerValue),
    traceparent: headerValue,
    accept: headerValue,
    'x-request-id': headerValue,
  },
  { requiredKeys: [] },
);
const webhook = fc.oneof(
  fc.record(
    {
      url: fc.oneof(fc.webUrl(), fc.constantFrom('https://example.com/', 'http://[::1]/', ''), fc.string()),
      events: fc.array(fc.constantFrom('job.succeeded', 'job.failed', 'nosuch'), { maxLength: 3 }),
    },
    { requiredKeys: [] },
  ),
  fc.jsonValue(),
);
const jsonBody = fc
  .oneof(
    fc.record(
      {
        text: anyText,
        texts: fc.array(fc.oneof(anyText, fc.record({ id: anyText, text: anyText })), { maxLength: 4 }),
        inputs: fc.oneof(
          anyText,
          fc.array(fc.oneof(anyText, fc.array(anyText, { maxLength: 2 })), { maxLength: 3 }),
        ),
        top_k: fc.oneof(fc.integer(), fc.constant(null), fc.double()),
        model: fc.oneof(fc.constantFrom('sst2-minilm', 'nosuch'), anyText),
        metadata: fc.oneof(fc.object({ maxDepth: 3 }), fc.jsonValue()),
        priority: fc.constantFrom('normal', 'low', 'urgent'),
        expires_in: fc.integer(),
        webhook,
        parameters: fc.jsonValue(),
        parts: fc.array(
          fc.record({ number: fc.integer(), sha256: fc.string() }, { requiredKeys: ['number'] }),
          {
            maxLength: 3,
          },
        ),
      },
      { requiredKeys: [] },
    ),
    // What most requests look like: without these the fuzzer would see little but 422.
    fc.record({ text: fc.constant('fine') }),
    fc.record({
      texts: fc.array(fc.constant('fine'), { minLength: 1, maxLength: 3 }),
      metadata: fc.object(),
    }),
    fc.jsonValue({ maxDepth: 4 }),
  )
  .map((value) => Buffer.from(JSON.stringify(value)));
const recordsBody = fc
  .array(
    fc.oneof(
      fc.record({ id: anyText, text: anyText }).map((row) => JSON.stringify(row)),
      fc.string(),
    ),
    { maxLength: 6 },
  )
  .map((lines) => Buffer.from(lines.join('\n')));
const whole = fc.oneof(
  { weight: 4, arbitrary: jsonBody },
  { weight: 2, arbitrary: recordsBody },
  { weight: 1, arbitrary: recordsBody.map((bytes) => gzipSync(bytes)) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)) },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom('', '['.repeat(9000), `{"text":"${'x'.repeat(25_000)}"}`)
      .map((s) => Buffer.from(s)),
  },
);
const body = fc.oneof(
  { weight: 5, arbitrary: whole },
  // Cut off, or with a byte that does not belong there.
  { weight: 1, arbitrary: fc.tuple(whole, fc.nat(200)).map(([bytes, end]) => bytes.subarray(0, end)) },
  {
    weight: 1,
    arbitrary: fc.tuple(whole, fc.nat(200), fc.nat(255)).map(([bytes, at, byte]) => {
      const changed = Buffer.from(bytes);
      if (at < changed.length) changed[at] = byte;
      return changed;
    }),
  },
);

interface Call {
  method: string;
  path: string;
  query: string;
  headers: Record<string, string>;
  body: Buffer;
  /** Which of the known ids takes the place of the first id in the path, if there are any. */
  about: number | undefined;
}
const call: fc.Arbitrary<Call> = fc.record({
  method: fc.oneof(
    { weight: 5, arbitrary: fc.constantFrom('GET', 'POST') },
    { weight: 2, arbitrary: fc.constantFrom('PUT', 'DELETE') },
    { weight: 1, arbitrary: fc.constantFrom('PATCH', 'HEAD', 'OPTIONS') },
  ),
  path,
  query,
  headers: headers,
  body,
  about: fc.option(fc.nat(1_000_000), { nil: undefined }),
});

// ---------------------------------------------------------------------------------------------------------------------
// What must come back

interface Reply {
  status: number;
  headers: http.IncomingHttpHeaders;
  body: Buffer;
}

function send({ method, headers: given, body: bytes }: Call, target: string): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const withBody = !['GET', 'HEAD', 'OPTIONS'].includes(method);
    const request = http.request(
      stack.url + target,
      {
        method,
        agent,
        headers: { ...given, ...(withBody ? { 'content-length': bytes.length } : {}) },
        timeout: 25_000,
      },
      (response) => {
        const pieces: Buffer[] = [];
        response.on('data', (piece: Buffer) => pieces.push(piece));
        response.on('error', reject);
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(pieces),
          }),
        );
      },
    );
    request.on('timeout', () => request.destroy(new Error('no answer within 25 s')));
    request.on('error', reject);
    request.end(withBody ? bytes : undefined);
  });
}

/** The path that is really asked for: about something that exists, where it can be. */
function targetOf({ path: wanted, query: asked, about }: Call): string {
  const id = about === undefined ? undefined : known[about % Math.max(1, known.length)];
  const filled = id === undefined ? wanted : wanted.replace(/^(\/v1\/(?:jobs|batches)\/)[^/]+/, `$1${id}`);
  return filled + asked;
}

async function check(each: Call): Promise<void> {
  const target = targetOf(each);
  let reply: Reply;
  try {
    reply = await send(each, target);
  } catch (error) {
    // The server may close a connection whose body it does not want to read.
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ECONNRESET' || code === 'EPIPE') return;
    throw error;
  }
  const { status } = reply;
  const shown = `${each.method} ${target} → ${status} ${reply.body.toString().slice(0, 300)}`;
  expect(status < 500 || status === 503 || status === 504, shown).toBe(true);
  // As the server sees it: without `..` and the like.
  const { pathname } = new URL(stack.url + target);
  const route = documented.find(({ pattern }) => pattern.test(pathname));
  const statuses = route?.methods[each.method];
  if (statuses) expect(statuses, shown).toContain(String(status));
  if (each.method === 'HEAD') return;
  if (status >= 400) {
    // Node itself refuses what is not HTTP, in words of its own.
    if (reply.headers['content-type'] === undefined) return;
    expect(reply.headers['content-type'], shown).toMatch(/^application\/problem\+json/);
    const problem = problemSchema.parse(JSON.parse(reply.body.toString()));
    expect(PROBLEMS[problem.code].status, shown).toBe(status);
    expect(problem.status).toBe(status);
    if (status === 503) expect(reply.headers['retry-after'], shown).toMatch(/^\d+$/);
  } else if (status === 201 || status === 202) {
    const { id } = JSON.parse(reply.body.toString()) as { id: string };
    known.push(id);
  }
}

test('every answer is documented', async () => {
  // Few of the requests make something: in a short run it may be none.
  for (const about of ['jobs', 'batches?open=true']) {
    const { status, body } = await stack.post<{ id: string }>(`/v1/${about}`, { text: 'good' });
    expect([about, status < 300]).toEqual([about, true]);
    known.push(body.id);
  }
  await fc.assert(
    fc.asyncProperty(fc.array(call, { minLength: 16, maxLength: 16 }), async (calls) => {
      await Promise.all(calls.map(check));
    }),
    // A failure among 16 at once would take minutes to shrink; the message names the request.
    { ...fuzz(60), endOnFailure: true },
  );
  expect((await stack.get('/health/ready')).status).toBe(200);
  expect(stack.api.running).toBe(true);
});
