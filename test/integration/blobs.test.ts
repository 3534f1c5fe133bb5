/** The blob store: one suite for both backends, then what only one of them has. S3 is a real server, see `support/s3.ts`. */
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { createServer as createHttpServer } from 'node:http';
import { createConnection, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { CreateMultipartUploadCommand, S3Client } from '@aws-sdk/client-s3';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openBlobStore } from '../../src/shared/blobs/open.ts';
import { parseS3Url } from '../../src/shared/blobs/s3-url.ts';
import { checkStore, deletePrefix } from '../../src/shared/blobs/store-operations.ts';
import type { BlobStore } from '../../src/shared/blobs/blob-store.ts';
import { FaultProxy } from '../support/network/proxy.ts';
import { provideS3 } from '../support/storage/s3.ts';

const MB = 1024 * 1024;
const NOW = -60_000;

const s3 = await provideS3();
const folder = await mkdtemp(path.join(tmpdir(), 'amulet-test-blobs-'));

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
  if (typeof s3 !== 'string') await s3.stop();
});

/** The server's URL with a prefix nobody has used, and changes. */
function s3Url(changes: { bucket?: string; endpoint?: string } = {}): string {
  if (typeof s3 === 'string') throw new Error(s3);
  const url = new URL(s3.url);
  if (changes.bucket !== undefined) url.hostname = changes.bucket;
  if (changes.endpoint !== undefined) url.searchParams.set('endpoint', changes.endpoint);
  url.pathname = `${url.pathname.replace(/\/$/, '')}/test-${randomUUID()}`;
  return url.href;
}

/** The port for a TCP proxy to lead to; undefined when the server is not plain HTTP on this machine. */
function s3Port(): number | undefined {
  if (typeof s3 === 'string') return undefined;
  const endpoint = new URL(s3.url).searchParams.get('endpoint');
  if (endpoint === null) return undefined;
  const { protocol, hostname, port } = new URL(endpoint);
  return protocol === 'http:' && /^(127\.0\.0\.1|localhost)$/.test(hostname) ? Number(port) : undefined;
}

interface Backend {
  name: string;
  missing: string | undefined;
  fresh: () => string;
  /** A store whose bucket or folder is gone. */
  vanished: () => Promise<BlobStore>;
  /** Leaves behind what a crash in the middle of an upload does. */
  crash: (url: string) => Promise<void>;
  tellsAges: boolean;
}

const BACKENDS: Backend[] = [
  {
    name: 'a folder',
    missing: undefined,
    fresh: () => `file:${path.join(folder, randomUUID())}`,
    vanished: async () => {
      const root = path.join(folder, randomUUID());
      const store = await openBlobStore(`file:${root}`);
      await store.put('there', Buffer.from('x'));
      await rename(root, `${root}-away`);
      // As a mount point looks when the disk is gone.
      await mkdir(root);
      return store;
    },
    crash: async (url) => {
      await writeFile(path.join(url.slice('file:'.length), '~tmp', randomUUID()), 'half');
    },
    tellsAges: true,
  },
  {
    name: `S3 (${typeof s3 === 'string' ? `skipped: ${s3}` : s3.name})`,
    missing: typeof s3 === 'string' ? s3 : undefined,
    fresh: () => s3Url(),
    vanished: () => openBlobStore(s3Url({ bucket: 'amulet-test-no-such-bucket' })),
    crash: async (url) => {
      const { bucket, prefix, endpoint, region, forcePathStyle } = parseS3Url(url);
      const client = new S3Client({
        forcePathStyle,
        ...(endpoint === undefined ? {} : { endpoint }),
        ...(region === undefined ? {} : { region }),
      });
      await client.send(new CreateMultipartUploadCommand({ Bucket: bucket, Key: `${prefix}crashed` }));
      client.destroy();
    },
    // By moto every upload is of 2010.
    tellsAges: typeof s3 === 'string' || s3.name !== 'moto',
  },
];

async function* repeat(piece: Uint8Array, times: number, onPiece = (_: number): void => {}) {
  for (let n = 0; n < times; n++) {
    onPiece(n);
    // Gives way to others as a socket would.
    await new Promise(setImmediate);
    yield piece;
  }
}

async function* failAfter(bytes: number): AsyncGenerator<Uint8Array> {
  yield* repeat(Buffer.alloc(MB, 'x'), bytes / MB);
  throw new Error('the source broke');
}

async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of source) items.push(item);
  return items;
}

const sha256 = (body: Uint8Array): string => createHash('sha256').update(body).digest('hex');

/** Runs `work` on every item, 16 at a time. */
async function inParallel<T>(items: T[], work: (item: T) => Promise<unknown>): Promise<void> {
  const rest = items.values();
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      for (const item of rest) await work(item);
    }),
  );
}

// Not describe.each, which shortens names: this one's says why it is skipped.
for (const { name, missing, fresh, vanished, crash, tellsAges } of BACKENDS) {
  describe.skipIf(missing !== undefined)(`blobs in ${name}`, () => {
    let url: string;
    let store: BlobStore;

    beforeEach(async () => {
      url = fresh();
      store = await openBlobStore(url);
    });

    afterEach(async () => {
      await deletePrefix(store, '');
      // No test leaves anything behind that only a sweep would find.
      expect(await store.sweep(NOW)).toBe(0);
      store.close();
    });

    test('writes, overwrites, reads, measures and deletes', async () => {
      await store.put('a/b.txt', Buffer.from('one'));
      await store.put('a/b.txt', Buffer.from('three'));
      expect((await store.read('a/b.txt')).toString()).toBe('three');
      expect(await store.size('a/b.txt')).toBe(5);
      await store.put('empty', new Uint8Array());
      expect(await store.read('empty')).toHaveLength(0);
      expect(await store.size('empty')).toBe(0);
      await store.delete(['a/b.txt', 'never/was/there']);
      expect(await all(store.list(''))).toEqual(['empty']);
    });

    test('a missing blob is BlobNotFound', async () => {
      await store.put('folder/blob', Buffer.from('x'));
      for (const key of ['nothing', 'no/thing', 'folder', 'folder/blob/below', 'folder/blo']) {
        const error = { name: 'BlobNotFound', code: 'blob_not_found' };
        await expect(store.read(key)).rejects.toMatchObject(error);
        await expect(store.read(key, { start: 1, end: 1 })).rejects.toMatchObject(error);
        await expect(store.size(key)).rejects.toMatchObject(error);
      }
    });

    test('refuses keys that are not keys', async () => {
      const wrong = [
        ...[
          '',
          '/',
          '/a',
          'a/',
          'a//b',
          '.',
          '..',
          '../a',
          'a/../../b',
          'a/..',
          'a/./b',
          '~tmp/x',
          '~check/x',
        ],
        ...['a b', 'a\\b', 'ä', 'a\0', 'a:b', 'a%2e', 'x'.repeat(201), 'x/'.repeat(400) + 'x'],
      ];
      for (const key of wrong) {
        const error = { name: 'BlobError', code: 'blob_key_invalid' };
        await expect(store.put(key, Buffer.from('x')), key).rejects.toMatchObject(error);
        await expect(store.putIfAbsent(key, Buffer.from('x')), key).rejects.toMatchObject(error);
        await expect(store.putStream(key, repeat(Buffer.from('x'), 1)), key).rejects.toMatchObject(error);
        await expect(store.read(key), key).rejects.toMatchObject(error);
        await expect(store.size(key), key).rejects.toMatchObject(error);
        await expect(store.delete(['fine', key]), key).rejects.toMatchObject(error);
      }
      for (const prefix of ['/', '../', 'a/../', 'a//', '~tmp', 'a b']) {
        await expect(all(store.list(prefix)), prefix).rejects.toMatchObject({ code: 'blob_key_invalid' });
      }
      for (const key of ['.a', '...', '-', '=', 'A_z=0.9-/..a', 'x'.repeat(200)]) {
        await store.put(key, Buffer.from('x'));
        expect((await store.read(key)).toString()).toBe('x');
      }
    });

    test('reads ranges, also at and beyond the edges', async () => {
      const body = randomBytes(300_000);
      await store.put('ranged', body);
      const size = body.length;
      const ranges = [
        ...[
          {},
          { start: 0 },
          { end: 0 },
          { end: 1 },
          { start: 1 },
          { start: 0, end: size },
          { end: size + 1 },
        ],
        ...[{ start: size - 1 }, { start: size }, { start: size + 7 }, { start: size, end: size + 5 }],
        ...[
          { start: size - 1, end: size },
          { start: 262_143, end: 262_145 },
          { start: 5, end: 5 },
        ],
        ...[
          { start: 9, end: 3 },
          { start: 100, end: 250_000 },
        ],
      ];
      for (const range of ranges) {
        const { start = 0, end = size } = range;
        const wanted = body.subarray(start, Math.max(start, end));
        expect((await store.read('ranged', range)).equals(wanted), JSON.stringify(range)).toBe(true);
      }
      await store.put('empty', new Uint8Array());
      expect(await store.read('empty', { start: 0, end: 10 })).toHaveLength(0);
      expect(await store.read('empty', { start: 3 })).toHaveLength(0);
      for (const range of [{ start: -1 }, { end: -1 }, { start: 0.5 }, { end: Number.NaN }]) {
        await expect(store.read('ranged', range)).rejects.toThrow(RangeError);
      }
    });

    test('of two putIfAbsent at once exactly one wins, and its blob is the one there', async () => {
      for (let round = 0; round < 50; round++) {
        const bodies = [`one ${round}`, `two ${round}`];
        const won = await Promise.all(
          bodies.map((body) => store.putIfAbsent(`race/${round}`, Buffer.from(body))),
        );
        expect(won.filter(Boolean)).toHaveLength(1);
        expect((await store.read(`race/${round}`)).toString()).toBe(bodies[won.indexOf(true)]);
        expect(await store.putIfAbsent(`race/${round}`, Buffer.from('late'))).toBe(false);
      }
    });

    test('streams of every size around the part size arrive whole', async () => {
      for (const bytes of [0, 1, 8 * MB - 1, 8 * MB, 8 * MB + 1, 16 * MB, 20 * MB + 5]) {
        const body = randomBytes(bytes);
        const pieces = async function* () {
          for (let at = 0; at < bytes; at += 1_000_003) {
            await new Promise(setImmediate);
            yield body.subarray(at, at + 1_000_003);
          }
        };
        const result = await store.putStream('streamed', pieces());
        expect(result).toEqual({ bytes, sha256: sha256(body) });
        const back = createHash('sha256');
        for await (const piece of store.get('streamed')) back.update(piece);
        expect(back.digest('hex')).toBe(result.sha256);
        expect(await store.size('streamed')).toBe(bytes);
      }
      // In one piece that is larger than two parts.
      const body = randomBytes(17 * MB);
      expect((await store.putStream('streamed', repeat(body, 1))).sha256).toBe(sha256(body));
      expect(
        (await store.read('streamed', { start: 8 * MB - 2, end: 8 * MB + 2 })).equals(
          body.subarray(8 * MB - 2, 8 * MB + 2),
        ),
      ).toBe(true);
    });

    test('a long stream takes little memory', async () => {
      const piece = randomBytes(64 * 1024);
      let peak = 0;
      const before = process.memoryUsage().arrayBuffers;
      await store.putStream(
        'long',
        // Always the same piece, so that whatever grows is the store's.
        repeat(piece, 64 * 16, () => {
          peak = Math.max(peak, process.memoryUsage().arrayBuffers - before);
        }),
      );
      expect(await store.size('long')).toBe(64 * MB);
      // Two parts of 8 MB and what the SDK has not let go of yet.
      expect(peak).toBeLessThan(32 * MB);
    });

    test.each([2, 20])('a stream that fails after %i MB leaves nothing', async (megabytes) => {
      await expect(store.putStream('broken', failAfter(megabytes * MB))).rejects.toThrow('the source broke');
      await expect(store.size('broken')).rejects.toMatchObject({ code: 'blob_not_found' });
      expect(await all(store.list(''))).toEqual([]);
      expect(await store.sweep(NOW)).toBe(0);

      await store.put('broken', Buffer.from('older'));
      await expect(store.putStream('broken', failAfter(megabytes * MB))).rejects.toThrow('the source broke');
      expect((await store.read('broken')).toString()).toBe('older');
      expect(await store.sweep(NOW)).toBe(0);
    });

    test.each([2, 20])('a stream over maxBytes fails, at %i MB', async (megabytes) => {
      const options = { maxBytes: megabytes * MB };
      const piece = Buffer.alloc(MB);
      await expect(store.putStream('fits', repeat(piece, megabytes), options)).resolves.toBeDefined();
      let taken = 0;
      const source = repeat(piece, megabytes + 10, (n) => {
        taken = n + 1;
      });
      await expect(store.putStream('big', source, options)).rejects.toMatchObject({ code: 'blob_too_large' });
      expect(taken).toBe(megabytes + 1);
      expect(await all(store.list(''))).toEqual(['fits']);
    });

    test.each([0, 2, 12])(
      'an aborted stream leaves nothing, after %i MB and a source that hangs',
      async (megabytes) => {
        const controller = new AbortController();
        let closed = false;
        const source = async function* () {
          try {
            yield* repeat(Buffer.alloc(MB), megabytes);
            setTimeout(() => controller.abort(new Error('the caller left')), 100);
            await sleep(1000);
          } finally {
            closed = true;
          }
        };
        const upload = store.putStream('aborted', source(), { signal: controller.signal });
        await expect(upload).rejects.toThrow('the caller left');
        expect(closed).toBe(false);
        expect(await all(store.list(''))).toEqual([]);
        const again = store.putStream('aborted', source(), { signal: controller.signal });
        await expect(again).rejects.toThrow('the caller left');
      },
    );

    test('concurrent overwrites give one version or the other, never a mixture', async () => {
      const versions = ['a', 'b', 'c', 'd'].map((letter) => Buffer.alloc(MB, letter));
      await store.put('contested', versions[0]!);
      const state = { done: false };
      const writing = (async () => {
        for (let n = 0; n < 40; n++) await store.put('contested', versions[n % 4]!);
        state.done = true;
      })();
      while (!state.done) {
        const body = await store.read('contested');
        // As quick as the disk, where a look at each byte would be the slowest part of the test.
        expect(versions.some((version) => version.equals(body))).toBe(true);
      }
      await writing;
    });

    test('a download can be left early', async () => {
      await store.put('large', Buffer.alloc(5 * MB));
      for (let n = 0; n < 300; n++) {
        for await (const piece of store.get('large')) {
          expect(piece.length).toBeGreaterThan(0);
          break;
        }
      }
      expect(await store.size('large')).toBe(5 * MB);
    });

    test('lists thousands of keys in the order of their bytes, and deletes them', async () => {
      const odd = [
        'p/a',
        'p/a-b',
        'p/a.b',
        'p/a0',
        'p/aa/b',
        'p/a=',
        'p/a_',
        'p/A',
        'p/Z/z',
        'p/b/1',
        'p/b-/1',
        'p/b./1',
        'p/b0/1',
      ];
      // S3 lists, and deletes, up to 1000 at a time.
      const many = Array.from({ length: 2010 }, (_, n) => `p/n${n % 7}/${n % 2 ? 'x-' : ''}${n}.json`);
      const keys = [...odd, ...many, 'pa', 'o'];
      await inParallel(keys, (key) => store.put(key, Buffer.from(key)));
      const sorted = [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));

      expect(await all(store.list(''))).toEqual(sorted);
      for (const prefix of [
        'p',
        'p/',
        'p/n',
        'p/n3/',
        'p/n3/x-1',
        'p/a',
        'p/b',
        'p/b/',
        'p/b/1',
        'nothing',
        'p/n3/nothing/',
      ]) {
        expect(await all(store.list(prefix)), prefix).toEqual(sorted.filter((key) => key.startsWith(prefix)));
      }
      // A loop that is left early.
      for await (const key of store.list('p/n')) {
        expect(key).toBe('p/n0/0.json');
        break;
      }

      await store.delete([...many.slice(0, 1005), 'not/there']);
      expect(await all(store.list('p/n'))).toEqual(sorted.filter((key) => many.indexOf(key) >= 1005));
      expect(await deletePrefix(store, 'p/n')).toBe(1005);
      expect(await all(store.list(''))).toEqual(sorted.filter((key) => !key.startsWith('p/n')));
      expect(await deletePrefix(store, '')).toBe(odd.length + 2);
      expect(await all(store.list(''))).toEqual([]);
    });

    test('sweeps leftovers of a crash once they are old enough', async () => {
      await crash(url);
      await store.put('kept', Buffer.from('x'));
      expect(await all(store.list(''))).toEqual(['kept']);
      if (tellsAges) expect(await store.sweep()).toBe(0);
      expect(await store.sweep(NOW)).toBe(1);
      expect(await store.sweep(NOW)).toBe(0);
      expect((await store.read('kept')).toString()).toBe('x');
    });

    // By moto every upload is of 2010: it goes on for years.
    test('does not sweep a running upload, even if it began long ago', async () => {
      let goOn!: () => void;
      const swept = new Promise<void>((resolve) => (goOn = resolve));
      let begun = false;
      async function* slowly() {
        yield* repeat(Buffer.alloc(MB, 'x'), 20);
        // A part of 8 MiB is up: only one is on its way while another fills.
        begun = true;
        await swept;
        yield Buffer.from('end');
      }
      const written = store.putStream('slow', slowly());
      await expect.poll(() => begun, { timeout: 60_000 }).toBe(true);
      expect(await store.sweep()).toBe(0);
      goOn();
      await written;
      expect(await store.size('slow')).toBe(20 * MB + 3);
    });

    test('check passes, and leaves nothing', async () => {
      await checkStore(store);
      expect(await all(store.list(''))).toEqual([]);
    });

    test('a missing bucket or folder gives one clear error', async () => {
      const gone = await vanished();
      const message = expect.stringContaining(`${gone.place} cannot be used: `);
      const one = { name: 'BlobError', code: 'blob_store_unavailable', message };
      await expect(checkStore(gone)).rejects.toMatchObject(one);
      await expect(gone.put('a/b', Buffer.from('x'))).rejects.toMatchObject(one);
      await expect(gone.putIfAbsent('a/b', Buffer.from('x'))).rejects.toMatchObject(one);
      await expect(gone.putStream('a', repeat(Buffer.from('x'), 3))).rejects.toMatchObject(one);
      await expect(gone.putStream('a', repeat(Buffer.alloc(MB), 20))).rejects.toMatchObject(one);
      await expect(gone.read('there')).rejects.toMatchObject(one);
      await expect(gone.size('there')).rejects.toMatchObject(one);
      await expect(all(gone.list(''))).rejects.toMatchObject(one);
      await expect(gone.delete(['there'])).rejects.toMatchObject(one);
      await expect(deletePrefix(gone, '')).rejects.toMatchObject(one);
      await expect(gone.sweep()).rejects.toMatchObject(one);
      gone.close();
    });
  });
}

describe('blobs in a folder only', () => {
  const fresh = async (): Promise<{ root: string; store: BlobStore }> => {
    const root = path.join(folder, randomUUID());
    return { root, store: await openBlobStore(`file:${root}`) };
  };

  test('file: URLs: relative, absolute, with slashes and escapes', async () => {
    const spaced = path.join(folder, 'with a space');
    const relative = path.relative(process.cwd(), spaced);
    for (const url of [`file:${spaced}`, `file:${relative}`, `file://${spaced.replaceAll(' ', '%20')}/`]) {
      const store = await openBlobStore(url);
      expect(store.place).toBe(`the blob folder ${spaced}`);
      await store.put('same/blob', Buffer.from(url));
      expect((await store.read('same/blob')).toString()).toBe(url);
      await store.delete(['same/blob']);
      expect(await readdir(spaced)).toEqual(['~tmp']);
    }
  });

  test('only its owner can read it', async () => {
    const { root, store } = await fresh();
    await store.put('secret/text', Buffer.from('x'));
    expect((await stat(root)).mode & 0o777).toBe(0o700);
    expect((await stat(path.join(root, 'secret/text'))).mode & 0o777).toBe(0o600);
  });

  test('a key below a blob, or above one, is refused', async () => {
    const { root, store } = await fresh();
    await store.put('a/b', Buffer.from('x'));
    for (const key of ['a', 'a/b/c', 'a/b/c/d']) {
      const error = { code: 'blob_key_invalid', message: expect.stringContaining(key) };
      await expect(store.put(key, Buffer.from('y'))).rejects.toMatchObject(error);
      await expect(store.putIfAbsent(key, Buffer.from('y'))).rejects.toMatchObject(error);
      await expect(store.putStream(key, repeat(Buffer.from('y'), 1))).rejects.toMatchObject(error);
    }
    expect(await all(store.list(''))).toEqual(['a/b']);
    expect(await readdir(path.join(root, '~tmp'))).toEqual([]);
  });

  test('concurrent writes and deletes in one folder all succeed', async () => {
    const { root, store } = await fresh();
    const keys = Array.from({ length: 400 }, (_, n) => `deep/er/folder/${n % 4}`);
    await inParallel(keys, async (key) => {
      await store.put(key, Buffer.from(key));
      await store.delete([key]);
    });
    expect(await readdir(root)).toEqual(['~tmp']);
  });

  test('a sweep keeps files that are being written', async () => {
    const { root, store } = await fresh();
    const file = path.join(root, '~tmp', 'left');
    await writeFile(file, 'half');
    const yesterday = new Date(Date.now() - 25 * 3_600_000);
    await utimes(file, yesterday, yesterday);
    const upload = store.putStream('now', repeat(Buffer.alloc(1024), 50));
    expect(await store.sweep()).toBe(1);
    await upload;
    expect(await store.size('now')).toBe(50 * 1024);
  });

  test('a sweep removes files of a dead process at once, and keeps those of a live one', async () => {
    const { root, store } = await fresh();
    const temporary = path.join(root, '~tmp');
    let goOn = () => {};
    const held = new Promise<void>((resolve) => (goOn = resolve));
    async function* slowly() {
      yield Buffer.from('half');
      await held;
    }
    const upload = store.putStream('held', slowly());
    const [live = ''] = await expect
      .poll(() => readdir(temporary))
      .toHaveLength(1)
      .then(() => readdir(temporary));
    const [machine = '', pid = '', started = '', id = ''] = live.split('.');
    const dead = spawnSync(process.execPath, ['-e', '']).pid;
    const anHourAgo = new Date(Date.now() - 3_700_000);
    const files = {
      // Two of this machine: its process is gone, or its number is another one's by now.
      dead: `${machine}.${dead}.${started}.${id}`,
      reused: `${machine}.${pid}.${Number(started) - 1}.${id}`,
      // Who knows whether a process of another machine is there: it would have touched its file within the hour.
      elsewhere: `${'0'.repeat(12)}.${dead}.${started}.${id}`,
      elsewhereOld: `${'0'.repeat(12)}.${dead}.1.${id}`,
      // An earlier version did not touch its own.
      namelessOld: randomUUID(),
    };
    for (const [name, file] of Object.entries(files)) {
      await writeFile(path.join(temporary, file), 'half');
      if (name.endsWith('Old')) await utimes(path.join(temporary, file), anHourAgo, anHourAgo);
    }
    await utimes(path.join(temporary, live), anHourAgo, anHourAgo);
    expect(await store.sweep()).toBe(3);
    expect((await readdir(temporary)).sort()).toEqual([live, files.elsewhere, files.namelessOld].sort());
    goOn();
    await upload;
    expect(await store.size('held')).toBe(4);
  });

  test('a folder whose parent cannot be created is an error', async () => {
    await expect(openBlobStore('file:/proc/amulet/blobs')).rejects.toMatchObject({
      code: 'blob_store_unavailable',
    });
  });

  test('files of others are not listed', async () => {
    const { root, store } = await fresh();
    await mkdir(path.join(root, 'lost+found'));
    await writeFile(path.join(root, 'lost+found', 'x'), '');
    await writeFile(path.join(root, 'has space'), '');
    await store.put('mine', Buffer.from('x'));
    expect(await all(store.list(''))).toEqual(['mine']);
  });

  test('a folder that cannot be created or written gives one clear error', async () => {
    const file = path.join(folder, randomUUID());
    await writeFile(file, '');
    await expect(openBlobStore(`file:${file}/below`)).rejects.toMatchObject({
      code: 'blob_store_unavailable',
      message: `the blob folder ${file}/below cannot be used: ENOTDIR: not a directory`,
    });
  });

  test.each([
    ['its disk is unmounted', (root: string) => mkdir(root)],
    ['it is renamed', () => Promise.resolve()],
  ])('a write in whose middle the folder vanishes (%s) makes nothing in its place', async (_, afterwards) => {
    const { root, store } = await fresh();
    await store.put('a/kept', Buffer.from('x'));
    async function* source() {
      yield Buffer.from('half');
      await rename(root, `${root}-away`);
      await afterwards(root);
    }
    for (const key of ['a/b/c', 'd']) {
      await expect(store.putStream(key, source())).rejects.toMatchObject({
        code: 'blob_store_unavailable',
        message: `${store.place} cannot be used: it is missing, or its disk is not mounted`,
      });
      // Fails unless it is missing, or empty.
      await rename(`${root}-away`, root);
    }
    expect(await all(store.list(''))).toEqual(['a/kept']);
  });

  /** A disk of 4 MB of one's own, for a child process, if this system lets us mount one. */
  const small = (script: string) => {
    const disk = path.join(folder, randomUUID());
    const mount = 'mkdir -p "$1" && mount -t tmpfs -o size=4m tmpfs "$1" && shift && exec "$@"';
    const node = [process.execPath, '--disable-warning=ExperimentalWarning', '--input-type=module', '-e'];
    const run = spawnSync('unshare', ['-rm', 'sh', '-c', mount, 'sh', disk, ...node, script, disk], {
      encoding: 'utf8',
    });
    return { status: run.status, stdout: run.stdout, stderr: run.stderr };
  };
  const mountable = small('').status === 0;

  test.skipIf(!mountable)(
    `a full disk is blob_store_full, and leaves nothing${mountable ? '' : ' (skipped: no tmpfs can be mounted here)'}`,
    () => {
      const { stdout, stderr } = small(`
        import { readdirSync } from 'node:fs';
        import { openBlobStore } from ${JSON.stringify(path.resolve('src/shared/blobs/open.ts'))};
        import { checkStore } from ${JSON.stringify(path.resolve('src/shared/blobs/store-operations.ts'))};
        const disk = process.argv[1];
        const store = await openBlobStore('file:' + disk);
        const piece = Buffer.alloc(1024 * 1024);
        async function* many() { for (let n = 0; n < 8; n++) yield piece; }
        const says = async (call) => call.then(() => 'written', (error) => error.code + ': ' + error.message);
        await store.put('kept', Buffer.from('kept'));
        console.log(await says(store.putStream('a/b', many())));
        console.log(await says(store.put('c/d', Buffer.alloc(8 * 1024 * 1024))));
        console.log(await says(store.putIfAbsent('e/f', Buffer.alloc(8 * 1024 * 1024))));
        console.log(await says(checkStore(store)));
        console.log(await says(store.putStream('g', many(), { maxBytes: 1024 })));
        console.log(String(await store.read('kept')), readdirSync(disk).join(), readdirSync(disk + '/~tmp').join());
        console.log(await says(store.put('small', piece)));
      `);
      const full = /^blob_store_full: the blob folder .* is full \(ENOSPC: no space left on device\)$/;
      const lines = stdout.trim().split('\n');
      expect(lines, stderr).toEqual([
        expect.stringMatching(full),
        expect.stringMatching(full),
        expect.stringMatching(full),
        'written',
        'blob_too_large: more than 1024 bytes',
        'kept kept,~tmp ',
        'written',
      ]);
    },
  );
});

describe('BLOB_URL', () => {
  test.each([
    ['', 'must begin with file: or s3://'],
    ['/tmp/x', 'must begin with file: or s3://'],
    ['https://bucket', 'must begin with file: or s3://'],
    ['file:', 'names no folder'],
    ['file://host/path', 'host'],
    ['s3:', 'not a bucket name'],
    ['s3://B_ad', 'not a bucket name'],
    ['s3://key:hunter2@bucket', 'must not hold credentials'],
    ['s3://bucket/a%20b', 'not a prefix'],
    ['s3://bucket/a//b', 'not a prefix'],
    ['s3://bucket?accessKey=hunter2', 'unknown parameter "accessKey"'],
    ['s3://bucket?endpoint=ftp://x', 'endpoint must be'],
    ['s3://bucket?endpoint=http://key:hunter2@x', 'endpoint must not hold credentials'],
    ['s3://bucket?forcePathStyle=yes', 'must be true or false'],
  ])('%s is refused: %s', async (url, why) => {
    const error = (await openBlobStore(url).catch((thrown: unknown) => thrown)) as Error;
    expect(error).toMatchObject({ name: 'StartupError', message: expect.stringContaining(why) });
    expect(error.message).not.toContain('hunter2');
  });

  test('s3 with everything', () => {
    expect(parseS3Url('s3://my-bucket/some/prefix/?region=eu-north-1')).toEqual({
      bucket: 'my-bucket',
      prefix: 'some/prefix/',
      region: 'eu-north-1',
      endpoint: undefined,
      forcePathStyle: false,
    });
    expect(parseS3Url('s3://b.1?endpoint=http://[::1]:9000&forcePathStyle=true')).toMatchObject({
      prefix: '',
      region: 'us-east-1',
      endpoint: 'http://[::1]:9000',
      forcePathStyle: true,
    });
  });
});

const proxied = s3Port();
const noProxy = typeof s3 === 'string' ? s3 : 'the server is not plain HTTP on this machine';

describe.skipIf(proxied === undefined)(
  `S3 over a bad network${proxied === undefined ? ` (skipped: ${noProxy})` : ''}`,
  () => {
    let proxy: FaultProxy;
    let store: BlobStore;
    let direct: BlobStore;

    beforeEach(async () => {
      proxy = await FaultProxy.start(proxied!);
      const url = new URL(s3Url());
      direct = await openBlobStore(url.href);
      url.searchParams.set('endpoint', `http://127.0.0.1:${proxy.port}`);
      store = await openBlobStore(url.href);
    });

    afterEach(async () => {
      proxy.heal();
      await deletePrefix(direct, '');
      await direct.sweep(NOW);
      store.close();
      direct.close();
      await proxy.stop();
    });

    test('a download resumes after each cut connection', async () => {
      const body = randomBytes(24 * MB);
      await direct.put('large', body);
      for (const range of [{}, { start: 12_345, end: 23 * MB }]) {
        const hash = createHash('sha256');
        let bytes = 0;
        let cuts = 0;
        for await (const piece of store.get('large', range)) {
          hash.update(piece);
          bytes += piece.length;
          if (bytes < (cuts + 1) * 5 * MB) continue;
          proxy.cut();
          cuts++;
          setTimeout(() => proxy.heal(), cuts * 20);
        }
        expect(cuts).toBe(4);
        expect(hash.digest('hex')).toBe(sha256(body.subarray(range.start, range.end)));
      }
    });

    test('a download fails when its connection stays down', async () => {
      await direct.put('large', randomBytes(24 * MB));
      const reading = (async () => {
        for await (const _ of store.get('large')) proxy.cut();
      })();
      await expect(reading).rejects.toMatchObject({ code: 'blob_store_unavailable' });
    });

    test('a resumed download never mixes two versions of a blob', async () => {
      await direct.put('large', Buffer.alloc(24 * MB, 'a'));
      const read = async (change: () => Promise<unknown>): Promise<void> => {
        let cut = false;
        for await (const _ of store.get('large')) {
          if (cut) continue;
          cut = true;
          proxy.cut();
          await change();
          proxy.heal();
        }
      };
      await expect(read(() => direct.put('large', Buffer.alloc(24 * MB, 'b')))).rejects.toMatchObject({
        code: 'blob_changed',
      });
      await expect(read(() => direct.delete(['large']))).rejects.toMatchObject({ code: 'blob_not_found' });
    });

    test('an upload survives a cut connection', async () => {
      const piece = randomBytes(MB);
      const { bytes, sha256: hash } = await store.putStream(
        'large',
        repeat(piece, 30, (n) => {
          if (n % 10 !== 9) return;
          proxy.cut();
          setTimeout(() => proxy.heal(), 50);
        }),
      );
      expect(bytes).toBe(30 * MB);
      expect(sha256(await direct.read('large'))).toBe(hash);
      expect(await direct.sweep(NOW)).toBe(0);
    });

    test('an upload fails when its connection stays down, and a sweep removes its parts', async () => {
      const source = repeat(randomBytes(MB), 30, (n) => {
        if (n === 20) proxy.cut();
      });
      await expect(store.putStream('large', source)).rejects.toMatchObject({
        code: 'blob_store_unavailable',
      });
      expect(await all(direct.list(''))).toEqual([]);
      expect(await direct.sweep(NOW)).toBe(1);
    });

    test('a store that does not answer pauses the source, and an abort ends the upload', async () => {
      const controller = new AbortController();
      let taken = 0;
      const source = repeat(Buffer.alloc(MB), 100, (n) => {
        taken = n + 1;
        if (n === 3) proxy.blackHole();
      });
      const upload = store.putStream('large', source, { signal: controller.signal });
      setTimeout(() => controller.abort(new Error('enough')), 1500);
      // Its parts cannot be removed either, so it takes a while to end.
      setTimeout(() => proxy.cut(), 2000);
      await expect(upload).rejects.toThrow('enough');
      expect(taken).toBeLessThanOrEqual(17);
    });

    test('write-once returns the right answer after a lost response', async () => {
      // The next request that begins like this is done by the server, and nobody hears of it.
      let lose: RegExp | undefined;
      const lossy = createServer((client) => {
        const target = createConnection(proxied!, '127.0.0.1');
        let lost = false;
        client.on('data', (data) => {
          if (lose?.test(data.toString('latin1', 0, 300)) === true) {
            lost = true;
            lose = undefined;
          }
          target.write(data);
        });
        target.on('data', (data) => {
          // Not what is said before the request is complete.
          if (lost && !data.toString('latin1', 0, 20).includes('100 ')) client.destroy();
          else client.write(data);
        });
        client.on('error', () => {}).on('close', () => target.destroy());
        target.on('error', () => {}).on('close', () => client.destroy());
      });
      lossy.listen(0, '127.0.0.1');
      await once(lossy, 'listening');
      const url = new URL(s3Url());
      url.searchParams.set('endpoint', `http://127.0.0.1:${(lossy.address() as AddressInfo).port}`);
      const lossyStore = await openBlobStore(url.href);
      try {
        lose = /^PUT /;
        expect(await lossyStore.putIfAbsent('once', Buffer.from('first'))).toBe(true);
        lose = /^PUT /;
        expect(await lossyStore.putIfAbsent('once', Buffer.from('second'))).toBe(false);
        expect((await lossyStore.read('once')).toString()).toBe('first');
        // Starting the upload, its parts, and its end.
        for (const what of [/^POST \S+[?&]uploads/, /^PUT \S+partNumber=2/, /^POST \S+[?&]uploadId=/]) {
          lose = what;
          const { sha256: hash } = await lossyStore.putStream('parts', repeat(randomBytes(MB), 10));
          expect(lose).toBeUndefined();
          expect(sha256(await lossyStore.read('parts'))).toBe(hash);
        }
      } finally {
        await deletePrefix(lossyStore, '');
        await lossyStore.sweep(NOW);
        lossyStore.close();
        lossy.close();
      }
    });

    test('an unreachable server gives one clear error', async () => {
      proxy.cut();
      await expect(checkStore(store)).rejects.toMatchObject({
        code: 'blob_store_unavailable',
        message: expect.stringMatching(/^the bucket \S+ at 127\.0\.0\.1:\d+ cannot be used: [^\n]+$/),
      });
    });
  },
);

describe('answers of S3 that the server at hand does not give', () => {
  /** A store whose server answers with these, one after the other. */
  async function stub(...answers: (readonly [number, string])[]) {
    const requests: string[] = [];
    let writeId = 'nobody';
    const server = createHttpServer((request, response) => {
      requests.push(`${request.method} ${request.url?.split('?')[0]}`);
      const [status, code] = answers[Math.min(requests.length, answers.length) - 1]!;
      // What a write says of itself it finds at the object.
      writeId = String(request.headers['x-amz-meta-amulet-write'] ?? writeId);
      request.resume().on('end', () => {
        const headers = {
          'content-type': 'application/xml',
          etag: '"x"',
          'x-amz-meta-amulet-write': writeId,
        };
        response.writeHead(status, headers);
        response.end(
          /^(<|$)/.test(code)
            ? code
            : `<Error><Code>${code}</Code><Message>AKIDEXAMPLE said so</Message></Error>`,
        );
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    process.env.AWS_ACCESS_KEY_ID ??= 'x';
    process.env.AWS_SECRET_ACCESS_KEY ??= 'hunter2';
    const store = await openBlobStore(`s3://stub?endpoint=http://127.0.0.1:${port}&forcePathStyle=true`);
    return {
      store,
      requests,
      close: () => {
        store.close();
        server.close();
      },
    };
  }

  test.each([
    [507, 'XMinioStorageFull', 'blob_store_full', 'is full'],
    [403, 'AccessDenied', 'blob_store_unavailable', 'access denied'],
    [403, 'InvalidAccessKeyId', 'blob_store_unavailable', 'the access key is unknown'],
    [403, 'SignatureDoesNotMatch', 'blob_store_unavailable', 'the secret key is wrong'],
    [404, 'NoSuchBucket', 'blob_store_unavailable', 'there is no such bucket'],
    [503, 'SlowDown', 'blob_store_unavailable', 'SlowDown'],
    [301, 'PermanentRedirect', 'blob_store_unavailable', 'PermanentRedirect'],
  ])('%i %s is %s', async (status, name, code, why) => {
    const { store, close } = await stub([status, name]);
    const calls = [() => checkStore(store), () => store.putIfAbsent('a', Buffer.from('x'))];
    // What the SDK tries again takes its time.
    for (const call of status >= 500 ? calls.slice(1) : calls) {
      const error = (await call().catch((thrown: unknown) => thrown)) as Error;
      expect(error).toMatchObject({ code, message: expect.stringContaining(why) });
      expect(error.message).toContain('the bucket stub at 127.0.0.1');
      const everything = inspect(error, { depth: 9, showHidden: true });
      expect(everything).not.toMatch(/hunter2|amulet-test-secret|Signature=/);
    }
    close();
  });

  test('a conflict of conditional writes is tried again', async () => {
    const conflict = [409, 'ConditionalRequestConflict'] as const;
    const winner = await stub(conflict, conflict, [200, '']);
    expect(await winner.store.putIfAbsent('a', Buffer.from('x'))).toBe(true);
    expect(winner.requests).toEqual(['PUT /stub/a', 'PUT /stub/a', 'PUT /stub/a']);
    winner.close();
    const loser = await stub(conflict, [412, 'PreconditionFailed']);
    expect(await loser.store.putIfAbsent('a', Buffer.from('x'))).toBe(false);
    loser.close();
  });

  test.each([
    ['ours', ['HEAD /stub/a'], [200, '']],
    ['nowhere', ['HEAD /stub/a', 'HEAD /stub', 'DELETE /stub/a'], [404, '']],
  ] as const)(
    'an upload that is gone when it is completed again: the object is %s',
    async (where, after, head) => {
      const created = '<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>';
      const done = [200, ''] as const;
      const { store, requests, close } = await stub(
        ...([[200, created], done, done, [503, 'InternalError'], [404, 'NoSuchUpload'], head, done] as const),
      );
      const upload = store.putStream('a', repeat(Buffer.alloc(MB), 10));
      if (where === 'ours') expect(await upload).toMatchObject({ bytes: 10 * MB });
      else await expect(upload).rejects.toThrow('NoSuchUpload');
      expect(requests.slice(0, 5)).toEqual([
        ...['POST', 'PUT', 'PUT', 'POST', 'POST'].map((verb) => `${verb} /stub/a`),
      ]);
      expect(requests.slice(5).map((request) => request.replace(/\/$/, ''))).toEqual(after);
      close();
    },
  );

  test('check finds a server that ignores If-None-Match', async () => {
    const { store, close } = await stub([200, '']);
    await expect(checkStore(store)).rejects.toThrow('ignores If-None-Match');
    close();
  });
});
