/** The files of a backfill: its input, its output, and leftovers of killed processes. */
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { systemReason } from '../../src/cli/terminal/disk.ts';
import { openDestination } from '../../src/cli/backfill/output/destination.ts';
import { UnreadableInputError } from '../../src/cli/terminal/exit.ts';
import { fromStream, openInput } from '../../src/cli/backfill/input/input.ts';
import { startTimeOf, takeLock } from '../../src/cli/terminal/lock.ts';
import { PartialFile } from '../../src/cli/backfill/output/output.ts';
import { fileTarget } from '../../src/cli/backfill/output/target.ts';
import { StateFile, type BackfillState } from '../../src/cli/backfill/state.ts';

let dir: string;
beforeEach(() => {
  dir = fs.mkdtempSync(path.join(tmpdir(), 'amulet-cli-'));
});
afterEach(() => {
  fs.rmSync(dir, { recursive: true, force: true });
});
const at = (name: string): string => path.join(dir, name);
const write = (name: string, content: string | Buffer): string => {
  fs.writeFileSync(at(name), content);
  return at(name);
};

describe('input', () => {
  async function read(file: string, encoding?: string): Promise<string> {
    const input = await openInput(file, encoding === undefined ? {} : { encoding });
    try {
      const parts: Buffer[] = [];
      for await (const bytes of input.read(new AbortController().signal)) parts.push(Buffer.from(bytes));
      expect(input.position()).toBe(fs.statSync(file).size);
      return Buffer.concat(parts).toString();
    } finally {
      input.close();
    }
  }
  const text = 'line\n'.repeat(100_000);

  test('that fails while it is read may be readable later: the uploaded parts are kept', async () => {
    async function* broken(): AsyncGenerator<Buffer> {
      yield await Promise.resolve(Buffer.from(text));
      throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO', syscall: 'read' });
    }
    const input = fromStream('reviews.txt', Readable.from(broken()));
    const reading = (async () => {
      for await (const _ of input.read(new AbortController().signal));
    })();
    await expect(reading).rejects.toBeInstanceOf(UnreadableInputError);
    await expect(reading).rejects.toThrow('reviews.txt cannot be read: i/o error');
  });

  test.skipIf(!fs.existsSync('/proc/self/mem'))('that cannot be read at all', async () => {
    await expect(openInput('/proc/self/mem')).rejects.toThrow(
      /^\/proc\/self\/mem cannot be read: i\/o error/,
    );
  });

  test.each<[string, Buffer, string]>([
    ['plain', Buffer.from(text), text],
    ['empty', Buffer.alloc(0), ''],
    ['of one byte', Buffer.from('\x1f'), '\x1f'],
    ['with a byte order mark', Buffer.from(`\ufeff${text}`), text],
    ['with nothing but a byte order mark', Buffer.from('\ufeff'), ''],
    ['gzipped', gzipSync(text), text],
    ['gzipped, with a byte order mark inside', gzipSync(`\ufeff${text}`), text],
    ['of several gzip members', Buffer.concat([gzipSync('a\n'), gzipSync(''), gzipSync(text)]), `a\n${text}`],
    ['compressed with zstd', zstdCompressSync(text), text],
    [
      'of several zstd frames',
      Buffer.concat(['a\n', '', text].map((frame) => zstdCompressSync(frame))),
      `a\n${text}`,
    ],
    ['UTF-16 by its mark', Buffer.from(`\ufeffсловo\n${text}`, 'utf16le'), `словo\n${text}`],
    ['UTF-16, big end first, by its mark', Buffer.from(`\ufeff${text}`, 'utf16le').swap16(), text],
    ['UTF-16, compressed', zstdCompressSync(Buffer.from(`\ufeff${text}`, 'utf16le')), text],
    ['gzipped and padded with zeros', Buffer.concat([gzipSync(text), Buffer.alloc(512)]), text],
  ])('%s, whatever its name', async (_, content, expected) => {
    expect(await read(write('file.txt', content))).toBe(expected);
  });

  test.each<[string, (gzip: Buffer) => Buffer]>([
    ['ends within its gzip data', (gzip) => gzip.subarray(0, -5)],
    ['ends within its gzip data', (gzip) => gzip.subarray(0, 12)],
    ['has damaged gzip data', (gzip) => Buffer.from(gzip.map((byte, i) => (i === 500 ? byte ^ 255 : byte)))],
    [
      'has zero bytes between its gzip members',
      (gzip) => Buffer.concat([gzip, Buffer.alloc(512), gzipSync('and more\n')]),
    ],
    [
      'has zero bytes between its gzip members',
      (gzip) => Buffer.concat([gzip, Buffer.alloc(300_000), Buffer.from('x')]),
    ],
    [
      'has damaged gzip data',
      (gzip) => Buffer.concat([gzip, Buffer.from([0x1f, 0x8b, 1, 2, 3, 4, 5, 6, 7, 8, 9])]),
    ],
  ])('%s', async (message, damage) => {
    const random = Array.from({ length: 5000 }, (_, i) => (i * 7919) % 1009).join('\n');
    await expect(read(write('file.gz', damage(gzipSync(random))))).rejects.toMatchObject({
      exitCode: 1,
      message: expect.stringContaining(`file.gz ${message}`),
    });
  });

  test.each<[string, (zstd: Buffer) => Buffer]>([
    ['ends within its zstd data', (zstd) => zstd.subarray(0, -5)],
    ['has other data after its zstd data', (zstd) => Buffer.concat([zstd, Buffer.from('\n')])],
  ])('%s', async (message, damage) => {
    await expect(read(write('file.zst', damage(zstdCompressSync(text))))).rejects.toMatchObject({
      exitCode: 1,
      message: expect.stringContaining(`file.zst ${message}`),
    });
  });

  describe('in another encoding', () => {
    const cyrillic = (bytes: string) => Buffer.from(bytes, 'latin1');
    test.each<[string, Buffer, string]>([
      ['windows-1251', cyrillic('\xf5\xee\xf0\xee\xf8\xee\n'.repeat(30_000)), 'хорошо\n'.repeat(30_000)],
      ['windows-1252', cyrillic('caf\xe9 \x93good\x94\n'), 'café “good”\n'],
      ['shift_jis', Buffer.from('97c782a20a', 'hex'), '良い\n'],
      ['utf-16le', Buffer.from(text, 'utf16le'), text],
      ['utf-16be', Buffer.from(`\ufeff${text}`, 'utf16le').swap16(), text],
      ['windows-1251', Buffer.from(text), text],
    ])('%s', async (encoding, content, expected) => {
      expect(await read(write('file.txt', content), encoding)).toBe(expected);
    });

    test('bytes that the encoding lacks stay invalid, so their record becomes an error row', async () => {
      const content = Buffer.concat([Buffer.from('good\n'.repeat(50)), cyrillic('\xfd\n')]);
      const input = await openInput(write('file.txt', content), { encoding: 'shift_jis' });
      const pieces: Uint8Array[] = [];
      for await (const bytes of input.read(new AbortController().signal)) pieces.push(bytes);
      expect(Buffer.concat(pieces).subarray(-4)).toEqual(Buffer.from([0xff, 0xff, 0xff, 0x0a]));
      input.close();
    });

    test.each(['utf-16le', 'utf-16be'])('%s: U+FFFD is a character like any other', async (encoding) => {
      const content = Buffer.from(`a \ufffd\n${text}\ufffd`, 'utf16le');
      const stored = encoding === 'utf-16be' ? content.swap16() : content;
      expect(await read(write('file.txt', stored), encoding)).toBe(`a \ufffd\n${text}\ufffd`);
    });

    test('utf-16le: half of a surrogate pair stays invalid', async () => {
      const content = Buffer.concat([Buffer.from(text, 'utf16le'), Buffer.from([0x3d, 0xd8, 0x0a, 0])]);
      const input = await openInput(write('file.txt', content), { encoding: 'utf-16le' });
      const pieces: Uint8Array[] = [];
      for await (const bytes of input.read(new AbortController().signal)) pieces.push(bytes);
      expect(Buffer.concat(pieces).subarray(-4)).toEqual(Buffer.from([0xff, 0xff, 0xff, 0x0a]));
      input.close();
    });

    test.each<[string, Buffer, string]>([
      ['windows-1251', Buffer.from('хорошо\n'.repeat(9)), 'is UTF-8, not windows-1251: leave out --encoding'],
      ['windows-1251', Buffer.from('\ufeffa\n', 'utf16le'), 'begins with the byte order mark of utf-16le'],
      ['utf-16le', Buffer.from(text), 'is not utf-16le, which has zero bytes in spaces and line ends'],
      ['shift_jis', cyrillic('\xf5\xee\xfd\xff\n'.repeat(9)), 'is not shift_jis: line 1 has bytes'],
    ])('%s, and wrong', async (encoding, content, message) => {
      await expect(read(write('file.txt', content), encoding)).rejects.toMatchObject({
        exitCode: 2,
        message: expect.stringContaining(`file.txt ${message}`),
      });
    });
  });

  test.each([
    ['does not exist', () => at('none')],
    ['does not exist', () => path.join(write('file', ''), 'below')],
    ['is a folder', () => dir],
  ])('%s', async (message, file) => {
    await expect(openInput(file())).rejects.toMatchObject({
      exitCode: 2,
      message: expect.stringContaining(message),
    });
  });

  test('is identified by content, size and time', async () => {
    const identity = async () => {
      const input = await openInput(at('file'));
      input.close();
      return input.identity;
    };
    write('file', text);
    const first = await identity();
    expect(first).toMatchObject({ size: text.length });
    expect(await identity()).toEqual(first);
    const { mtime } = fs.statSync(at('file'));
    write('file', `X${text.slice(1)}`);
    fs.utimesSync(at('file'), mtime, mtime);
    expect(await identity()).toMatchObject({
      size: first!.size,
      head: expect.not.stringMatching(first!.head),
    });
  });

  test('a named pipe has no identity, and waiting for it can be aborted', async () => {
    spawnSync('mkfifo', [at('pipe')]);
    const writer = fs.openSync(at('pipe'), fs.constants.O_RDWR);
    const input = await openInput(at('pipe'));
    expect(input.identity).toBeUndefined();
    const stop = new AbortController();
    const reading = input.read(stop.signal).next();
    setTimeout(() => stop.abort(new Error('enough')), 20);
    await expect(reading).rejects.toThrow('enough');
    input.close();
    fs.closeSync(writer);
  });
});

describe('the partial file', () => {
  const reopen = () => PartialFile.open(at('out.partial'));
  const row = (line: number) => `{"line":${line}}\n`;

  test('continues after its last whole line', async () => {
    const file = await reopen();
    expect(file).toMatchObject({ rows: 0 });
    await file.write(Buffer.from(row(1) + row(2)));
    await file.write(Buffer.from(row(5)));
    expect(file.rows).toBe(3);
    await file.close();
    fs.appendFileSync(at('out.partial'), '{"line":7,"id":"cut o');
    const again = await reopen();
    expect(again).toMatchObject({ rows: 3 });
    expect(again.lastLine.toString()).toBe('{"line":5}');
    await again.write(Buffer.from(row(7)));
    await again.sync();
    await again.close();
    await fileTarget(at('out')).take(at('out.partial'), false);
    expect(fs.readFileSync(at('out'), 'utf8')).toBe([1, 2, 5, 7].map(row).join(''));
    expect(fs.existsSync(at('out.partial'))).toBe(false);
  });

  test.each([
    ['nothing but half a line', '{"li', 0],
    ['zeros behind the rows', row(1) + row(2) + '\0'.repeat(5000), 2],
    ['zeros among the rows', row(1) + '\0'.repeat(5000) + row(2) + row(3), 1],
    ['a line that was cut off, then zeros', row(1) + '{"line":2,"id' + '\0'.repeat(100), 1],
  ])('as a power failure may leave it: %s', async (_, content, rows) => {
    write('out.partial', content);
    const file = await reopen();
    expect(file.rows).toBe(rows);
    await file.close();
    expect(fs.readFileSync(at('out.partial'), 'utf8')).toBe([1, 2].slice(0, rows).map(row).join(''));
  });

  test('larger than the read buffer', async () => {
    const rows = Array.from({ length: 300_000 }, (_, i) => row(i + 1)).join('');
    write('out.partial', `${rows}{"line`);
    const file = await reopen();
    expect(file.rows).toBe(300_000);
    expect(file.lastLine.toString()).toBe('{"line":300000}');
    await file.close();
    expect(fs.statSync(at('out.partial')).size).toBe(rows.length);
  });
});

describe('the state file', () => {
  const state: BackfillState = {
    v: 1,
    url: 'http://127.0.0.1:3000/',
    options: { format: 'csv', columns: 'a,"b', first_line: 2 },
    input: { size: 1, mtimeMs: 2, head: 'ff' },
    idempotencyKey: 'k',
    batch: null,
    uploaded: false,
    finished: null,
  };

  test('returns the state written last', async () => {
    const file = new StateFile(at('state'));
    expect(await file.read()).toBeUndefined();
    await file.write({ ...state, batch: 'earlier' });
    await file.write(state);
    expect(await file.read()).toEqual(state);
    expect(fs.readdirSync(dir)).toEqual(['state']);
    await file.remove();
    await file.remove();
    expect(await file.read()).toBeUndefined();
  });

  test.each(['', '{', 'null', '[]', '{"v":2}'])('%j is refused', async (content) => {
    write('state', content);
    await expect(new StateFile(at('state')).read()).rejects.toThrow('start over with --restart');
  });
});

describe('the lock', () => {
  const lock = () => takeLock(at('lock'));
  const owner = (fields: object) =>
    write('lock', JSON.stringify({ pid: 1, host: hostname(), began: '', ...fields }));

  test('is held by one owner, and released', () => {
    const release = lock();
    expect(fs.readdirSync(dir)).toEqual(['lock']);
    release();
    expect(fs.readdirSync(dir)).toEqual([]);
    lock()();
  });

  test('of a running process is respected', async () => {
    const script = `const { takeLock } = await import(${JSON.stringify(new URL('../../src/cli/terminal/lock.ts', import.meta.url))});
      takeLock(process.argv[1]); process.stdout.write('held'); setInterval(() => {}, 1000);`;
    const { spawn } = await import('node:child_process');
    const child = spawn(process.execPath, ['--input-type=module', '-e', script, at('lock')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise((resolve) => child.stdout.once('data', resolve));
    expect(lock).toThrow(`another amulet backfill (process ${child.pid}) is writing there`);
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
    lock()();
    expect(fs.readdirSync(dir)).toEqual([]);
  });

  test('removes files of processes that were killed while they took the lock, and no others', () => {
    const dead = JSON.stringify({ pid: 2 ** 22 + 1, host: hostname(), began: '1' });
    const living = JSON.stringify({ pid: process.ppid, host: hostname(), began: startTimeOf(process.ppid) });
    for (const name of ['lock.0123abcd', 'lock.0123abcd.stale', 'lock.txt', 'other.0123abcd'])
      write(name, dead);
    for (const name of ['lock.89abcdef', 'lock.89abcdef.stale']) write(name, living);
    lock()();
    expect(fs.readdirSync(dir).sort()).toEqual([
      'lock.89abcdef',
      'lock.89abcdef.stale',
      'lock.txt',
      'other.0123abcd',
    ]);
  });

  test('is taken even if files of a killed process cannot be removed', () => {
    const dead = JSON.stringify({ pid: 2 ** 22 + 1, host: hostname(), began: '1' });
    write('lock.0123abcd', dead);
    // A folder in its place: rm() without `recursive` refuses it.
    fs.mkdirSync(at('lock.0123abcd.stale'));
    lock()();
    expect(fs.readdirSync(dir).sort()).toEqual(['lock.0123abcd', 'lock.0123abcd.stale']);
  });

  test('of another host is respected, since its process cannot be checked', () => {
    owner({ host: 'elsewhere', pid: 7 });
    expect(lock).toThrow('process 7 on elsewhere');
  });

  test.each([
    ['a dead process', { pid: 4_000_000 }],
    ['an earlier process with the same number', { pid: process.ppid, began: '1' }],
    ['an earlier process with our own number', { pid: process.pid, began: '1' }],
  ])('of %s is taken over', (_, fields) => {
    owner(fields);
    lock()();
    expect(fs.readdirSync(dir)).toEqual([]);
  });

  test('that a crash cut off is taken over', () => {
    write('lock', '{"pi');
    lock()();
  });

  test('taken over by another process is not released by the earlier owner', () => {
    const release = lock();
    owner({ pid: 1 });
    release();
    expect(fs.existsSync(at('lock'))).toBe(true);
  });
});

describe('a destination', () => {
  test.each([
    ['is a folder', () => dir],
    ['the folder', () => at('none/out')],
    ['is not a regular file; use --out - for standard output', () => '/dev/null'],
  ])('that %s is refused', async (message, out) => {
    await expect(openDestination(out())).rejects.toMatchObject({
      exitCode: 2,
      message: expect.stringContaining(message),
    });
    expect(fs.readdirSync(dir)).toEqual([]);
  });

  test('in a folder that is not writable is refused', async () => {
    await expect(openDestination('/proc/out')).rejects.toMatchObject({
      exitCode: 2,
      message: '--out /proc/out cannot be written: no such file or directory',
    });
  });
});

test.each([
  ["EACCES: permission denied, open '/x/out.lock'", 'permission denied'],
  ["EXDEV: cross-device link not permitted, rename 'a' -> 'b'", 'cross-device link not permitted'],
  ['EIO: i/o error, read', 'i/o error'],
  ['listen EACCES: permission denied 127.0.0.1:80', 'permission denied'],
  ['something else', 'something else'],
])('the reason in %j', (message, reason) => {
  expect(systemReason(message)).toBe(reason);
});
