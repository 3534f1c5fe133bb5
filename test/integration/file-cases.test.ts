/**
 * Files as people have them, through the command and over HTTP: each is read as its owner meant it, or refused in one line
 * before anything is uploaded, or has an error row that names the lines that get no label.
 */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { EXIT } from '../../src/cli/terminal/exit.ts';
import { AmuletClient, type BatchSubmitOptions } from '../../src/client/index.ts';
import { fromFile } from '../../src/client/node.ts';
import type { Batch } from '../../src/shared/contract/batches.ts';
import { CliProcess, runBackfill } from '../support/processes/cli.ts';
import { Stack } from '../support/processes/stack.ts';

const CASES = path.resolve('test/fixtures/cases');

let stack: Stack;
let dir: string;
beforeAll(async () => {
  stack = await Stack.start({ redisUrl: inject('redisUrl'), env: { MAX_RECORD_BYTES: '100000' } });
  dir = fs.mkdtempSync(path.join(tmpdir(), 'amulet-file-cases-'));
});
afterAll(async () => {
  await stack.stop();
  fs.rmSync(dir, { recursive: true, force: true });
});

interface Row {
  line: number;
  id?: string;
  label?: string;
  error?: { code: string; message: string };
}
/** `2` a label, `3!` an error, by their lines. */
const outline = (rows: readonly Pick<Row, 'line' | 'error'>[]) =>
  rows.map(({ line, error }) => (error ? `${line}!` : `${line}`)).join(' ');
const rowsOf = (text: string) =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Row);

let made = 0;
function write(name: string, content: string | Buffer): string {
  const folder = path.join(dir, `case-${++made}`);
  fs.mkdirSync(folder);
  fs.writeFileSync(path.join(folder, name), content);
  return path.join(folder, name);
}

async function label(file: string, args: readonly string[] = []) {
  const out = path.join(dir, `out-${++made}`);
  const { code, said } = await runBackfill([file, '--out', out, '--url', stack.url, ...args]);
  const rows = fs.existsSync(out) ? rowsOf(fs.readFileSync(out, 'utf8')) : undefined;
  return { code, said, rows };
}

async function post(body: string | Buffer, type: string, query = '') {
  const headers = { 'Content-Type': type };
  const response = await stack.fetch(`/v1/batches${query}`, {
    method: 'POST',
    headers,
    body: Buffer.from(body as string),
  });
  const answer = (await response.json()) as Batch & { detail?: string };
  if (response.status !== 202)
    return { status: response.status, detail: answer.detail ?? '', rows: [], batch: answer };
  const results = await stack.fetch(`${answer.urls.results}?follow=true`);
  const rows = rowsOf(await results.text());
  const { body: batch } = await stack.get<Batch>(answer.urls.self);
  return { status: response.status, detail: '', rows, batch };
}

const batches = async () =>
  (await stack.get<{ batches: Batch[] }>('/v1/batches?limit=100')).body.batches.length;
const TYPES: Record<string, string> = {
  '.jsonl': 'application/x-ndjson',
  '.csv': 'text/csv',
  '.tsv': 'text/tab-separated-values',
  '.txt': 'text/plain',
};

describe('inputs that once went wrong', () => {
  const inCase = (name: string) => {
    const folder = path.join(CASES, name);
    return path.join(folder, fs.readdirSync(folder)[0]!);
  };

  test.each<[string, string]>([
    ['file-sentences.tsv', '2 3 4 5 6'],
    ['file-bom-mid.jsonl', '1 2'],
    ['file-manycols.csv', '2'],
    ['file-unclosed.csv', '2 3 4 5 6 7!'],
    ['file-ids.jsonl', '1 2 3! 4 5 6 7 8! 9! 10 11! 12 13 14! 15! 16!'],
  ])('%s is read', async (name, lines) => {
    const file = inCase(name);
    const { code, rows } = await label(file);
    expect(outline(rows!)).toBe(lines);
    expect(code).toBe(lines.includes('!') ? EXIT.rowErrors : EXIT.ok);
    const posted = await post(fs.readFileSync(file), TYPES[path.extname(name)]!);
    expect(posted.rows).toEqual(rows);
  });

  test.each<[string, string]>([
    ['file-cr.csv', 'has lines that end with CR alone'],
    ['file-cr.txt', 'has lines that end with CR alone'],
    ['file-semicolon.csv', 'has no column "text" with "," between its fields, but with ";": use '],
    ['file-trailing.jsonl', 'has a comma after each object: convert it first: sed '],
  ])('%s is refused in a line, before anything is uploaded', async (name, says) => {
    const file = inCase(name);
    const before = await batches();
    const { code, said, rows } = await label(file);
    expect([code, rows]).toEqual([EXIT.usage, undefined]);
    expect(said).toMatch(/^[^\n]*$/);
    expect(said).toContain(`${file} ${says}`);
    const posted = await post(fs.readFileSync(file), TYPES[path.extname(name)]!);
    expect([posted.status, posted.detail]).toEqual([422, expect.stringContaining(`the input ${says}`)]);
    expect(await batches()).toBe(before);
  });

  test('file-array.jsonl names the option, which works; over HTTP, the command that converts', async () => {
    const file = inCase('file-array.jsonl');
    expect((await label(file)).said).toBe(`${file} is one JSON array, not JSON Lines: use --format json`);
    expect((await label(file, ['--format', 'json'])).code).toBe(EXIT.ok);
    const { detail } = await post(fs.readFileSync(file), 'application/x-ndjson');
    expect(detail).toContain("the input is one JSON array, not JSON Lines: convert it first: jq -c '.[]' ");
  });

  test.each<[string, string]>([
    ['file-utf16.jsonl', '1 2'],
    ['file-utf16le.csv', '2 3'],
  ])('%s is read by the command, and refused over HTTP', async (name, lines) => {
    const file = inCase(name);
    const { code, rows } = await label(file);
    expect([code, outline(rows!)]).toEqual([EXIT.ok, lines]);
    const { status, detail } = await post(fs.readFileSync(file), TYPES[path.extname(name)]!);
    expect(status).toBe(422);
    expect(detail).toContain('the input is UTF-16, not UTF-8: convert it first: iconv -f UTF-16 -t UTF-8 ');
  });

  test('file-semicolon.csv names the option, which works', async () => {
    const file = inCase('file-semicolon.csv');
    expect((await label(file)).said).toMatch(/--delimiter ';'$/);
    expect(outline((await label(file, ['--delimiter', ';'])).rows!)).toBe('2 3');
    const { detail } = await post(fs.readFileSync(file), 'text/csv');
    expect(detail).toMatch(/delimiter=%3B$/);
    expect(outline((await post(fs.readFileSync(file), 'text/csv', '?delimiter=%3B')).rows)).toBe('2 3');
  });

  test('file-trail-nl.jsonl.gz: data after the gzip stream', async () => {
    const file = inCase('file-trail-nl.jsonl.gz');
    const { code, said, rows } = await label(file);
    expect([code, rows]).toEqual([EXIT.failed, undefined]);
    expect(said).toMatch(/has other data after its gzip data/);
    const headers = { 'Content-Type': 'application/x-ndjson', 'Content-Encoding': 'gzip' };
    const response = await stack.fetch('/v1/batches', {
      method: 'POST',
      headers,
      body: fs.readFileSync(file),
    });
    expect([response.status, await response.json()]).toEqual([
      400,
      expect.objectContaining({ detail: expect.stringContaining('other data after its gzip data') }),
    ]);
  });

  test('thousands of tiny gzip members: refused, with advice', async () => {
    const member = gzipSync('{"text":"a"}\n');
    const content = Buffer.concat(Array<Buffer>(5000).fill(member));
    const { code, said, rows } = await label(write('tiny.jsonl.gz', content));
    expect([code, rows]).toEqual([EXIT.failed, undefined]);
    expect(said).toMatch(/consists of too many tiny gzip members: repack it with zcat FILE \| gzip$/);
    const headers = { 'Content-Type': 'application/x-ndjson', 'Content-Encoding': 'gzip' };
    const response = await stack.fetch('/v1/batches', { method: 'POST', headers, body: content });
    expect([response.status, await response.json()]).toEqual([
      400,
      expect.objectContaining({
        code: 'malformed_body',
        detail:
          'the gzip data cannot be accepted: too many tiny gzip members (more than 1000 and one for every 512 bytes): compress it again, with zcat FILE | gzip',
      }),
    ]);
  });

  test('file-unclosed.csv: the error names the first and the last line, and so does the run', async () => {
    const { said, rows } = await label(inCase('file-unclosed.csv'));
    const where = 'a quoted field begins on line 7 and is not closed until the end of the file, line 30';
    expect(rows!.at(-1)).toMatchObject({
      line: 7,
      error: { code: 'invalid_record', message: expect.stringContaining(where) },
    });
    expect(said).toMatch(
      /^Unclosed +the quoted field that begins on line 7 is never closed; one error row stands for lines 7 to 30$/m,
    );
    expect(
      outline((await label(inCase('file-unclosed.csv'), ['--quote', 'none'])).rows!).split(' '),
    ).toHaveLength(29);
  });

  test('file-ids.jsonl: ids that round are refused by name', async () => {
    const { rows } = await label(inCase('file-ids.jsonl'));
    const at = (line: number) => rows!.find((row) => row.line === line);
    expect(at(7)).toMatchObject({ id: '1234567.8901234567' });
    for (const line of [3, 8, 14, 15]) {
      expect(at(line)).toMatchObject({
        error: { code: 'invalid_id', message: /^the id in the field "id" .*rounded/ },
      });
    }
  });
});

describe('quotes', () => {
  const spanning = 'id,text\n1,"two\nlines"\n2,"three\n\nlines"\n3,one\n';

  test.each<[string, string, string, string[], string]>([
    ['TSV: a quotation over lines', 'in.tsv', 'id\ttext\n1\t"so\n2\tgood"\n', [], '2 3'],
    ['TSV: as spreadsheets write it', 'in.tsv', 'id\ttext\n1\t"say ""hi"""\n2\t"a\tb"\n', [], '2 3'],
    ['TSV: a quote in the middle', 'in.tsv', 'id\ttext\n1\t5" nails\n2\tthe "best"\n', [], '2 3'],
    ['TSV: a quote in the header', 'in.tsv', 'id\t"size"\ttext\n1\t5"\tgood\n', [], '2'],
    [
      'TSV: a field that begins with a quote beside one that ends with it',
      'in.tsv',
      'text\tmore\n"a\tb"\n',
      [],
      '2',
    ],
    [
      'TSV: a field over lines has another number of fields',
      'in.tsv',
      'id\ttext\n1\t"so\nmany"\n2\tb\n',
      [],
      '2 3! 4',
    ],
    [
      'TSV: a field over lines, asked for',
      'in.tsv',
      'id\ttext\n1\t"so\nmany"\n2\tb\n',
      ['--quote', '"'],
      '2 4',
    ],
    ['TSV: not even a last line end', 'in.tsv', 'id\ttext\n1\t"a', [], '2'],
    ['CSV: a field over lines', 'in.csv', spanning, [], '2 4 7'],
    ['CSV: without quoting', 'in.csv', 'id,text\n1,"a\n2,b"\n', ['--quote', 'none'], '2 3'],
    ['CSV: quotes within lines', 'in.csv', 'id,text\n1,"a, b"\n2,"c\n3,d\n', ['--quote', 'line'], '2 3 4'],
    ['CSV: a quote in the middle', 'in.csv', 'id,text\n1,a "b"\n2,c\n', [], '2! 3'],
    ['CSV: text behind the closing quote', 'in.csv', 'id,text\n1,"a" b\n2,c\n', [], '2! 3'],
    ['CSV: a backslash before a quote', 'in.csv', 'id,text\n1,"a \\"b\\" c"\n2,c\n', [], '2! 3'],
    ['CSV: more and fewer fields', 'in.csv', 'id,text\n1,a,b\n2\n3,c\n', [], '2! 3! 4'],
    ['CSV: joined files', 'in.csv', '\ufeffid,text\n1,a\n\ufeffid,text\n2,b\n', [], '2 3! 4'],
    ['CSV: a quoted header behind a mark', 'in.csv', '\ufeff"id","text"\r\n1,a\r\n', [], '2'],
    ['CSV: CR CR LF', 'in.csv', '\r\r\nid,text\r\r\n1,a\r\r\n\r\n2,b\r\r\n', [], '3 5'],
    ['lines: CR CR LF', 'in.txt', 'a\r\r\n\r\r\nb\r\r\n', [], '1 2! 3'],
    ['lines: CR within', 'in.txt', 'a\rb\nc\n', [], '1! 2'],
    ['lines: other line ends of Unicode and NUL', 'in.txt', 'a\u2028b\u0085c\vd\fe\nf\0\n', [], '1 2!'],
  ])('%s', async (_, name, content, args, lines) => {
    const { rows, said } = await label(write(name, content), args);
    expect([rows && outline(rows), said]).toEqual([lines, expect.anything()]);
    const query = args[0] === undefined ? '' : `?quote=${encodeURIComponent(args[1]!)}`;
    expect((await post(content, TYPES[path.extname(name)]!, query)).rows).toEqual(rows);
  });

  test('errors name all their lines and a likely cause', async () => {
    const message = async (content: string) =>
      (await post(content, 'text/csv')).rows.find(({ error }) => error)?.error?.message;
    expect(await message('id,text\n1,"a\n2,b\n3,"c"\n4,d\n')).toBe(
      'the record from line 2 to line 4 has a quoted field that continues after its closing quote (a quote inside must be doubled)',
    );
    expect(await message('id,text\n1,"a\n\nb",c\n')).toBe(
      'the record from line 2 to line 4 has 3 fields, but the header has 2',
    );
    expect(await message('id,text\n1,a\n2,"b\n')).toMatch(
      /^a quoted field begins on line 3 and is not closed until the end of the file, line 3: its line gets no label/,
    );
    expect(await message('id,x,text\n1,"a\n","b\n\n')).toMatch(
      /^a quoted field begins on line 3 .* the end of the file, line 4:/,
    );
    expect(await message(`id,text\n1,"${'a\n'.repeat(60_000)}`)).toBe(
      'the record is longer than 100000 bytes and continues to line 60001; is a quote missing? It begins on line 2, and its 60000 lines get no label',
    );
    expect(await message('id,text\n1,"a \\"b\\""\n')).toMatch(/a quote behind a backslash/);
  });

  test('rows with fields over several lines are counted', async () => {
    const { said } = await label(write('in.csv', spanning));
    expect(said).toMatch(
      /^Quoted +2 rows over several lines, the first from line 2 to line 3 \(--quote line ends a field with its line\)$/m,
    );
    expect((await post(spanning, 'text/csv')).batch.input).toMatchObject({ multiline_rows: 2 });
    expect((await label(write('in.csv', 'id,text\n1,"a"\n'))).said).not.toContain('Quoted');
  });

  test('duplicate columns are refused if they are used', async () => {
    expect((await label(write('in.csv', 'text,text\na,b\n'))).said).toContain(
      'text column "text" is more than once',
    );
    expect((await label(write('in.csv', 'id,id,text\n1,2,b\n'))).said).toContain(
      'id column "id" is more than once',
    );
    expect(outline((await label(write('in.csv', 'x,x,text\n1,2,b\n'))).rows!)).toBe('2');
  });

  test('a header that is too long for a URL, over several parts', async () => {
    const names = Array.from({ length: 5000 }, (_, i) => `"column, ${i}"`);
    const row = (text: string) => `${'x,'.repeat(names.length)}${text}\n`;
    const { code, rows } = await label(write('in.csv', `${names.join(',')},text\n${row('a').repeat(700)}`));
    expect([code, rows!.length]).toEqual([EXIT.ok, 700]);
    expect(rows!.at(-1)).toMatchObject({ line: 701 });
  });
});

describe('lines of JSON', () => {
  test.each<[string, string, RegExp]>([
    ['a comma', '{"text":"b"},', /a comma follows it/],
    ['NaN', '{"text":"b","x":NaN}', /NaN or Infinity/],
    ['two objects', '{"text":"b"}{"text":"c"}', /its line has several values/],
    ['single quotes', "{'text': 'b'}", /single quotes/],
    ['an object over lines', '{', /the object continues on the next line/],
  ])('one with %s is an error that says so, and the others are labelled', async (_, bad, says) => {
    const { rows } = await label(write('in.jsonl', `{"text":"a"}\n${bad}\n{"text":"c"}\n`));
    expect(outline(rows!)).toBe('1 2! 3');
    expect(rows![1]!.error!.message).toMatch(says);
  });

  test('no field with texts: the command names the fields and the likely one', async () => {
    const file = write('in.jsonl', '{"id":"r1","review":"a fine film"}\n{"id":"r2","review":"a dull one"}\n');
    const before = await batches();
    const { code, said } = await label(file);
    expect([code, said]).toEqual([
      EXIT.usage,
      `${file}: none of its first records has a field "text"; they have the fields id, review; is it --text-field review?`,
    ]);
    expect(await batches()).toBe(before);
    expect(outline((await label(file, ['--text-field', 'review'])).rows!)).toBe('1 2');
  });
});

describe('the command', () => {
  test.each(['s.avro', 'x.html.gz', 'x.parquet.gz', 'x.zip', 'X.XLSX'])(
    '--out %s is refused',
    async (name) => {
      const file = write('in.txt', 'a\n');
      const out = path.join(path.dirname(file), name);
      const { code, said } = await runBackfill([file, '--out', out, '--url', stack.url]);
      expect([code, fs.readdirSync(path.dirname(file))]).toEqual([EXIT.usage, ['in.txt']]);
      expect(said).toMatch(
        /: the output is JSON Lines, CSV, TSV or Parquet, not \.[a-zA-Z]+; use a name .*: --out \S+\/[sxX]\.(?:jsonl|csv)$|: Parquet is compressed inside; leave out \.gz$/,
      );
    },
  );

  test('a file of error rows is reported as a failure, even with --quiet', async () => {
    const file = write('in.txt', ' \n\t\n \n \n');
    const { code, said } = await label(file);
    expect(code).toBe(EXIT.rowErrors);
    expect(said).toMatch(/^Labelled +0 rows$/m);
    expect(said).toMatch(/^ +line 1: the text .*\n +line 2: .*\n +line 3: .*\nWritten/m);
    expect(said).toMatch(/\nno row has a label: all 4 are errors; line 1: the text must contain something/);
    const quiet = new CliProcess(['backfill', file, '-o', path.join(dir, 'quiet'), '--url', stack.url, '-q']);
    const ended = await quiet.ended;
    expect([ended.code, ended.said]).toEqual([
      EXIT.rowErrors,
      expect.stringMatching(/^amulet: no row has a label: all 4 are errors; line 1: .*\n$/),
    ]);
    const some = await label(write('in.txt', 'a\n \n'));
    expect(some.said).toMatch(/^Errors +1 row.*\n +invalid_text 1 \(100 %\)\n +line 2: the text must/m);
    expect(some.said).not.toContain('no row has a label');
  });

  test.each([
    ['in.txt', ''],
    ['in.csv', 'id,text\n'],
  ])('%s of no records (%j) says so', async (name, content) => {
    const file = write(name, content);
    const { code, said } = await label(file);
    expect([code, said]).toEqual([EXIT.ok, expect.stringContaining(`${file} has no records`)]);
  });

  test('the first bytes of compressed files and of standard input are checked, too', async () => {
    const { said } = await label(write('in.jsonl.gz', gzipSync('[{"text":"a"}]\n')));
    expect(said).toMatch(/in\.jsonl\.gz is one JSON array, not JSON Lines: use --format json$/);
    const piped = new CliProcess(['backfill', '-', '--format', 'ndjson', '-o', '-', '--url', stack.url]).feed(
      '[{"text":"a"}]',
    );
    expect(await piped.ended).toMatchObject({
      code: EXIT.usage,
      said: expect.stringMatching(/^amulet: standard input is one JSON array/),
    });
  });
});

test('the client reads TSV and long headers by the same rules', async () => {
  const client = new AmuletClient({ url: stack.url });
  const labelled = async (file: string, options: BatchSubmitOptions = {}) => {
    const rows: Pick<Row, 'line' | 'error'>[] = [];
    for await (const row of (await client.batch(fromFile(file), options)).results())
      rows.push('error' in row ? { line: row.line, error: row.error } : { line: row.line });
    return outline(rows);
  };
  const tsv = write('in.tsv', 'id\ttext\n1\t"so\n2\tgood"\n');
  expect(await labelled(tsv)).toBe('2 3');
  expect(await labelled(tsv, { quote: 'none' })).toBe('2 3');
  expect(await labelled(write('in.tsv', 'id\ttext\n1\t"so\ngood"\n'), { quote: '"' })).toBe('2');
  const names = Array.from({ length: 5000 }, (_, i) => `column ${i}`).join(',');
  expect(await labelled(write('in.csv', `${names},text\n${','.repeat(5000)}a\n`))).toBe('2');
});

test('parts of a batch are checked, too', async () => {
  const { body: batch } = await stack.post<Batch>('/v1/batches?open=true', {});
  const put = async (number: number, body: Buffer) => {
    const response = await stack.fetch(`${batch.urls.self}/parts/${number}`, { method: 'PUT', body });
    return [response.status, ((await response.json()) as { detail?: string }).detail];
  };
  expect(await put(1, Buffer.from('[{"text":"a"}]'))).toEqual([
    422,
    expect.stringContaining('is one JSON array'),
  ]);
  expect(await put(2, Buffer.from('{"text":"a"}\n', 'utf16le'))).toEqual([
    422,
    expect.stringContaining('is UTF-16LE'),
  ]);
  expect((await put(1, Buffer.from('{"text":"a"}\n')))[0]).toBe(201);
});
