/** Inputs of `amulet backfill`: the same rows in every format, compression and encoding give the same output. */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { EXIT, Interrupted } from '../../src/cli/terminal/exit.ts';
import { CliProcess, runBackfill } from '../support/processes/cli.ts';
import { Stack } from '../support/processes/stack.ts';

let stack: Stack;
let dir: string;
beforeAll(async () => {
  stack = await Stack.start({ redisUrl: inject('redisUrl') });
  dir = fs.mkdtempSync(path.join(tmpdir(), 'amulet-inputs-'));
});
afterAll(async () => {
  await stack.stop();
  fs.rmSync(dir, { recursive: true, force: true });
});

interface Row {
  id: string;
  text: string;
}

const records: Row[] = Array.from({ length: 300 }, (_, i) => ({
  id: `r${i + 1}`,
  text: ['a lovely film', 'хороший фильм', 'dull, "and" long', 'two\nlines; three'][i % 4]! + ` ${i}`,
}));
const ndjson = (rows: readonly object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
const quoted = (field: string) => `"${field.replaceAll('"', '""')}"`;
const csv = (rows: readonly Row[]) =>
  `id,text\n${rows.map(({ id, text }) => `${id},${quoted(text)}\n`).join('')}`;
/** Every text of the records that windows-1251 has. */
const cyrillic = (text: string) =>
  Buffer.from([...text].map((char) => ((code) => (code < 0x80 ? code : code - 0x350))(char.codePointAt(0)!)));

let made = 0;
function write(name: string, content: string | Buffer): string {
  const folder = path.join(dir, `in-${++made}`);
  fs.mkdirSync(folder);
  fs.writeFileSync(path.join(folder, name), content);
  return path.join(folder, name);
}

async function label(...args: string[]) {
  const out = path.join(dir, `out-${++made}`);
  const { code, said } = await runBackfill([...args, '--out', out, '--url', stack.url]);
  return { code, said, output: fs.existsSync(out) ? fs.readFileSync(out, 'utf8') : undefined };
}

/** Rows as they are for an input with a row on each line: CSV counts the lines of its header and texts, too. */
const numbered = (output: string | undefined) =>
  output
    ?.trimEnd()
    .split('\n')
    .map((row, i) => row.replace(/^\{"line":\d+/, `{"line":${i + 1}`));

describe('the same rows give the same output', () => {
  let expected: string;
  beforeAll(async () => {
    const { code, output } = await label(write('rows.jsonl', ndjson(records)));
    expect(code).toBe(EXIT.ok);
    expected = output!;
    expect(numbered(expected)).toHaveLength(records.length);
  });

  test.each<[string, string | Buffer, string[]]>([
    ['rows.jsonl.gz', gzipSync(ndjson(records)), []],
    ['rows.jsonl.zst', zstdCompressSync(ndjson(records)), []],
    ['rows.json', JSON.stringify(records), []],
    ['rows.json.zst', zstdCompressSync(JSON.stringify(records, undefined, 2)), []],
    ['lines.json', ndjson(records), []],
    ['array.txt', JSON.stringify(records), ['--format', 'json']],
    ['utf-16.json', Buffer.from(`\ufeff${JSON.stringify(records)}`, 'utf16le'), []],
    ['utf-16.jsonl', Buffer.from(`\ufeff${ndjson(records)}`, 'utf16le'), []],
    ['windows-1251.jsonl', cyrillic(ndjson(records)), ['--encoding', 'windows-1251']],
  ])('%s', async (name, content, args) => {
    const { code, output } = await label(write(name, content), ...args);
    expect(code).toBe(EXIT.ok);
    expect(output).toBe(expected);
  });

  test.each(['snappy', 'zstd', 'gzip', 'lz4', 'brotli', 'delta', 'dictionary'])(
    'Parquet: %s',
    async (codec) => {
      const { code, output } = await label(`test/fixtures/parquet/${codec}.parquet`);
      expect(code).toBe(EXIT.ok);
      expect(output).toBe(expected);
    },
  );

  test.each<[string, string | Buffer, string[]]>([
    ['rows.csv', csv(records), []],
    ['rows.csv.zst', zstdCompressSync(csv(records)), []],
    ['windows-1251.csv.zst', zstdCompressSync(cyrillic(csv(records))), ['--encoding', 'cp1251']],
    ['utf-16.csv', Buffer.from(`\ufeff${csv(records)}`, 'utf16le').swap16(), []],
  ])('%s', async (name, content, args) => {
    const { code, output } = await label(write(name, content), ...args);
    expect(code).toBe(EXIT.ok);
    expect(numbered(output)).toEqual(numbered(expected));
  });

  test('standard input in another encoding, compressed', async () => {
    const args = ['backfill', '-', '--format', 'ndjson', '--encoding', 'windows-1251', '--out', '-'];
    const command = new CliProcess([...args, '--url', stack.url]);
    const { code } = await command.feed(zstdCompressSync(cyrillic(ndjson(records)))).ended;
    expect(code).toBe(EXIT.ok);
    expect(command.stdout).toBe(expected);
  });
});

test('a file in another encoding is refused with the option that reads it', async () => {
  const { code, said } = await label(write('old.csv', cyrillic(csv(records))));
  expect(code).toBe(EXIT.usage);
  expect(said).toMatch(/old\.csv is not valid UTF-8 on line .* --encoding windows-125\d$/);
  const wide = Buffer.from(csv(records), 'utf16le');
  expect((await label(write('wide.csv', wide))).said).toMatch(/ is UTF-16LE .*: use --encoding utf-16le$/);
});

describe('a file in another format than its name says', () => {
  test.each<[string, string | Buffer, string]>([
    ['rows.jsonl', JSON.stringify(records), 'is one JSON array, not JSON Lines: use --format json'],
    ['rows.csv', fs.readFileSync('test/fixtures/parquet/snappy.parquet'), 'is Parquet: use --format parquet'],
    [
      'rows.parquet',
      csv(records),
      'is not Parquet: name its format with --format ndjson, json, csv or lines',
    ],
  ])('%s', async (name, content, finding) => {
    const file = write(name, content);
    const { code, said, output } = await label(file);
    expect([code, output]).toEqual([EXIT.usage, undefined]);
    expect(said).toBe(`${file} ${finding}`);
  });

  test('with the option that the message names, it is read', async () => {
    const parquet = write('rows.csv', fs.readFileSync('test/fixtures/parquet/snappy.parquet'));
    expect((await label(parquet, '--format', 'parquet')).code).toBe(EXIT.ok);
    expect((await label(write('rows.jsonl', JSON.stringify(records)), '--format', 'json')).code).toBe(
      EXIT.ok,
    );
  });
});

test('an array that never ends: one line, and neither a batch nor a file is left', async () => {
  const { code, said, output } = await label(write('cut.json', JSON.stringify(records).slice(0, -1)));
  expect([code, output]).toEqual([EXIT.failed, undefined]);
  expect(said).toMatch(/cut\.json ends within its JSON array, in element 300: is it complete\?$/);
  const { body } = await stack.get<{ batches: { status: string }[] }>('/v1/batches?limit=100');
  expect(body.batches.filter(({ status }) => status === 'open')).toEqual([]);
});

test('an error of one element or row is an error row in its place', async () => {
  const array = '[{"text":"a"},{"text":1},"b",{"text":"c" "d"},{"text":"e"}]';
  const { code, output } = await label(write('mixed.json', array));
  expect(code).toBe(EXIT.rowErrors);
  const errors = output!
    .trimEnd()
    .split('\n')
    .map((row) => (JSON.parse(row) as { error?: { code: string } }).error?.code);
  expect(errors).toEqual([undefined, 'invalid_text', undefined, 'invalid_record', undefined]);
  const parquet = await label('test/fixtures/parquet/binary.parquet');
  const rows = parquet
    .output!.trimEnd()
    .split('\n')
    .map((row) => JSON.parse(row) as { line: number; error?: { code: string } });
  expect(rows.slice(0, 3).map(({ line, error }) => [line, error?.code])).toEqual([
    [1, undefined],
    [2, 'invalid_encoding'],
    [3, undefined],
  ]);
});

describe('some rows of an input have the results that they have in all of it', () => {
  test.each<[string, string, string[]]>([
    ['JSON Lines', 'rows.jsonl', ['--limit', '7']],
    ['JSON array', 'rows.json', ['--limit', '7']],
    ['Parquet', 'rows.parquet', ['--limit', '7']],
    ['CSV, whose texts have several lines', 'rows.csv', ['--limit', '7']],
    ['JSON Lines', 'rows.jsonl', ['--sample', '7']],
    ['CSV, whose texts have several lines', 'rows.csv', ['--sample', '7']],
    ['Parquet', 'rows.parquet', ['--sample', '7']],
  ])('%s, %s, %j', async (_, name, args) => {
    const contents: Record<string, string | Buffer> = {
      'rows.jsonl': ndjson(records),
      'rows.json': JSON.stringify(records),
      'rows.csv': csv(records),
      'rows.parquet': fs.readFileSync('test/fixtures/parquet/snappy.parquet'),
    };
    const file = write(name, contents[name]!);
    const rows = async (...options: string[]) =>
      (await label(file, ...options)).output!.trimEnd().split('\n');
    const all = await rows();
    const some = await rows(...args);
    expect(some).toHaveLength(7);
    expect(some).toEqual(args[0] === '--limit' ? all.slice(0, 7) : all.filter((row) => some.includes(row)));
  });
});

describe('a run that is stopped', () => {
  test.each<[string, string]>([
    ['JSON array', 'rows.json'],
    ['Parquet', 'snappy.parquet'],
  ])('%s: --resume gives the same output, and the options of the first run hold', async (_, name) => {
    const file = name.endsWith('.json')
      ? write(name, JSON.stringify(records))
      : write(name, fs.readFileSync(`test/fixtures/parquet/${name}`));
    const whole = await label(file);
    const out = path.join(dir, `resumed-${++made}`);
    const args = [file, '--out', out, '--url', stack.url];
    // The state of a run that was killed once its batch existed, before a part of it was sent.
    const stop = new AbortController();
    const watch = fs.watch(dir, () => {
      if (fs.existsSync(`${out}.resume.json`)) stop.abort(new Interrupted(EXIT.interrupted));
    });
    const { code } = await runBackfill(args, stop.signal);
    watch.close();
    expect(code).toBe(EXIT.interrupted);
    expect((await runBackfill([...args, '--resume'])).code).toBe(EXIT.ok);
    expect(fs.readFileSync(out, 'utf8')).toBe(whole.output);
  });
});
