/** Batches through a real API, worker, Redis and blob folder. */
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Batch, BatchPart } from '../../src/shared/contract/batches.ts';
import { eventually, Stack } from '../support/processes/stack.ts';

let stack: Stack;
beforeAll(async () => {
  stack = await Stack.start({
    redisUrl: inject('redisUrl'),
    env: { BULK_CHUNK_BYTES: '600', MAX_RECORD_BYTES: '1000000', MAX_BATCH_BYTES: '5000000' },
  });
});
afterAll(() => stack.stop());

interface Problem {
  code: string;
  detail: string;
  errors?: { path: string; message: string }[];
}
interface ResultRow {
  line: number;
  id?: string;
  label?: string;
  score?: number;
  labels?: { label: string; score: number }[];
  truncated?: boolean;
  error?: { code: string; message: string };
}

const NDJSON = { 'Content-Type': 'application/x-ndjson' };
const call = async <T>(url: string, init?: RequestInit) => {
  const response = await stack.fetch(url, init);
  const text = await response.text();
  return {
    status: response.status,
    headers: response.headers,
    body: (text === '' ? undefined : JSON.parse(text)) as T,
  };
};
const submit = <T = Batch>(
  body: string | Buffer<ArrayBuffer>,
  { query = '', headers = NDJSON }: { query?: string; headers?: Record<string, string> } = {},
) => call<T>(`/v1/batches${query}`, { method: 'POST', body, headers });
const open = async (query = '') =>
  (await call<Batch>(`/v1/batches?open=true${query}`, { method: 'POST' })).body.id;
const putPart = <T = BatchPart>(
  id: string,
  n: number,
  body: string,
  headers: Record<string, string> = NDJSON,
) => call<T>(`/v1/batches/${id}/parts/${n}`, { method: 'PUT', body, headers });
const complete = <T = Batch>(id: string, parts: { number: number; sha256?: string }[]) =>
  stack.post<T>(`/v1/batches/${id}/complete`, { parts });
const get = async (id: string) => (await call<Batch>(`/v1/batches/${id}`)).body;
const resultText = async (id: string, query = '?follow=true') =>
  (await stack.fetch(`/v1/batches/${id}/results${query}`)).text();
const results = async (id: string, query?: string) =>
  (await resultText(id, query))
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as ResultRow);
const finished = (id: string) =>
  eventually(async () => {
    const batch = await get(id);
    return batch.finished_at === null ? undefined : batch;
  });
const classified = async (body: string | Buffer<ArrayBuffer>, options?: Parameters<typeof submit>[1]) => {
  const { status, body: batch } = await submit(body, options);
  expect(status).toBe(202);
  return results(batch.id);
};
const jsonl = (rows: unknown[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
const films = (count: number) =>
  Array.from({ length: count }, (_, i) => ({
    id: `r${i}`,
    text: `${i % 3 === 0 ? 'a tedious mess' : 'utterly charming'} number ${i}${' and so on'.repeat(i % 7)}`,
  }));

describe('a whole input in one request', () => {
  test('is labelled in the order of the input, with ids and lines', async () => {
    const rows = films(200);
    const {
      status,
      headers,
      body: batch,
    } = await submit(jsonl(rows), {
      query: `?metadata=${encodeURIComponent('{"run":7}')}`,
    });
    expect(status).toBe(202);
    expect(headers.get('location')).toBe(`/v1/batches/${batch.id}`);
    expect(batch).toMatchObject({
      rows: { total: 200, finished: 0, failed: 0 },
      input: { format: 'ndjson', text_field: 'text', parts: 1 },
      metadata: { run: 7 },
      error: null,
    });
    const labelled = await results(batch.id);
    expect(labelled.map(({ line, id }) => ({ line, id }))).toEqual(
      rows.map(({ id }, i) => ({ line: i + 1, id })),
    );
    expect(labelled.map(({ label }) => label)).toEqual(
      rows.map((_, i) => (i % 3 === 0 ? 'NEGATIVE' : 'POSITIVE')),
    );
    expect(await get(batch.id)).toMatchObject({
      status: 'completed',
      model: { name: 'sst2-minilm', revision: expect.any(String) },
      rows: { total: 200, finished: 200, failed: 0 },
      eta_s: null,
      problem: null,
    });
    // The same text has the same score as on its own.
    const alone = await stack.post<{ score: number }>('/predict', { text: rows[5]!.text });
    expect(labelled[5]!.score).toBeCloseTo(alone.body.score, 6);
  });

  test('top_k returns the best labels, or all of them', async () => {
    const [row] = await classified(jsonl([{ text: 'utterly charming' }]), { query: '?top_k=all' });
    expect(row!.labels!.map(({ label }) => label)).toEqual(['POSITIVE', 'NEGATIVE']);
    expect(row!.labels![0]!.score + row!.labels![1]!.score).toBeCloseTo(1, 5);
  });

  test('an unreadable record is an error row in its place', async () => {
    const lines = [
      Buffer.from('\ufeff{"text": "with a byte order mark"}\r\n'),
      Buffer.from('not JSON\n'),
      Buffer.from('\n'),
      Buffer.from('   \r\n'),
      Buffer.from('{"id": 7}\n'),
      Buffer.from('{"id": "wrong type", "text": 12}\n'),
      Buffer.from('["a", "list"]\n'),
      Buffer.from(`{"text": "${'x'.repeat(2_000_000)}"}\n`),
      Buffer.concat([Buffer.from('{"text": "'), Buffer.from([0xff, 0xfe]), Buffer.from('"}\n')]),
      Buffer.from('{"text": "\\ud800"}\n'),
      Buffer.from(`{"text": "${'y'.repeat(6000)}"}\n`),
      Buffer.from('{"id": {}, "text": "fine"}\n'),
      Buffer.from('\n\r\n'),
      Buffer.from('{"id": "last", "text": "no line feed behind it"}'),
    ];
    const rows = await classified(Buffer.concat(lines));
    expect(rows.map(({ line, id, error }) => [line, id, error?.code])).toEqual([
      [1, undefined, undefined],
      [2, undefined, 'invalid_record'],
      [4, undefined, 'invalid_record'],
      [5, '7', 'invalid_text'],
      [6, 'wrong type', 'invalid_text'],
      [7, undefined, 'invalid_record'],
      [8, undefined, 'record_too_long'],
      [9, undefined, 'invalid_encoding'],
      [10, undefined, 'invalid_text'],
      [11, undefined, 'invalid_text'],
      [12, undefined, 'invalid_id'],
      [15, 'last', undefined],
    ]);
    for (const { error } of rows) expect(error?.message ?? '').not.toMatch(/xxx|yyy/);
  });

  test('CSV: header, quotes, line feeds in fields, any columns, tabs', async () => {
    const csv =
      'nr,review,"who"\r\n1,"charming,\nreally ""so""",a\r\n2,tedious mess,\r\n3,too,many,fields\r\n';
    const rows = await classified(csv, {
      query: '?text_field=review&id_field=nr',
      headers: { 'Content-Type': 'text/csv; charset=utf-8' },
    });
    expect(rows.map(({ line, id, label, error }) => [line, id, label ?? error?.code])).toEqual([
      [2, '1', 'POSITIVE'],
      [4, '2', 'NEGATIVE'],
      [5, undefined, 'invalid_record'],
    ]);
    const [tabbed] = await classified('id\ttext\nx\tutterly charming\n', {
      headers: { 'Content-Type': 'text/tab-separated-values' },
    });
    expect(tabbed).toMatchObject({ line: 2, id: 'x', label: 'POSITIVE' });
    const missing = await submit<Problem>('a,b\n1,2\n', { headers: { 'Content-Type': 'text/csv' } });
    expect(missing.status).toBe(422);
    expect(missing.body.detail).toBe('text column "text" is not in the header: a, b');
  });

  test('plain lines; gzip, also in several members', async () => {
    const body = Buffer.concat([gzipSync('utterly charming\n\na tedious'), gzipSync(' mess\n')]);
    const rows = await classified(body, {
      headers: { 'Content-Type': 'text/plain', 'Content-Encoding': 'gzip' },
    });
    expect(rows.map(({ line, label }) => [line, label])).toEqual([
      [1, 'POSITIVE'],
      [3, 'NEGATIVE'],
    ]);
  });

  test('truncated or invalid gzip is refused and leaves nothing stored', async () => {
    const whole = gzipSync(jsonl(films(500)));
    const before = await call<{ batches: Batch[] }>('/v1/batches?limit=100');
    for (const [body, says] of [
      [whole.subarray(0, whole.length - 20), 'the gzip data is truncated'],
      [Buffer.from('{"text": "plain"}\n'), 'not valid gzip'],
      [Buffer.concat([whole, Buffer.alloc(512), whole]), 'zero bytes between gzip members'],
    ] as const) {
      const refused = await submit<Problem>(Buffer.from(body), {
        headers: { ...NDJSON, 'Content-Encoding': 'gzip' },
      });
      expect(refused.status).toBe(400);
      expect(refused.body).toMatchObject({ code: 'malformed_body', detail: expect.stringContaining(says) });
    }
    const after = await call<{ batches: Batch[] }>('/v1/batches?limit=100');
    expect(after.body.batches.length).toBe(before.body.batches.length);
  });

  test.each([
    ['no type', '{}', { headers: { 'Content-Type': 'application/json' } }, 415, 'unsupported_media_type'],
    [
      'another encoding',
      '{}',
      { headers: { ...NDJSON, 'Content-Encoding': 'br' } },
      415,
      'unsupported_media_type',
    ],
    ['no body', '', {}, 400, 'empty_body'],
    ['no record', '\n\n', {}, 422, 'invalid_request'],
    ['an unknown option', '{}', { query: '?textfield=x' }, 422, 'invalid_request'],
    ['an unknown model', '{}', { query: '?model=nobody' }, 404, 'model_not_found'],
    ['CSV options for NDJSON', '{}', { query: '?delimiter=tab' }, 422, 'invalid_request'],
    ['fields for lines', 'a', { query: '?format=lines&text_field=x' }, 422, 'invalid_request'],
    ['bad top_k', '{}', { query: '?top_k=0' }, 422, 'invalid_request'],
    ['bad metadata', '{}', { query: '?metadata=[1]' }, 422, 'invalid_request'],
    ['too much', `"${'x'.repeat(5_000_001)}"`, {}, 413, 'body_too_large'],
  ] as const)('%s is refused', async (_, body, options, status, code) => {
    const refused = await submit<Problem>(body, options);
    expect(refused.status).toBe(status);
    expect(refused.body.code).toBe(code);
  });

  test('a repeated Idempotency-Key returns the same batch; with different content it is refused', async () => {
    const headers = { ...NDJSON, 'Idempotency-Key': 'archive-2026' };
    const body = jsonl(films(30));
    const first = await submit(body, { headers });
    const repeat = await submit(body, { headers });
    expect(repeat.body.id).toBe(first.body.id);
    await finished(first.body.id);
    expect((await submit(body, { headers })).body).toMatchObject({ id: first.body.id, status: 'completed' });
    const other = await submit<Problem>(jsonl(films(31)), { headers });
    expect([other.status, other.body.code]).toEqual([422, 'idempotency_mismatch']);
    const query = await submit<Problem>(body, { headers, query: '?top_k=2' });
    expect([query.status, query.body.code]).toEqual([422, 'idempotency_mismatch']);
  });

  test('the Idempotency-Key of a removed batch creates a new batch', async () => {
    const headers = { ...NDJSON, 'Idempotency-Key': 'removed' };
    const body = jsonl(films(30));
    const first = await submit(body, { headers });
    await finished(first.body.id);
    const labels = await resultText(first.body.id);
    expect((await call(`/v1/batches/${first.body.id}`, { method: 'DELETE' })).status).toBe(204);
    const [second, third] = await Promise.all([submit(body, { headers }), submit(body, { headers })]);
    expect(second.body.id).not.toBe(first.body.id);
    expect(third.body.id).toBe(second.body.id);
    expect((await finished(second.body.id)).status).toBe('completed');
    expect(await resultText(second.body.id)).toBe(labels);
  });
});

describe('an upload in parts', () => {
  test('in any order and repeated; lines are numbered across parts', async () => {
    const id = await open('&first_line=2');
    const [a, b] = [films(50), films(70)].map(jsonl) as [string, string];
    const second = await putPart(id, 2, b);
    expect([second.status, second.body]).toMatchObject([201, { number: 2, rows: 70, lines: 70 }]);
    const first = await putPart(id, 1, `\n${a}`);
    expect(first.body).toMatchObject({ rows: 50, lines: 51 });
    expect((await putPart(id, 2, b)).status).toBe(200);
    const conflict = await putPart<Problem>(id, 2, a);
    expect([conflict.status, conflict.body.code]).toEqual([409, 'part_conflict']);
    expect((await call<{ parts: BatchPart[] }>(`/v1/batches/${id}/parts`)).body.parts).toEqual([
      first.body,
      second.body,
    ]);
    expect(await get(id)).toMatchObject({ status: 'open', rows: { total: 120 }, input: { parts: 2 } });

    for (const parts of [
      [{ number: 1 }],
      [{ number: 1 }, { number: 2 }, { number: 3 }],
      [{ number: 1 }, { number: 2, sha256: first.body.sha256 }],
    ]) {
      const refused = await complete<Problem>(id, parts);
      expect([refused.status, refused.body.code]).toEqual([409, 'parts_mismatch']);
    }
    const named = [first.body, second.body].map(({ number, sha256 }) => ({ number, sha256 }));
    expect((await complete(id, named)).status).toBe(202);
    expect((await complete(id, named)).status).toBe(202);
    const rows = await results(id);
    expect(rows.map(({ line }) => line)).toEqual(Array.from({ length: 120 }, (_, i) => i + 3));

    expect((await putPart(id, 2, b)).status).toBe(200);
    const late = await putPart<Problem>(id, 3, b);
    expect([late.status, late.body.code]).toEqual([409, 'batch_not_open']);
    expect((await call<{ parts: BatchPart[] }>(`/v1/batches/${id}/parts`)).body.parts.length).toBe(2);
  });

  test('CSV parts with the header in the options', async () => {
    const id = await open('&format=csv&columns=nr%2Ctext&id_field=nr&first_line=2');
    await putPart(id, 1, '1,utterly charming\n2,"a\ntedious mess"\n');
    await putPart(id, 2, '3,fine\n');
    await complete(id, [{ number: 1 }, { number: 2 }]);
    const rows = await results(id);
    expect(rows.map(({ line, id: row }) => [line, row])).toEqual([
      [2, '1'],
      [3, '2'],
      [5, '3'],
    ]);
  });

  test('two uploads of one part at the same time: one is kept', async () => {
    const id = await open();
    const bodies = [films(400), films(401)].map(jsonl);
    const answers = await Promise.all(bodies.map((body) => putPart<Problem>(id, 1, body)));
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 409]);
    expect(
      readdirSync(path.join(stack.blobFolder, 'batches', id, 'parts'))
        .map((name) => path.extname(name))
        .sort(),
    ).toEqual(['.data', '.index']);
  });

  test('an upload without records cannot be completed', async () => {
    const id = await open();
    await putPart(id, 1, '\n');
    const refused = await complete<Problem>(id, [{ number: 1 }]);
    expect([refused.status, refused.body.detail]).toEqual([422, 'the input has no records']);
  });

  test('unknown and malformed ids', async () => {
    const unknown = await call<Problem>('/v1/batches/01a2075c6cf0f7e82ffb23d13864430f-b-sst2-minilm');
    expect([unknown.status, unknown.body.code]).toEqual([404, 'batch_not_found']);
    for (const url of ['/v1/batches/x', '/v1/batches/x/results'])
      expect((await call<Problem>(url)).body.code).toBe('batch_not_found');
    const id = await open();
    for (const n of ['0', '10001', 'a']) {
      expect((await call(`/v1/batches/${id}/parts/${n}`, { method: 'PUT', body: 'x' })).status).toBe(422);
    }
  });
});

describe('results', () => {
  test('start after any line, with the same bytes', async () => {
    const { body } = await submit(jsonl(films(150)));
    const all = await resultText(body.id);
    expect(await resultText(body.id, '')).toBe(all);
    for (const after of [0, 1, 42, 149, 150, 9999]) {
      const expected = all.split('\n').slice(after).join('\n');
      expect(await resultText(body.id, `?after=${after}`)).toBe(expected);
    }
  });

  test('can be followed while the batch is still open', async () => {
    const id = await open();
    const following = results(id);
    await putPart(id, 1, jsonl(films(40)));
    await complete(id, [{ number: 1 }]);
    expect((await following).length).toBe(40);
  });
});

describe('the end of a batch', () => {
  test('a canceled batch keeps its finished results, and can then be removed with its data', async () => {
    const { body } = await submit(jsonl(films(6000)));
    await eventually(async () => ((await get(body.id)).rows.finished > 100 ? true : undefined));
    const canceled = await call<Batch>(`/v1/batches/${body.id}`, { method: 'DELETE' });
    expect([canceled.status, canceled.body.status]).toEqual([200, 'canceled']);
    const { finished: count } = (await get(body.id)).rows;
    expect(count).toBeLessThan(6000);
    const rows = await results(body.id);
    expect(rows.length).toBe(count);
    expect(rows.every(({ label }) => label !== undefined)).toBe(true);
    const folder = path.join(stack.blobFolder, 'batches', body.id);
    expect(existsSync(folder)).toBe(true);
    expect((await call(`/v1/batches/${body.id}`, { method: 'DELETE' })).status).toBe(204);
    expect((await call(`/v1/batches/${body.id}`)).status).toBe(404);
    await eventually(() => Promise.resolve(existsSync(folder) ? undefined : true));
  });

  test('an open batch can be canceled', async () => {
    const id = await open();
    await putPart(id, 1, jsonl(films(5)));
    expect((await call<Batch>(`/v1/batches/${id}`, { method: 'DELETE' })).body.status).toBe('canceled');
    const refused = await complete<Problem>(id, [{ number: 1 }]);
    expect([refused.status, refused.body.code]).toEqual([409, 'batch_not_open']);
    expect(await resultText(id)).toBe('');
  });

  test('only a failed batch can be resumed', async () => {
    const { body } = await submit(jsonl(films(3)));
    await finished(body.id);
    const refused = await call<Problem>(`/v1/batches/${body.id}/resume`, { method: 'POST' });
    expect([refused.status, refused.body.code]).toEqual([409, 'batch_not_failed']);
  });
});

test('the list has batches newest first, page by page', async () => {
  const made: string[] = [];
  for (let i = 0; i < 5; i++) made.unshift(await open());
  const first = await call<{ batches: Batch[]; next: string }>('/v1/batches?limit=3');
  expect(first.body.batches.map(({ id }) => id)).toEqual(made.slice(0, 3));
  const second = await call<{ batches: Batch[] }>(`/v1/batches?limit=2&after=${first.body.next}`);
  expect(second.body.batches.map(({ id }) => id)).toEqual(made.slice(3));
});

test('a small batch does not wait for a large one', async () => {
  const large = (await submit(jsonl(films(8000)))).body.id;
  await eventually(async () => ((await get(large)).rows.finished > 0 ? true : undefined));
  const small = (await submit(jsonl(films(10)))).body.id;
  await finished(small);
  expect((await get(large)).status).toBe('processing');
  await call(`/v1/batches/${large}`, { method: 'DELETE' });
});

describe('a response to ?follow=true without new results', () => {
  let idle: Stack;
  beforeAll(async () => {
    idle = await Stack.start({
      redisUrl: inject('redisUrl'),
      workers: 0,
      env: { FOLLOW_HEARTBEAT_S: '1' },
    });
  });
  afterAll(() => idle.stop());

  /** The first bytes of the results of a batch that waits, as soon as there are two. */
  async function firstBytes(
    path: string,
    accept: string | undefined,
    more: Promise<unknown>,
  ): Promise<string> {
    const hangUp = new AbortController();
    const headers = accept === undefined ? {} : { accept };
    const { body } = await idle.fetch(path, { headers, signal: hangUp.signal });
    let text = '';
    const reading = (async () => {
      for await (const piece of body as AsyncIterable<Uint8Array>) {
        text += Buffer.from(piece).toString();
        if (text.length >= 2) return;
      }
    })();
    await Promise.race([reading, more]);
    hangUp.abort();
    await reading.catch(() => {});
    return text;
  }

  test.each([
    ['waits for a worker', undefined],
    ['waits for its parts', '?open=true'],
  ])('gets an empty line while the batch %s, except for clients of version 0.1', async (_, query) => {
    const body = query === undefined ? '{"text":"good"}\n' : undefined;
    const init = { method: 'POST', headers: NDJSON, ...(body === undefined ? {} : { body }) };
    const batch = (await (await idle.fetch(`/v1/batches${query ?? ''}`, init)).json()) as Batch;
    const path = `${batch.urls.results}?follow=true`;
    const beats = firstBytes(path, undefined, new Promise(() => {}));
    const [old, asked] = [
      firstBytes(path, 'application/x-ndjson', beats),
      firstBytes(path, 'application/x-ndjson, */*;q=0.1', new Promise(() => {})),
    ];
    expect(await Promise.all([beats, asked, old])).toEqual(['\n\n', '\n\n', '']);
  });
});
