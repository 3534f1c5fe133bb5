/** Parquet as JSON Lines: two columns of it, and one clear error for a file or a column that cannot be read. */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findSource } from '../../src/cli/backfill/input/inputs.ts';
import { openRecords } from '../../src/cli/backfill/input/records.ts';
import type { BatchOptions } from '../../src/client/batches.ts';

const fixture = (name: string): string => path.resolve('test/fixtures/parquet', `${name}.parquet`);
const whole = fs.readFileSync(fixture('snappy'));

let dir: string;
beforeAll(() => {
  dir = fs.mkdtempSync(path.join(tmpdir(), 'amulet-parquet-'));
});
afterAll(() => {
  fs.rmSync(dir, { recursive: true, force: true });
});

const remote = { signal: new AbortController().signal, retryTimeoutMs: 1000 };

async function read(file: string, options: Partial<BatchOptions> = {}): Promise<string> {
  const input = await openRecords(
    await findSource(file, remote),
    { format: 'parquet' },
    { format: 'ndjson', ...options },
  );
  try {
    const pieces: Uint8Array[] = [];
    for await (const piece of input.read(new AbortController().signal)) pieces.push(piece);
    expect(input.position()).toBe(fs.statSync(file).size);
    return Buffer.concat(pieces).toString('latin1');
  } finally {
    input.close();
  }
}

test('ids of 64 bits stay exact, and a null is no id and no text', async () => {
  expect(await read(fixture('nulls'))).toBe(
    '{"id":"1","text":"a"}\n{"id":"1152921504606846976","text":null}\n{"text":"c"}\n',
  );
});

test('a file without rows', async () => {
  expect(await read(fixture('empty'))).toBe('');
});

test('only the columns that are asked for are read', async () => {
  const lines = await read(fixture('zstd'), { text_field: 'id', id_field: 'other' });
  expect(lines.split('\n', 2)).toEqual(['{"other":"0","id":"r1"}', '{"other":"1","id":"r2"}']);
});

describe('refused before anything is uploaded, in one line', () => {
  test.each<[string, Partial<BatchOptions>, RegExp]>([
    ['list', {}, /the column "text" holds lists, not texts$/],
    ['struct', {}, /the column "text" holds nested records, not texts$/],
    ['numbers', {}, /the column "text" holds numbers \(INT64\), not texts; is it --text-field review\?$/],
    ['twice', {}, /twice\.parquet has two columns "text": rename one$/],
    ['snappy', { text_field: 'body' }, /there is no column "body", but .*text.*; is it --text-field text\?$/],
    ['snappy', { id_field: 'key' }, /there is no column "key": /],
    ['times', {}, /the column "id" holds INT64 TIMESTAMP, which are no ids: choose another with --id-field$/],
  ])('%s', async (name, options, message) => {
    await expect(read(fixture(name), options)).rejects.toMatchObject({
      exitCode: 2,
      message: expect.stringMatching(message),
    });
  });

  test.each<[string, Buffer, RegExp]>([
    [
      'cut',
      whole.subarray(0, 3000),
      /cut\.parquet is cut off: its end, with the index of Parquet, is missing$/,
    ],
    ['text', Buffer.from('id,text\n1,a\n'), /text\.parquet is not Parquet: name its format with --format/],
    ['nothing', Buffer.alloc(0), /is not Parquet/],
    ['marks', Buffer.from('PAR1PAR1'), /is cut off/],
    ['encrypted', Buffer.from('PAR1 some data PARE'), /is encrypted Parquet: decrypt it first$/],
    [
      'index',
      Buffer.concat([whole.subarray(0, -8), Buffer.from('ffffff7f50415231', 'hex')]),
      /index is longer than the file$/,
    ],
    [
      'noise',
      Buffer.concat([Buffer.from('PAR1'), Buffer.alloc(64, 0xee), Buffer.from('4000000050415231', 'hex')]),
      /has a damaged Parquet index: /,
    ],
  ])('%s', async (name, content, message) => {
    const file = path.join(dir, `${name}.parquet`);
    fs.writeFileSync(file, content);
    await expect(read(file)).rejects.toMatchObject({ exitCode: 2, message: expect.stringMatching(message) });
  });

  test('standard input', async () => {
    const input = await openRecords(
      await findSource('-', remote),
      { format: 'parquet' },
      { format: 'ndjson' },
    );
    await expect(input.read(new AbortController().signal).next()).rejects.toThrow(
      /^standard input cannot be read as Parquet, .*: save it to a file first$/,
    );
  });
});

test('damaged pages are an error that names the row group', async () => {
  const file = path.join(dir, 'pages.parquet');
  fs.writeFileSync(file, Buffer.from(whole.map((byte, i) => (i > 500 && i < 2000 ? byte ^ 0x55 : byte))));
  await expect(read(file)).rejects.toMatchObject({
    exitCode: 1,
    message: expect.stringMatching(/pages\.parquet has a damaged row group 1 of 3: /),
  });
});
