/** Results as tables and with fields of the input, from batches through a real API and worker. */
import { readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parse } from 'csv-parse/sync';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import {
  archive,
  NDJSON,
  startBatchStack,
  tellOnFailure,
  type BatchCalls,
  type Inside,
  type Problem,
} from '../support/api/batches.ts';
import { AmuletClient } from '../../src/client/index.ts';
import { standIn } from '../support/models/stand-in.ts';
import type { Stack } from '../support/processes/stack.ts';

let stack: Stack;
let calls: BatchCalls;
let inside: Inside;
let stop: () => Promise<void>;
beforeAll(async () => {
  ({ stack, calls, inside, stop } = await startBatchStack({
    redisUrl: inject('redisUrl'),
    env: { ...standIn(), BULK_CHUNK_BYTES: '600', MAX_CSV_COLUMNS: '6000', MAX_RECORD_BYTES: '100000' },
  }));
});
afterAll(() => stop());
beforeEach(() => tellOnFailure(() => stack));

const CSV = { 'Content-Type': 'text/csv' };

async function completed(body: string, query = '', headers: Record<string, string> = CSV): Promise<string> {
  const { status, body: batch } = await calls.post(body, query, headers);
  expect({ status, batch }).toMatchObject({ status: 202 });
  expect((await calls.finished(batch.id)).status).toBe('completed');
  return batch.id;
}

async function read(id: string, query: string) {
  const response = await stack.fetch(`/v1/batches/${id}/results?${query}`);
  return { status: response.status, headers: response.headers, text: await response.text() };
}
const table = (text: string, delimiter = ',') => parse(text, { delimiter, record_delimiter: '\n' });
const objects = (text: string) =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

const REVIEWS = [
  'stars,text,id,label,note',
  '5,"utterly charming, and ""fine""",r1,old,=1+1',
  '-1,"a bad',
  'mess",r2,,"two\r\nlines"',
  'only one field',
  '',
  '3,,r4,x,"x"',
  ...Array.from({ length: 40 }, (_, i) => `${i},good film ${i},s${i},,`),
  '',
].join('\n');
const ROWS = 44;

describe('a CSV', () => {
  test('comes back as a CSV with its columns, a row for each of its rows, in their order', async () => {
    const id = await completed(REVIEWS);
    const { status, headers, text } = await read(id, 'format=csv&keep=*');
    expect(status).toBe(200);
    expect(headers.get('content-type')).toBe('text/csv; charset=utf-8');
    expect(headers.get('content-disposition')).toBe(`attachment; filename="${id}.csv"`);
    const [header, ...rows] = table(text);
    expect(header).toEqual([
      'line',
      'id',
      'stars',
      'text',
      'input_label',
      'note',
      'label',
      'score',
      'truncated',
      'unknown',
      'error',
      'error_message',
    ]);
    expect(rows).toHaveLength(ROWS);
    expect(rows[0]!.slice(0, 6)).toEqual(['2', 'r1', '5', 'utterly charming, and "fine"', 'old', "'=1+1"]);
    expect(rows[0]!.slice(6)).toEqual([
      expect.stringMatching(/^(POSI|NEGA)TIVE$/),
      expect.stringMatching(/^0\.\d+$/),
      'false',
      expect.any(String),
      '',
      '',
    ]);
    expect(rows[1]!.slice(0, 6)).toEqual(['3', 'r2', '-1', 'a bad\nmess', '', 'two\r\nlines']);
    expect(rows[2]).toEqual([
      '6',
      '',
      '',
      '',
      '',
      '',
      '',
      '',
      '',
      '',
      'invalid_record',
      expect.stringContaining('fields'),
    ]);
    expect(rows[3]!.slice(0, 6)).toEqual(['8', 'r4', '3', '', 'x', 'x']);
    expect(rows[3]!.slice(10)).toEqual(['invalid_text', expect.stringContaining('empty')]);

    const raw = await read(id, 'format=csv&keep=note&raw=true');
    expect(table(raw.text)[1]!.slice(0, 3)).toEqual(['2', 'r1', '=1+1']);
  });

  test('comes back as TSV and NDJSON, with the columns that are named', async () => {
    const id = await completed(REVIEWS);
    const tsv = await read(id, 'format=tsv&keep=note,stars');
    expect(tsv.headers.get('content-type')).toBe('text/tab-separated-values; charset=utf-8');
    expect(table(tsv.text, '\t')[0]!.slice(0, 4)).toEqual(['line', 'id', 'note', 'stars']);
    const ndjson = await read(id, 'keep=note,stars,id');
    expect(ndjson.headers.get('content-type')).toBe('application/x-ndjson');
    expect(ndjson.headers.has('content-disposition')).toBe(false);
    const rows = objects(ndjson.text);
    expect(rows).toHaveLength(ROWS);
    expect(rows[0]).toMatchObject({ line: 2, id: 'r1', note: '=1+1', stars: '5', label: expect.any(String) });
    expect(rows[2]).toEqual({ line: 6, error: expect.anything() });
    const plain = await read(id, 'format=csv');
    expect(table(plain.text)[0]).toEqual([
      'line',
      'id',
      'label',
      'score',
      'truncated',
      'unknown',
      'error',
      'error_message',
    ]);
    expect(table(plain.text)).toHaveLength(ROWS + 1);
  });

  test.each(['format=csv&keep=*', 'format=tsv', 'keep=text,note', 'format=csv&keep=stars&raw=true'])(
    'fetched in pieces has the same bytes: %s',
    async (query) => {
      const id = await completed(REVIEWS);
      const { text } = await read(id, query);
      const lines = objects((await read(id, '')).text).map(({ line }) => Number(line));
      for (const after of [2, 3, 6, 20, lines.at(-1)!]) {
        const rest = (await read(id, `${query}&after=${after}`)).text;
        const head = text.slice(0, text.length - rest.length);
        expect(head + rest).toBe(text);
        const last = query.startsWith('keep')
          ? objects(head).at(-1)!.line
          : table(head, query.includes('tsv') ? '\t' : ',').at(-1)![0];
        expect(Number(last)).toBe(after);
      }
    },
  );

  test('follows an unfinished batch to its end', async () => {
    const { body: batch } = await calls.post(REVIEWS, '', CSV);
    const { text } = await read(batch.id, 'format=csv&keep=*&follow=true');
    expect(text).toBe((await read(batch.id, 'format=csv&keep=*')).text);
    expect(table(text)).toHaveLength(ROWS + 1);
  });

  test('has 5,000 columns, two of the same name, and a field of 90 KB', async () => {
    const names = Array.from({ length: 4997 }, (_, i) => `column ${i}`);
    const header = ['text', ...names, 'same', 'same'].join(',');
    const record = (text: string, field: string) =>
      [text, ...names.map((_, i) => (i === 17 ? field : String(i))), 'x', 'y'].join(',');
    const long = 'long '.repeat(12_000);
    const id = await completed(`${header}\n${record('good', 'f')}\n${record('bad', long)}\n`);
    const [first, , second] = table((await read(id, 'format=csv&keep=*')).text);
    expect(first!.slice(0, 3)).toEqual(['line', 'text', 'column 0']);
    expect(first!.slice(4998, 5001)).toEqual(['column 4996', 'same', 'same_2']);
    expect(second!.slice(1, 20)).toContain(long);
    expect(objects((await read(id, 'keep=column%2017,text')).text)).toMatchObject([
      { line: 2, 'column 17': 'f', text: 'good' },
      { line: 3, 'column 17': long, text: 'bad' },
    ]);
    const same = await read(id, 'keep=same');
    expect(JSON.parse(same.text)).toMatchObject({
      detail: expect.stringContaining('"same", which is more than once'),
    });
    // A batch of the version before has no names of so many columns.
    const parts = path.join(calls.folder(id), 'parts');
    const columns = path.join(
      parts,
      readdirSync(parts).find((name) => name.endsWith('.columns'))!,
    );
    writeFileSync(columns, '["other"]');
    expect((await read(id, 'keep=*')).status).toBe(410);
    rmSync(columns);
    const gone = await read(id, 'keep=*');
    expect([gone.status, JSON.parse(gone.text)]).toMatchObject([
      422,
      { detail: expect.stringContaining('did not store') },
    ]);
    expect((await read(id, 'format=csv')).status).toBe(200);
  });

  test('in parts, with many columns that were named before, keeps them', async () => {
    const names = Array.from({ length: 900 }, (_, i) => `column ${i}`);
    const query = '/v1/batches?open=true&format=csv&first_line=2';
    const { body: batch } = await calls.call<{ id: string }>(query, {
      method: 'POST',
      headers: CSV,
      body: `text,${names.join(',')}`,
    });
    for (const part of [1, 2])
      expect((await calls.putPart(batch.id, part, `good ${part}${',v'.repeat(900)}\n`)).status).toBe(201);
    const open = await calls.call<Problem>(`/v1/batches/${batch.id}/results?keep=*`);
    expect([open.status, open.body.detail]).toEqual([422, expect.stringContaining('whole input')]);
    await calls.complete(batch.id, [{ number: 1 }, { number: 2 }]);
    await calls.finished(batch.id);
    expect(objects((await read(batch.id, 'keep=column%20899,text')).text)).toMatchObject([
      { line: 2, 'column 899': 'v', text: 'good 1' },
      { line: 3, 'column 899': 'v', text: 'good 2' },
    ]);
  });
});

describe('NDJSON', () => {
  const LINES = [
    '{"id":7,"text":"good","stars":1.50,"big":12345678901234567890,"nested":{"a":[1]}}',
    '{"id":"r2","text":"bad \\ud83d\\ude00","stars":null}',
    'no JSON',
    ...Array.from({ length: 30 }, (_, i) => `{"text":"good ${i}","stars":${i}}`),
    '{"text":"good","late":true}',
  ];

  test('comes back with its fields as they were written', async () => {
    const id = await completed(LINES.join('\n'), '', NDJSON);
    const { text } = await read(id, 'keep=*');
    const lines = text.trimEnd().split('\n');
    expect(lines).toHaveLength(LINES.length);
    expect(lines[0]).toMatch(
      /^\{"line":1,"id":7,"text":"good","stars":1\.50,"big":12345678901234567890,"nested":\{"a":\[1\]\},"label":"/,
    );
    expect(lines[1]).toMatch(/^\{"line":2,"id":"r2","text":"bad \\ud83d\\ude00","stars":null,"label":"/);
    expect(lines[2]).toMatch(/^\{"line":3,"error":/);
    expect(objects(text).at(-1)).toMatchObject({ late: true });
  });

  test('becomes a table of the fields at its beginning; later ones are kept together', async () => {
    const id = await completed(LINES.join('\n'), '', NDJSON);
    const rows = table((await read(id, 'format=csv&keep=*')).text);
    expect(rows[0]!.slice(0, 8)).toEqual([
      'line',
      'id',
      'text',
      'stars',
      'big',
      'nested',
      'other_fields',
      'label',
    ]);
    expect(rows[1]!.slice(0, 7)).toEqual(['1', '7', 'good', '1.50', '12345678901234567890', '{"a":[1]}', '']);
    expect(rows.at(-1)!.slice(2, 7)).toEqual(['good', '', '', '', '{"late":true}']);
    expect(
      table((await read(id, 'format=csv&keep=late,stars')).text)
        .at(-1)!
        .slice(2, 4),
    ).toEqual(['true', '']);
  });

  test('without such a field is refused, with those that are known', async () => {
    const id = await completed(LINES.join('\n'), '', NDJSON);
    const { status, text } = await read(id, 'format=csv&keep=stars,typo');
    expect([status, JSON.parse(text)]).toMatchObject([
      422,
      {
        code: 'invalid_request',
        detail: expect.stringContaining('names "typo", but the input has only: id, text, stars'),
      },
    ]);
  });

  test('gets a column of scores for each label', async () => {
    const id = await completed(LINES.join('\n'), '?top_k=all', NDJSON);
    const [header, first, , third] = table((await read(id, 'format=csv&keep=stars&score_columns=true')).text);
    expect(header!.slice(2, 7)).toEqual(['stars', 'label', 'score', 'score_NEGATIVE', 'score_POSITIVE']);
    expect(Math.max(Number(first![5]), Number(first![6]))).toBe(Number(first![4]));
    expect(third!.slice(3, 7)).toEqual(['', '', '', '']);
    const labels = table((await read(id, 'format=csv')).text)[1]![4]!;
    expect(JSON.parse(labels)).toHaveLength(2);
  });

  test('has columns of scores only with all labels', async () => {
    const id = await completed(LINES.join('\n'), '', NDJSON);
    const { status, text } = await read(id, 'format=csv&score_columns=true');
    expect([status, text]).toEqual([422, expect.stringContaining('top_k=all')]);
  });
});

describe('the typed client', () => {
  const bytesOf = async (pieces: AsyncIterable<Uint8Array>) => {
    const all: Uint8Array[] = [];
    for await (const piece of pieces) all.push(piece);
    return Buffer.concat(all).toString();
  };

  test('downloads a form, whatever its columns are called', async () => {
    const id = await completed('text,"a,b","say ""x""",*\ngood,1,2,3\nbad,4,5,6\n');
    const batch = new AmuletClient({ url: stack.url }).batchById(id);
    const named = await bytesOf(await batch.download({ keep: ['a,b', 'say "x"', '*'] }));
    expect(objects(named)[0]).toMatchObject({ line: 2, 'a,b': '1', 'say "x"': '2', '*': '3' });
    expect(named).not.toContain('"text"');
    expect(objects(await bytesOf(await batch.download({ keep: ['*'], after: 2 })))).toMatchObject([
      { line: 3, '*': '6', label: expect.any(String), score: expect.any(Number), truncated: false },
    ]);
    const all = await bytesOf(await batch.download({ format: 'tsv', keep: '*', raw: true }));
    expect(all).toBe((await read(id, 'format=tsv&keep=*&raw=true')).text);
    expect(await bytesOf(await batch.download())).toBe((await read(id, '')).text);
  });

  test('throws what the server refuses', async () => {
    const batch = new AmuletClient({ url: stack.url }).batchById(await completed('text\ngood\n'));
    await expect(batch.download({ keep: ['typo'] })).rejects.toMatchObject({ code: 'invalid_request' });
    await expect(batch.download({ format: 'csv', scoreColumns: true })).rejects.toMatchObject({
      status: 422,
    });
  });
});

test('lines come back beside their labels', async () => {
  const id = await completed('good, "film"\n=1\n', '', { 'Content-Type': 'text/plain' });
  const rows = table((await read(id, 'format=csv&keep=*')).text);
  expect(rows.map((row) => row.slice(0, 3))).toEqual([
    ['line', 'text', 'label'],
    ['1', 'good, "film"', expect.any(String)],
    ['2', "'=1", expect.any(String)],
  ]);
  expect((await read(id, 'keep=other')).status).toBe(422);
});

test.each(['format=xml', 'keep=', 'raw=true', 'format=csv&raw=yes', `keep=${'x,'.repeat(6000)}x`])(
  'a query with %.20s is refused',
  async (query) => {
    const id = await completed('good\n', '', { 'Content-Type': 'text/plain' });
    const { status, text } = await read(id, query);
    expect([status, JSON.parse(text)]).toMatchObject([422, { code: 'invalid_request' }]);
  },
);

describe('damage', () => {
  const { body } = archive(60);

  test('of results ends a table before their chunk, and resume repairs it', async () => {
    const id = await completed(body, '', NDJSON);
    const whole = (await read(id, 'format=csv&keep=*')).text;
    const { revision } = (await inside.store.read(id))!;
    truncateSync(path.join(calls.folder(id), 'results', revision!, '2'), 10);
    const broken = await calls.results(id, '?format=csv&keep=*');
    expect(broken.end).toBe('broken');
    expect(broken.text.length > 100 && whole.startsWith(broken.text)).toBe(true);
    expect((await calls.get(id)).body.problem?.code).toBe('results_damaged');
    await calls.resume(id);
    expect((await calls.finished(id)).status).toBe('completed');
    expect((await read(id, 'format=csv&keep=*')).text).toBe(whole);
  });

  test('of the input ends the response before the record, and is shown', async () => {
    const id = await completed(body, '', NDJSON);
    const whole = (await read(id, 'format=csv&keep=id')).text;
    const parts = path.join(calls.folder(id), 'parts');
    const data = path.join(
      parts,
      readdirSync(parts).find((name) => name.endsWith('.data'))!,
    );
    truncateSync(data, 2000);
    const broken = await calls.results(id, '?format=csv&keep=id');
    expect(broken.end).toBe('broken');
    expect(broken.text.length > 100 && whole.startsWith(broken.text)).toBe(true);
    expect((await calls.get(id)).body.problem?.code).toBe('input_damaged');
    // Without its columns the results are whole.
    expect((await calls.results(id, '?format=csv')).end).toBe('clean');
  });
});
