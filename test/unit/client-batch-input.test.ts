/** The inputs of a batch in the client, and how they are cut into parts. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { parse } from 'csv-parse/sync';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { openInput, type BatchInput } from '../../src/client/batch-input.ts';
import { cutParts } from '../../src/client/batch-parts.ts';
import { concat } from '../../src/shared/bulk/byte-stream.ts';
import { takeHeader } from '../../src/shared/bulk/take-header.ts';
import { fromFile } from '../../src/client/node.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'amulet-client-'));
afterAll(() => rmSync(folder, { recursive: true }));

async function piecesOf(source: AsyncIterable<Uint8Array>): Promise<Buffer[]> {
  const pieces: Buffer[] = [];
  for await (const piece of source) pieces.push(Buffer.from(piece));
  return pieces;
}
async function headerOf(source: AsyncIterable<Uint8Array>) {
  const tooLong = () => new RangeError('too long');
  const taken = await takeHeader(source, { delimiter: ',', maxBytes: 1_000_000, tooLong });
  return taken && { ...taken, columns: Buffer.from(taken.header).toString() };
}
/** Pieces that end between characters. */
const all = async (source: AsyncIterable<Uint8Array>): Promise<string[]> =>
  (await piecesOf(source)).map(String);
const textOf = async (input: BatchInput): Promise<string> =>
  Buffer.concat(await piecesOf((await openInput(input)).bytes)).toString();

describe('rows', () => {
  const expected = '{"id":7,"text":"a\\nb"}\n{"text":"c"}\n';
  const rows = [{ id: 7, text: 'a\nb', other: 1 }, 'c'];

  test.each<[string, BatchInput]>([
    ['a list', rows],
    ['a generator', new Set(rows)],
    ['a stream', Readable.from(rows)],
  ])('%s', async (_, input) => {
    expect(await textOf(input)).toBe(expected);
    expect((await openInput(['a'])).format).toBe('ndjson');
  });

  test('without any', async () => {
    expect(await textOf([])).toBe('');
    expect(await textOf(Readable.from([]))).toBe('');
  });

  test('are read on demand, and closed early if no more are needed', async () => {
    let made = 0;
    let left = false;
    function* endless() {
      try {
        for (;;) yield `text ${made++} ${'x'.repeat(1000)}`;
      } finally {
        left = true;
      }
    }
    const { bytes } = await openInput(endless());
    await bytes.next();
    await bytes.return();
    expect(made).toBeLessThan(200);
    expect(left).toBe(true);
  });

  test('a path is not taken for a list of letters', async () => {
    await expect(openInput('reviews.jsonl')).rejects.toBeInstanceOf(TypeError);
  });
});

describe('bytes', () => {
  const content = '{"text":"ä"}\n{"text":"b"}\n';
  const bytes = Buffer.from(content);
  const pieces = (of: Buffer, size: number) =>
    Readable.from(
      Array.from({ length: Math.ceil(of.length / size) }, (_, i) => of.subarray(i * size, (i + 1) * size)),
    );

  test.each<[string, BatchInput]>([
    ['in memory', bytes],
    ['a stream of Node', pieces(bytes, 5)],
    ['a stream of the web', new Blob([bytes]).stream()],
    ['a Blob', new Blob([bytes])],
    ['gzipped', gzipSync(content)],
    ['gzipped, byte by byte', pieces(gzipSync(content), 1)],
    ['with a byte order mark', Buffer.from(`\ufeff${content}`)],
    ['with a byte order mark, byte by byte', pieces(Buffer.from(`\ufeff${content}`), 1)],
  ])('%s', async (_, input) => {
    expect(await textOf(input)).toBe(content);
  });

  test('damaged gzip is an error, and so is gzip that a browser cannot read', async () => {
    const members = Buffer.concat([gzipSync(content), gzipSync(content)]);
    for (const input of [gzipSync(content).subarray(0, 30), members])
      await expect(textOf(input)).rejects.toMatchObject({ name: 'AmuletError', code: 'bad_gzip' });
  });

  test('gzip with several members is read from a file', async () => {
    const file = path.join(folder, 'members.jsonl.gz');
    const members = [gzipSync(content), gzipSync(content)];
    writeFileSync(file, Buffer.concat(members));
    expect(await textOf(fromFile(file))).toBe(content + content);
    writeFileSync(file, Buffer.concat([members[0]!, Buffer.alloc(9), members[1]!]));
    await expect(textOf(fromFile(file))).rejects.toMatchObject({ code: 'bad_gzip' });
  });

  test('zstd is read from a file', async () => {
    const file = path.join(folder, 'frames.csv.zst');
    const frames = [zstdCompressSync(content), zstdCompressSync(content)];
    writeFileSync(file, Buffer.concat(frames));
    expect(await textOf(fromFile(file))).toBe(content + content);
    expect(fromFile(file).format).toBe('csv');
    writeFileSync(file, frames[0]!.subarray(0, -3));
    await expect(textOf(fromFile(file))).rejects.toMatchObject({ code: 'bad_zstd' });
  });

  test('errors of a gzipped input are thrown unchanged', async () => {
    const cause = new TypeError('the network is away');
    async function* failing() {
      yield gzipSync(content).subarray(0, 30);
      yield await Promise.reject(cause);
    }
    await expect(textOf(failing())).rejects.toBe(cause);
  });

  test('a file, whose name gives its format', async () => {
    const file = (name: string, data: string | Buffer) => {
      writeFileSync(path.join(folder, name), data);
      return fromFile(path.join(folder, name));
    };
    expect(await openInput(file('a.JSONL', content))).toMatchObject({ format: 'ndjson' });
    expect(await openInput(file('a.tsv.gz', gzipSync('a')))).toMatchObject({
      format: 'csv',
      delimiter: '\t',
    });
    expect((await openInput(file('a.data', content))).format).toBeUndefined();
    expect(await openInput(new File(['a'], 'b.txt'))).toMatchObject({ format: 'lines' });
    expect(await textOf(file('b.jsonl.gz', gzipSync(content)))).toBe(content);
    await expect(openInput(fromFile(path.join(folder, 'none')))).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

describe('parts', () => {
  async function* cut(text: string, size: number): AsyncGenerator<Uint8Array> {
    const bytes = Buffer.from(text);
    for (let from = 0; from < bytes.length; from += size)
      yield await Promise.resolve(bytes.subarray(from, from + size));
  }
  const size = fc.integer({ min: 1, max: 20 });

  test('are whole lines, and joined are the input', async () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'ä', '"', '\r', '\n'), maxLength: 80 });
    await fc.assert(
      fc.asyncProperty(text, size, size, async (input, pieceBytes, partBytes) => {
        const parts = await all(cutParts(cut(input, pieceBytes), undefined, partBytes));
        expect(parts.join('')).toBe(input);
        expect(parts.slice(0, -1).every((part) => part.endsWith('\n'))).toBe(true);
        // No more of them than it takes.
        const longest = Math.max(...input.split('\n').map((line) => Buffer.byteLength(line) + 1));
        expect(parts.slice(0, -1).every((part) => Buffer.byteLength(part) >= partBytes)).toBe(true);
        expect(parts.every((part) => Buffer.byteLength(part) < 2 * partBytes + longest)).toBe(true);
        // The same, however the input comes.
        expect(await all(cutParts(cut(input, 1000), undefined, partBytes))).toEqual(parts);
      }),
    );
  });

  test('of CSV are whole records, after the header', async () => {
    const field = fc.string({ unit: fc.constantFrom('a', 'ä', '"', ',', '\n', '\r\n'), maxLength: 6 });
    const rows = fc.array(fc.tuple(field, field), { minLength: 1, maxLength: 12 });
    const quoted = (row: string[]) => row.map((value) => `"${value.replaceAll('"', '""')}"`).join(',');
    await fc.assert(
      fc.asyncProperty(rows, size, size, async (records, pieceBytes, partBytes) => {
        const input = `\n\n${records.map(quoted).join('\r\n')}\r\n`;
        const { columns, firstLine, rest } = (await headerOf(cut(input, pieceBytes)))!;
        expect(columns).toBe(quoted(records[0]!));
        expect(firstLine).toBe(input.slice(0, columns.length + 4).split('\n').length);
        const parts = await all(cutParts(rest, ',', partBytes));
        const readBack = parts.flatMap((part) => parse(part, { relaxColumnCount: true }));
        expect(readBack).toEqual(records.slice(1));
      }),
    );
  });

  test('a CSV without a header, and one of a header alone', async () => {
    expect(await headerOf(cut('\n\r\n', 2))).toBeUndefined();
    expect(await headerOf(cut('a,b', 2))).toMatchObject({ columns: 'a,b' });
  });

  test('an endless record is an error', async () => {
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (;;) yield await Promise.resolve(Buffer.alloc(1024 * 1024, 'x'));
    }
    await expect(all(cutParts(endless(), undefined))).rejects.toBeInstanceOf(RangeError);
  });

  test('of one large piece are of the usual size', async () => {
    const parts = await all(cutParts(cut('12345678\n'.repeat(1_000_000), 1e9), undefined));
    expect(parts.map(({ length }) => length > 4 * 1024 * 1024 && length < 4.5 * 1024 * 1024)).toEqual([
      true,
      true,
      false,
    ]);
    expect(await all(cutParts(cut('12345678\n'.repeat(1_000_000), 60_000), undefined))).toEqual(parts);
    expect(concat([Buffer.from('a'), Buffer.from('b')])).toEqual(new Uint8Array([97, 98]));
  });
});
