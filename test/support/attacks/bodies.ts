/** Bodies that cost a server much more than their bytes: each fits into MAX_BODY_BYTES, or into few KB of gzip. */
import { gzipSync } from 'node:zlib';

/** A little below the default of MAX_BODY_BYTES. */
const BODY_BYTES = 9_900_000;

/** `head`, as many `unit`s as fit, `tail`. */
export function repeated(head: string, unit: string, tail: string, bytes = BODY_BYTES): Buffer {
  const space = bytes - Buffer.byteLength(head) - Buffer.byteLength(tail);
  const count = Math.floor(space / Buffer.byteLength(unit));
  return Buffer.from(head + unit.repeat(count) + tail);
}

/** An object of `keys` different keys after `head`; each value is `value`. */
function manyKeys(head: string, keys: number, value: string, tail: string): Buffer {
  const names = Array.from({ length: keys }, (_, i) => `"${i.toString(36)}":${value}`);
  return Buffer.from(head + names.join(',') + tail);
}

/** A list of ones after `head`. */
const ones = (head: string, tail: string) => repeated(head, '1,', `1${tail}`);

/** Where a body goes: one of the routes that read JSON. */
export type JsonRoute = 'jobs' | 'predict' | 'hf' | 'complete';

export interface JsonBomb {
  route: JsonRoute;
  build: () => Buffer;
}

/** By what is large in them. */
export const JSON_BOMBS: Record<string, JsonBomb> = {
  'parts: 5 million numbers': { route: 'complete', build: () => ones('{"parts":[', ']}') },
  'parts: 10,000 times the same': {
    route: 'complete',
    build: () => Buffer.from(JSON.stringify({ parts: Array(10_000).fill({ number: 1 }) })),
  },
  'webhook.events: 5 million numbers': {
    route: 'jobs',
    build: () => ones('{"text":"a","webhook":{"url":"https://example.com/","events":[', ']}}'),
  },
  'texts: 3.3 million lists': { route: 'jobs', build: () => repeated('{"texts":[', '[],', '[]]}') },
  'texts: 3.3 million objects': { route: 'jobs', build: () => repeated('{"texts":[', '{},', '{}]}') },
  'texts: 2.4 million strings': { route: 'jobs', build: () => repeated('{"texts":[', '"a",', '"a"]}') },
  '700,000 unknown keys': { route: 'jobs', build: () => manyKeys('{"text":"a",', 700_000, '1', '}') },
  'predict: 700,000 unknown keys': {
    route: 'predict',
    build: () => manyKeys('{"text":"a",', 700_000, '1', '}'),
  },
  'hf: options of 800,000 keys': {
    route: 'hf',
    build: () => manyKeys('{"inputs":"a","options":{', 800_000, '1', '}}'),
  },
  'hf: parameters of 800,000 keys': {
    route: 'hf',
    build: () => manyKeys('{"inputs":"a","parameters":{', 800_000, '1', '}}'),
  },
  'hf: inputs of 5 million numbers': { route: 'hf', build: () => ones('{"inputs":[', ']}') },
  'metadata: 700,000 keys': {
    route: 'jobs',
    build: () => manyKeys('{"text":"a","metadata":{', 700_000, '1', '}}'),
  },
  'metadata: 5 million numbers': {
    route: 'jobs',
    build: () => ones('{"text":"a","metadata":{"a":[', ']}}'),
  },
  'metadata: 1.6 million levels of objects': {
    route: 'jobs',
    build: () => nested('{"text":"a","metadata":', '{"a":', '1', '}', '}'),
  },
  'text: 4.9 million levels of lists': { route: 'jobs', build: () => nested('{"text":', '[', '', ']', '}') },
  '9.9 million open brackets': { route: 'jobs', build: () => repeated('', '[', '') },
  'the root a list of 5 million numbers': { route: 'jobs', build: () => ones('[', ']') },
  'one key of 9.9 MB': { route: 'jobs', build: () => repeated('{"', 'k', '":1}') },
  '900 keys of 11 KB': {
    route: 'jobs',
    build: () =>
      Buffer.from(`{${Array.from({ length: 900 }, (_, i) => `"${i}${'k'.repeat(10_990)}":1`).join(',')}}`),
  },
  '1.6 million times one key': { route: 'jobs', build: () => repeated('{', '"a":1,', '"text":"a"}') },
  '500,000 times the key __proto__': {
    route: 'jobs',
    build: () => repeated('{', '"__proto__":{},', '"text":"a"}'),
  },
  '500 times a list of 256 texts under one name': {
    route: 'jobs',
    build: () =>
      repeated(
        '{',
        `"texts":[${Array(256).fill('"abcdefghijklmnopqrstuvwxyz"').join(',')}],`,
        '"texts":["a"]}',
      ),
  },
  'text of 1.6 million escapes': { route: 'jobs', build: () => repeated('{"text":"', '\\u0061', '"}') },
  'text of 1.6 million lone surrogates': {
    route: 'jobs',
    build: () => repeated('{"text":"', '\\ud800', '"}'),
  },
  'text of 9.9 MB': { route: 'jobs', build: () => repeated('{"text":"', 'a', '"}') },
  'text of 2.4 million emoji': { route: 'jobs', build: () => repeated('{"text":"', '😀', '"}') },
  '256 texts of 38 KB': {
    route: 'jobs',
    build: () => Buffer.from(JSON.stringify({ texts: Array(256).fill('a'.repeat(38_000)) })),
  },
  'a number of 9.9 million digits': { route: 'jobs', build: () => repeated('{"text":', '9', '}') },
  'expires_in of 9.9 million digits': {
    route: 'jobs',
    build: () => repeated('{"text":"a","expires_in":1.', '1', '}'),
  },
  '9.9 MB of blanks': { route: 'jobs', build: () => repeated('{"text":"a"', ' ', '}') },
  '9.9 MB without an end': { route: 'jobs', build: () => repeated('{"texts":["', 'a","', '') },
  '9.9 MB that are not UTF-8': { route: 'jobs', build: () => Buffer.alloc(BODY_BYTES, 0xff) },
  'idempotent: 256 texts of 5,000 characters': {
    route: 'jobs',
    build: () => Buffer.from(JSON.stringify({ texts: Array(256).fill('é'.repeat(5000)) })),
  },
};

/** `open` as often as it and `close` fit, `core` inside. */
function nested(head: string, open: string, core: string, close: string, tail: string): Buffer {
  const levels = Math.floor(
    (BODY_BYTES - head.length - core.length - tail.length) / (open.length + close.length),
  );
  return Buffer.from(head + open.repeat(levels) + core + close.repeat(levels) + tail);
}

/** A CSV whose header has 500,000 columns: 1 MB, in 1 KB of gzip. */
export function wideCsv(row: string): Buffer {
  const header = repeated('text', ',a', '', 999_000);
  return gzipSync(Buffer.concat([header, Buffer.from(`\n${row}\n`)]), { level: 9 });
}

/** `megabytes` of `unit`, over and over, as gzip. */
export function gzipBomb(unit: string, megabytes: number): Buffer {
  return gzipSync(repeated('', unit, '', megabytes * 1_000_000), { level: 9 });
}

/** So many gzip members without content, then one with a record. */
export function emptyMembers(count: number): Buffer {
  const empty = gzipSync('');
  return Buffer.concat([...Array<Buffer>(count).fill(empty), gzipSync('{"text":"a"}\n')]);
}
