/**
 * The service against its own OpenAPI document: every operation, with requests made of its schemas and with such that miss
 * them narrowly. The answer is one that the document promises, to the last field, and what a schema forbids is refused.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { newKey } from '../../src/shared/runtime/api-keys.ts';
import { newSecret } from '../../src/shared/runtime/webhook-secret.ts';
import { keyLines } from '../support/api/key-lines.ts';
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
import { Receiver } from '../support/webhooks/receiver.ts';
import { Stack } from '../support/processes/stack.ts';

const keys = { alice: newKey(), bob: newKey() };
/** Requests at once. */
const TOGETHER = 16;

const env = {
  MAX_BODY_BYTES: '20000',
  MAX_TEXT_CHARS: '200',
  MAX_WAIT_S: '1',
  WEBHOOK_SECRET: newSecret(),
  WEBHOOK_SCHEMES: 'http',
  REDIS_TIMEOUT_MS: '20000',
  LOG_LEVEL: 'error',
};

interface Call {
  operation: Operation;
  caller: keyof typeof keys | undefined;
  /** Of the web page that asks; undefined: a program does. */
  origin: string | undefined;
  path: Record<string, string>;
  query: Record<string, string>;
  headers: Record<string, string>;
  /** Media type and what it is sent with: a value for JSON, lines for the rest. */
  body: { type: string; schema: Schema; value: unknown } | undefined;
  /** Which of the known ids takes the place of the one in the path; undefined: none. */
  about: number | undefined;
}

const text = fc.oneof(
  fc.constantFrom(
    'fine',
    'a b',
    '',
    ' ',
    'sst2-minilm',
    '{}',
    'wait=1',
    'http://127.0.0.1/',
    'x'.repeat(201),
  ),
  fc.string({ unit: 'grapheme', maxLength: 20 }),
  fc.constantFrom('{"id":"a","text":"b"}\n{"text":1}', 'id,text\n1,fine\n', 'one\ntwo\r\n\r\nthree'),
);
const headerText = fc.oneof(
  fc.constantFrom('wait=1', 'wait=0', 'wait=x', 'respond-async'),
  fc.stringMatching(/^[\x21-\x7e]{1,20}$/),
);
const segment = fc.oneof(
  fc.stringMatching(/^[0-9a-f]{32}-[nlb]-sst2-minilm$/),
  fc.stringMatching(/^evt_[0-9a-f]{32}$/),
  fc.constantFrom('sst2-minilm', '1', '2', '0', '-1', '99999999999999999', '\0', '%', 'x'.repeat(2000)),
  fc.string({ minLength: 1, maxLength: 20 }).filter((each) => each !== '.' && each !== '..'),
);

/** Calls of one operation: the half of them as its schemas want it, as far as they say it. */
function callsOf(operation: Operation, document: OpenApiDocument, withKeys: boolean): fc.Arbitrary<Call> {
  const { parameters = [], requestBody } = operation;
  const inPlace = (place: 'path' | 'query' | 'header', free: fc.Arbitrary<string>) => {
    const there = parameters.filter((parameter) => parameter.in === place);
    const pairs = there.map(({ name, schema, required }) => {
      const asked = valid(schema, document, free).map(String);
      const value = fc.oneof({ weight: 3, arbitrary: asked }, { weight: 1, arbitrary: free });
      const pair = value.map((each): [string, string] => [name, each]);
      // Some operations have a dozen; with half of them at once nothing would ever be right.
      return required ? pair : fc.oneof({ weight: 5, arbitrary: fc.constant(undefined) }, pair);
    });
    return fc.tuple(...pairs).map((all) => Object.fromEntries(all.filter((pair) => pair !== undefined)));
  };
  const bodies = Object.entries(requestBody?.content ?? {}).map(([type, { schema }]) => {
    const values = valid(schema, document, text);
    const value = type === 'application/json' ? fc.oneof(values, nearMiss(values)) : values;
    return value.map((each) => ({ type, schema, value: each }));
  });
  return fc.record({
    operation: fc.constant(operation),
    caller: withKeys
      ? fc.oneof(
          { weight: 9, arbitrary: fc.constantFrom('alice' as const, 'bob' as const) },
          { weight: 1, arbitrary: fc.constant(undefined) },
        )
      : fc.constant(undefined),
    origin: fc.oneof(
      { weight: 19, arbitrary: fc.constant(undefined) },
      { weight: 1, arbitrary: fc.constant('https://other.example.com') },
    ),
    path: inPlace('path', segment),
    query: inPlace('query', text),
    headers: inPlace('header', headerText),
    body:
      bodies.length === 0
        ? fc.constant(undefined)
        : fc.option(fc.oneof(...bodies), { nil: undefined, freq: 9 }),
    about: fc.option(fc.nat(), { nil: undefined }),
  });
}

/**
 * What there is of results: a batch that nobody works on is followed for ever, and the answer breaks off when another
 * request removes the batch.
 */
async function beginning(response: Response): Promise<string> {
  await response.body?.cancel().catch(() => {});
  return '';
}

/** A value that is no JSON at all has no body. */
const written = ({ type, value }: { type: string; value: unknown }): string | undefined =>
  type === 'application/json' ? JSON.stringify(value) : String(value);

/** The ids in an answer, of jobs, batches and deliveries. */
const idsIn = (body: string): string[] =>
  [...body.matchAll(/"id":"((?:evt_)?[0-9a-f]{32}[^"]*)"/g)].map(([, id]) => id as string);

describe.each([
  ['without keys, without workers', false],
  ['with two keys and all processes', true],
])('%s', (_, withKeys) => {
  let stack: Stack;
  let receiver: Receiver;
  let document: OpenApiDocument;
  let checker: Checker;
  const known: string[] = [];
  const answered = new Set<string>();

  beforeAll(async () => {
    receiver = await Receiver.start();
    stack = await Stack.start({
      redisUrl: inject('redisUrl'),
      workers: withKeys ? 1 : 0,
      webhooks: withKeys,
      env: {
        ...env,
        WEBHOOK_ALLOW: `127.0.0.1:${receiver.port}`,
        ...(withKeys ? { API_KEYS: keyLines(keys) } : {}),
      },
    });
    ({ body: document } = await stack.get<OpenApiDocument & Record<string, unknown>>('/openapi.json'));
    checker = new Checker(document);
    for (const key of withKeys ? Object.values(keys) : [undefined]) {
      const headers: Record<string, string> = key === undefined ? {} : { authorization: `Bearer ${key}` };
      const webhook = { url: receiver.url() };
      const answers = await Promise.all([
        stack.post('/v1/jobs', { text: 'fine', webhook }, headers),
        stack.post('/v1/batches?open=true', undefined, headers),
      ]);
      known.push(...answers.map(({ body }) => String(body.id)));
    }
  });
  afterAll(async () => {
    await stack.stop();
    await receiver.stop();
  });

  async function check({
    operation,
    caller,
    origin,
    path,
    query,
    headers,
    body,
    about,
  }: Call): Promise<void> {
    const { method, path: template, security } = operation;
    const filled = Object.entries({ ...path, ...(about === undefined ? {} : { id: pick(about) }) }).reduce(
      (target, [name, value]) => target.replace(`{${name}}`, () => encodeURIComponent(value.toWellFormed())),
      template,
    );
    const search = new URLSearchParams(
      Object.entries(query).map(([name, value]): [string, string] => [name, value.toWellFormed()]),
    ).toString();
    const sent = body && written(body);
    const response = await stack.fetch(`${filled}?${search}`, {
      method,
      headers: {
        ...headers,
        ...(body ? { 'content-type': body.type } : {}),
        ...(origin === undefined ? {} : { origin }),
        ...(caller === undefined ? {} : { authorization: `Bearer ${keys[caller]}` }),
      },
      ...(sent === undefined ? {} : { body: sent }),
    });
    const { status } = response;
    const received =
      status === 200 && template.endsWith('/results') ? await beginning(response) : await response.text();
    const shown = `${method} ${filled}?${search} ${sent ?? ''} → ${status} ${received.slice(0, 300)}`;
    expect(status < 500 || status === 503 || status === 504, shown).toBe(true);
    const contentType = response.headers.get('content-type');
    expect(checker.faults(operation, { status, contentType, body: received }), shown).toBe('');
    expect(status === 401, shown).toBe(withKeys && caller === undefined && security !== undefined);
    if (!withKeys && origin !== undefined) expect(status, shown).toBe(403);
    if (body?.type === 'application/json' && !checker.allows(body.schema, body.value))
      expect(status, `the schema forbids it: ${shown}`).toBeGreaterThanOrEqual(400);
    if (status < 300) known.push(...idsIn(received));
    answered.add(String(operation));
  }
  const pick = (about: number) => known[about % known.length] as string;

  test('every answer is as documented', async () => {
    const operations = operationsOf(document);
    const call = fc.oneof(...operations.map((operation) => callsOf(operation, document, withKeys)));
    await fc.assert(
      fc.asyncProperty(fc.array(call, { minLength: TOGETHER, maxLength: TOGETHER }), async (calls) => {
        await Promise.all(calls.map(check));
      }),
      // A failure among many at once would take minutes to shrink; the message names the request.
      { ...fuzz(25), endOnFailure: true },
    );
    expect([...answered].sort()).toEqual(operations.map(String).sort());
    expect(stack.api.running).toBe(true);
  });
});
