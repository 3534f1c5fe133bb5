/** Parquet files with damaged bytes: lines, or one error of one line; whole rows at most, and never more than the file has. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findSource } from '../../src/cli/backfill/input/inputs.ts';
import { openRecords } from '../../src/cli/backfill/input/records.ts';
import { CliError } from '../../src/cli/terminal/exit.ts';
import { fuzz } from '../support/inputs/fuzz.ts';

const FIXTURES = [
  'snappy',
  'zstd',
  'gzip',
  'lz4',
  'brotli',
  'delta',
  'dictionary',
  'nulls',
  'binary',
  'times',
];
const contents = FIXTURES.map((name) => readFileSync(`test/fixtures/parquet/${name}.parquet`));
const ROWS = 300;
const remote = { signal: new AbortController().signal, retryTimeoutMs: 1000 };

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'amulet-fuzz-parquet-'));
});
afterAll(() => {
  rmSync(dir, { recursive: true });
});

/** A fixture with some bytes changed, left out or repeated, or cut off. */
const damaged = fc
  .record({
    file: fc.constantFrom(...contents),
    edits: fc.array(
      fc.record({
        at: fc.double({ min: 0, max: 1, noNaN: true }),
        bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }),
        kind: fc.constantFrom('change', 'change', 'change', 'insert', 'remove'),
      }),
      { maxLength: 6 },
    ),
    cut: fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { nil: undefined, freq: 10 }),
  })
  .map(({ file, edits, cut }) => {
    let bytes = Buffer.from(file);
    for (const edit of edits) {
      const at = Math.floor(edit.at * bytes.length);
      const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)];
      if (edit.kind === 'change') bytes.set(edit.bytes.subarray(0, after.length), at);
      else if (edit.kind === 'insert') bytes = Buffer.concat([before, edit.bytes, after]);
      else bytes = Buffer.concat([before, after.subarray(edit.bytes.length)]);
    }
    return cut === undefined ? bytes : bytes.subarray(0, Math.floor(cut * bytes.length));
  });

test('a damaged file is read as lines, or refused in one line', { timeout: 120_000 }, async () => {
  const file = path.join(dir, 'in.parquet');
  await fc.assert(
    fc.asyncProperty(damaged, async (content) => {
      writeFileSync(file, content);
      const input = await openRecords(
        await findSource(file, remote),
        { format: 'parquet' },
        { format: 'ndjson' },
      );
      let lines = 0;
      try {
        for await (const piece of input.read(new AbortController().signal)) {
          expect(piece.at(-1)).toBe(0x0a);
          lines += Buffer.from(piece).toString('latin1').split('\n').length - 1;
        }
      } catch (error) {
        if (!(error instanceof CliError)) throw error;
        expect(error.message).toMatch(/^\S+in\.parquet[ :].*[^.]$/);
        expect([1, 2]).toContain(error.exitCode);
      } finally {
        input.close();
      }
      expect(lines).toBeLessThanOrEqual(ROWS);
    }),
    fuzz(1500),
  );
});
