/** Outputs of `amulet backfill`: every format, with fields of the input beside the labels, whole after any interruption. */
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { parse } from 'csv-parse/sync';
import { parquetMetadata, parquetReadObjects, parquetSchema, type SchemaElement } from 'hyparquet';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { EXIT, Interrupted } from '../../src/cli/terminal/exit.ts';
import { CliProcess, runBackfill } from '../support/processes/cli.ts';
import { standIn } from '../support/models/stand-in.ts';
import { Stack } from '../support/processes/stack.ts';
import { SmallDisk } from '../support/storage/small-disk.ts';

let stack: Stack;
let dir: string;
beforeAll(async () => {
  stack = await Stack.start({
    redisUrl: inject('redisUrl'),
    env: { ...standIn(), BULK_CHUNK_BYTES: '2000' },
  });
  dir = fs.mkdtempSync(path.join(tmpdir(), 'amulet-outputs-'));
});
afterAll(async () => {
  await stack.stop();
  fs.rmSync(dir, { recursive: true, force: true });
});

let made = 0;
const folder = (): string => {
  const made_ = path.join(dir, `run-${++made}`);
  fs.mkdirSync(made_);
  return made_;
};

async function label(input: { name: string; content: string }, out: string, ...args: string[]) {
  const at = folder();
  fs.writeFileSync(path.join(at, input.name), input.content);
  const { code, said } = await runBackfill([
    path.join(at, input.name),
    ...['--out', path.join(at, out)],
    ...['--url', stack.url],
    ...args,
  ]);
  const file = path.join(at, out);
  const output = fs.existsSync(file) ? fs.readFileSync(file) : Buffer.alloc(0);
  return { code, said, output, left: fs.readdirSync(at).filter((name) => name !== input.name) };
}

const REVIEWS = [
  'stars,text,key,label,score_POSITIVE,note',
  '5,"utterly charming, and ""fine""",r1,old,1,=1+1',
  '-1,"a bad',
  'mess",r2,,2,"two\r\nlines"',
  'only one field',
  '3,,r4,x,3,x',
  ...Array.from({ length: 100 }, (_, i) => `${i},good film ${i},s${i},,,`),
  '',
].join('\n');
const CSV = { name: 'in.csv', content: REVIEWS };
const ROWS = 104;

const RECORDS = Array.from({ length: 120 }, (_, i) => ({
  id: `r${i}`,
  text: ['a lovely film', 'хороший фильм', 'dull "and" long', 'two\nlines'][i % 4]! + ` ${i}`,
  stars: i % 5,
  price: i / 4,
  big: '@big',
  seen: i % 2 === 0,
  tags: i % 3 === 0 ? ['a', 'b'] : undefined,
  mixed: i % 2 === 0 ? 1 : 'one',
  nothing: null,
  label: 'mine',
}));
/** With an integer that no double holds. */
const JSON_LINES = {
  name: 'in.jsonl',
  content: RECORDS.map((record, i) =>
    `${JSON.stringify(record)}\n`.replace('"@big"', String(9007199254740993n + BigInt(i))),
  ).join(''),
};

describe('a table', () => {
  test('is byte for byte that of the server, with the columns of a CSV', async () => {
    const args = ['--id-field', 'key', '--keep', 'all'];
    const csv = await label(CSV, 'out.csv', ...args);
    expect(csv.code, csv.said).toBe(EXIT.rowErrors);
    expect(csv.left).toEqual(['out.csv']);
    const [, batch] = /^Batch +(\S+)/m.exec(csv.said)!;
    const served = await stack.fetch(`/v1/batches/${batch}/results?format=csv&keep=*`);
    expect(csv.output.toString()).toBe(await served.text());
    const rows = parse(csv.output, { record_delimiter: '\n' });
    expect(rows).toHaveLength(ROWS + 1);
    expect(rows[1]!.slice(0, 8)).toEqual([
      '2',
      'r1',
      '5',
      'utterly charming, and "fine"',
      'r1',
      'old',
      '1',
      "'=1+1",
    ]);

    const tsv = await label(CSV, 'out.tsv', ...args, '--raw-csv');
    const raw = await stack.fetch(`/v1/batches/${batch}/results?format=tsv&keep=*&raw=true`);
    expect(tsv.output.toString()).toBe(await raw.text());
    expect((await label(CSV, 'out.csv.gz', ...args)).output.subarray(0, 2).toString('hex')).toBe('1f8b');
    expect(gunzipSync((await label(CSV, 'out.csv.gz', ...args)).output)).toEqual(csv.output);
    expect(zstdDecompressSync((await label(CSV, 'o.zst', ...args, '--output-format', 'csv')).output)).toEqual(
      csv.output,
    );
  });

  test('has a column for the score of each label, beside columns of the same name', async () => {
    const { output, said } = await label(CSV, 'out.csv', '--keep', 'note,score_POSITIVE', '--score-columns');
    const [header, first, , broken] = parse(output, { record_delimiter: '\n' });
    expect(header, said).toEqual([
      'line',
      'note',
      'input_score_POSITIVE',
      'label',
      'score',
      'score_NEGATIVE',
      'score_POSITIVE',
      'truncated',
      'unknown',
      'error',
      'error_message',
    ]);
    expect(Number(first![5]) + Number(first![6])).toBeCloseTo(1, 3);
    expect(broken!.slice(0, 10)).toEqual(['6', '', '', '', '', '', '', '', '', 'invalid_record']);
  });

  test('of JSON objects has a column for each of their fields, in the order in which they come', async () => {
    const { output, code } = await label(JSON_LINES, 'out.csv', '--keep', 'all', '--top-k', 'all');
    expect(code).toBe(EXIT.ok);
    const rows = parse<Record<string, string>>(output, { columns: true, record_delimiter: '\n' });
    expect(Object.keys(rows[0]!).slice(0, 11)).toEqual(
      'line id text stars price big seen tags mixed nothing input_label'.split(' '),
    );
    expect(rows[3]).toMatchObject({ id: 'r3', big: '9007199254740996', tags: '["a","b"]', price: '0.75' });
    expect(JSON.parse(rows[3]!.labels!)).toHaveLength(2);
    expect(rows).toHaveLength(RECORDS.length);
  });
});

test('JSON Lines keep the fields with their types', async () => {
  const { output } = await label(JSON_LINES, 'out.jsonl', '--keep', 'stars,big,label');
  const lines = output.toString().trimEnd().split('\n');
  expect(lines).toHaveLength(RECORDS.length);
  expect(lines[7]).toMatch(
    /^\{"line":8,"id":"r7","stars":2,"big":9007199254741000,"input_label":"mine","label":"/,
  );
});

describe('Parquet', () => {
  const objects = async (output: Buffer) =>
    parquetReadObjects({
      file: output.buffer.slice(output.byteOffset, output.byteOffset + output.length) as ArrayBuffer,
    });

  test('has the fields of JSON objects with their types', async () => {
    const { output, code, left, said } = await label(
      JSON_LINES,
      'out.parquet',
      '--keep',
      'all',
      '--top-k',
      'all',
    );
    expect(code, said).toBe(EXIT.ok);
    expect(left).toEqual(['out.parquet']);
    const rows = await objects(output);
    expect(rows).toHaveLength(RECORDS.length);
    expect(rows[3]).toEqual({
      line: 4n,
      id: 'r3',
      text: 'two\nlines 3',
      stars: 3n,
      price: 0.75,
      big: 9007199254740996n,
      seen: false,
      tags: '["a","b"]',
      mixed: 'one',
      nothing: null,
      input_label: 'mine',
      label: expect.stringMatching(/TIVE$/),
      score: expect.any(Number),
      labels: [
        { label: expect.any(String), score: expect.any(Number) },
        { label: expect.any(String), score: expect.any(Number) },
      ],
      truncated: false,
      unknown: rows[3]!.unknown,
      error: null,
      error_message: null,
    });
  });

  test('of a CSV has columns of strings, and a row for each error', async () => {
    const { output } = await label(CSV, 'out.parquet', '--keep', 'all', '--score-columns');
    const rows = await objects(output);
    expect(rows).toHaveLength(ROWS);
    expect(rows[0]).toMatchObject({ line: 2n, stars: '5', note: '=1+1', input_label: 'old' });
    expect(rows[0]).toHaveProperty('score_NEGATIVE');
    expect(rows[2]).toMatchObject({ line: 6n, stars: null, label: null, error: 'invalid_record' });
  });
});

/** A Python with the readers, or why there is none. */
const PYTHON = process.env.TEST_READERS_PYTHON ?? 'python3';
const HAS_READERS = spawnSync(PYTHON, ['-c', 'import pyarrow, pandas, duckdb, zstandard']).status === 0;
const MISSING = HAS_READERS
  ? ''
  : ' (skipped: no Python with pyarrow, pandas, duckdb and zstandard; TEST_READERS_PYTHON names one)';
const compare = (...args: string[]) => {
  const { stdout, stderr } = spawnSync(PYTHON, ['test/support/readers/compare.py', ...args]);
  return `${stderr.toString()}${stdout.toString()}`.trim();
};

describe('columns of Parquet', () => {
  const TYPED = 'test/fixtures/parquet/typed.parquet';
  const run = async (out: string, ...args: string[]) => {
    const file = path.join(folder(), out);
    const { code, said } = await runBackfill([TYPED, '--out', file, '--url', stack.url, ...args]);
    return { code, said, file };
  };

  test('stay what they are in Parquet', async () => {
    const { code, said, file } = await run('out.parquet', '--keep', 'all');
    expect(code, said).toBe(EXIT.rowErrors);
    const [before, after] = [TYPED, file].map((name) => {
      const bytes = fs.readFileSync(name);
      return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
    });
    const typeOf = ({ type, converted_type, logical_type, type_length, scale, precision }: SchemaElement) =>
      // The older annotation of integers says the same.
      [
        type,
        converted_type,
        logical_type?.type === 'INTEGER' ? undefined : logical_type,
        type_length,
        scale,
        precision,
      ];
    const types = (from: ArrayBuffer) =>
      new Map(
        parquetSchema(parquetMetadata(from)).children.map(({ element }) => [
          element.name.replace('input_', ''),
          typeOf(element),
        ]),
      );
    for (const [name, type] of types(before!))
      if (name !== 'label') expect([name, types(after!).get(name)]).toEqual([name, type]);
    const rows = await parquetReadObjects({ file: after! });
    for (const [i, row] of (await parquetReadObjects({ file: before! })).entries()) {
      const { label, ...others } = row;
      expect(rows[i]).toMatchObject({ ...others, input_label: label });
    }
    expect(rows.map((row): unknown => row.error)).toEqual([null, null, 'invalid_text', null]);
  });

  test.skipIf(!HAS_READERS)(`are the same to pyarrow, pandas and duckdb${MISSING}`, async () => {
    const outputs = await Promise.all(
      ['a.parquet', 'b.jsonl', 'c.csv', 'd.tsv', 'e.csv.gz', 'f.jsonl.gz', 'g.csv.zst'].map((out) =>
        run(out, '--keep', 'all', '--top-k', 'all'),
      ),
    );
    expect(compare(TYPED, outputs[0]!.file)).toBe('4');
    expect(compare('rows', ...outputs.map(({ file }) => file))).toBe('4');
  });

  test('keep all their digits as text', async () => {
    const { file } = await run('out.jsonl', '--keep', 'all');
    const [first, second] = fs.readFileSync(file, 'utf8').split('\n');
    expect(first).toContain(
      '"uint64":0,"float16":0.5,"float32":0.10000000149011612,"float64":0.1,"binary":"plain","fixed":{"base64":"YWJjZA=="},' +
        '"date":"2024-01-02","time_ms":3723004,"time_us":3723000004,"at_ms":"2024-01-02T03:04:05.006",' +
        '"at_us":"2024-01-02T03:04:05.000006Z","at_ns":"2024-01-02T03:04:05.123456789","money":12.30,' +
        '"large":"12345678901234567890123456.789","small":-1,"kind":"x","nothing":null,',
    );
    expect(second).toContain('"uint64":18446744073709551615,"float16":-2,"float32":"NaN","float64":"NaN",');
    expect(second).toContain('"binary":{"base64":"/wA="},"fixed":{"base64":"//4AAQ=="},"date":"0001-01-01"');
  });

  test.each([
    ['nosuch', /--keep names "nosuch", but there is only "?id/],
    ['text,tags', /--keep names "tags"/],
  ])('%s is refused before the upload', async (keep, message) => {
    const { code, said } = await run('out.csv', '--keep', keep);
    expect(code).toBe(EXIT.usage);
    expect(said).toMatch(message);
  });

  test('that are lists are refused', async () => {
    const file = path.join(folder(), 'out.csv');
    const args = ['--text-field', 'review', '--keep', 'all', '--out', file, '--url', stack.url];
    const { code, said } = await runBackfill(['test/fixtures/parquet/nested.parquet', ...args]);
    expect([code, said]).toEqual([
      EXIT.usage,
      'test/fixtures/parquet/nested.parquet: the column "tags" holds lists, which cannot be kept: name others with --keep a,b',
    ]);
  });
});

test('standard output gets a table once it is complete', async () => {
  const at = folder();
  const args = ['backfill', '-', '--format', 'csv', '-o', '-', '--output-format', 'csv', '--keep', 'all'];
  const child = new CliProcess([...args, '--url', stack.url], at).feed(REVIEWS);
  const { code } = await child.ended;
  expect(code, child.stderr).toBe(EXIT.rowErrors);
  const file = await label(CSV, 'out.csv', '--keep', 'all');
  expect(child.stdout).toBe(file.output.toString());
  expect(fs.readdirSync(at)).toEqual([]);
});

test('an input without records becomes a table without rows', async () => {
  const { output, code } = await label({ name: 'in.csv', content: 'id,text\n' }, 'out.csv', '--keep', 'all');
  expect([code, output.toString()]).toEqual([
    EXIT.ok,
    'line,id,text,label,score,truncated,unknown,error,error_message\n',
  ]);
});

test.each([
  [['--keep', 'nosuch'], /--keep names "nosuch", but there is only "?stars/],
  [['--keep', 'a,a'], /--keep names a twice/],
  [['--keep', 'a,'], /a name is empty; all keeps every field/],
  [['--score-columns', '--top-k', '2'], /--score-columns needs --top-k all, not 2/],
  [['--output-format', 'ndjson', '--score-columns'], /--score-columns is for CSV, TSV and Parquet/],
  [['--output-format', 'parquet', '--raw-csv'], /--raw-csv is for CSV and TSV only/],
  [['--output-format', 'xlsx'], /--output-format xlsx: must be ndjson, csv, tsv or parquet/],
])('%j is refused before the upload', async (args, message) => {
  const { code, said, left } = await label(CSV, 'out.csv', ...args).catch((error: unknown) => ({
    code: EXIT.usage,
    said: (error as Error).message,
    left: [],
  }));
  expect([code, left]).toEqual([EXIT.usage, []]);
  expect(said).toMatch(message);
});

describe('the end of a run', () => {
  test('tells what is in the output, also as JSON', async () => {
    const summary = path.join(dir, 'summary.json');
    const content = `${'good film\n'.repeat(30)}\0\n${'bad film\n'.repeat(8)}${'word '.repeat(600)}\n`;
    const { said, code, output } = await label({ name: 'in.txt', content }, 'out.csv', '--summary', summary);
    expect(code).toBe(EXIT.rowErrors);
    const rows = parse<Record<string, string>>(output, { columns: true, record_delimiter: '\n' });
    const labels = rows.flatMap(({ label }) => (label === '' ? [] : (label ?? [])));
    const counts = Object.entries(Object.groupBy(labels, (name) => name)).map(
      ([name, all]) => [name, all!.length] as const,
    );
    const scores = rows.flatMap(({ score }) => (score ? Number(score) : []));
    const mean = scores.reduce((sum, score) => sum + score, 0) / scores.length;
    const [name, most] = counts.toSorted(([, a], [, b]) => b - a)[0]!;
    expect(said).toMatch(/^Labelled +39 rows$/m);
    expect(said).toMatch(
      new RegExp(`^Labels +${name} ${most} \\(\\d+ %\\).*; mean score ${mean.toFixed(3)}$`, 'm'),
    );
    expect(said).toMatch(
      /^Truncated +1 text longer than the model reads\nErrors +1 row\n +invalid_text 1 \(100 %\)$/m,
    );
    expect(JSON.parse(fs.readFileSync(summary, 'utf8'))).toEqual({
      version: 1,
      inputs: [expect.stringMatching(/in\.txt$/)],
      out: expect.stringMatching(/out\.csv$/),
      output_format: 'csv',
      batch: /^Batch +(\S+)/m.exec(said)![1],
      model: { name: 'sst2-minilm', revision: expect.stringMatching(/^[0-9a-f]{12}$/) },
      rows: { total: 40, labelled: 39, failed: 1, truncated: 1 },
      mean_score: expect.closeTo(mean, 9),
      labels: Object.fromEntries(counts),
      with_other_label: 0,
      errors: { invalid_text: 1 },
      seconds: expect.any(Number),
      rows_per_second: expect.any(Number),
    });
  });

  test('a summary that could not be written is refused before the upload', async () => {
    const input = { name: 'in.txt', content: 'a\n' };
    const nowhere = await label(input, 'out.csv', '--summary', '/nowhere/summary.json');
    expect(nowhere).toMatchObject({ code: EXIT.usage, left: [] });
    expect(nowhere.said).toBe('--summary /nowhere/summary.json: the folder /nowhere does not exist');
    expect((await label(input, 'out.csv', '--summary', dir)).said).toBe(`--summary ${dir} is a folder`);
  });
});

describe('--retry-errors', () => {
  const broken = ['id,text,note', 'a,good film,=1', 'b,,"x', 'y"', 'c,only two', 'd,bad film,z', ''].join(
    '\n',
  );
  const mended = broken.replace('b,,', 'b,fine,');

  const first = async (out: string, ...args: string[]) => {
    const at = folder();
    const [input, output] = [path.join(at, 'in.csv'), path.join(at, out)];
    fs.writeFileSync(input, broken);
    const ran = await runBackfill([input, '--out', output, '--url', stack.url, ...args]);
    expect(ran.code, ran.said).toBe(EXIT.rowErrors);
    return { at, input, output, before: fs.readFileSync(output) };
  };
  const retry = (input: string, output: string, ...args: string[]) =>
    runBackfill([input, '--retry-errors', output, '--url', stack.url, ...args]);
  const text = (bytes: Buffer, name: string) =>
    (name.endsWith('.gz')
      ? gunzipSync(bytes)
      : name.endsWith('.zst')
        ? zstdDecompressSync(bytes)
        : bytes
    ).toString();

  test.each([
    ['out.jsonl', []],
    ['out.jsonl', ['--keep', 'all']],
    ['out.jsonl.gz', ['--keep', 'note']],
    ['out.csv', ['--keep', 'all']],
    ['out.tsv.zst', ['--keep', 'all', '--top-k', 'all']],
    ['out.csv', ['--keep', 'note', '--score-columns', '--top-k', 'all']],
  ])('%s %j: rows that failed run again, and stand in their places', async (out, args) => {
    const { at, input, output, before } = await first(out, ...args);
    const again = args.includes('--top-k') ? ['--top-k', 'all'] : [];
    // As they were: the errors stay.
    expect((await retry(input, output, ...again)).code).toBe(EXIT.rowErrors);
    expect(text(fs.readFileSync(output), out)).toBe(text(before, out));

    fs.writeFileSync(input, mended);
    const { code, said } = await retry(input, output, ...again);
    expect(code, said).toBe(EXIT.rowErrors);
    expect(said).toMatch(/^Retrying .*: 2 rows with errors$/m);
    expect(said).toMatch(/^Uploaded +2 rows/m);
    const whole = path.join(at, `whole-${out}`);
    await runBackfill([input, '--out', whole, '--url', stack.url, ...args]);
    const [now, wanted] = [output, whole].map((file) => text(fs.readFileSync(file), out));
    expect(now).toBe(wanted);
    expect(fs.readdirSync(at).toSorted()).toEqual(['in.csv', out, `whole-${out}`].toSorted());
  });

  test('without errors nothing is sent', async () => {
    const at = folder();
    const [input, output] = [path.join(at, 'in.txt'), path.join(at, 'out.jsonl')];
    fs.writeFileSync(input, 'good\nbad\n');
    await runBackfill([input, '--out', output, '--url', stack.url]);
    const { code, said } = await runBackfill([
      input,
      '--retry-errors',
      output,
      '--url',
      'http://127.0.0.1:1',
    ]);
    expect([code, said]).toEqual([EXIT.ok, `Retrying    ${output}: no row has an error: nothing to do`]);
  });

  test.each<[string, (input: string) => string, RegExp]>([
    ['has more rows', (csv) => `${csv}e,more,m\n`, /it has only 4 rows$/],
    ['has fewer rows', (csv) => csv.replace('d,bad film,z\n', ''), /it has more than 3 rows$/],
    [
      'has an empty line more',
      (csv) => csv.replace('c,only', '\nc,only'),
      /row 3 is that of line 5, not of line 6$/,
    ],
    ['has other ids', (csv) => csv.replace('a,good', 'q,good'), /row 1 has the id a, not q$/],
  ])('an input that %s is refused before anything is sent', async (_, change, message) => {
    const { at, input, output, before } = await first('out.csv', '--keep', 'all');
    fs.writeFileSync(input, change(broken));
    const { code, said } = await runBackfill([
      input,
      '--retry-errors',
      output,
      '--url',
      'http://127.0.0.1:1',
    ]);
    expect(code, said).toBe(EXIT.usage);
    expect(said).toContain(`${output} is not the output of ${input}: `);
    expect(said).toMatch(message);
    expect(fs.readFileSync(output)).toEqual(before);
    expect(fs.readdirSync(at)).toEqual(['in.csv', 'out.csv']);
  });

  test('other files, Parquet, standard input and wrong options are refused', async () => {
    const { input, output } = await first('out.csv');
    const refused = async (...args: string[]) => {
      const { code, said } = await runBackfill(args).catch((error: unknown) => ({
        code: 2,
        said: (error as Error).message,
      }));
      expect(code).toBe(EXIT.usage);
      return said;
    };
    expect(await refused(input, '--retry-errors', input)).toMatch(
      /is not a table that amulet backfill has written/,
    );
    expect(await refused(input, '--retry-errors', `${output}.parquet`)).toMatch(
      /rows of Parquet cannot be replaced/,
    );
    expect(await refused('-', '--retry-errors', output)).toMatch(/cannot be standard input/);
    expect(await refused(input, '--retry-errors', `${output}x`)).toMatch(/does not exist/);
    expect(await refused(input, '--retry-errors', output, '--keep', 'all')).toMatch(
      /cannot be used with --keep/,
    );
    const many = await first('out.jsonl', '--top-k', '2');
    expect(await refused(many.input, '--retry-errors', many.output)).toMatch(/add the --top-k of its run/);
  });

  test('that is interrupted resumes, and leaves the output as it was until then', async () => {
    const { at, input, output, before } = await first('out.csv', '--keep', 'all');
    fs.writeFileSync(input, mended);
    const stop = new AbortController();
    const args = [input, '--retry-errors', output, '--url', stack.url];
    const interrupted = runBackfill([...args, '--model', 'nosuch', '--patience', '0'], stop.signal);
    expect((await interrupted).code).not.toBe(EXIT.ok);
    expect(fs.readFileSync(output)).toEqual(before);
    const early = new AbortController();
    setTimeout(() => early.abort(new Interrupted(EXIT.interrupted)), 30);
    await runBackfill([...args, '--restart'], early.signal);
    expect((await runBackfill([...args, '--resume'])).code).toBe(EXIT.rowErrors);
    expect(fs.readFileSync(output, 'utf8')).toMatch(/\n3,b,fine,"x\ny",[A-Z]+,/);
    expect(fs.readdirSync(at)).toEqual(['in.csv', 'out.csv']);
  });
});

describe('a table that cannot be written', () => {
  const disk = SmallDisk.mount('1m');
  afterAll(() => {
    if (typeof disk !== 'string') disk.unmount();
  });

  test.skipIf(typeof disk === 'string')(
    `for want of room is made once there is some${typeof disk === 'string' ? ` (skipped: ${disk})` : ''}`,
    async () => {
      const small = disk as SmallDisk;
      const input = path.join(folder(), 'in.txt');
      fs.writeFileSync(input, 'good film\n'.repeat(4000));
      const whole = path.join(folder(), 'out.csv');
      await runBackfill([input, '--out', whole, '--url', stack.url, '--keep', 'all']);
      const out = path.join(small.folder, 'out.csv');
      // Room for the rows, not for the table beside them.
      const filler = small.fill(480_000);
      const args = [input, '--out', out, '--url', stack.url, '--keep', 'all'];
      const { code, said } = await runBackfill(args);
      expect(code, said).toBe(EXIT.temporary);
      expect(said).toContain(`${out}: no space left on the disk\nResume with:\n`);
      expect(fs.readdirSync(small.folder).toSorted()).toEqual([
        'filler',
        'out.csv.partial',
        'out.csv.resume.json',
      ]);
      fs.rmSync(filler);
      const resumed = await runBackfill([...args, '--resume']);
      expect(resumed.code, resumed.said).toBe(EXIT.ok);
      expect(fs.readFileSync(out)).toEqual(fs.readFileSync(whole));
      expect(fs.readdirSync(small.folder)).toEqual(['out.csv']);
    },
  );

  test('because there is a file is refused before the upload', async () => {
    const at = folder();
    const [input, out] = [path.join(at, 'in.txt'), path.join(at, 'out.parquet')];
    fs.writeFileSync(input, 'good\n');
    fs.writeFileSync(out, 'precious');
    const args = [input, '--out', out, '--url', stack.url];
    const { code, said } = await runBackfill(args);
    expect([code, said]).toEqual([EXIT.usage, `${out} already exists; --force replaces it`]);
    expect((await runBackfill([...args, '--force'])).code).toBe(EXIT.ok);
    expect(fs.readFileSync(out, 'latin1').slice(0, 4)).toBe('PAR1');
  });
});
