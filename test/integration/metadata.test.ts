/** Metadata comes back as it went in, on every way, or is refused with the place that would change. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { newSecret } from '../../src/shared/runtime/webhook-secret.ts';
import { Receiver } from '../support/webhooks/receiver.ts';
import { eventually, Stack } from '../support/processes/stack.ts';

let stack: Stack;
let receiver: Receiver;

beforeAll(async () => {
  receiver = await Receiver.start();
  stack = await Stack.start({
    redisUrl: inject('redisUrl'),
    webhooks: true,
    env: {
      WEBHOOK_SECRET: newSecret(),
      WEBHOOK_SCHEMES: 'http',
      WEBHOOK_ALLOW: `127.0.0.1:${receiver.port}`,
      MAX_METADATA_DEPTH: '5',
    },
  });
});
afterAll(async () => {
  await stack.stop();
  await receiver.stop();
});

const submit = (body: string, headers: Record<string, string> = {}) =>
  stack.fetch('/v1/jobs', {
    method: 'POST',
    body,
    headers: { 'Content-Type': 'application/json', ...headers },
  });
const openBatch = (metadata: string) =>
  stack.fetch(`/v1/batches?${new URLSearchParams({ open: 'true', metadata }).toString()}`, {
    method: 'POST',
  });
/** The raw JSON of the metadata in a response; everything before it has a known shape. */
const metadataIn = (answer: string) => /"metadata":(.*?),"webhook":/.exec(answer)?.[1];

describe('as it came', () => {
  test.each<[name: string, sent: string, shown?: string]>([
    ['integers that a double holds', '{"a":9007199254740991,"b":-9007199254740992}'],
    ['other spellings of the same number', '{"a":1.0,"b":1e2,"c":1.50}', '{"a":1,"b":100,"c":1.5}'],
    ['decimals', '{"a":0.1,"b":0.30000000000000004,"c":5e-324,"d":1.7976931348623157e+308}'],
    ['a large id as a string', '{"tweet":"1546130668394913822"}'],
    [
      'names that JavaScript knows',
      '{"__proto__":{"x":1},"constructor":null,"toString":[],"hasOwnProperty":1}',
    ],
    ['control characters', String.raw`{"a\u0000b":"\u0000\u0001\u001f","c":"\n\t"}`],
    ['lone surrogates', String.raw`{"\ud800":"\udfff","b":"a\ud83c"}`],
    ['escapes', String.raw`{"a":"\u00e9\/\ud83c\udfac"}`, '{"a":"é/🎬"}'],
    ['an empty name', '{"":"","b":{"":[]}}'],
    ['null, booleans, lists', '{"a":null,"b":[true,false,[[]]],"c":{}}'],
    ['the order of names', '{"b":1,"a":2,"B":3}'],
    ['five levels', '{"a":[[[{}]]]}'],
    ['nothing', '{}'],
  ])('%s', async (_name, sent, shown = sent) => {
    const webhook = `{"url":${JSON.stringify(receiver.url())},"events":["job.succeeded"]}`;
    const done = await submit(`{"text":"good","metadata":${sent},"webhook":${webhook}}`, {
      Prefer: 'wait=20',
    });
    const job = await done.text();
    expect([done.status, metadataIn(job)]).toEqual([200, shown]);
    const { id } = JSON.parse(job) as { id: string };
    const texts = await Promise.all(
      [`/v1/jobs/${id}`, '/v1/jobs?limit=1'].map(async (path) => (await stack.fetch(path)).text()),
    );
    expect(texts.map(metadataIn)).toEqual([shown, shown]);
    const event = await eventually(() =>
      Promise.resolve(receiver.received.map(({ body }) => body).find((body) => body.includes(id))),
    );
    expect(event).toContain(`"metadata":${shown}`);

    const opened = await openBatch(sent);
    const batch = await opened.text();
    expect([opened.status, metadataIn(batch)]).toEqual([201, shown]);
    const path = (JSON.parse(batch) as { urls: { self: string } }).urls.self;
    expect(metadataIn(await (await stack.fetch(path)).text())).toBe(shown);
  });
});

describe('refused by its place', () => {
  const number = (literal: string, becomes: string) =>
    `is ${literal}, which would become ${becomes} (send it as a string)`;
  test.each<[name: string, sent: string, path: string, message: string]>([
    [
      'an id of 19 digits',
      '{"user":{"id":1546130668394913822}}',
      'user.id',
      number('1546130668394913822', '1546130668394913800'),
    ],
    ['2^53 + 1', '{"a":[1,9007199254740993]}', 'a.1', number('9007199254740993', '9007199254740992')],
    [
      'an id with a point',
      '{"a":12345678901234.5678}',
      'a',
      number('12345678901234.5678', '12345678901234.568'),
    ],
    [
      'decimals that round',
      '{"a":0.12345678901234567890}',
      'a',
      number('0.12345678901234567890', '0.12345678901234568'),
    ],
    ['a number beyond doubles', '{"a":1e400}', 'a', number('1e400', 'null')],
    ['one below doubles', '{"a":1e-400}', 'a', number('1e-400', '0')],
    ['negative zero', '{"a":-0.0}', 'a', number('-0.0', '0')],
    ['a name twice', '{"a":{"b":1,"b":2}}', 'a.b', 'is given twice'],
    ['a name twice, once escaped', String.raw`{"b":1,"\u0062":2}`, 'b', 'is given twice'],
  ])('%s', async (_name, sent, path, message) => {
    const job = await submit(`{"text":"good","metadata":${sent}}`);
    const expected = {
      code: 'invalid_request',
      errors: [{ path: `metadata.${path}`, message }],
      detail: `metadata.${path} ${message}`,
    };
    expect([job.status, await job.json()]).toMatchObject([422, expected]);
    const batch = await openBatch(sent);
    expect([batch.status, await batch.json()]).toMatchObject([422, expected]);
  });

  test('six levels', async () => {
    const sent = '{"a":[[[[[1]]]]]}';
    const message = 'is nested more than 5 levels deep';
    const job = await submit(`{"text":"good","metadata":${sent}}`);
    expect([job.status, await job.json()]).toMatchObject([422, { detail: `metadata ${message}` }]);
    const batch = await openBatch(sent);
    expect([batch.status, await batch.json()]).toMatchObject([422, { detail: `metadata ${message}` }]);
  });

  test('every place of the case is named', async () => {
    const body = readFileSync('test/fixtures/cases/metadata-bigint/body.json', 'utf8');
    const response = await submit(body);
    expect([response.status, await response.json()]).toMatchObject([
      422,
      {
        errors: [
          { path: 'metadata.tweet', message: number('1546130668394913822', '1546130668394913800') },
          { path: 'metadata.e', message: number('1e400', 'null') },
        ],
      },
    ]);
  });

  test('a text given twice is not lost either', async () => {
    const response = await submit('{"text":"good","text":"bad"}');
    expect([response.status, await response.json()]).toMatchObject([422, { detail: 'text is given twice' }]);
  });
});
