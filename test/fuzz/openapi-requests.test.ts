/**
 * The OpenAPI document says what the service takes: no request that it allows is refused for its form, and every one that it
 * forbids is. What JSON Schema cannot say, the descriptions do, and `asDescribed` here.
 */
import { setTimeout } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { newSecret } from '../../src/shared/runtime/webhook-secret.ts';
import { fuzz } from '../support/inputs/fuzz.ts';
import {
  Checker,
  nearMiss,
  operationsOf,
  valid,
  type OpenApiDocument,
  type Operation,
  type Schema,
} from '../support/api/openapi.ts';
import { Stack } from '../support/processes/stack.ts';

/** Requests at once. */
const TOGETHER = 16;

let stack: Stack;
let document: OpenApiDocument;
let checker: Checker;
const answered = new Map<string, Set<number>>();
/** Of batches that take parts: one for the parts, one to be completed. */
let open: string[] = [];

beforeAll(async () => {
  stack = await Stack.start({
    redisUrl: inject('redisUrl'),
    workers: 0,
    env: {
      MAX_TEXT_CHARS: '30',
      MAX_ID_CHARS: '10',
      MAX_TEXTS_PER_JOB: '4',
      MAX_WAIT_S: '0',
      WEBHOOK_SECRET: newSecret(),
      REDIS_TIMEOUT_MS: '20000',
      LOG_LEVEL: 'error',
    },
  });
  ({ body: document } = await stack.get<OpenApiDocument & Record<string, unknown>>('/openapi.json'));
  checker = new Checker(document);
});
afterAll(() => stack.stop());

beforeEach(async () => {
  const opened = await Promise.all([1, 2].map(() => stack.post('/v1/batches?open=true', undefined)));
  open = opened.map(({ body }) => String(body.id));
});

interface Call {
  operation: Operation;
  path: Record<string, string>;
  query: Record<string, string>;
  headers: Record<string, string>;
  body: { type: string; schema: Schema; value: unknown } | undefined;
  /** Whether the id in the path is one that exists. */
  known: boolean;
}

const anything = fc.string({ unit: 'grapheme', maxLength: 20 });

/** What an operation's schemas allow, every part of it. */
function callsOf(operation: Operation): fc.Arbitrary<Call> {
  const { parameters = [], requestBody } = operation;
  const inPlace = (place: 'path' | 'query' | 'header') => {
    const pairs = parameters
      .filter((parameter) => parameter.in === place)
      .map(({ name, schema, required }) => {
        const pair = valid(schema, document, anything).map((value): [string, string] => [
          name,
          String(value),
        ]);
        return required ? pair : fc.oneof({ weight: 2, arbitrary: fc.constant(undefined) }, pair);
      });
    return fc.tuple(...pairs).map((all) => Object.fromEntries(all.filter((pair) => pair !== undefined)));
  };
  const bodies = Object.entries(requestBody?.content ?? {}).map(([type, { schema }]) =>
    valid(schema, document, anything).map((value) => ({ type, schema, value })),
  );
  const body = fc.oneof(...(bodies.length === 0 ? [fc.constant(undefined)] : bodies));
  return fc
    .record({
      operation: fc.constant(operation),
      path: inPlace('path'),
      query: inPlace('query'),
      headers: inPlace('header'),
      body: requestBody?.required ? body : fc.oneof(body, fc.constant(undefined)),
      known: fc.boolean(),
    })
    .map(asDescribed);
}

/** Records of JSON Lines are objects with the field of the text. */
const jsonLine = (value: unknown, field = 'text') => `${JSON.stringify({ [field]: value })}\n`;

/** Leaves out what the descriptions of an operation say that does not go together. */
function asDescribed(call: Call): Call {
  // The batches that parts are put into are of JSON Lines.
  if (call.operation.method === 'PUT')
    return { ...call, body: call.body && { ...call.body, value: jsonLine(call.body.value) } };
  if (String(call.operation) === 'GET /v1/batches/{id}/results') return { ...call, query: asForm(call) };
  if (String(call.operation) !== 'POST /v1/batches') return call;
  const query = { ...call.query };
  if (!call.body) query.open = 'true';
  const body = query.open === 'true' ? undefined : call.body;
  if (query.webhook === undefined) delete query.webhook_events;
  const byType = { 'text/csv': 'csv', 'text/plain': 'lines' }[body?.type ?? ''] ?? 'ndjson';
  const format = query.format ?? (query.open === 'true' ? 'ndjson' : byType);
  if (format !== 'csv') {
    delete query.delimiter;
    delete query.columns;
    delete query.quote;
  }
  if (format === 'lines') {
    delete query.text_field;
    delete query.id_field;
  }
  if (format === 'ndjson')
    return { ...call, query, body: body && { ...body, value: jsonLine(body.value, query.text_field) } };
  if (format === 'lines') return { ...call, query, body };
  // The header, in the query or in the body, has the columns that are named.
  delete query.text_field;
  delete query.id_field;
  const delimiter = query.delimiter === 'tab' ? '\t' : (query.delimiter ?? ',');
  const header = `id${delimiter}text`;
  if (query.columns !== undefined) query.columns = header;
  return { ...call, query, body: body && { ...body, value: `${header}\n1${delimiter}fine\n` } };
}

/** The query for results: the known batches are open, so neither tables nor columns of their input can be asked for. */
function asForm({ query, known }: Call): Call['query'] {
  const form = { ...query };
  if (known) {
    delete form.format;
    delete form.keep;
  }
  if (form.keep !== undefined) form.keep = 'id,text';
  if (form.format === undefined || form.format === 'ndjson') {
    delete form.score_columns;
    delete form.raw;
  }
  return form;
}

interface Answer {
  status: number;
  code: string | undefined;
  shown: string;
}

async function send({ operation, path, query, headers, body, known }: Call): Promise<Answer> {
  const { method, path: template } = operation;
  const id = open[template.endsWith('/complete') ? 1 : 0] as string;
  const parameters =
    known && template.includes('/batches/{id}') && method !== 'DELETE' ? { ...path, id } : path;
  const filled = Object.entries(parameters).reduce(
    (target, [name, value]) => target.replace(`{${name}}`, () => encodeURIComponent(value)),
    template,
  );
  const asked = Object.keys(query).length === 0 ? '' : `?${new URLSearchParams(query).toString()}`;
  const json = body?.type === 'application/json';
  const sent = body && (json ? JSON.stringify(body.value) : String(body.value));
  const response = await stack.fetch(filled + asked, {
    method,
    headers: { ...headers, ...(body ? { 'content-type': body.type } : {}) },
    ...(sent === undefined ? {} : { body: sent }),
  });
  const { status } = response;
  // The results of a batch that nobody works on are followed for ever.
  const following = status === 200 && template.endsWith('/results');
  const text = following ? '' : await response.text();
  if (following) await response.body?.cancel().catch(() => {});
  const code = status < 400 ? undefined : (JSON.parse(text) as { code: string }).code;
  const written = JSON.stringify({ headers, body: sent });
  answered.set(String(operation), (answered.get(String(operation)) ?? new Set()).add(status));
  return { status, code, shown: `${method} ${filled}${asked} ${written} → ${status} ${text.slice(0, 300)}` };
}

/** Sends many, some at once. */
async function all(call: fc.Arbitrary<Call>, runs: number, check: (answer: Answer) => void): Promise<void> {
  await fc.assert(
    fc.asyncProperty(fc.array(call, { minLength: TOGETHER, maxLength: TOGETHER }), async (calls) => {
      // Making them takes seconds now and then: connections that the server has closed meanwhile are noticed first.
      await setTimeout(1);
      for (const answer of await Promise.all(calls.map(send))) check(answer);
    }),
    // A failure among many at once would take minutes to shrink; the message names the request.
    { ...fuzz(runs), endOnFailure: true },
  );
}

test('no request that the document allows is refused as malformed', async () => {
  const operations = operationsOf(document);
  await all(fc.oneof(...operations.map(callsOf)), 20, ({ status, code, shown }) => {
    // Random keys repeat now and then, with another body.
    if (code === 'idempotency_mismatch') return;
    expect([400, 413, 415, 422], shown).not.toContain(status);
  });
  expect([...answered.keys()].sort()).toEqual(operations.map(String).sort());
  // What makes something has made something.
  for (const operation of ['POST /v1/jobs', 'POST /v1/batches', 'PUT /v1/batches/{id}/parts/{number}'])
    expect([...(answered.get(operation) ?? [])].some((status) => status === 201 || status === 202)).toBe(
      true,
    );
});

test('every body that the document forbids is refused', async () => {
  const operations = operationsOf(document).filter(
    ({ requestBody }) => requestBody?.content['application/json'] !== undefined,
  );
  const forbidden = operations.map((operation) =>
    callsOf(operation).chain((call) => {
      const { schema, value } = call.body!;
      return nearMiss(fc.constant(value))
        .filter((miss) => miss !== undefined && !checker.allows(schema, JSON.parse(JSON.stringify(miss))))
        .map((miss) => ({ ...call, body: { ...call.body!, value: miss } }));
    }),
  );
  await all(fc.oneof(...forbidden), 10, ({ status, shown }) => {
    expect(status, shown).toBeGreaterThanOrEqual(400);
    expect(status, shown).toBeLessThan(500);
  });
});

test('every parameter that the document forbids is refused, unknown ones too', async () => {
  const odd = fc.oneof(
    anything,
    fc.constantFrom(
      '',
      ' ',
      '0',
      '-1',
      '1.5',
      '1e3',
      '0x1',
      '10001',
      '9'.repeat(30),
      'true',
      'TRUE',
      '\0',
      'x'.repeat(300),
    ),
  );
  const forbidden = operationsOf(document).flatMap((operation) => {
    const { parameters = [], path } = operation;
    // Of headers, Prefer ignores what it does not understand (RFC 7240); and any string is right where none is too short.
    const named = parameters.filter(
      ({ in: place, schema }) => place !== 'header' && !checker.allowsParameter(schema, ''),
    );
    const misses = named.map(({ name, schema, in: place }) =>
      fc
        .tuple(callsOf(operation), odd)
        .filter(
          ([, value]) =>
            !checker.allowsParameter(schema, value) && (place === 'query' || /[^./]/.test(value)),
        )
        .map(([call, value]): Call => {
          if (place === 'path') return { ...call, known: false, path: { ...call.path, [name]: value } };
          return { ...call, query: { ...call.query, [name]: value } };
        }),
    );
    if (!path.startsWith('/v1')) return misses;
    const unknown = callsOf(operation).map((call): Call => ({
      ...call,
      query: { ...call.query, nosuch: '1' },
    }));
    return [...misses, unknown];
  });
  await all(fc.oneof(...forbidden), 20, ({ status, shown }) => {
    expect(status, shown).toBeGreaterThanOrEqual(400);
    expect(status, shown).toBeLessThan(500);
  });
});

test('the values that /docs fills in fit their schemas', () => {
  for (const operation of operationsOf(document)) {
    const shown = String(operation);
    for (const { name, in: place, schema } of operation.parameters ?? []) {
      const { example } = schema;
      if (place === 'path' && name === 'id') expect([shown, typeof example]).toEqual([shown, 'string']);
      if (typeof example === 'string') expect(checker.allowsParameter(schema, example), shown).toBe(true);
    }
    for (const [type, { schema, example, examples }] of Object.entries(
      operation.requestBody?.content ?? {},
    )) {
      const given = examples ? Object.values(examples).map(({ value }) => value) : [example];
      for (const value of given) expect(checker.allows(schema, value), `${shown} ${type}`).toBe(true);
    }
  }
});

test('a missing body, or one of another type, is refused', async () => {
  const operations = operationsOf(document).filter(({ requestBody }) => requestBody?.required);
  expect(operations.length).toBeGreaterThanOrEqual(5);
  for (const operation of operations) {
    const [call] = fc.sample(callsOf(operation), 1) as [Call];
    const wrong = await send({ ...call, known: true, body: { ...call.body!, type: 'application/xml' } });
    // Parts have the format of their batch, whatever they are called.
    const anyType = operation.method === 'PUT';
    expect(wrong.status === 415, wrong.shown).toBe(!anyType);
    const none = await send({ ...call, known: true, body: undefined });
    expect([none.status, none.code], none.shown).toEqual([400, 'empty_body']);
  }
});
