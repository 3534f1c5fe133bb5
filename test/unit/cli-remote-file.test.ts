/** Reading a file from a web server that fails: cuts, changes, refusals, redirects. */
import { randomBytes } from 'node:crypto';
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { httpFile } from '../../src/cli/backfill/remote/http-file.ts';
import { piecesOf } from '../../src/cli/backfill/remote/pieces.ts';
import { RemoteFile } from '../../src/cli/backfill/remote/remote-file.ts';
import {
  ChangedInputError,
  CliError,
  EXIT,
  UnreadableInputError,
  UsageError,
} from '../../src/cli/terminal/exit.ts';
import { FileServer, type ServedFile } from '../support/network/file-server.ts';

let server: FileServer;
beforeAll(async () => {
  server = await FileServer.start();
});
afterAll(() => server.stop());

const signal = new AbortController().signal;
const open = (address: string, retryTimeoutMs = 5000) =>
  RemoteFile.open(httpFile(address), { signal, retryTimeoutMs });
async function readAll(file: RemoteFile): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of file.read(signal)) pieces.push(piece);
  return Buffer.concat(pieces);
}
/** Not toEqual(), which takes seconds for so many bytes. */
const expectContent = async (file: RemoteFile) => expect((await readAll(file)).equals(content)).toBe(true);
const content = randomBytes(600_000);
let made = 0;
const path = () => `/file-${++made}`;

test('a file is read whole, after its first 64 KB', async () => {
  const at = path();
  const file = await open(server.serve(at, content));
  expect([file.size, file.ranged, file.gzip]).toEqual([content.length, true, false]);
  await expectContent(file);
  expect(server.rangesOf(at)).toEqual(['bytes=0-65535', 'bytes=65536-']);
  expect(server.requests.at(-1)?.headers).toMatchObject({
    'accept-encoding': 'identity',
    'if-range': file.version.etag,
  });
  expect(server.requests.at(-1)?.headers.authorization).toBeUndefined();
});

test.each<[string, Buffer]>([
  ['empty', Buffer.alloc(0)],
  ['one byte', Buffer.from('x')],
  ['64 KB', randomBytes(65_536)],
  ['a byte more', randomBytes(65_537)],
])('a file of a small size: %s', async (_, small) => {
  for (const ranges of [true, false]) {
    const file = await open(server.serve(path(), { content: small, ranges }));
    expect(file.size).toBe(small.length);
    expect((await readAll(file)).equals(small)).toBe(true);
  }
});

test('a cut connection goes on at the byte where it was', async () => {
  const at = path();
  const faults = [
    { cutAfter: 1000 },
    undefined,
    { cutAfter: 100_000 },
    'hang up' as const,
    { cutAfter: 0 },
    { status: 503 },
  ];
  const file = await open(server.serve(at, { content, faults }), 20_000);
  await expectContent(file);
  const ranges = server.rangesOf(at);
  expect(ranges.slice(0, 3)).toEqual(['bytes=0-65535', 'bytes=0-65535', 'bytes=65536-']);
  expect(ranges.slice(3)).toEqual(Array.from({ length: 4 }, () => 'bytes=165536-'));
});

test('a range is read in parts, too, and ends with the file', async () => {
  const at = path();
  const file = await open(server.serve(at, { content, faults: [undefined, { cutAfter: 50_000 }] }));
  const slice = async (start: number, end: number) => Buffer.from(await file.slice(start, end, signal));
  expect((await slice(100_000, 300_000)).equals(content.subarray(100_000, 300_000))).toBe(true);
  expect(server.rangesOf(at).slice(1)).toEqual(['bytes=100000-299999', 'bytes=150000-299999']);
  expect((await slice(590_000, 700_000)).equals(content.subarray(590_000))).toBe(true);
  expect((await slice(10, 20)).equals(content.subarray(10, 20))).toBe(true);
  for (const [start, end] of [
    [20, 20],
    [300_000, 200_000],
    [700_000, 800_000],
  ] as const)
    expect(await slice(start, end)).toHaveLength(0);
  expect(server.rangesOf(at)).toHaveLength(4);
});

test('ranges, one after the other, take one connection', async () => {
  const own = await FileServer.start();
  try {
    const file = await open(own.serve('/rows', content));
    for (let start = 0; start < content.length; start += 100_000)
      await file.slice(start, start + 100_000, signal);
    await expectContent(file);
    expect(own.requests).toHaveLength(1 + 6 + 1);
    expect(own.connections).toBe(1);
  } finally {
    await own.stop();
  }
});

describe('a file that changes while it is read is refused', () => {
  test.each<[string, Partial<ServedFile>, Partial<ServedFile>]>([
    ['another ETag', {}, { content: randomBytes(600_000) }],
    ['another weak ETag', { etag: 'W/"a"' }, { etag: 'W/"b"' }],
    [
      'another time',
      { etag: undefined, modified: 'Mon, 02 Nov 2026 10:00:00 GMT' },
      { etag: undefined, modified: 'Mon, 02 Nov 2026 10:00:01 GMT' },
    ],
    [
      'another size, from a server that tells no version',
      { etag: undefined },
      { etag: undefined, content: randomBytes(599_999) },
    ],
    ['it has become shorter than what was read', {}, { content: Buffer.from('short') }],
  ])('%s', async (_, before, after) => {
    const at = path();
    const file = await open(server.serve(at, { content, ...before }));
    server.serve(at, { content, ...before, ...after });
    await expect(readAll(file)).rejects.toThrow(ChangedInputError);
    await expect(readAll(file)).rejects.toThrow(/\/file-\d+ has changed while it was read/);
  });
});

describe('a server without ranges', () => {
  test('the file is read in one go, and its size may be unknown', async () => {
    const at = path();
    const known = await open(server.serve(at, { content, ranges: false }));
    expect([known.ranged, known.size]).toEqual([false, content.length]);
    await expectContent(known);
    expect(server.rangesOf(at)).toHaveLength(1);
    const unknown = await open(server.serve(path(), { content, ranges: false, chunked: true }));
    expect(unknown.size).toBeUndefined();
    await expectContent(unknown);
  });

  test('it starts anew as long as nothing was read', async () => {
    const at = path();
    const faults = [{ cutAfter: 100 }, 'hang up' as const];
    await expectContent(await open(server.serve(at, { content, ranges: false, faults })));
    expect(server.rangesOf(at)).toHaveLength(3);
  });

  test('later, a lost connection names the cure', async () => {
    const file = await open(
      server.serve(path(), { content, ranges: false, faults: [{ cutAfter: 200_000 }] }),
    );
    await expect(readAll(file)).rejects.toThrow(
      /\/file-\d+: .*connection lost after \S+ KB, and the server cannot send the rest alone .*: download the file/,
    );
  });
});

describe('a file that cannot be had, in one line', () => {
  test.each<[ServedFile['faults'], RegExp]>([
    [[{ status: 401 }], /: the server wants a user name and a password: https:\/\/USER:PASSWORD@HOST/],
    [[{ status: 403 }], /: access denied; if it is a signed address, it may have expired$/],
    [[{ status: 404 }], / does not exist$/],
    [[{ status: 410 }], / does not exist$/],
    [[{ status: 405 }], / cannot be read: the server answered 405 Method Not Allowed$/],
    [[{ status: 206 }], /: the server sent a range without saying which$/],
    [[{ status: 304 }], / cannot be read: the server answered 304 Not Modified$/],
  ])('%j', async (faults, message) => {
    const opening = open(server.serve(path(), { content, faults: faults! }));
    await expect(opening).rejects.toThrow(UsageError);
    await expect(opening).rejects.toThrow(message);
  });

  test('a server that stays broken: exit code 75, after a bounded time', async () => {
    const faults = Array.from({ length: 50 }, () => ({ status: 500 }));
    const failure = await open(server.serve(path(), { content, faults }), 500).catch(
      (error: unknown) => error,
    );
    expect(failure).toBeInstanceOf(CliError);
    expect(failure).toMatchObject({
      exitCode: EXIT.temporary,
      message: expect.stringMatching(/ cannot be read: 500 Internal Server Error$/),
    });
  });

  test('no server at all', async () => {
    const failure = await open('http://127.0.0.1:1/rows.csv', 300).catch((error: unknown) => error);
    expect(failure).toMatchObject({
      message: 'http://127.0.0.1:1/rows.csv cannot be read: 127.0.0.1:1: connection refused',
    });
    await expect(open('http://nowhere.invalid/rows.csv')).rejects.toThrow(
      /^http:\/\/nowhere\.invalid\/rows\.csv cannot be read: nowhere\.invalid: no (such host|answer from the DNS)$/,
    );
  });

  test('in the middle of the file: the run can be resumed', async () => {
    const file = await open(server.serve(path(), { content, faults: [undefined, { status: 403 }] }));
    await expect(readAll(file)).rejects.toThrow(UnreadableInputError);
    const broken = Array.from({ length: 50 }, () => 'hang up' as const);
    const gone = await open(server.serve(path(), { content, faults: [undefined, ...broken] }), 500);
    await expect(readAll(gone)).rejects.toThrow(
      / cannot be read: gave up after 0:01 without success: 127\.0\.0\.1:\d+: connection lost$/,
    );
  });
});

test('the headers of an answer have a limit', async () => {
  const faults = [{ status: 200, headers: { 'x-long': 'x'.repeat(20_000) } }];
  await expect(open(server.serve(path(), { content, faults }))).rejects.toThrow(
    /its headers are larger than 16 KB$/,
  );
});

test('a server that is silent counts as dead, and a busy reader does not make it so', async () => {
  vi.useFakeTimers();
  try {
    const body = new PassThrough();
    const pieces = piecesOf(body, signal, (error) => error);
    body.write('a');
    await pieces.next();
    await vi.advanceTimersByTimeAsync(600_000);
    body.write('b');
    expect(String((await pieces.next()).value)).toBe('b');
    const next = pieces.next();
    next.catch(() => {});
    await vi.advanceTimersByTimeAsync(59_000);
    expect(body.destroyed).toBe(false);
    await vi.advanceTimersByTimeAsync(1001);
    await expect(next).rejects.toThrow('no data for 60 s');
    expect(body.destroyed).toBe(true);
  } finally {
    vi.useRealTimers();
  }
});

test('an interrupted run ends the reading at once', async () => {
  const stop = new AbortController();
  const file = await RemoteFile.open(httpFile(server.serve(path(), content)), {
    signal: stop.signal,
    retryTimeoutMs: 5000,
  });
  const pieces = file.read(stop.signal);
  await pieces.next();
  stop.abort(new Error('stopped'));
  await expect(pieces.next()).rejects.toThrow('stopped');
});

describe('compressed on the way', () => {
  test('identity is asked for, gzip is noticed, another one is refused', async () => {
    const gzip = await open(server.serve(path(), { content, headers: { 'content-encoding': 'gzip' } }));
    expect(gzip.gzip).toBe(true);
    await expect(
      open(server.serve(path(), { content, headers: { 'content-encoding': 'br' } })),
    ).rejects.toThrow(
      /sends it compressed \(Content-Encoding: br\), although identity was requested: download/,
    );
  });
});

describe('redirects', () => {
  test('are followed, and their target is asked again for the rest', async () => {
    const target = server.serve(path(), { content, faults: [undefined, { cutAfter: 10 }] });
    await expectContent(await open(server.serve(path(), { content, location: target })));
    const relative = path();
    server.serve(relative, content);
    await expectContent(await open(server.serve(path(), { content, location: `..${relative}` })));
  });

  test('are bounded', async () => {
    const at = path();
    await expect(open(server.serve(at, { content, location: at }))).rejects.toThrow(
      `${server.url(at)} redirects more than 10 times`,
    );
  });

  test.each([
    ['ftp://example.com/x', /redirects to ftp:\/\/example\.com\/x, which is no web address$/],
    ['http://[', /redirects to http:\/\/\[, which is no web address$/],
  ])('to something else are refused: %s', async (location, message) => {
    await expect(open(server.serve(path(), { content, location }))).rejects.toThrow(message);
  });
});

describe('credentials', () => {
  const login = 'user:p@ss/word';
  const withLogin = (address: string) => address.replace('http://', 'http://user:p%40ss%2Fword@');

  test('of the address are sent to its server, and shown nowhere', async () => {
    const file = await open(withLogin(server.serve(path(), { content, login })));
    await expectContent(file);
    expect(file.name).not.toContain('p%40ss');
    expect(file.name).toMatch(/^http:\/\/\*\*\*@127\.0\.0\.1:\d+\/file-\d+$/);
  });

  test('wrong ones', async () => {
    const address = server.serve(path(), { content, login }).replace('http://', 'http://user:wrong@');
    await expect(open(address)).rejects.toThrow(
      /^http:\/\/\*\*\*@\S+: the server does not accept this user name and password$/,
    );
  });

  test('are not sent to the target of a redirect', async () => {
    const other = await FileServer.start();
    try {
      const at = path();
      const location = other.serve(at, content).replace('http://', 'http://chosen:by-the-server@');
      const file = await open(withLogin(server.serve(path(), { content, login, location })));
      await expectContent(file);
      expect(other.requests.length).toBeGreaterThan(1);
      for (const { headers } of other.requests) expect(headers.authorization).toBeUndefined();
    } finally {
      await other.stop();
    }
  });
});
