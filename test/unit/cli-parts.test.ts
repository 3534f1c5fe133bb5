/** The parts of an upload: no record is lost or shifted, and the server reads the same rows as from the whole input. */
import fc from 'fast-check';
import { expect, describe, test } from 'vitest';
import { BufferPool } from '../../src/cli/backfill/upload/buffer-pool.ts';
import { takeCsvHeader } from '../../src/cli/backfill/input/header.ts';
import { cutParts } from '../../src/cli/backfill/upload/parts.ts';
import type { InputSpec } from '../../src/shared/bulk/input.ts';
import { parseChunk } from '../../src/shared/bulk/parse.ts';
import { toHeader } from '../../src/shared/bulk/csv.ts';
import { splitRecords } from '../../src/shared/bulk/split.ts';
import { inPieces } from '../support/inputs/pieces.ts';

const SPECS = {
  ndjson: { format: 'ndjson', textField: 'text' },
  csv: { format: 'csv', textField: 'text' },
  lines: { format: 'lines', textField: 'text' },
} satisfies Record<string, InputSpec>;
const formats = Object.values(SPECS);
const PARSE_LIMITS = { maxTextChars: 1000, maxIdChars: 10 };

interface CutPart {
  bytes: Buffer;
  rows: number;
}

/** Copies of the parts; the buffers go round as they do in an upload. */
async function cut(source: AsyncIterable<Buffer>, spec: InputSpec, partBytes: number, firstLine = 1) {
  const pool = new BufferPool(2, partBytes);
  const parts: CutPart[] = [];
  for await (const part of cutParts(source, spec, firstLine, pool)) {
    expect(part.number).toBe(parts.length + 1);
    parts.push({ bytes: Buffer.from(part.bytes), rows: part.rows });
    part.release();
  }
  return parts;
}

/** What the server makes of parts: rows with their lines. */
async function read(
  parts: readonly Pick<CutPart, 'bytes'>[],
  spec: InputSpec,
  maxRecordBytes: number,
  firstLine = 1,
) {
  const limits = { chunkRows: 1e9, chunkBytes: 1e9, maxRecordBytes, header: { columns: 100, bytes: 1000 } };
  const rows = [];
  const rowsOfParts = [];
  let line = firstLine;
  for (const part of parts) {
    const records = splitRecords(inPieces(part.bytes), spec, limits);
    const before = rows.length;
    for (;;) {
      const next = await records.next();
      if (next.done === true) {
        line += next.value.lines;
        break;
      }
      rows.push(...parseChunk(next.value.bytes, spec, line - 1 + next.value.firstLine, PARSE_LIMITS));
    }
    rowsOfParts.push(rows.length - before);
  }
  return { rows, rowsOfParts };
}

const telling = fc.constantFrom(...Buffer.from('"",\n\n\n\r {}a1\xff', 'latin1'));
const noise = fc
  .array(fc.oneof({ weight: 6, arbitrary: telling }, fc.integer({ min: 0, max: 255 })), { maxLength: 400 })
  .map((values) => Buffer.from(values));
const pieceSizes = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 10 });
const ONE_COLUMN = toHeader(['text'], { textField: 'text' });
const COLUMNS = { header: toHeader(['id', 'text'], { textField: 'text' }) };

describe.each(formats)('any bytes as $format', (format) => {
  const spec = { ...format, ...(format.format === 'csv' && COLUMNS) };

  test('the parts joined are the input; each has whole records; the pieces of the source do not matter', async () => {
    await fc.assert(
      fc.asyncProperty(noise, pieceSizes, fc.integer({ min: 1, max: 60 }), async (bytes, sizes, size) => {
        const largest = await longestRecord(bytes, spec);
        const partBytes = Math.max(size, largest);
        const parts = await cut(inPieces(bytes, sizes), spec, partBytes);
        expect(Buffer.concat(parts.map((part) => part.bytes))).toEqual(bytes);
        expect(parts).toEqual(await cut(inPieces(bytes), spec, partBytes));
        for (const part of parts) expect(part.bytes.length).toBeLessThanOrEqual(partBytes);
        // Records do not span parts: the server finds the same rows, on the same lines, as in the whole.
        const whole = await read([{ bytes }], spec, 1e6);
        const cutUp = await read(parts, spec, 1e6);
        // A byte order mark inside is stripped by the server at the beginning of a part; the noise has none.
        expect(cutUp.rows).toEqual(whole.rows);
        expect(parts.map((part) => part.rows)).toEqual(cutUp.rowsOfParts);
      }),
      { numRuns: 500 },
    );
  });

  test('a record too long for a part is an error row in its place, and shifts no other row', async () => {
    await fc.assert(
      fc.asyncProperty(
        noise,
        pieceSizes,
        fc.integer({ min: 80, max: 120 }),
        async (bytes, sizes, partBytes) => {
          const maxRecordBytes = 40;
          const parts = await cut(inPieces(bytes, sizes), spec, partBytes);
          const whole = await read([{ bytes }], spec, maxRecordBytes);
          expect((await read(parts, spec, maxRecordBytes)).rows).toEqual(whole.rows);
          for (const part of parts) expect(part.bytes.length).toBeLessThanOrEqual(partBytes);
        },
      ),
      { numRuns: 500 },
    );
  });
});

/** Bytes of the longest record, its ending included. */
async function longestRecord(bytes: Buffer, spec: InputSpec): Promise<number> {
  const single = await cut(inPieces(bytes), spec, bytes.length + 1);
  // That of an empty line, which is no record.
  let longest = 2;
  for (const part of single) {
    for (const chunk of await collect(
      splitRecords(inPieces(part.bytes), spec, {
        chunkRows: 1,
        chunkBytes: 1,
        maxRecordBytes: 1e6,
        header: { columns: 100, bytes: 1000 },
      }),
    )) {
      longest = Math.max(longest, chunk.bytes.length);
    }
  }
  return longest;
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

describe('records that are too long', () => {
  const limits = { maxRecordBytes: 1000 };

  test.each(formats)(
    '$format: what stands for it is an error even where such a length is allowed',
    async (format) => {
      const spec = { ...format, ...(format.format === 'csv' && { header: ONE_COLUMN }) };
      const long = 'x'.repeat(5000);
      const record = { csv: `"${long}"`, ndjson: `{"text":"${long}"}`, lines: long }[format.format];
      const short = { csv: 'a', ndjson: '{"text":"a"}', lines: 'a' }[format.format];
      const parts = await cut(inPieces(Buffer.from(`${short}\n${record}\n${short}`)), spec, 2000);
      expect(parts.map(({ rows }) => rows)).toEqual([1, 1, 1]);
      for (const maxRecordBytes of [limits.maxRecordBytes, 1e9]) {
        const { rows } = await read(parts, spec, maxRecordBytes);
        expect(rows).toMatchObject([
          { line: 1, text: 'a' },
          { line: 2, error: {} },
          { line: 3, text: 'a' },
        ]);
      }
    },
  );

  test('line feeds inside quotes count, even in the last record', async () => {
    const inside = `"${'xxxxxxxxx\n'.repeat(1000)}`;
    const spec = { ...SPECS.csv, header: ONE_COLUMN };
    const ended = await cut(inPieces(Buffer.from(`a\n${inside}"\nb`)), spec, 4000);
    expect((await read(ended, spec, 3000)).rows).toMatchObject([
      { line: 1 },
      { line: 2, error: { message: expect.stringContaining('continues to line 1002') } },
      { line: 1003, text: 'b' },
    ]);
    const open = await cut(inPieces(Buffer.from(`a\n${inside}`)), spec, 4000);
    expect((await read(open, spec, 3000)).rows).toMatchObject([{ line: 1 }, { line: 2, error: {} }]);
  });

  test('more lines than a part has bytes', async () => {
    const file = Buffer.from(`a\n"${'\n'.repeat(3000)}`);
    await expect(cut(inPieces(file), { ...SPECS.csv, ...COLUMNS }, 1000, 7)).rejects.toThrow(
      'the record that begins on line 8 spans 3000 lines: is a quote missing?',
    );
  });
});

test('an empty input makes no parts', async () => {
  expect(await cut(inPieces(Buffer.alloc(0)), SPECS.lines, 100)).toEqual([]);
});

test('cutting waits for a reader to release its buffers', async () => {
  const pool = new BufferPool(2, 4);
  const parts = cutParts(inPieces(Buffer.from('aaa\nbbb\nccc\nddd\n')), SPECS.lines, 1, pool);
  const first = (await parts.next()).value!;
  let second: unknown;
  const waiting = parts.next().then((next) => (second = next.value));
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(second).toBeUndefined();
  expect(first.bytes.toString()).toBe('aaa\n');
  first.release();
  await waiting;
  expect(second).toMatchObject({ number: 2 });
  const third = parts.next();
  pool.close(new Error('over'));
  await expect(third).rejects.toThrow('over');
});

describe('the header of a CSV file', () => {
  const spec: InputSpec = { ...SPECS.csv, delimiter: ';' };
  async function header(file: string | Buffer, input = spec, sizes?: number[]) {
    const { columns, firstLine, rest } = await takeCsvHeader(
      inPieces(Buffer.from(file as string), sizes),
      input,
    );
    return { columns, firstLine, rest: Buffer.concat(await collect(rest)).toString() };
  }

  test.each([[[1]], [[3]], [[1000]]])('in pieces of %j bytes', async (sizes) => {
    expect(await header('\r\n\n"te""x;\nt";text;id\r\na;b;c\n\nd', spec, sizes)).toEqual({
      columns: '"te""x;\nt";text;id',
      firstLine: 5,
      rest: 'a;b;c\n\nd',
    });
  });

  test('alone, with and without a line ending', async () => {
    expect(await header('text')).toEqual({ columns: 'text', firstLine: 1, rest: '' });
    expect(await header('text\n')).toEqual({ columns: 'text', firstLine: 2, rest: '' });
  });

  test.each<[string, string | Buffer, Partial<InputSpec>]>([
    ['the input has no header', '', {}],
    ['the input has no header', '\n\r\n', {}],
    ['text column "text" is not in the header: a, b', 'a;b\n', {}],
    ['id column "key" is not in the header: text', 'text\n', { idField: 'key' }],
    ['the header has a quoted field that is not closed', 'text;"b', {}],
    ['the header is not valid UTF-8', Buffer.from('text;\xff\n', 'latin1'), {}],
    ['the header is longer than 1000000 bytes', `text;${'x'.repeat(1_100_000)}`, {}],
  ])('%s', async (message, file, overrides) => {
    await expect(header(file, { ...spec, ...overrides })).rejects.toThrow(message);
  });
});
