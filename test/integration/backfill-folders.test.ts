/** `amulet backfill` of several files and of folders: one output for all of them, as if they were one file. */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { EXIT, Interrupted } from '../../src/cli/terminal/exit.ts';
import { runBackfill } from '../support/processes/cli.ts';
import { FakeBatches } from '../support/api/fake-batches.ts';
import { eventually } from '../support/processes/stack.ts';

let dir: string;
let fake: FakeBatches;
beforeEach(async () => {
  dir = fs.mkdtempSync(path.join(tmpdir(), 'amulet-folders-'));
  fake = await FakeBatches.start();
});
afterEach(async () => {
  await fake.stop();
  fs.rmSync(dir, { recursive: true, force: true });
});

const at = (name: string): string => path.join(dir, name);
function write(name: string, content: string | Buffer): string {
  fs.mkdirSync(path.dirname(at(name)), { recursive: true });
  fs.writeFileSync(at(name), content);
  return at(name);
}
const run = (...args: string[]) => runBackfill([...args, '--out', at('out.jsonl'), '--url', fake.url]);

interface Row {
  line: number;
  id?: string;
  error?: { code: string; message: string };
}
const rows = (): Row[] =>
  fs
    .readFileSync(at('out.jsonl'), 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Row);
const ids = () => rows().map(({ id }) => id);
/** The input as the server has it. */
const uploaded = () =>
  Buffer.concat(
    [...fake.only.parts.values()].toSorted((a, b) => a.number - b.number).map(({ content }) => content),
  ).toString();

describe('records of several files', () => {
  test('of a folder, in the order of their paths, whatever their compression', async () => {
    write('in/b.jsonl.zst', zstdCompressSync('{"id":"b","text":"x"}\n'));
    write('in/a/2.jsonl', '{"id":"a2","text":"x"}');
    write('in/a/10.json', '[{"id":"a10","text":"x"},{"id":"a10b","text":"y"}]');
    write('in/c.ndjson.gz', gzipSync('\ufeff{"id":"c","text":"x"}\n\n{"id":"c2","text":"x"}\n'));
    write('in/d.parquet', fs.readFileSync('test/fixtures/parquet/nulls.parquet'));
    write('in/.hidden.jsonl', 'not a record');
    write('in/_SUCCESS', '');
    const { code, said } = await run(at('in'));
    expect(code).toBe(EXIT.rowErrors);
    expect(said).toMatch(/^Files {7}5 files, /m);
    expect(rows().map(({ line, id }) => [line, id])).toEqual([
      [1, 'a10'],
      [2, 'a10b'],
      [3, 'a2'],
      [4, 'b'],
      [5, 'c'],
      [7, 'c2'],
      [8, '1'],
      [9, '1152921504606846976'],
      [10, undefined],
    ]);
    // In the file, where a user looks for it.
    expect(said).toContain(`${at('in/d.parquet')}, line 2: `);
  });

  test('as they are named, in that order', async () => {
    const [jan, feb] = [write('jan.txt', 'cold'), write('feb.txt', 'colder\n')];
    expect((await run(jan, feb)).code).toBe(EXIT.ok);
    expect(uploaded()).toBe('cold\ncolder\n');
  });

  test('CSV: one header, and lines as in the files joined; quoting may differ', async () => {
    write('in/1.csv', 'id,text\n1,a\n2,"b\nb"\n');
    write('in/2.csv', '"id","text"\r\n3,c');
    write('in/3.csv', 'id,text\n');
    write('in/4.csv', '');
    write('in/5.csv', 'id,text\n4\n');
    const { code, said } = await run(at('in'));
    expect(code).toBe(EXIT.rowErrors);
    expect(rows().map(({ line, id }) => [line, id])).toEqual([
      [2, '1'],
      [3, '2'],
      [5, '3'],
      [6, undefined],
    ]);
    expect(said).toMatch(/Quoted +1 row over several lines, from \S+1\.csv, line 3 to \S+1\.csv, line 4 \(/m);
    expect(said).toMatch(/5\.csv, line 2: the record has 1 fields, but the header has 2$/m);
  });

  test('CSV: a quote that is not closed does not take the next file', async () => {
    write('in/1.csv', 'id,text\n1,a\n2,"never closed\n3,c\n');
    write('in/2.csv', 'id,text\n4,d\n');
    const { code, said } = await run(at('in'));
    expect(code).toBe(EXIT.rowErrors);
    expect(said).toMatch(
      /^Unclosed +\S+1\.csv: the quoted field that begins on line 3 is never closed; one error row stands for lines 3 to 4$/m,
    );
    expect(rows().map(({ id, error }) => id ?? error?.code)).toEqual(['1', 'invalid_record', '4']);
  });

  test('--limit and --sample count rows over all files', async () => {
    for (let i = 0; i < 5; i++) write(`in/${i}.txt`, `text ${i}\nanother ${i}\n`);
    expect((await run(at('in'), '--limit', '3')).code).toBe(EXIT.ok);
    expect(rows().map(({ line }) => line)).toEqual([1, 2, 3]);
    fake.batches.clear();
    expect((await run(at('in'), '--sample', '4', '--force')).code).toBe(EXIT.ok);
    expect(rows()).toHaveLength(4);
  });

  test('--glob: a pattern for names in every folder, or for paths', async () => {
    for (const name of ['in/a.txt', 'in/sub/b.txt', 'in/sub/deep/c.txt', 'in/readme.md'])
      write(name, `${name}\n`);
    await run(at('in'), '--glob', '*.txt');
    expect(uploaded()).toBe('in/a.txt\nin/sub/b.txt\nin/sub/deep/c.txt\n');
    fake.batches.clear();
    await run(at('in'), '--glob', 'sub/*.txt', '--force');
    expect(uploaded()).toBe('in/sub/b.txt\n');
    expect(await run(at('in'), '--glob', '*.csv', '--force')).toMatchObject({
      code: EXIT.usage,
      said: expect.stringMatching(/^no file of \S+ matches --glob '\*\.csv'; it has a\.txt, readme\.md, /),
    });
  });

  test('the output and the files beside it are no input, now and when it resumes', async () => {
    write('a.jsonl', '{"text":"a"}\n');
    write('b.jsonl', '{"text":"b"}\n');
    fake.plan(/POST .*complete$/, { kind: 'answer', status: 503 }, 1000);
    const stop = new AbortController();
    const args = [dir, '--out', at('out.jsonl'), '--url', fake.url];
    const running = runBackfill(args, stop.signal);
    await eventually(() =>
      Promise.resolve(fake.requests.some((request) => request.includes('complete')) || undefined),
    );
    stop.abort(new Interrupted(EXIT.interrupted));
    expect((await running).code).toBe(EXIT.interrupted);
    expect(fs.existsSync(at('out.jsonl.resume.json'))).toBe(true);
    fake.forgetFaults();
    expect((await runBackfill([...args, '--resume'])).code).toBe(EXIT.ok);
    expect(rows()).toHaveLength(2);
    for (let i = 0; i < 2; i++) {
      expect((await run(dir, '--force', '--summary', at('summary.json'))).code).toBe(EXIT.ok);
      expect(rows()).toHaveLength(2);
    }
    expect(fs.existsSync(at('summary.json'))).toBe(true);
  });

  test('symbolic links: into the folder as files, out of it not at all', async () => {
    write('elsewhere/secret.txt', 'secret\n');
    write('in/.data/real.txt', 'real\n');
    write('in/listed.txt', 'listed\n');
    fs.symlinkSync('.data/real.txt', at('in/link.txt'));
    fs.symlinkSync('listed.txt', at('in/twice.txt'));
    fs.symlinkSync(at('elsewhere/secret.txt'), at('in/out.txt'));
    fs.symlinkSync(at('elsewhere'), at('in/folder'));
    fs.symlinkSync('.', at('in/cycle'));
    const { code, said } = await run(at('in'));
    expect(code).toBe(EXIT.ok);
    expect(uploaded()).toBe('real\nlisted\n');
    expect(said).toMatch(/4 files left out: symbolic links that lead elsewhere, or special files$/m);
  });

  test('none of them with a record: an empty output, and no batch', async () => {
    write('in/a.jsonl', '');
    write('in/b.jsonl', '\n');
    expect((await run(at('in'))).code).toBe(EXIT.ok);
    expect(rows()).toEqual([]);
  });
});

describe('--whole-files', () => {
  test('a document a file: its content is the text, its path the id', async () => {
    write('in/a/b.txt', 'two\nlines, "quoted" \\ and \u0001\n');
    write('in/c.md', '\ufeffüber 🎬');
    write('in/empty.txt', '');
    write('in/nul.txt', 'a\0b');
    write('in/latin.txt', Buffer.from([0x63, 0xe9]));
    const { code, said } = await run(
      at('in'),
      '--whole-files',
      '--glob',
      '**/{a/b.txt,*.md,empty.txt,nul.txt}',
    );
    expect(code).toBe(EXIT.rowErrors);
    const sent = uploaded()
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as object);
    expect(sent).toEqual([
      { id: 'a/b.txt', text: 'two\nlines, "quoted" \\ and \u0001\n' },
      { id: 'c.md', text: 'über 🎬' },
      { id: 'empty.txt', text: '' },
      { id: 'nul.txt', text: 'a\0b' },
    ]);
    expect(ids()).toEqual(['a/b.txt', 'c.md', 'empty.txt', 'nul.txt']);
    expect(said).toMatch(new RegExp(`^ +${at('in')}/empty.txt: the text must not be empty$`, 'm'));
    expect(await run(at('in'), '--whole-files', '--force')).toMatchObject({
      code: EXIT.usage,
      said: expect.stringMatching(/latin\.txt is not valid UTF-8 on line 1, .* --encoding windows-125\d$/),
    });
  });

  test('of several arguments, ids are the paths as given', async () => {
    const [a, b] = [write('x/a.txt', 'a'), write('y/a.txt', 'b')];
    expect((await run(at('x'), b, '--whole-files')).code).toBe(EXIT.ok);
    expect(ids()).toEqual([a, b]);
  });

  test('one file is one document', async () => {
    expect((await run(write('letter.txt', 'Dear\nJohn'), '--whole-files')).code).toBe(EXIT.ok);
    expect(ids()).toEqual([at('letter.txt')]);
  });
});

describe('the first file that does not fit is named before anything is uploaded', () => {
  test.each<[string, Record<string, string>, string[], RegExp]>([
    [
      'no known format',
      { 'a.csv': 'text\na\n', 'readme.md': '# Data' },
      [],
      /^unknown format of \S+readme\.md: use --format .*, --whole-files for one text a file, or leave the file out with --glob$/,
    ],
    [
      'another kind of record',
      { 'a.csv': 'text\na\n', 'b.jsonl': '{"text":"a"}\n' },
      [],
      /b\.jsonl has JSON records, but \S+a\.csv has CSV: label them in two runs, or choose files with --glob$/,
    ],
    [
      'another delimiter',
      { 'a.csv': 'text,id\na,1\n', 'b.tsv': 'text\tid\na\t1\n' },
      [],
      /b\.tsv has CSV with tabs, but \S+a\.csv has CSV: /,
    ],
    [
      'other columns',
      { 'a.csv': 'text,id\na,1\n', 'b.csv': 'text,id\nb,2\n', 'c.csv': 'text,key\nc,3\n' },
      [],
      /c\.csv has other columns than \S+a\.csv \(without id, with key\): label it in a run of its own/,
    ],
    [
      'columns in another order',
      { 'a.csv': 'text,id\na,1\n', 'b.csv': 'id,text\n2,b\n' },
      [],
      /b\.csv has other columns than \S+a\.csv \(in another order\)/,
    ],
    [
      'content of another format',
      { 'a.jsonl': '{"text":"a"}\n', 'b.jsonl': '[{"text":"a"}]' },
      [],
      /b\.jsonl is one JSON array, not JSON Lines: use --format json$/,
    ],
    [
      'no text',
      { 'a.jsonl': '{"text":"a"}\n', 'b.jsonl': '{"body":"a"}\n' },
      [],
      /b\.jsonl: none of its first records has a field "text"/,
    ],
    ['cut Parquet', { 'a.jsonl': '{"text":"a"}\n', 'b.parquet': 'PAR1 cut' }, [], /b\.parquet is cut off/],
    [
      'a program as a document',
      { 'a.txt': 'a', 'b.txt': '%PDF-1.7' },
      ['--whole-files'],
      /b\.txt is a PDF, not a file of texts$/,
    ],
  ])('%s', async (_, contents, args, message) => {
    for (const [name, content] of Object.entries(contents)) write(`in/${name}`, content);
    const { code, said } = await run(at('in'), ...args);
    expect({ code, said }).toEqual({ code: EXIT.usage, said: expect.stringMatching(message) });
    expect(said).not.toContain('\n');
    expect(fake.requests).toEqual([]);
    expect(fs.readdirSync(dir)).toEqual(['in']);
  });

  test('an empty folder, a file given twice, a pattern without a folder, standard input beside a file', async () => {
    const file = write('in/a.txt', 'a\n');
    fs.mkdirSync(at('empty'));
    for (const [args, message] of [
      [[at('empty')], `${at('empty')} has no files`],
      [[at('in'), file], `${file} is given twice`],
      [[file, '--glob', '*.txt'], `--glob chooses files of a folder, and ${file} is not a folder`],
      [[file, '-'], 'standard input cannot be read beside other inputs, or as a whole file'],
      [['-', '--whole-files'], 'standard input cannot be read beside other inputs, or as a whole file'],
      [[file, at('none')], `${at('none')} does not exist`],
    ] as [string[], string][])
      expect(await run(...args)).toEqual({ code: EXIT.usage, said: message });
    expect(fake.requests).toEqual([]);
  });
});

describe('a run that is stopped', () => {
  async function interrupted(...args: string[]): Promise<string[]> {
    fake.plan(/POST .*complete$/, { kind: 'answer', status: 503 }, 1000);
    const stop = new AbortController();
    const whole = [...args, '--out', at('out.jsonl'), '--url', fake.url];
    const running = runBackfill(whole, stop.signal);
    await eventually(() =>
      Promise.resolve(fake.requests.some((request) => request.includes('complete')) || undefined),
    );
    stop.abort(new Interrupted(EXIT.interrupted));
    const { code, said } = await running;
    expect(code).toBe(EXIT.interrupted);
    expect(said).toContain(`amulet backfill ${args[0]} --out ${at('out.jsonl')} --resume`);
    fake.forgetFaults();
    fake.requests.length = 0;
    return whole;
  }

  test('resumes with the files and options of the first run', async () => {
    for (let i = 0; i < 3; i++) write(`in/${i}.txt`, `text ${i}`);
    await interrupted(at('in'), '--whole-files', '--glob', '*.txt');
    expect((await run(at('in'), '--resume')).code).toBe(EXIT.ok);
    expect(ids()).toEqual(['0.txt', '1.txt', '2.txt']);
    expect(fake.requests.filter((request) => request.startsWith('PUT'))).toEqual([]);
  });

  test.each<[string, () => void, RegExp]>([
    [
      'changed',
      () => write('in/1.csv', 'text\nother\n'),
      /1\.csv has changed since the earlier run\nTo start over:/,
    ],
    ['added', () => write('in/3.csv', 'text\nc\n'), /3\.csv has been added since the earlier run\n/],
    ['removed', () => fs.rmSync(at('in/2.csv')), /2\.csv has been removed since the earlier run\n/],
  ])('is refused with a file that was %s in between', async (_, change, message) => {
    write('in/1.csv', 'text\na\n');
    write('in/2.csv', 'text\nb\n');
    const args = await interrupted(at('in'));
    change();
    expect(await runBackfill([...args, '--resume'])).toMatchObject({
      code: EXIT.usage,
      said: expect.stringMatching(message),
    });
    expect(fake.requests.filter((request) => !request.startsWith('GET'))).toEqual([]);
  });

  test('needs no input once it is uploaded', async () => {
    fake.rowsPerSecond = 5;
    for (let i = 0; i < 4; i++) write(`in/${i}.jsonl`, `{"id":"${i}","text":"a"}\n{"text":1}\n`);
    const stop = new AbortController();
    const args = [at('in'), '--out', at('out.jsonl'), '--url', fake.url];
    const running = runBackfill(args, stop.signal);
    await eventually(() => Promise.resolve(fs.existsSync(at('out.jsonl.partial')) || undefined));
    stop.abort(new Interrupted(EXIT.interrupted));
    expect((await running).code).toBe(EXIT.interrupted);
    fs.rmSync(at('in'), { recursive: true });
    fake.rowsPerSecond = Infinity;
    const { code, said } = await runBackfill([...args, '--resume']);
    expect(code).toBe(EXIT.rowErrors);
    expect(rows().map(({ line }) => line)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(said).toContain(`${at('in/1.jsonl')}, line 2: the field "text" is not a string`);
  });
});
