/** `amulet backfill` with inputs on a web server and in S3, and an output in S3: the same bytes as from and to a file. */
import { randomUUID } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { parseS3Address } from '../../src/cli/backfill/remote/s3-address.ts';
import { connectS3 } from '../../src/cli/backfill/remote/s3-client.ts';
import { EXIT } from '../../src/cli/terminal/exit.ts';
import { CliProcess, runBackfill } from '../support/processes/cli.ts';
import { eventually, Stack } from '../support/processes/stack.ts';
import { FileServer, type FileFault } from '../support/network/file-server.ts';
import { provideS3 } from '../support/storage/s3.ts';

const s3 = await provideS3();
let stack: Stack;
let server: FileServer;
let dir: string;
beforeAll(async () => {
  server = await FileServer.start();
  stack = await Stack.start({ redisUrl: inject('redisUrl') });
  dir = fs.mkdtempSync(path.join(tmpdir(), 'amulet-remote-'));
});
afterAll(async () => {
  await stack.stop();
  await server.stop();
  fs.rmSync(dir, { recursive: true, force: true });
  if (typeof s3 !== 'string') await s3.stop();
});

const records = Array.from({ length: 4000 }, (_, i) => ({
  id: `r${i + 1}`,
  text: `${['a lovely film', 'хороший фильм', 'dull, and long', 'so-so'][i % 4]} ${i} ${'x'.repeat(i % 90)}`,
}));
const ndjson = records.map((record) => `${JSON.stringify(record)}\n`).join('');
const csv = `id,text\n${records.map(({ id, text }) => `${id},"${text}"\n`).join('')}`;
const parquet = fs.readFileSync('test/fixtures/parquet/snappy.parquet');

let made = 0;
async function label(inputs: string | string[], ...args: string[]) {
  const out = path.join(dir, `out-${++made}`);
  const { code, said } = await runBackfill([...[inputs].flat(), ...args, '--out', out, '--url', stack.url]);
  return { code, said, output: fs.existsSync(out) ? fs.readFileSync(out, 'utf8') : undefined, out };
}
/** The output for a local file. */
async function expected(name: string, content: Buffer | string): Promise<string> {
  const folder = path.join(dir, `in-${++made}`);
  fs.mkdirSync(folder);
  fs.writeFileSync(path.join(folder, name), content);
  const { code, output } = await label(path.join(folder, name));
  expect(code).toBe(EXIT.ok);
  return output!;
}

const FORMATS: [string, Buffer][] = [
  ['rows.jsonl', Buffer.from(ndjson)],
  ['rows.csv.gz', gzipSync(csv)],
  ['rows.json', Buffer.from(JSON.stringify(records))],
  ['rows.parquet', parquet],
];

describe('from a web server', () => {
  test.each(FORMATS)('%s', async (name, content) => {
    const same = await expected(name, content);
    const { code, output } = await label(server.serve(`/a/${name}`, { content }));
    expect([code, output === same]).toEqual([EXIT.ok, true]);
    for (const { headers } of server.requests) expect(headers.authorization).toBeUndefined();
  });

  test.each(FORMATS)('%s, over connections that are cut', async (name, content) => {
    const same = await expected(name, content);
    const faults: (FileFault | undefined)[] = [
      { cutAfter: 50 },
      undefined,
      { cutAfter: 1000 },
      'hang up',
      { cutAfter: 40_000 },
      { status: 503 },
    ];
    const { code, output } = await label(server.serve(`/b/${name}`, { content, faults }));
    expect([code, output === same]).toEqual([EXIT.ok, true]);
  });

  test.each(FORMATS.slice(0, 3))('%s, from a server without ranges', async (name, content) => {
    const same = await expected(name, content);
    const { code, output } = await label(
      server.serve(`/c/${name}`, { content, ranges: false, chunked: true }),
    );
    expect([code, output === same]).toEqual([EXIT.ok, true]);
  });

  test('Parquet from a server without ranges: one line with the cure', async () => {
    const address = server.serve('/no/rows.parquet', { content: parquet, ranges: false });
    const { code, said, output } = await label(address);
    expect([code, output]).toEqual([EXIT.usage, undefined]);
    expect(said).toBe(
      `${address} cannot be read as Parquet, whose index is at its end: save it to a file first`,
    );
  });

  test('Parquet is read in ranges: only the columns with text and id', async () => {
    await label(server.serve('/ranges/rows.parquet', { content: parquet }));
    expect(server.rangesOf('/ranges/rows.parquet').length).toBeGreaterThan(0);
    expect(server.rangesOf('/ranges/rows.parquet')).not.toContain(undefined);
  });

  test.each<[string, Buffer, Record<string, string>]>([
    ['a text that is compressed on the way', gzipSync(csv), { 'content-encoding': 'gzip' }],
    ['a .gz that is said to be compressed on the way', gzipSync(csv), { 'content-encoding': 'x-gzip' }],
    ['a .gz that is compressed on the way, too', gzipSync(gzipSync(csv)), { 'content-encoding': 'gzip' }],
    ['a text that is said to be compressed, and is not', Buffer.from(csv), { 'content-encoding': 'gzip' }],
  ])('%s', async (name, content, headers) => {
    const same = await expected('rows.csv', csv);
    const address = server.serve(`/${name.includes('.gz') ? 'rows.csv.gz' : 'rows.csv'}`, {
      content,
      headers,
    });
    const { code, output } = await label(address);
    expect([code, output === same]).toEqual([EXIT.ok, true]);
  });

  test('several files, local ones among them', async () => {
    const half = records.length / 2;
    const lines = ndjson.trimEnd().split('\n');
    const [one, two] = [lines.slice(0, half), lines.slice(half)].map((some) => `${some.join('\n')}\n`);
    const local = path.join(dir, 'one.jsonl');
    fs.writeFileSync(local, one!);
    const { code, output } = await label([local, server.serve('/two.jsonl', two!)]);
    expect([code, output === (await expected('rows.jsonl', ndjson))]).toEqual([EXIT.ok, true]);
  });

  test('a file that does not exist, or needs a password: nothing is left behind', async () => {
    const missing = await label(server.url('/missing.csv'));
    expect([missing.code, missing.said]).toEqual([
      EXIT.usage,
      `${server.url('/missing.csv')} does not exist`,
    ]);
    const address = server.serve('/locked.csv', { content: Buffer.from(csv), login: 'user:secret' });
    const refused = await label(address.replace('//', '//user:wrong@'));
    expect(refused.code).toBe(EXIT.usage);
    expect(refused.said).toMatch(
      /^http:\/\/\*\*\*@\S+: the server does not accept this user name and password$/,
    );
    expect(fs.readdirSync(dir).filter((name) => name.startsWith(path.basename(refused.out)))).toEqual([]);
    expect((await label(address.replace('//', '//user:secret@'))).code).toBe(EXIT.ok);
  });

  test('no secret of an address is in the summary, and --dry-run shows none', async () => {
    const content = Buffer.from(csv);
    const address = `${server.serve('/secret/rows.csv', { content, login: 'user:secret' }).replace('//', '//user:secret@')}?sig=hidden`;
    const shown = `${server.url('/secret/rows.csv').replace('//', '//***@')}?***`;
    const summary = path.join(dir, `summary-${++made}.json`);
    expect((await label(address, '--summary', summary)).code).toBe(EXIT.ok);
    expect(JSON.parse(fs.readFileSync(summary, 'utf8'))).toMatchObject({ inputs: [shown] });
    const dry = new CliProcess(['backfill', address, '--dry-run', '--url', stack.url]);
    expect(await dry.ended).toMatchObject({ code: EXIT.ok });
    expect(dry.stdout).toContain(shown);
    expect(dry.stdout + dry.stderr).not.toMatch(/secret@|hidden/);
  });

  test('through a proxy that the environment names', async () => {
    // A request to a proxy has the whole address as its path.
    server.serve('http://files.invalid/rows.jsonl', ndjson);
    const out = path.join(dir, `out-${++made}`);
    const args = ['backfill', 'http://files.invalid/rows.jsonl', '--out', out, '--url', stack.url];
    const env = { NODE_USE_ENV_PROXY: '1', HTTP_PROXY: server.url(''), NO_PROXY: '' };
    expect(await new CliProcess(args, undefined, env).ended).toMatchObject({ code: EXIT.ok });
    expect(fs.readFileSync(out, 'utf8') === (await expected('rows.jsonl', ndjson))).toBe(true);
  });

  test('a page of HTML in place of the file is refused before the upload', async () => {
    const content = Buffer.from('<!DOCTYPE html><html><body>Log in</body></html>');
    const { code, said } = await label(server.serve('/login/rows.csv', { content }));
    expect(code).toBe(EXIT.usage);
    expect(said).toContain('HTML');
  });

  describe('a run that was killed', () => {
    // Several parts, and cut connections so that there is a middle of the upload.
    const lines = Array.from({ length: records.length }, (_, i) =>
      JSON.stringify({ id: `r${i}`, text: `${records[i]!.text} ${'x'.repeat(4500)}` }),
    );
    const content = Buffer.from(`${lines.join('\n')}\n`);
    const slow = () => Array.from({ length: 400 }, () => ({ cutAfter: 200_000 }));
    const state = (out: string) => fs.readFileSync(`${out}.resume.json`, 'utf8');

    test('is resumed, with the secrets of the address kept out of its files', async () => {
      const same = await expected('rows.jsonl', content);
      const at = '/killed/rows.jsonl';
      server.serve(at, { content, faults: slow(), login: 'user:secret' });
      const address = `${server.url(at).replace('//', '//user:secret@')}?sig=hidden`;
      const out = path.join(dir, `out-${++made}`);
      const args = ['backfill', address, '--url', stack.url, '--out', out, '--resume'];
      const first = new CliProcess(args);
      await eventually(() =>
        Promise.resolve(
          fs.existsSync(`${out}.resume.json`) && server.rangesOf(at).length > 20 ? true : undefined,
        ),
      );
      first.child.kill('SIGKILL');
      await first.ended;
      expect(JSON.parse(state(out))).toMatchObject({
        uploaded: false,
        input: { size: content.length, etag: expect.any(String) },
      });
      expect(state(out) + first.stderr).not.toMatch(/secret|hidden/);
      server.serve(at, { content, login: 'user:secret' });
      const second = await new CliProcess(args).ended;
      expect(second).toMatchObject({ code: EXIT.ok });
      expect(second.said).not.toMatch(/secret|hidden/);
      expect(fs.readFileSync(out, 'utf8') === same).toBe(true);
    });

    test('is not resumed with a file that has changed, and says how to start over', async () => {
      const at = '/changed/rows.jsonl';
      const address = server.serve(at, { content, faults: slow() });
      const out = path.join(dir, `out-${++made}`);
      const args = [address, '--url', stack.url, '--out', out, '--resume'];
      const first = new CliProcess(['backfill', ...args]);
      await eventually(() =>
        Promise.resolve(
          fs.existsSync(`${out}.resume.json`) && server.rangesOf(at).length > 20 ? true : undefined,
        ),
      );
      server.serve(at, { content: Buffer.concat([content, content]) });
      const changed = await first.ended;
      expect(changed.code).toBe(EXIT.usage);
      expect(changed.said).toMatch(
        /has changed while it was read: its ETag was ".*" and is ".*"\nTo start over:\n {2}amulet backfill http:.* --restart/,
      );
      const { code, said } = await runBackfill(args);
      expect(code).toBe(EXIT.usage);
      expect(said).toMatch(/has changed since the earlier run\nTo start over:\n/);
      expect((await runBackfill([...args.slice(0, -1), '--restart'])).code).toBe(EXIT.ok);
    });
  });
});

describe.skipIf(typeof s3 === 'string')(`S3: ${typeof s3 === 'string' ? s3 : s3.name}`, () => {
  const { bucket, parameters } = parseS3Address(typeof s3 === 'string' ? 's3://bucket' : s3.url);
  const address = (key: string) => `s3://${bucket}/${key}${parameters}`;
  async function put(key: string, Body: Buffer | string): Promise<string> {
    const client = await connectS3(parseS3Address(address(key)));
    await client.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body }));
    client.destroy();
    return address(key);
  }

  test.each(FORMATS)('%s', async (name, content) => {
    const same = await expected(name, content);
    const { code, output } = await label(await put(`${randomUUID()}/${name}`, content));
    expect([code, output === same]).toEqual([EXIT.ok, true]);
  });

  test('all objects below a prefix, by their keys; --glob chooses some', async () => {
    const prefix = randomUUID();
    const lines = ndjson.trimEnd().split('\n');
    for (let i = 0; i < 4; i++)
      await put(
        `${prefix}/part-${i}.jsonl${i === 2 ? '.gz' : ''}`,
        i === 2
          ? gzipSync(`${lines.slice(2000, 3000).join('\n')}\n`)
          : `${lines.slice(i * 1000, (i + 1) * 1000).join('\n')}\n`,
      );
    await put(`${prefix}/_SUCCESS`, Buffer.alloc(0));
    const same = await expected('rows.jsonl', ndjson);
    const all = await label(address(`${prefix}/`));
    expect([all.code, all.output === same]).toEqual([EXIT.ok, true]);
    const some = await label(address(`${prefix}/`), '--glob', '*.gz');
    expect(some.output?.trimEnd().split('\n')).toHaveLength(1000);
    const none = await label(address(`${prefix}/`), '--glob', '*.csv');
    expect([none.code, none.said]).toEqual([
      EXIT.usage,
      expect.stringMatching(/^no file of s3:\/\/\S+ matches --glob '\*\.csv'; it has "?part-0\.jsonl/),
    ]);
    expect((await label(address(`${prefix}/nothing/`))).said).toMatch(/ has no files$/);
  });

  test('whole files below a prefix: their ids are the keys below it', async () => {
    const prefix = randomUUID();
    await put(`${prefix}/a/1.txt`, 'a lovely film\nof two lines');
    await put(`${prefix}/2.txt`, 'a dull one');
    const { code, output } = await label(address(`${prefix}/`), '--whole-files');
    expect(code).toBe(EXIT.ok);
    expect(
      output!
        .trimEnd()
        .split('\n')
        .map((row) => (JSON.parse(row) as { id: string }).id),
    ).toEqual(['2.txt', 'a/1.txt']);
  });

  describe('as the output', () => {
    const read = async (key: string) => {
      const client = await connectS3(parseS3Address(address(key)));
      const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
      return Buffer.from(await Body!.transformToByteArray());
    };
    /** Runs the command in a folder of its own, where the files of the run lie meanwhile. */
    function start(key: string, ...args: string[]): { command: CliProcess; folder: string } {
      const folder = path.join(dir, `run-${++made}`);
      fs.mkdirSync(folder);
      return { command: run(key, folder, ...args), folder };
    }
    const run = (key: string, folder: string, ...args: string[]) =>
      new CliProcess(['backfill', ...args, '--out', address(key), '--url', stack.url], folder);
    const input = () => {
      const file = path.join(dir, `in-${++made}.jsonl`);
      fs.writeFileSync(file, ndjson);
      return file;
    };

    test.each(['labels.jsonl', 'labels.csv.gz', 'labels.tsv', 'labels.parquet'])(
      '%s: the same bytes',
      async (name) => {
        const file = input();
        const local = path.join(dir, `${++made}-${name}`);
        const keep = ['--keep', 'all'];
        expect((await runBackfill([file, ...keep, '--out', local, '--url', stack.url])).code).toBe(EXIT.ok);
        const key = `${randomUUID()}/${name}`;
        const { command, folder } = start(key, file, ...keep);
        expect(await command.ended).toMatchObject({ code: EXIT.ok });
        expect(command.stderr).toContain(`Written to  ${address(key)}`);
        expect((await read(key)).equals(fs.readFileSync(local))).toBe(true);
        expect(fs.readdirSync(folder)).toEqual([]);
      },
    );

    test('an input without records', async () => {
      const file = path.join(dir, `empty-${++made}.csv`);
      fs.writeFileSync(file, 'id,text\n');
      const key = `${randomUUID()}/labels.jsonl`;
      const { command, folder } = start(key, file);
      expect(await command.ended).toMatchObject({ code: EXIT.ok });
      expect((await read(key)).length).toBe(0);
      expect(fs.readdirSync(folder)).toEqual([]);
    });

    test('an object that exists is replaced only with --force', async () => {
      const key = `${randomUUID()}/labels.jsonl`;
      await put(key, 'there');
      const file = input();
      const refused = start(key, file);
      expect(await refused.command.ended).toMatchObject({
        code: EXIT.usage,
        said: `amulet: ${address(key)} already exists; --force replaces it\n`,
      });
      expect((await read(key)).toString()).toBe('there');
      expect(fs.readdirSync(refused.folder)).toEqual([]);
      expect(await run(key, refused.folder, file, '--force').ended).toMatchObject({ code: EXIT.ok });
      expect((await read(key)).length).toBeGreaterThan(1000);
    });

    test('wrong bucket, prefix or protocol: refused before anything is uploaded', async () => {
      const file = input();
      const said = async (out: string) => {
        const { code, said } = await runBackfill([file, '--out', out, '--url', 'http://127.0.0.1:1']);
        return [code, said];
      };
      expect(await said(`s3://amulet-no-such-bucket/x.csv${parameters}`)).toEqual([
        EXIT.usage,
        expect.stringMatching(/^--out s3:\S+: there is no bucket amulet-no-such-bucket /),
      ]);
      expect(await said(address('prefix/'))).toEqual([
        EXIT.usage,
        expect.stringMatching(/: there must be the key of an object, not a prefix$/),
      ]);
      expect(await said('https://user:secret@example.com/x.csv')).toEqual([
        EXIT.usage,
        '--out https://***@example.com/x.csv: the output is a file, or an object of S3 (s3://bucket/key)',
      ]);
    });

    test('a run that is killed again and again, with --resume: the same bytes, and nothing is left', async () => {
      const file = input();
      const local = path.join(dir, `${++made}-labels.csv`);
      expect((await runBackfill([file, '--out', local, '--url', stack.url])).code).toBe(EXIT.ok);
      const key = `${randomUUID()}/labels.csv`;
      const { command: first, folder } = start(key, file, '--resume');
      let command = first;
      for (let kills = 0; kills < 6; kills++) {
        const pause = new Promise((resolve) => setTimeout(resolve, 700 + 150 * kills));
        if (await Promise.race([command.ended, pause.then(() => undefined)])) break;
        command.child.kill('SIGKILL');
        await command.ended;
        command = run(key, folder, file, '--resume', '--force');
      }
      expect(await command.ended).toMatchObject({ code: EXIT.ok });
      expect((await read(key)).equals(fs.readFileSync(local))).toBe(true);
      expect(fs.readdirSync(folder)).toEqual([]);
    });
  });
});
