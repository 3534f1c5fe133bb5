/** Files of a backfill survive a power failure: a file is on the disk before it is renamed, the renaming before it counts. */
import { mkdtempSync, rmSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { BackfillState } from '../../src/cli/backfill/state.ts';

/** What is done to files, in order, as `write out.partial`. */
const { calls } = vi.hoisted(() => ({ calls: [] as string[] }));

vi.mock('node:fs/promises', async (importOriginal) => {
  const real = await importOriginal<typeof import('node:fs/promises')>();
  return {
    ...real,
    open: async (file: string, flags?: string, mode?: number): Promise<FileHandle> => {
      const handle = await real.open(file, flags, mode);
      const name = path.basename(file);
      for (const [method, call] of [
        ['write', 'write'],
        ['writeFile', 'write'],
        ['sync', 'sync'],
      ] as const) {
        const original = handle[method].bind(handle) as (...args: unknown[]) => Promise<unknown>;
        Object.assign(handle, {
          [method]: async (...args: unknown[]) => {
            const result = await original(...args);
            calls.push(`${call} ${name}`);
            return result;
          },
        });
      }
      return handle;
    },
    rename: async (from: string, to: string) => {
      await real.rename(from, to);
      calls.push(`rename ${path.basename(from)} ${path.basename(to)}`);
    },
  };
});

// The files of a project share their modules: this one is loaded anew, with the file system above, and forgotten.
vi.resetModules();
const { openDestination } = await import('../../src/cli/backfill/output/destination.ts');
afterAll(() => vi.resetModules());

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'amulet-durability-'));
  calls.length = 0;
});
afterEach(() => rmSync(folder, { recursive: true }));

const STATE: BackfillState = {
  v: 1,
  url: 'http://127.0.0.1:3000/',
  options: { format: 'lines' },
  input: null,
  idempotencyKey: 'k',
  batch: 'b',
  uploaded: true,
  finished: null,
};
const STATE_WRITTEN = [
  'write out.resume.json.new',
  'sync out.resume.json.new',
  'rename out.resume.json.new out.resume.json',
];

test('a state file is synced before it replaces the earlier one', async () => {
  const destination = await openDestination(path.join(folder, 'out'));
  await destination.save(STATE);
  expect(calls).toEqual(STATE_WRITTEN);
  await destination.release();
});

test('rows are synced before the state calls them complete, and before the output is renamed', async () => {
  const destination = await openDestination(path.join(folder, 'out'));
  const output = await destination.openOutput();
  await output.write(Buffer.from('{"line":1}\n'));
  await destination.finish({ state: STATE, finished: { rows: 1, failed: 0 }, convert: undefined }, output);
  await destination.release();
  expect(calls).toEqual([
    'write out.partial',
    'sync out.partial',
    ...STATE_WRITTEN,
    'rename out.partial out',
    // The folder has the names.
    `sync ${path.basename(folder)}`,
  ]);
});
