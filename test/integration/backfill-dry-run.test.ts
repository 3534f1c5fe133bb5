/** `amulet backfill --dry-run`: what would be read and for how long, with nothing sent and nothing written. */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { parseBackfill } from '../../src/cli/backfill/command-line.ts';
import { dryRun } from '../../src/cli/backfill/dry-run.ts';
import { EXIT } from '../../src/cli/terminal/exit.ts';
import { CliProcess } from '../support/processes/cli.ts';
import { Stack } from '../support/processes/stack.ts';

let stack: Stack;
let dir: string;
beforeAll(async () => {
  stack = await Stack.start({ redisUrl: inject('redisUrl') });
});
afterAll(() => stack.stop());
beforeEach(() => {
  dir = fs.mkdtempSync(path.join(tmpdir(), 'amulet-dry-'));
});
afterEach(() => {
  fs.rmSync(dir, { recursive: true, force: true });
});

const at = (name: string): string => path.join(dir, name);
function write(name: string, content: string | Buffer): string {
  fs.mkdirSync(path.dirname(at(name)), { recursive: true });
  fs.writeFileSync(at(name), content);
  return at(name);
}
const NOWHERE = 'http://127.0.0.1:1';

async function look(...args: string[]): Promise<string> {
  const command = parseBackfill([...args, '--dry-run']);
  if (command === 'help') throw new Error('no help here');
  let shown = '';
  const code = await dryRun(command, new AbortController().signal, (text) => (shown += text));
  expect(code).toBe(EXIT.ok);
  return shown;
}

test('a file, its fields and first rows, and what a server says of itself', async () => {
  const rows = [
    '1,"a lovely\nfilm",5',
    '2,dull,1',
    ...Array.from({ length: 8 }, (_, i) => `${i + 3},text ${i},3`),
  ];
  const file = write('in.csv', `key,text,stars\n${rows.join('\n')}\n`);
  const before = (await stack.get<{ batches: unknown[] }>('/v1/batches')).body.batches.length;
  const shown = await look(file, '--id-field', 'key', '--url', stack.url);
  expect(shown.split('\n')).toEqual([
    `File        ${file}: CSV with ",", ${fs.statSync(file).size} B`,
    'Fields      key (the id), text (the text), stars',
    'Rows        10 rows',
    '            line 2  1  "a lovely\\nfilm"',
    '            line 4  2  "dull"',
    '            line 5  3  "text 0"',
    '            line 6  4  "text 1"',
    '            line 7  5  "text 2"',
    expect.stringMatching(
      /^Server {6}http:\S+: sst2-minilm, 1 worker, labels NEGATIVE, POSITIVE; reads \d+ tokens of a text; texts of up to 5,000 characters$/,
    ),
    expect.stringMatching(/^Time {8}(?:roughly 0:01|unknown: the server does not say how fast it is)/),
    '            Nothing was uploaded: leave out --dry-run to label the rows.',
  ]);
  expect((await stack.get<{ batches: unknown[] }>('/v1/batches')).body.batches).toHaveLength(before);
  expect(fs.readdirSync(dir)).toEqual(['in.csv']);
});

test('GET /v1/models says how fast a worker is', async () => {
  const { body } = await stack.get<{ models: object[] }>('/v1/models');
  expect(body.models[0]).toMatchObject({ model_processes: 1 });
});

describe('the number of rows', () => {
  const lines = (count: number) =>
    Array.from({ length: count }, (_, i) => `${JSON.stringify({ id: i, text: `row ${i} of many` })}\n`).join(
      '',
    );
  /** As text, or compressed. */
  const rowsOf = async (...args: string[]) =>
    /^Rows +(.*)$/m.exec(await look(...args, '--url', NOWHERE))?.[1];

  test('is counted in a small file, and read from the index of Parquet', async () => {
    expect(await rowsOf(write('in.jsonl', lines(7)))).toBe('7 rows');
    expect(await rowsOf('test/fixtures/parquet/snappy.parquet')).toBe('300 rows');
    expect(await rowsOf('test/fixtures/parquet/snappy.parquet', '--limit', '20')).toBe('20 rows');
  });

  test.each<[string, (content: string) => Buffer]>([
    ['in.jsonl', (content) => Buffer.from(content)],
    ['in.jsonl.gz', (content) => gzipSync(content)],
    ['in.json', (content) => Buffer.from(`[${content.trimEnd().replaceAll('\n', ',')}]`)],
    ['utf16.jsonl', (content) => Buffer.from(`\ufeff${content}`, 'utf16le')],
  ])('is estimated otherwise, and said to be: %s', async (name, pack) => {
    const said = await rowsOf(write(name, pack(lines(300_000))));
    expect(said).toMatch(/^about [\d,]+, by the first rows and the size of the file$/);
    const estimate = Number(/[\d,]+/.exec(said!)![0].replaceAll(',', ''));
    expect(estimate).toBeGreaterThan(200_000);
    expect(estimate).toBeLessThan(400_000);
  });
});

test('several files, each with its kind; a folder of documents', async () => {
  write('in/a.jsonl.gz', gzipSync('{"text":"a"}\n'));
  write('in/b.jsonl', Buffer.from('\ufeff{"text":"b"}\n', 'utf16le'));
  write('in/c.parquet', fs.readFileSync('test/fixtures/parquet/zstd.parquet'));
  const shown = await look(at('in'), '--url', NOWHERE);
  expect(shown).toMatch(
    /^Files {7}3 files, [\d.]+ KB\n +\S+a\.jsonl\.gz: JSON Lines, gzip, \d+ B\n +\S+b\.jsonl: JSON Lines, utf-16le, \d+ B\n +\S+c\.parquet: Parquet, /,
  );
  expect(shown).toMatch(/^Rows +302 rows$/m);
  for (let i = 0; i < 12; i++) write(`docs/${i}.txt`, `Dear ${i},\u001b[31m`);
  const documents = await look(at('docs'), '--whole-files', '--url', NOWHERE);
  expect(documents).toMatch(/^ +… and 2 more$/m);
  expect(documents).toMatch(/^ +line 1 {2}0\.txt {2}"Dear 0,\\u001b\[31m"$/m);
  expect(documents).toMatch(/^Rows +12 rows$/m);
});

test('a long row is cut, an error row says why, and what looks wrong is said', async () => {
  const file = write(
    'in.jsonl',
    `${JSON.stringify({ text: 'x'.repeat(900) })}\n{"text":1}\n${'{"text":"4.5"}\n'.repeat(30)}`,
  );
  const shown = await look(file, '--url', NOWHERE);
  const [, long, error] = /^ +(line 1.*)\n +(line 2.*)$/m.exec(shown)!;
  expect(long!.length).toBeLessThanOrEqual(120);
  expect(long).toMatch(/…$/);
  expect(error).toBe('line 2  error: the field "text" is not a string');
  expect(shown).toMatch(/^Warning +the texts of the first 32 rows are numbers/m);
});

test('without a server: exit code 0, and the time is unknown', async () => {
  const child = new CliProcess(['backfill', write('in.txt', 'a\n'), '--dry-run', '--url', NOWHERE]);
  const { code } = await child.ended;
  expect(code).toBe(EXIT.ok);
  expect(child.stdout).toMatch(/^Server +http:\/\/127\.0\.0\.1:1: /m);
  expect(child.stdout).toMatch(/^Time +unknown: the server does not answer$/m);
  expect(child.stderr).toBe('');
});

test('an input that a run would refuse is refused likewise', async () => {
  const file = write('in.csv', 'id,review\n1,a\n');
  await expect(look(file, '--url', NOWHERE)).rejects.toMatchObject({
    exitCode: EXIT.usage,
    message: expect.stringContaining('is it --text-field review?'),
  });
  expect(() => parseBackfill([file, '--dry-run', '--resume'])).toThrow('it cannot be used with --resume');
});

test('standard input: only its beginning is read', async () => {
  const child = new CliProcess(['backfill', '-', '--format', 'lines', '--dry-run', '--url', NOWHERE]);
  child.feed('a text\n'.repeat(500_000));
  expect((await child.ended).code).toBe(EXIT.ok);
  expect(child.stdout).toMatch(/^Rows +unknown: the size of the input is$/m);
});
