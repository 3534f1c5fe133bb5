/** Arbitrary bytes as NDJSON, CSV, lines or gzip: both halves of the reader find the same records, and neither throws. */
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { storePart } from '../../src/api/batches/store-part.ts';
import { readEntry } from '../../src/shared/store/batches/layout.ts';
import { lazyBlobStore } from '../../src/shared/blobs/open.ts';
import type { BlobStore } from '../../src/shared/blobs/blob-store.ts';
import { fromStoredHeader, toHeader } from '../../src/shared/bulk/csv.ts';
import { InputError, type InputSpec } from '../../src/shared/bulk/input.ts';
import { parseChunk } from '../../src/shared/bulk/parse.ts';
import { splitRecords, type InputChunk } from '../../src/shared/bulk/split.ts';
import { AppError } from '../../src/shared/contract/problems.ts';
import { textProblem } from '../../src/shared/contract/text.ts';
import { fuzz } from '../support/inputs/fuzz.ts';
import { inPieces } from '../support/inputs/pieces.ts';

const PARSE_LIMITS = { maxTextChars: 50, maxIdChars: 5 };
const HEADER_LIMITS = { columns: 10, bytes: 60 };
const header = (...columns: string[]) => toHeader(columns, { textField: 'text' });
const input: fc.Arbitrary<InputSpec> = fc.oneof(
  fc.constant<InputSpec>({ format: 'ndjson', textField: 'text' }),
  fc.constant<InputSpec>({ format: 'lines', textField: 'text' }),
  fc.record({
    format: fc.constant('csv' as const),
    textField: fc.constant('text'),
    delimiter: fc.constantFrom(',', ';', '\t'),
    header: fc.option(fc.constantFrom(header('id', 'text'), header('text')), { nil: undefined }),
  }),
);
/** Bytes with much of what the formats are made of. */
const bytes = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        '\n',
        '\r\n',
        '\r',
        '"',
        '""',
        ',',
        ';',
        '\t',
        '\ufeff',
        '{',
        '}',
        '\0',
        '\u0001',
        '\\',
        ' ',
      ),
      fc.constantFrom(
        '{"text":"a"}',
        '{"id":1,"text":"b"}',
        'id,text\n',
        'text\n',
        '1,"a\nb"\n',
        '{"text":"\\ud800"}',
      ),
      fc.string({ unit: 'grapheme', maxLength: 5 }),
      fc.uint8Array({ maxLength: 4 }),
    ),
    { maxLength: 40 },
  )
  .map((parts) => Buffer.concat(parts.map((part) => Buffer.from(part as string))));
const limits = fc.record({
  chunkRows: fc.integer({ min: 1, max: 5 }),
  chunkBytes: fc.integer({ min: 1, max: 100 }),
  maxRecordBytes: fc.integer({ min: 8, max: 60 }),
  header: fc.constant(HEADER_LIMITS),
});
const sizes = fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 5 });

describe('records', () => {
  test('split and parse find the same ones, on the same lines, for any chunks of bytes', async () => {
    await fc.assert(
      fc.asyncProperty(bytes, input, limits, sizes, async (file, spec, cut, pieces) => {
        const chunks: InputChunk[] = [];
        try {
          for await (const chunk of splitRecords(inPieces(file, pieces), spec, cut)) chunks.push(chunk);
        } catch (error) {
          // A header that is none; nothing else may stop an upload.
          expect(error).toBeInstanceOf(InputError);
          expect(chunks).toEqual([]);
          return;
        }
        let line = 0;
        for (const chunk of chunks) {
          const read = { ...spec, header: chunk.header };
          const rows = [...parseChunk(chunk.bytes, read, chunk.firstLine, PARSE_LIMITS)];
          // A worker refuses a chunk that has another number of rows than the API has counted.
          expect(rows).toHaveLength(chunk.rows);
          expect(rows[0]?.line).toBe(chunk.firstLine);
          for (const row of rows) {
            expect(row.line).toBeGreaterThan(line);
            line = row.line;
            if ('text' in row) expect(textProblem(row.text, PARSE_LIMITS.maxTextChars)).toBeUndefined();
            else expect(row.error.message).not.toBe('');
          }
        }
      }),
      fuzz(1000),
    );
  });
});

describe('an upload', () => {
  let folder: string;
  let blobs: BlobStore;
  beforeAll(async () => {
    folder = mkdtempSync(path.join(tmpdir(), 'amulet-fuzz-'));
    blobs = await lazyBlobStore(`file:${folder}`)();
  });
  afterAll(() => {
    blobs.close();
    rmSync(folder, { recursive: true });
  });
  const compressed = fc.oneof(
    bytes.map((file) => gzipSync(file)),
    fc.tuple(bytes, fc.nat(60)).map(([file, end]) => gzipSync(file).subarray(0, end)),
    fc.tuple(bytes, fc.nat(60), fc.nat(255)).map(([file, at, byte]) => {
      const zipped = Buffer.from(gzipSync(file));
      if (at < zipped.length) zipped[at] = byte;
      return zipped;
    }),
    // Several members, and something behind the last one.
    fc.tuple(bytes, bytes).map(([a, b]) => Buffer.concat([gzipSync(a), gzipSync(b)])),
    fc.tuple(bytes, bytes).map(([a, b]) => Buffer.concat([gzipSync(a), b])),
    bytes,
  );

  test('of arbitrary gzip is stored whole, or refused with a reason and leaves nothing behind', async () => {
    await fc.assert(
      fc.asyncProperty(compressed, input, sizes, async (body, spec, pieces) => {
        try {
          const part = await storePart(blobs, inPieces(body, pieces), {
            blob: 'part',
            gzip: true,
            input: spec,
            sniff: () => undefined,
            chunkBytes: 50,
            maxRecordBytes: 40,
            maxHeader: HEADER_LIMITS,
            storedHeader: { header: spec.header },
            reserve: (size) => {
              if (size > 500) throw new AppError('body_too_large', 'too large');
              return undefined;
            },
            admitChunk: () => {},
            pace: { idleMs: 5000, minBytesPerS: 0 },
            onBytes: () => {},
          });
          const index = await blobs.read('part.index');
          const stored = await blobs.read('part.data');
          let rows = 0;
          for (let chunk = 0; chunk < part.chunks; chunk++) {
            const entry = readEntry(index, chunk);
            const data = stored.subarray(entry.offset, entry.offset + entry.bytes);
            const read = { ...spec, header: fromStoredHeader(part, spec) };
            rows += [...parseChunk(data, read, entry.firstLine, PARSE_LIMITS)].length;
          }
          expect(rows).toBe(part.rows);
        } catch (error) {
          if (!(error instanceof AppError)) throw error;
          for await (const key of blobs.list('')) expect(key).toBeUndefined();
          expect(['malformed_body', 'invalid_request', 'body_too_large']).toContain(error.code);
        }
        await blobs.delete(['part.data', 'part.index']);
        for await (const key of blobs.list('')) expect(key).toBeUndefined();
      }),
      fuzz(300),
    );
  });
});
