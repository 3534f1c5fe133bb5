/** `amulet backfill` against a server in memory that fails on demand. */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { EXIT, Interrupted } from '../../src/cli/terminal/exit.ts';
import type { BackfillState } from '../../src/cli/backfill/state.ts';
import { CliProcess, runBackfill } from '../support/processes/cli.ts';
import { FakeBatches } from '../support/api/fake-batches.ts';
import { eventually } from '../support/processes/stack.ts';

let dir: string;
let fake: FakeBatches;
beforeEach(async () => {
  dir = fs.mkdtempSync(path.join(tmpdir(), 'amulet-backfill-'));
  fake = await FakeBatches.start();
});
afterEach(async () => {
  await fake.stop();
  fs.rmSync(dir, { recursive: true, force: true });
});

const at = (name: string): string => path.join(dir, name);
function write(name: string, content: string | Buffer): string {
  fs.writeFileSync(at(name), content);
  return at(name);
}
const content = (name: string): string => fs.readFileSync(at(name), 'utf8');
const files = (): string[] => fs.readdirSync(dir).toSorted();

/** What the command leaves in the folder, besides its input. */
const left = (): string[] => files().filter((name) => !name.startsWith('in.'));

function run(args: readonly string[], signal?: AbortSignal) {
  return runBackfill([...args, '--url', fake.url], signal);
}
const uploads = (): string[] => fake.requests.filter((request) => request.startsWith('PUT '));

/** Three parts, of few rows. */
const BIG_ROWS = 4600;
const big = Buffer.from(
  Array.from(
    { length: BIG_ROWS },
    (_, i) => `${JSON.stringify({ id: `r${i}`, text: `${i} ${'word '.repeat(800)}` })}\n`,
  ).join(''),
);
const expectBig = (): void => {
  const rows = content('out').split('\n').slice(0, -1);
  expect(rows.length).toBe(BIG_ROWS);
  expect(createHash('sha256').update(content('out')).digest('hex')).toBe(
    createHash('sha256').update(fake.only.results.join('')).digest('hex'),
  );
  expect(left()).toEqual(['out']);
};

describe('from a file to labels', () => {
  const texts = ['good', 'bad, "really"', 'über\nzwei Zeilen', '🎬'];
  const quoted = texts.map((text, i) => `"${text.replaceAll('"', '""')}";k${i}`);

  test('CSV, gzipped, with a byte order mark, its own columns and a header over two lines', async () => {
    const csv = `\ufeff"the\nreview";key\r\n${quoted.join('\r\n')}\r\n`;
    const file = write('in.csv.gz', gzipSync(csv));
    const args = [
      file,
      '--out',
      at('out'),
      '--delimiter',
      ';',
      '--text-field',
      'the\nreview',
      '--id-field',
      'key',
    ];
    const { code, said } = await run([...args, '--top-k', 'all', '--metadata', '{"a":"ü"}']);
    expect(said).toMatch(/^Uploaded +4 rows, /m);
    expect(code).toBe(EXIT.ok);
    const rows = content('out')
      .trimEnd()
      .split('\n')
      .map((row) => JSON.parse(row) as object);
    expect(rows).toMatchObject([
      { line: 3, id: 'k0', labels: expect.any(Array) },
      { line: 4, id: 'k1' },
      { line: 5, id: 'k2' },
      { line: 7, id: 'k3' },
    ]);
    expect(fake.only.batch).toMatchObject({ metadata: { a: 'ü' }, top_k: null });
    expect(left()).toEqual(['out']);
  });

  test('plain lines, with errors among them: exit code 3 and a way to find them', async () => {
    const file = write('in.txt', 'good\n\n \r\nbad\n');
    const { code, said } = await run([file, '-o', at('out')]);
    expect(code).toBe(EXIT.rowErrors);
    expect(said).toMatch(/^Labelled +2 rows/m);
    expect(said).toContain(`1 row: grep '"error":' ${at('out')}`);
    expect(content('out')).toMatch(/^\{"line":1,.*\n\{"line":3,"error":.*\n\{"line":4,.*\n$/);
  });

  test.each([
    ['good\n😀 two\nthree 🎉\n', '2 rows have tokens that the model does not know (mean share 40 %)'],
    ['good\n😀 two\n', '1 row has tokens that the model does not know (mean share 40 %)'],
  ])('rows with unknown tokens are counted: %j', async (texts, summary) => {
    const { code, said } = await run([write('in.txt', texts), '-o', at('out')]);
    expect(code).toBe(EXIT.ok);
    expect(said.split('\n')).toContain(`Unknown     ${summary}`);
    const shares = content('out').matchAll(/"unknown":([\d.]+)/g);
    expect([...shares].map(([, share]) => Number(share))).toEqual(
      summary.startsWith('2') ? [0.4, 0.4] : [0.4],
    );
  });

  test('no line on unknown tokens without any, or from a server that does not count them', async () => {
    const file = write('in.txt', 'good\nbad\n');
    expect((await run([file, '-o', at('out')])).said).not.toContain('Unknown');
    fake.countsUnknown = false;
    const { code, said } = await run([write('in2.txt', '😀\n'), '-o', at('out2')]);
    expect([code, said.includes('Unknown')]).toEqual([EXIT.ok, false]);
  });

  test('NDJSON under a name without a format, in parts', async () => {
    const file = write('in.data', big);
    expect(await run([file, '-o', at('out'), '--format', 'ndjson'])).toMatchObject({ code: EXIT.ok });
    expect(uploads().length).toBe(3);
    expectBig();
  });

  test.each([
    ['in.txt', ''],
    ['in.txt', '\n\r\n\n'],
    ['in.jsonl', '\ufeff'],
    ['in.csv', 'text\n'],
    ['in.csv.gz', gzipSync('id,text\r\n\r\n')],
  ])('%s without a record is labelled, too: %j', async (name, nothing) => {
    const file = write(name, nothing);
    expect(await run([file, '-o', at('out')])).toMatchObject({ code: EXIT.ok });
    expect(content('out')).toBe('');
    expect(left()).toEqual(['out']);
    expect([...fake.batches.values()].every(({ batch }) => batch.status === 'canceled')).toBe(true);
  });

  test('a record of 20 MB is an error row in its place', async () => {
    const file = write('in.txt', `a\n${'x'.repeat(20e6)}\nb\n`);
    expect(await run([file, '-o', at('out')])).toMatchObject({ code: EXIT.rowErrors });
    expect(content('out').split('\n')).toEqual([
      expect.stringContaining('"line":1,"label"'),
      expect.stringMatching(/^\{"line":2,"error":\{"code":"record_too_long"/),
      expect.stringContaining('"line":3,"label"'),
      '',
    ]);
  });

  test('--delete removes the batch at the end', async () => {
    const file = write('in.txt', 'a\n');
    expect(await run([file, '-o', at('out'), '--delete'])).toMatchObject({ code: EXIT.ok });
    expect(fake.batches.size).toBe(0);
  });

  test('over a network, the parts are compressed', async () => {
    const file = write('in.jsonl', big);
    const { port } = new URL(fake.url);
    // Another name of loopback, which the client takes for another machine.
    const url = `http://0.0.0.0:${port}`;
    expect(await runBackfill([file, '-o', at('out'), '--url', url])).toMatchObject({ code: EXIT.ok });
    expect([...fake.only.parts.values()].every(({ encoding }) => encoding === 'gzip')).toBe(true);
    expectBig();
  });
});

describe('temporary trouble', () => {
  const cases: [string, (() => void)[]][] = [
    [
      'a server that is full',
      [() => fake.plan(/POST .*batches$/, { kind: 'answer', status: 429, problem: 'quota_reached' }, 2)],
    ],
    ['a server behind a proxy', [() => fake.plan(/GET .*parts$/, { kind: 'answer', status: 502 })]],
    [
      'a server that sends Retry-After',
      [
        () =>
          fake.plan(/complete$/, {
            kind: 'answer',
            status: 503,
            headers: { 'Retry-After': '1' },
            problem: 'redis_unavailable',
          }),
      ],
    ],
    ['an upload that is cut at once', [() => fake.plan(/PUT/, { kind: 'cut request', bytes: 1 }, 3)]],
    ['an upload that is cut halfway', [() => fake.plan(/PUT .*2$/, { kind: 'cut request', bytes: 3e6 }, 2)]],
    [
      'requests that succeed without a response',
      [/POST .*batches$/, /PUT .*1$/, /PUT .*3$/, /complete$/].map(
        (request) => () => fake.plan(request, { kind: 'cut answer' }),
      ),
    ],
    [
      'results that break off repeatedly',
      [1, 100, 5000, 70_000, 200_000].map(
        (bytes) => () => fake.plan(/results$/, { kind: 'cut results', bytes }),
      ),
    ],
    [
      'results that end too early',
      [500, 40_000].map((bytes) => () => fake.plan(/results$/, { kind: 'end results', bytes })),
    ],
  ];
  test.each(cases)('%s', async (_, faults) => {
    for (const plan of faults) plan();
    const file = write('in.jsonl', big);
    expect(await run([file, '-o', at('out')])).toMatchObject({ code: EXIT.ok });
    expect(fake.spent).toBe(true);
    expectBig();
  });

  test('a server restart during the upload and during the download', async () => {
    fake.rowsPerSecond = 3000;
    const file = write('in.jsonl', big);
    const running = run([file, '-o', at('out')]);
    await eventually(() => Promise.resolve(uploads().length > 0 || undefined));
    await fake.restart(300);
    await eventually(() =>
      Promise.resolve(
        fs.existsSync(at('out.partial')) && content('out.partial').length > 0 ? true : undefined,
      ),
    );
    await fake.restart(600);
    const { code, said } = await running;
    expect(code).toBe(EXIT.ok);
    expect(said).toMatch(/127\.0\.0\.1:\d+: connection (refused|lost) for 0:0\d; retrying/);
    expectBig();
  });

  test('heartbeat lines are not in the output', async () => {
    const file = write('in.txt', 'a\nb\n'.repeat(20));
    await run([file, '-o', at('calm')]);
    fake.heartbeats = true;
    fake.rowsPerSecond = 100;
    fake.plan(/results$/, { kind: 'cut results', bytes: 1 });
    const { code } = await run([file, '-o', at('out')]);
    expect(code).toBe(EXIT.ok);
    expect(fs.readFileSync(at('out'), 'utf8')).toBe(fs.readFileSync(at('calm'), 'utf8'));
  });

  test('that lasts too long: exit code 75, and the command that resumes', async () => {
    fake.plan(/PUT .*2$/, { kind: 'answer', status: 507, problem: 'blob_store_full' }, 1000);
    const file = write('in.jsonl', big);
    const { code, said } = await run([file, '-o', at('out'), '--patience', '1']);
    expect(code).toBe(EXIT.temporary);
    expect(said).toContain('gave up after 0:01 without success: 507 The blob store has no space left');
    expect(said).toContain(`amulet backfill ${file} --out ${at('out')} --resume`);
    await fake.restart(0);
    fake.forgetFaults();
    expect(await run([file, '-o', at('out'), '--resume'])).toMatchObject({ code: EXIT.ok });
    expectBig();
  });

  test('results that break off at the same place every time', async () => {
    fake.plan(/results$/, { kind: 'cut results', bytes: 5000 }, 1);
    fake.plan(/results$/, { kind: 'cut results', bytes: 0 }, Infinity);
    const { code, said } = await run([write('in.jsonl', big), '-o', at('out'), '--patience', '1']);
    expect(code).toBe(EXIT.temporary);
    expect(said).toContain('gave up after 0:01 without success');
    fake.forgetFaults();
    expect(await run([at('in.jsonl'), '-o', at('out'), '--resume'])).toMatchObject({ code: EXIT.ok });
    expectBig();
  });

  test('no server', async () => {
    await fake.stop();
    const file = write('in.txt', 'a\n');
    const { code, said } = await run([file, '-o', at('out'), '--patience', '0']);
    expect(code).toBe(EXIT.temporary);
    expect(said).toMatch(/connection refused\nStart a server there, or name another with --url\.$/);
    // Nothing was started: the same command starts once a server responds.
    await fake.restart(0);
    expect(await run([file, '-o', at('out')])).toMatchObject({ code: EXIT.ok });
    expect(left()).toEqual(['out']);
  });

  test('of the batch is shown in the progress line', async () => {
    fake.rowsPerSecond = 10;
    const file = write('in.txt', 'a\n'.repeat(20));
    const running = run([file, '-o', at('out')]);
    const { batch } = await eventually(() => Promise.resolve(fake.batches.size > 0 ? fake.only : undefined));
    batch.problem = { code: 'blob_store_full', message: 'the disk is full', since: new Date().toISOString() };
    expect((await running).said).toMatch(/^Classifying +\d+% {2}the disk is full \(0:0\d\)/m);
  });

  test('a model without workers, too', async () => {
    fake.rowsPerSecond = 10;
    const file = write('in.txt', 'a\n'.repeat(20));
    const running = run([file, '-o', at('out')]);
    const { batch } = await eventually(() => Promise.resolve(fake.batches.size > 0 ? fake.only : undefined));
    batch.model.workers = 0;
    expect((await running).said).toMatch(/^Classifying +\d+% {2}no worker serves fake/m);
  });
});

describe('resuming', () => {
  test('after an interruption of the upload: parts that the server has are not uploaded again', async () => {
    fake.plan(/PUT .*3$/, { kind: 'answer', status: 503 }, 1000);
    const file = write('in.jsonl', big);
    const stop = new AbortController();
    const running = run([file, '-o', at('out')], stop.signal);
    await eventually(() =>
      Promise.resolve(fake.batches.size > 0 && fake.only.parts.size === 2 ? true : undefined),
    );
    stop.abort(new Interrupted(EXIT.interrupted));
    const { code, said } = await running;
    expect(code).toBe(EXIT.interrupted);
    expect(said).toMatch(/^interrupted while uploading, at \d+%\n/m);
    expect(said).toContain(`\n  amulet backfill ${file} --out ${at('out')} --resume`);
    expect(left()).toEqual(['out.resume.json']);

    fake.forgetFaults();
    fake.requests.length = 0;
    expect(await run([file, '-o', at('out'), '--resume'])).toMatchObject({ code: EXIT.ok });
    expect(uploads()).toEqual([expect.stringMatching(/parts\/3$/)]);
    expectBig();
  });

  test('after an interruption of the download, even without the input', async () => {
    fake.rowsPerSecond = 2000;
    const file = write('in.jsonl', big);
    const stop = new AbortController();
    const running = run([file, '-o', at('out')], stop.signal);
    await eventually(() =>
      Promise.resolve(
        fs.existsSync(at('out.partial')) && content('out.partial').length > 0 ? true : undefined,
      ),
    );
    stop.abort(new Interrupted(EXIT.terminated));
    const { code, said } = await running;
    expect(code).toBe(EXIT.terminated);
    expect(said).toMatch(/^interrupted with [\d,]+ of 4,600 rows done\nThe batch continues on the server\./m);
    expect(left()).toEqual(['out.partial', 'out.resume.json']);
    // Half a line, as a crash in the middle of a write leaves it.
    fs.appendFileSync(at('out.partial'), '{"line":');

    fs.rmSync(file);
    fake.requests.length = 0;
    expect(await run([file, '-o', at('out'), '--resume'])).toMatchObject({ code: EXIT.ok });
    expect(uploads()).toEqual([]);
    expect(fake.requests.find((request) => request.includes('/results'))).toMatch(/after=\d+/);
    expectBig();
  });

  function moveState(url: string): void {
    const state = JSON.parse(content('out.resume.json')) as BackfillState;
    write('out.resume.json', JSON.stringify({ ...state, url }));
  }

  /** Interrupts a run during its download. @returns its input */
  async function interruptedRun(name = 'in.jsonl', extra: string[] = []): Promise<string> {
    fake.rowsPerSecond = 1;
    const file = write(
      name,
      Buffer.from(name.endsWith('csv') ? 'id,text\n1,a\n2,b\n' : '{"text":"a"}\n{"text":"b"}\n'),
    );
    const stop = new AbortController();
    const running = run([file, '-o', at('out'), ...extra], stop.signal);
    await eventually(() =>
      Promise.resolve(fake.requests.some((request) => request.includes('/results')) || undefined),
    );
    stop.abort(new Interrupted(EXIT.interrupted));
    expect(await running).toMatchObject({ code: EXIT.interrupted });
    fake.rowsPerSecond = Infinity;
    return file;
  }

  test('needs --resume; the refusal suggests both commands', async () => {
    const file = await interruptedRun();
    const { code, said } = await run([file, '-o', at('out'), '--top-k', '2']);
    expect(code).toBe(EXIT.usage);
    expect(said).toContain(`amulet backfill ${file} --out ${at('out')} --resume`);
    expect(said).toContain(`amulet backfill ${file} -o ${at('out')} --top-k 2 --url ${fake.url} --restart`);
  });

  test('a TSV whose upload an earlier version started keeps its meaning of quotes', async () => {
    const file = write('in.tsv', 'id\ttext\n1\t"two\nlines"\n2\tone\n');
    fake.plan(/PUT .*1$/, { kind: 'answer', status: 503 }, 1000);
    const stop = new AbortController();
    const running = run([file, '-o', at('out')], stop.signal);
    await eventually(() => Promise.resolve(uploads().length > 0 || undefined));
    stop.abort(new Interrupted(EXIT.interrupted));
    await running;
    const state = JSON.parse(content('out.resume.json')) as BackfillState;
    expect(state.options.quote).toBe('line');
    // As that version left it, here and on the server.
    const { quote: _, ...options } = state.options;
    write('out.resume.json', JSON.stringify({ ...state, options }));
    fake.only.spec.quote = undefined;
    fake.forgetFaults();
    expect(await run([file, '-o', at('out'), '--resume'])).toMatchObject({ code: EXIT.ok });
    expect(content('out')).toMatch(/^\{"line":2,"id":"1",.*\n\{"line":4,"id":"2",.*\n$/);
  });

  test('options left out are those of the earlier run; different ones are refused', async () => {
    const file = await interruptedRun('in.csv', ['--top-k', '2', '--text-field', 'text']);
    for (const changed of [
      ['--top-k', '3'],
      ['--model', 'm'],
      ['--delimiter', ';'],
      ['--format', 'lines'],
    ]) {
      const { code, said } = await run([file, '-o', at('out'), '--resume', ...changed]);
      expect(code).toBe(EXIT.usage);
      expect(said).toMatch(new RegExp(`^${changed[0]} was (2|not given|csv) in the earlier run`));
    }
    // The address is known, too.
    expect(await runBackfill([file, '-o', at('out'), '--resume', '--top-k', '2'])).toMatchObject({
      code: EXIT.ok,
    });
    expect(fake.only.batch.top_k).toBe(2);
  });

  test('a changed input is refused', async () => {
    const file = await interruptedRun();
    fs.appendFileSync(file, '{"text":"c"}\n');
    const { code, said } = await run([file, '-o', at('out'), '--resume']);
    expect(code).toBe(EXIT.usage);
    expect(said).toContain('has changed since the earlier run');
    expect(said).toContain('--restart');
  });

  test('an input changed unnoticeably is found out by its parts', async () => {
    fake.plan(/PUT .*2$/, { kind: 'answer', status: 507 }, 1000);
    const file = write('in.jsonl', big);
    fs.utimesSync(file, 1e9, 1e9);
    await run([file, '-o', at('out'), '--patience', '1']);
    fake.forgetFaults();
    const changed = Buffer.from(big);
    changed.write('WORD', 1_000_000);
    write('in.jsonl', changed);
    fs.utimesSync(file, 1e9, 1e9);
    const { code, said } = await run([file, '-o', at('out'), '--resume']);
    expect(code).toBe(EXIT.usage);
    expect(said).toContain('is not the input that was uploaded before: part 1 differs');
  });

  test('starts if no earlier run exists', async () => {
    const file = write('in.txt', 'a\n');
    expect(await run([file, '-o', at('out'), '--resume'])).toMatchObject({ code: EXIT.ok });
  });

  test('--restart starts over, and cancels the earlier batch', async () => {
    const file = await interruptedRun();
    const earlier = fake.only;
    fake.rowsPerSecond = 1;
    fs.writeFileSync(file, '{"text":"z"}\n');
    expect(await run([file, '-o', at('out'), '--restart'])).toMatchObject({ code: EXIT.ok });
    expect(earlier.batch.status).toBe('canceled');
    expect(fake.batches.size).toBe(2);
    expect(content('out').split('\n').length).toBe(2);
    expect(left()).toEqual(['out']);
  });

  test('… with retries, so that two do not run side by side', async () => {
    const file = await interruptedRun();
    const { id } = fake.only.batch;
    fake.plan(/^DELETE /, { kind: 'answer', status: 503, problem: 'redis_unavailable' }, 2);
    fake.rowsPerSecond = Infinity;
    expect(await run([file, '-o', at('out'), '--restart'])).toMatchObject({ code: EXIT.ok });
    const cancels = fake.requests.filter((request) => request.startsWith('DELETE '));
    expect(cancels).toEqual(Array(3).fill(`DELETE /v1/batches/${id}`));
  });

  test('… or names the batch that it could not cancel on another server', async () => {
    const file = await interruptedRun();
    const { id } = fake.only.batch;
    moveState('http://127.0.0.1:1/');
    fake.rowsPerSecond = Infinity;
    const { code, said } = await run([file, '-o', at('out'), '--restart']);
    expect(code).toBe(EXIT.ok);
    expect(said).toContain(
      `The batch could not be canceled and may continue. To cancel it: DELETE http://127.0.0.1:1/v1/batches/${id}`,
    );
  });

  test('a server that has moved is used at its new address, now and later', async () => {
    const file = await interruptedRun();
    moveState('http://127.0.0.1:1/');
    fake.plan(/^GET /, { kind: 'answer', status: 503, problem: 'redis_unavailable' });
    const args = [file, '-o', at('out'), '--resume', '--patience', '0'];
    const { code, said } = await run(args);
    expect(code).toBe(EXIT.temporary);
    expect(said).toContain(`amulet backfill ${file} --out ${at('out')} --url ${fake.url} --resume`);
    fake.plan(/results/, { kind: 'answer', status: 503, problem: 'redis_unavailable' });
    const again = await run(args);
    expect(again.code).toBe(EXIT.temporary);
    expect(again.said).toContain(`amulet backfill ${file} --out ${at('out')} --resume`);
    fake.rowsPerSecond = Infinity;
    expect(await runBackfill(args)).toMatchObject({ code: EXIT.ok });
  });

  test('a state of another version is left alone without --restart', async () => {
    const file = await interruptedRun();
    write('out.resume.json', '{"v":99}');
    for (const extra of [[], ['--resume']]) {
      const { code, said } = await run([file, '-o', at('out'), ...extra]);
      expect(code).toBe(EXIT.usage);
      expect(said).toContain('start over with --restart');
    }
    expect(await run([file, '-o', at('out'), '--restart'])).toMatchObject({ code: EXIT.ok });
  });

  test('an existing output is not replaced without --force', async () => {
    const file = write('in.txt', 'a\n');
    write('out', 'precious');
    expect(await run([file, '-o', at('out')])).toMatchObject({
      code: EXIT.usage,
      said: expect.stringContaining('already exists; --force replaces it'),
    });
    expect(await run([file, '-o', at('out'), '--resume'])).toMatchObject({ code: EXIT.usage });
    expect(content('out')).toBe('precious');
    expect(fake.requests).toEqual([]);
    expect(await run([file, '-o', file, '--force'])).toMatchObject({
      code: EXIT.usage,
      said: `${file} is the input file`,
    });
    expect(await run([file, '-o', at('out'), '--force'])).toMatchObject({ code: EXIT.ok });
    expect(content('out')).toMatch(/^\{"line":1/);
  });

  test('a crash around the renaming of the output', async () => {
    const file = await interruptedRun();
    const state = JSON.parse(content('out.resume.json')) as BackfillState;
    write('out.resume.json', JSON.stringify({ ...state, finished: { rows: 2, failed: 1 } }));
    const rows = '{"line":2}\n{"line":3}\n';
    write('out.partial', rows);
    fake.requests.length = 0;
    expect(await run([file, '-o', at('out'), '--resume'])).toMatchObject({ code: EXIT.rowErrors });
    expect(content('out')).toBe(rows);
    // And after it.
    write('out.resume.json', JSON.stringify({ ...state, finished: { rows: 2, failed: 0 } }));
    expect(await run([file, '-o', at('out'), '--resume'])).toMatchObject({ code: EXIT.ok });
    expect(content('out')).toBe(rows);
    expect(left()).toEqual(['out']);
    expect(fake.requests).toEqual([]);
  });

  test("a crash before the batch's id was known makes no second batch", async () => {
    fake.plan(/POST .*batches$/, { kind: 'cut answer' }, 1000);
    const file = write('in.csv', 'id,text\n1,a\n');
    expect(await run([file, '-o', at('out'), '--patience', '0'])).toMatchObject({ code: EXIT.temporary });
    fake.forgetFaults();
    expect(await run([file, '-o', at('out')])).toMatchObject({ code: EXIT.ok });
    expect(fake.batches.size).toBe(1);
  });

  describe('a batch that was restarted with other model weights', () => {
    test('between two runs: no earlier row is left', async () => {
      fake.rowsPerSecond = 2000;
      const file = write('in.jsonl', big);
      const stop = new AbortController();
      const running = run([file, '-o', at('out')], stop.signal);
      await eventually(() =>
        Promise.resolve((fs.existsSync(at('out.partial')) && content('out.partial').length > 0) || undefined),
      );
      stop.abort(new Interrupted(EXIT.terminated));
      await running;
      fake.beginAgain('second');
      expect(await run([file, '-o', at('out'), '--resume'])).toMatchObject({ code: EXIT.ok });
      expectBig();
    });

    test('during the download', async () => {
      fake.rowsPerSecond = 2000;
      const running = run([write('in.jsonl', big), '-o', at('out')]);
      await eventually(() =>
        Promise.resolve((fs.existsSync(at('out.partial')) && content('out.partial').length > 0) || undefined),
      );
      fake.beginAgain('second');
      await fake.restart(10);
      expect(await running).toMatchObject({ code: EXIT.ok });
      expectBig();
    });

    test('during output to standard output, whose rows cannot be taken back', async () => {
      fake.rowsPerSecond = 200;
      const file = write('in.txt', 'a\n'.repeat(1000));
      const child = new CliProcess(['backfill', file, '--out', '-', '--url', fake.url], dir);
      await eventually(() => Promise.resolve(child.stdout.length > 0 || undefined));
      fake.beginAgain('second');
      await fake.restart(10);
      const { code } = await child.ended;
      expect(code).toBe(EXIT.failed);
      expect(child.stderr).toContain('restarted with other model weights');
      expect(child.stdout).not.toContain('second');
    });
  });

  describe('a batch that ended without being completed', () => {
    test('failed: says why, and --resume resumes it', async () => {
      const file = await interruptedRun();
      const { id } = fake.only.batch;
      fake.end(id, 'failed', { code: 'revision_gone', message: 'no worker has revision 1' });
      // As it is seen by a run that is under way.
      fake.plan(/resume$/, { kind: 'answer', status: 409, problem: 'batch_not_failed' });
      const refused = await run([file, '-o', at('out'), '--resume']);
      expect(refused).toMatchObject({
        code: EXIT.failed,
        said: expect.stringContaining('Only a failed batch'),
      });
      const { code, said } = await run([file, '-o', at('out'), '--resume']);
      expect(code).toBe(EXIT.ok);
      expect(said).toContain('The batch had failed: no worker has revision 1. Resuming it.');
      expect(left()).toEqual(['out']);
    });

    test.each([
      [
        'failed',
        { code: 'revision_gone', message: 'no worker has it' },
        /^the batch has failed: no worker has it \(revision_gone\)\n.*\n.*--resume\n.*\n.*--restart$/m,
      ],
      [
        'failed',
        { code: 'input_lost', message: 'it is gone' },
        /^the batch has failed: it is gone \(input_lost\)\nTo start over:\n.*--restart$/m,
      ],
      [
        'canceled',
        { code: 'batch_canceled', message: 'the batch was canceled' },
        /^the batch was canceled: .*\nTo start over/m,
      ],
      ['expired', null, /^the batch was expired\nTo start over/m],
    ] as const)('%s, under way: %j', async (status, error, expected) => {
      fake.rowsPerSecond = 1;
      const file = write('in.txt', 'a\n'.repeat(100));
      const running = run([file, '-o', at('out')]);
      await eventually(() =>
        Promise.resolve(fake.requests.some((request) => request.includes('/results')) || undefined),
      );
      fake.end(fake.only.batch.id, status, error);
      const { code, said } = await running;
      expect(code).toBe(EXIT.failed);
      expect(said).toMatch(expected);
      expect(fs.existsSync(at('out'))).toBe(false);
    });

    test('damaged results: ends with the reason, and --resume labels them again', async () => {
      fake.rowsPerSecond = 100;
      const file = write('in.txt', 'a\n'.repeat(150));
      const running = run([file, '-o', at('out')]);
      await eventually(() =>
        Promise.resolve(fake.requests.some((request) => request.includes('/results')) || undefined),
      );
      const message = 'the results of chunk 2 of 9 are damaged in the blob store: 5 of 9 bytes are there';
      const since = new Date().toISOString();
      Object.assign(fake.only.batch, { problem: { code: 'results_damaged', message, since } });
      fake.plan(/results$/, { kind: 'cut results', bytes: 0 }, Infinity);
      await fake.restart(0);
      const { code, said } = await running;
      expect(code).toBe(EXIT.failed);
      expect(said).toContain(`${message}\nTo label these rows again:\n`);
      expect(said).toMatch(/--resume$/);
      expect(fs.existsSync(at('out'))).toBe(false);

      fake.forgetFaults();
      const resumed = await run([file, '-o', at('out'), '--resume']);
      expect(resumed).toMatchObject({
        code: EXIT.ok,
        said: expect.stringContaining('Labelling them again.'),
      });
      expect(fs.readFileSync(at('out'), 'utf8').match(/\n/g)?.length).toBe(150);
    });

    test('gone', async () => {
      const file = await interruptedRun();
      fake.batches.clear();
      const { code, said } = await run([file, '-o', at('out'), '--resume']);
      expect(code).toBe(EXIT.failed);
      expect(said).toContain('does not have the batch: it has expired or was removed');
      expect(said).toContain(`amulet backfill ${file} --out ${at('out')} --url ${fake.url} --restart`);
    });

    test('canceled during the upload', async () => {
      fake.plan(/PUT .*2$/, { kind: 'answer', status: 503 }, 2);
      const file = write('in.jsonl', big);
      const running = run([file, '-o', at('out')]);
      await eventually(() => Promise.resolve(uploads().length > 1 || undefined));
      fake.end(fake.only.batch.id, 'canceled', { code: 'batch_canceled', message: 'the batch was canceled' });
      const { code, said } = await running;
      expect(code).toBe(EXIT.failed);
      expect(said).toMatch(/the batch was canceled: .*\nTo start over:\n/);
    });
  });
});

describe('errors', () => {
  test('of the command line are found before anything is uploaded', async () => {
    const csv = write('in.csv', 'id,review\n1,a\n');
    const lines = write('in.jsonl', '{"text":"a"}\n');
    for (const [args, message] of [
      [[at('none.txt'), '-o', at('out')], 'none.txt does not exist'],
      [[at('none'), '-o', at('out')], 'none does not exist'],
      [[lines, '-o', lines], 'in.jsonl is the input file'],
      [[csv, '-o', dir], 'is a folder'],
      [[csv, '-o', at('no/out')], 'does not exist'],
      [[csv, '-o', at('out')], 'text column "text" is not in the header: id, review'],
      [
        [csv, '-o', at('out'), '--text-field', 'review', '--id-field', 'key'],
        'id column "key" is not in the header',
      ],
    ] as const) {
      expect(await run(args)).toMatchObject({ code: EXIT.usage, said: expect.stringContaining(message) });
    }
    expect(fake.requests).toEqual([]);
    expect(left()).toEqual([]);
  });

  test('a refusal is shown with its reason, and leaves nothing behind', async () => {
    const file = write('in.txt', 'a\n');
    const { code, said } = await run([file, '-o', at('out'), '--model', 'none']);
    expect(code).toBe(EXIT.failed);
    expect(said).toMatch(
      /the server refused the request: No such model\nthere is no model none; there is fake$/,
    );
    expect(await run([file, '-o', at('out')])).toMatchObject({ code: EXIT.ok });
  });

  test('a host that does not exist', async () => {
    const file = write('in.txt', 'a\n');
    const { code, said } = await runBackfill([file, '-o', at('out'), '--url', 'http://nobody.invalid']);
    expect([code, said]).toEqual([
      EXIT.usage,
      expect.stringContaining('http://nobody.invalid/: no such host\nStart a server there, or name another'),
    ]);
  });

  test('a web server that is not Amulet', async () => {
    const other = createServer((_request, response) => response.writeHead(404).end('<h1>not here</h1>'));
    await once(other.listen(0, '127.0.0.1'), 'listening');
    const url = `http://127.0.0.1:${(other.address() as AddressInfo).port}`;
    const { code, said } = await runBackfill([write('in.txt', 'a\n'), '-o', at('out'), '--url', url]);
    other.close();
    expect([code, said]).toEqual([
      EXIT.failed,
      expect.stringContaining(`${url}/ does not respond like an Amulet server: 404 Not Found\n`),
    ]);
  });

  test('truncated gzip: leaves nothing that looks complete, here or on the server', async () => {
    // Two parts and more.
    const noise = randomBytes(13_000_000).toString('base64').replaceAll(/.{44}/g, '$&\n');
    const gzip = gzipSync(noise, { level: 1 });
    const file = write('in.txt.gz', gzip.subarray(0, -1000));
    const { code, said } = await run([file, '-o', at('out')]);
    expect(code).toBe(EXIT.failed);
    expect(said).toContain('in.txt.gz ends within its gzip data: is it complete?');
    expect(left()).toEqual([]);
    expect(fake.only.batch.status).toBe('canceled');
    // The same command does when the file is there as a whole.
    fs.writeFileSync(file, gzipSync('a\nb\n'));
    expect(await run([file, '-o', at('out')])).toMatchObject({ code: EXIT.ok });
  });

  test('a server that has lost rows', async () => {
    const file = write('in.txt', 'a\n'.repeat(10));
    fake.loseRows = 1;
    const { code, said } = await run([file, '-o', at('out')]);
    expect(code).toBe(EXIT.failed);
    expect(said).toContain('the server sent 9 of 10 rows');
    expect(left()).toEqual(['out.partial', 'out.resume.json']);
  });

  test('two runs with one output', async () => {
    fake.rowsPerSecond = 20;
    const file = write('in.txt', 'a\n'.repeat(10));
    const child = new CliProcess(['backfill', file, '-o', at('out'), '--url', fake.url]);
    await eventually(() => Promise.resolve(fs.existsSync(at('out.partial')) || undefined));
    for (const extra of [[], ['--resume'], ['--restart'], ['--force']]) {
      const { code, said } = await run([file, '-o', at('out'), ...extra]);
      expect(code).toBe(EXIT.usage);
      expect(said).toContain(`another amulet backfill (process ${child.child.pid}) is writing there`);
    }
    expect(await child.ended).toMatchObject({ code: EXIT.ok });
    expect(content('out').split('\n').length).toBe(11);
    expect(left()).toEqual(['out']);
  });
});

describe('as a process', () => {
  const start = (...args: string[]) => new CliProcess(['backfill', ...args, '--url', fake.url], dir);

  /** The big input in four files of a folder. */
  function writeFolder(): string {
    fs.mkdirSync(at('in.folder'));
    const lines = big.toString().split(/(?<=\n)/);
    const rows = BIG_ROWS / 4;
    for (let i = 0; i < 4; i++) write(`in.folder/${i}.jsonl`, lines.slice(i * rows, (i + 1) * rows).join(''));
    return at('in.folder');
  }

  test.each<[string, () => string]>([
    ['a file', () => write('in.jsonl', big)],
    ['a folder', writeFolder],
  ])(
    '%s, kill -9 at ten moments, each time followed by --resume: the file of an undisturbed run',
    async (_, input) => {
      // Not done before the last of them.
      fake.rowsPerSecond = 600;
      const file = input();
      for (let kills = 0; kills < 10; kills++) {
        const child = start(file, '-o', at('out'), '--resume');
        // The first ones before and during the upload, which is over after half a second.
        const timer = setTimeout(
          () => child.child.kill('SIGKILL'),
          80 + Math.random() * (kills < 5 ? 250 : 500),
        );
        expect(await child.ended).toMatchObject({ signal: 'SIGKILL' });
        clearTimeout(timer);
      }
      fake.rowsPerSecond = Infinity;
      const last = start(file, '-o', at('out'), '--resume');
      expect(await last.ended).toMatchObject({ code: EXIT.ok, said: expect.stringContaining('Written to') });
      expectBig();
    },
  );

  test.each([
    ['SIGINT', EXIT.interrupted],
    ['SIGTERM', EXIT.terminated],
  ] as const)('%s', async (signal, code) => {
    fake.rowsPerSecond = 5;
    write('in.txt', 'a\n'.repeat(500));
    const child = start('in.txt', '--out', 'out');
    await eventually(() => Promise.resolve(fs.existsSync(at('out.partial')) || undefined));
    child.child.kill(signal);
    // npm passes a key press on that the terminal has sent already.
    child.child.kill(signal);
    expect(await child.ended).toMatchObject({ code });
    // At once: the batch takes another 100 s.
    expect(fake.only.batch.status).toBe('processing');
    expect(child.stderr).toMatch(
      /\namulet: interrupted with \d+ of 500 rows done\nThe batch continues on the server\. Download the rest with:\n {2}amulet backfill in\.txt --out out --resume\n$/,
    );
    fake.rowsPerSecond = Infinity;
    expect(await start('in.txt', '--out', 'out', '--resume').ended).toMatchObject({ code: EXIT.ok });
    expect(content('out')).toBe(fake.only.results.join(''));
  });

  test('standard input, gzipped, killed during the upload, and supplied again', async () => {
    const gzip = gzipSync(big, { level: 1 });
    fake.plan(/PUT .*3$/, { kind: 'answer', status: 503 }, 1000);
    const child = start('-', '--format', 'ndjson', '--out', 'out').feed(gzip);
    await eventually(() =>
      Promise.resolve(fake.batches.size > 0 && fake.only.parts.size === 2 ? true : undefined),
    );
    child.child.kill('SIGINT');
    expect(await child.ended).toMatchObject({ code: EXIT.interrupted });
    expect(child.stderr).toContain(
      '  amulet backfill - --out out --resume\n  (with the same standard input)',
    );
    fake.forgetFaults();
    expect(await start('-', '--out', 'out', '--resume').feed(gzip).ended).toMatchObject({ code: EXIT.ok });
    expectBig();
  });

  test('endless standard input does not prevent a stop', async () => {
    const child = start('-', '--format', 'lines', '--out', 'out');
    // More than fits into a pipe: all of it is written when most of it has been read.
    await new Promise((resolve) => child.child.stdin!.write('a\n'.repeat(500_000), resolve));
    child.child.kill('SIGINT');
    expect(await child.ended).toMatchObject({
      code: EXIT.interrupted,
      said: expect.stringMatching(/^amulet: interrupted before anything was uploaded\n$/m),
    });
    expect(left()).toEqual([]);
  });

  test('standard output gets the rows alone, despite broken connections', async () => {
    for (const bytes of [100, 5000]) fake.plan(/results$/, { kind: 'cut results', bytes });
    const child = start('-', '--format', 'ndjson', '--out', '-').feed(big);
    expect(await child.ended).toMatchObject({ code: EXIT.ok });
    expect(child.stdout).toBe(fake.only.results.join(''));
    expect(child.stderr).toMatch(/^Written to {2}standard output$/m);
    expect(left()).toEqual([]);
  });

  test('closing standard output ends the command silently, and cancels the batch', async () => {
    fake.rowsPerSecond = 50;
    write('in.txt', 'a\n'.repeat(5000));
    const child = start('in.txt', '--out', '-', '--quiet');
    child.child.stdout!.once('data', () => child.child.stdout!.destroy());
    expect(await child.ended).toMatchObject({ code: EXIT.closedPipe, said: '' });
    expect(fake.only.batch.status).toBe('canceled');
  });

  test('--quiet prints errors only', async () => {
    write('in.txt', 'a\n');
    expect(await start('in.txt', '-o', 'out', '-q').ended).toMatchObject({ code: EXIT.ok, said: '' });
    expect(await start('in.txt', '-o', 'out', '-q').ended).toMatchObject({
      code: EXIT.usage,
      said: 'amulet: out already exists; --force replaces it\n',
    });
  });

  test('help, version, and unknown commands', async () => {
    const outcome = async (...args: string[]) => {
      const child = new CliProcess(args);
      const { code } = await child.ended;
      return [code, child.stdout, child.stderr];
    };
    expect(await outcome('--version')).toEqual([0, expect.stringMatching(/^\d+\.\d+\.\d+\n$/), '']);
    expect(await outcome('--help')).toEqual([
      0,
      expect.stringContaining('amulet backfill FILE... --out OUT'),
      '',
    ]);
    expect(await outcome('backfill', '--help')).toEqual([0, expect.stringContaining('Exit codes'), '']);
    expect(await outcome('help')).toEqual(await outcome('--help'));
    const keyHelp = [0, expect.stringContaining('amulet key create NAME'), ''];
    expect(await outcome('key', '--help')).toEqual(keyHelp);
    expect(await outcome('key', 'create', '-h')).toEqual(keyHelp);
    expect(await outcome()).toEqual([2, '', 'amulet: missing command; see amulet --help\n']);
    expect(await outcome('fill')).toEqual([2, '', 'amulet: unknown command fill; see amulet --help\n']);
  });
});
