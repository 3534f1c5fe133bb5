/** Objects of S3 as the command reads and writes them, on a real server, see `support/storage/s3.ts`. */
import { randomBytes, randomUUID } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListPartsCommand,
  PutObjectCommand,
  UploadPartCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { RemoteFile } from '../../src/cli/backfill/remote/remote-file.ts';
import { parseS3Address, s3Url, type S3Address } from '../../src/cli/backfill/remote/s3-address.ts';
import { connectS3 } from '../../src/cli/backfill/remote/s3-client.ts';
import { listObjects, s3File } from '../../src/cli/backfill/remote/s3-file.ts';
import { openS3Target } from '../../src/cli/backfill/remote/s3-target.ts';
import { ChangedInputError, EXIT, UsageError } from '../../src/cli/terminal/exit.ts';
import { FaultProxy } from '../support/network/proxy.ts';
import { provideS3 } from '../support/storage/s3.ts';

const MB = 1024 * 1024;
const s3 = await provideS3();
const dir = fs.mkdtempSync(path.join(tmpdir(), 'amulet-remote-objects-'));
afterAll(async () => {
  fs.rmSync(dir, { recursive: true, force: true });
  if (typeof s3 !== 'string') await s3.stop();
});

const signal = new AbortController().signal;
const PART = 5 * MB;
const options = { signal, retryTimeoutMs: 5000, partBytes: PART };
const server = typeof s3 === 'string' ? { name: s3, url: 's3://bucket' } : s3;

/** An address with a prefix that nobody has used. */
function at(key: string, prefix: string = randomUUID()): S3Address {
  const { bucket, parameters } = parseS3Address(server.url);
  return parseS3Address(`s3://${bucket}/${prefix}/${key}${parameters}`);
}
const objectOf = ({ bucket, key }: S3Address) => ({ Bucket: bucket, Key: key });

describe.skipIf(typeof s3 === 'string')(`on ${server.name}`, () => {
  let client: S3Client;
  beforeEach(async () => {
    client = await connectS3(at(''));
  });
  const put = (address: S3Address, Body: Buffer | string, more: object = {}) =>
    client.send(new PutObjectCommand({ ...objectOf(address), Body, ...more }));
  const open = (address: S3Address) => RemoteFile.open(s3File(client, address), options);
  async function readAll(file: RemoteFile): Promise<Buffer> {
    const pieces: Uint8Array[] = [];
    for await (const piece of file.read(signal)) pieces.push(piece);
    return Buffer.concat(pieces);
  }

  describe('read', () => {
    const content = randomBytes(3 * MB);

    test.each([
      ['3 MB', content],
      ['empty', Buffer.alloc(0)],
      ['one byte', Buffer.from('x')],
    ])('an object: %s', async (_, body) => {
      const address = at('a key with ünusual?characters+&.bin');
      await put(address, body);
      const file = await open(address);
      expect([file.size, file.ranged]).toEqual([body.length, true]);
      expect((await readAll(file)).equals(body)).toBe(true);
      if (body.length < MB) return;
      const slice = Buffer.from(await file.slice(MB, 2 * MB, signal));
      expect(slice.equals(content.subarray(MB, 2 * MB))).toBe(true);
    });

    test('an object that changes meanwhile', async () => {
      const address = at('rows');
      await put(address, content);
      const file = await open(address);
      await put(address, randomBytes(3 * MB));
      await expect(readAll(file)).rejects.toThrow(ChangedInputError);
    });

    test('a connection that is cut', async () => {
      const endpoint = new URL(parseS3Address(server.url).endpoint ?? '');
      const proxy = await FaultProxy.start(Number(endpoint.port));
      const address = at('rows');
      await put(address, content);
      const through = await connectS3({ ...address, endpoint: `http://127.0.0.1:${proxy.port}` });
      const file = await RemoteFile.open(s3File(through, address), { signal, retryTimeoutMs: 20_000 });
      const pieces: Uint8Array[] = [];
      for await (const piece of file.read(signal)) {
        pieces.push(piece);
        if (pieces.length % 4 === 0 && pieces.length < 20) {
          proxy.cut();
          proxy.heal();
        }
      }
      expect(Buffer.concat(pieces).equals(content)).toBe(true);
      proxy.cut();
    });

    test('gzip as Content-Encoding is noticed', async () => {
      const address = at('rows');
      await put(address, 'x', { ContentEncoding: 'gzip' });
      expect((await open(address)).gzip).toBe(true);
    });

    test.each<[string, (address: S3Address) => S3Address, RegExp]>([
      [
        'no such key',
        (address) => address,
        / does not exist; an address that ends with a slash names all objects/,
      ],
      [
        'no such bucket',
        (address) => ({ ...address, bucket: 'amulet-no-such-bucket' }),
        /: there is no bucket amulet-no-such-bucket \(for another server than AWS, set AWS_ENDPOINT_URL_S3\)$/,
      ],
    ])('%s', async (_, change, message) => {
      const opening = open(change(at('rows')));
      await expect(opening).rejects.toThrow(UsageError);
      await expect(opening).rejects.toThrow(message);
    });
  });

  describe('list', () => {
    const list = (address: S3Address, maxObjects = 10_000) =>
      listObjects(client, address, { maxObjects, signal });

    test('the objects below a prefix, by their keys, without markers of folders', async () => {
      const prefix = randomUUID();
      const names = ['b/2.jsonl', 'b/10.jsonl', 'a.jsonl', 'ü.jsonl', 'B.jsonl', 'empty'];
      for (const marker of ['', 'b/']) await put(at(marker, prefix), Buffer.alloc(0));
      for (const name of names) await put(at(name, prefix), Buffer.alloc(name === 'empty' ? 0 : 1));
      const found = await list(at('', prefix));
      expect(found.map(({ key }) => key.slice(prefix.length + 1))).toEqual([
        'B.jsonl',
        'a.jsonl',
        'b/10.jsonl',
        'b/2.jsonl',
        'empty',
        'ü.jsonl',
      ]);
      expect(found.map(({ size }) => size)).toEqual([1, 1, 1, 1, 0, 1]);
      expect((await list(at('b/', prefix))).map(({ key }) => path.posix.basename(key))).toEqual([
        '10.jsonl',
        '2.jsonl',
      ]);
      await expect(list(at('', prefix), 5)).rejects.toThrow(
        / has more than 5 objects: name a longer prefix$/,
      );
      expect(await list(at('nothing/', prefix))).toEqual([]);
    });
  });

  describe('write', () => {
    let working: string;
    beforeEach(() => {
      for (const left of fs.readdirSync(dir)) fs.rmSync(path.join(dir, left));
      working = path.join(dir, randomUUID());
    });
    const target = (address: S3Address) => openS3Target(s3Url(address, address.key), working, options);
    async function* pieces(content: Buffer): AsyncGenerator<Uint8Array> {
      for (let from = 0; from < content.length; from += MB)
        yield await Promise.resolve(content.subarray(from, from + MB));
    }
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield await Promise.reject(new Error('read again'));
    }
    const stored = async (address: S3Address) => {
      const { Body, ContentType } = await client.send(new GetObjectCommand(objectOf(address)));
      return { bytes: Buffer.from(await Body!.transformToByteArray()), type: ContentType };
    };
    const openUploads = async ({ bucket, key }: S3Address) =>
      (await client.send(new ListMultipartUploadsCommand({ Bucket: bucket, Prefix: key }))).Uploads ?? [];

    test.each([
      ['labels.jsonl', 0, 'application/x-ndjson'],
      ['labels.csv', 1000, 'text/csv; charset=utf-8'],
      ['labels.csv.gz', PART, 'application/gzip'],
      ['labels.parquet', 2 * PART + 1, 'application/vnd.apache.parquet'],
    ])('%s of %d bytes', async (name, bytes, type) => {
      const content = randomBytes(bytes);
      const address = at(name);
      const to = await target(address);
      expect(await to.exists()).toBe(false);
      await to.put(pieces(content), false);
      // A repetition, after a crash: nothing is read or written again.
      await to.put(failing(), false);
      await to.settled();
      expect(await to.exists()).toBe(true);
      const found = await stored(address);
      expect([found.bytes.equals(content), found.type]).toEqual([true, type]);
      expect(fs.readdirSync(dir)).toEqual([]);
      expect(await openUploads(address)).toEqual([]);
    });

    test('a file of the working folder, which is removed then', async () => {
      const content = randomBytes(6 * MB);
      fs.writeFileSync(`${working}.partial`, content);
      const address = at('labels.jsonl');
      const to = await target(address);
      await to.take(`${working}.partial`, false);
      expect((await stored(address)).bytes.equals(content)).toBe(true);
      await to.settled();
      expect(fs.readdirSync(dir)).toEqual([]);
    });

    test.each([1000, 6 * MB])(
      'an object that appears meanwhile is not replaced, unless asked: %d bytes',
      async (bytes) => {
        const address = at('labels.jsonl');
        const to = await target(address);
        await put(address, 'of another program');
        const content = randomBytes(bytes);
        const writing = to.put(pieces(content), false);
        await expect(writing).rejects.toMatchObject({ exitCode: EXIT.failed });
        await expect(writing).rejects.toThrow(
          / has been written by another program meanwhile; --resume --force replaces it$/,
        );
        expect((await stored(address)).bytes.toString()).toBe('of another program');
        expect(await openUploads(address)).toEqual([]);
        expect(fs.readdirSync(dir)).toEqual([]);
        await to.put(pieces(content), true);
        expect((await stored(address)).bytes.equals(content)).toBe(true);
      },
    );

    test('an upload that was killed goes on with the parts that are there', async () => {
      const content = randomBytes(16 * MB);
      const address = at('labels.jsonl');
      const to = await target(address);
      const stop = new AbortController();
      const first = await openS3Target(s3Url(address, address.key), working, {
        ...options,
        signal: stop.signal,
      });
      async function* killed(): AsyncGenerator<Uint8Array> {
        for await (const piece of pieces(content.subarray(0, 12 * MB))) yield piece;
        // The first parts have been sent by then.
        await eventuallyParts(address, 2);
        stop.abort(new Error('killed'));
        yield Buffer.alloc(6 * MB);
      }
      await expect(first.put(killed(), false)).rejects.toThrow('killed');
      const [upload] = await openUploads(address);
      const parts = async () =>
        (await client.send(new ListPartsCommand({ ...objectOf(address), UploadId: upload!.UploadId })))
          .Parts!;
      const before = await parts();
      expect(before.length).toBeGreaterThanOrEqual(2);
      // One of them is not that of the output.
      await client.send(
        new UploadPartCommand({
          ...objectOf(address),
          UploadId: upload!.UploadId,
          PartNumber: 2,
          Body: randomBytes(PART),
        }),
      );
      await to.put(pieces(content), false);
      expect((await stored(address)).bytes.equals(content)).toBe(true);
      expect(await openUploads(address)).toEqual([]);
      await to.settled();
      expect(fs.readdirSync(dir)).toEqual([]);
    });
    async function eventuallyParts(address: S3Address, wanted: number): Promise<void> {
      for (;;) {
        const [upload] = await openUploads(address);
        const list =
          upload &&
          (await client.send(new ListPartsCommand({ ...objectOf(address), UploadId: upload.UploadId })));
        if ((list?.Parts?.length ?? 0) >= wanted) return;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }

    test('a run that was killed after its last request does not write again', async () => {
      const address = at('labels.jsonl');
      const to = await target(address);
      fs.writeFileSync(`${working}.upload.json`, JSON.stringify({ writeId: 'mine' }));
      await put(address, 'written before', { Metadata: { 'amulet-write': 'mine' } });
      await to.put(pieces(Buffer.from('again')), false);
      expect((await stored(address)).bytes.toString()).toBe('written before');
      await to.settled();
      expect(fs.readdirSync(dir)).toEqual([]);
    });

    test('an upload that the bucket has aborted begins anew, and so does one of a damaged state', async () => {
      const content = randomBytes(6 * MB);
      for (const state of [
        JSON.stringify({ writeId: 'x', uploadId: 'gone' }),
        '{"writeId":"x',
        '[]',
        '"x"',
      ]) {
        const address = at('labels.jsonl');
        const to = await target(address);
        fs.writeFileSync(`${working}.upload.json`, state);
        await to.put(pieces(content), false);
        expect((await stored(address)).bytes.equals(content)).toBe(true);
      }
    });

    test('--restart aborts the upload of the earlier run', async () => {
      const address = at('labels.jsonl');
      const to = await target(address);
      const { UploadId } = await client.send(new CreateMultipartUploadCommand(objectOf(address)));
      fs.writeFileSync(`${working}.upload.json`, JSON.stringify({ writeId: 'x', uploadId: UploadId }));
      await to.discard();
      expect(await openUploads(address)).toEqual([]);
      expect(fs.readdirSync(dir)).toEqual([]);
    });

    test('refused before the run: no bucket, a prefix', async () => {
      const address = at('labels.jsonl');
      const opening = target({ ...address, bucket: 'amulet-no-such-bucket' });
      await expect(opening).rejects.toMatchObject({
        exitCode: EXIT.usage,
        message: expect.stringMatching(/^--out s3:\S+: there is no bucket amulet-no-such-bucket /),
      });
      await expect(target(at(''))).rejects.toThrow(/: there must be the key of an object, not a prefix$/);
    });

    test('the object is gone again', async () => {
      const address = at('labels.jsonl');
      await put(address, 'x');
      const to = await target(address);
      expect(await to.exists()).toBe(true);
      await client.send(new DeleteObjectCommand(objectOf(address)));
      expect(await to.exists()).toBe(false);
      await expect(client.send(new HeadObjectCommand(objectOf(address)))).rejects.toThrow();
    });
  });
});
