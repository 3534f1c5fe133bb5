/** What keeps `npm start` from writing is said in a line, with a cure, and waited out where that helps. */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { makeDataDir, temporarySocket, waitForDiskSpace } from '../../src/launcher/data-dir.ts';
import { readOrCreateWebhookSecret } from '../../src/launcher/webhook-secret.ts';
import { StartupError } from '../../src/shared/runtime/startup-error.ts';
import { SmallDisk } from '../support/storage/small-disk.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'amulet-data-'));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(dir, { recursive: true, force: true });
});

test('creates the folder and its subfolders, and leaves no probe files', () => {
  const made = makeDataDir(path.join(dir, 'a/b'));
  expect(made).toBe(path.join(dir, 'a/b'));
  expect(readdirSync(made).sort()).toEqual(['logs', 'redis']);
  for (const name of ['logs', 'redis']) expect(readdirSync(path.join(made, name))).toEqual([]);
});

test('a file in its place, or above it', () => {
  const file = path.join(dir, 'file');
  writeFileSync(file, '');
  expect(() => makeDataDir(file)).toThrow(/DATA_DIR=\S+: .*is a file|a file has this name/);
  expect(() => makeDataDir(path.join(file, 'x'))).toThrow(/a folder of this path is a file/);
  expect(() => makeDataDir(path.join(file, 'x'))).toThrow(StartupError);
});

test.skipIf(!existsSync('/sys/kernel'))('a file system on which nothing can be made', () => {
  expect(() => makeDataDir('/sys/kernel/amulet')).toThrow(
    /^DATA_DIR=\/sys\/kernel\/amulet: .*set DATA_DIR to /,
  );
});

test.skipIf(!existsSync('/proc/self'))('a folder below one where nothing can be made', () => {
  expect(() => makeDataDir('/proc/amulet/data')).toThrow(
    /^DATA_DIR=\/proc\/amulet\/data: no folder can be created there: set DATA_DIR to another folder$/,
  );
});

const disk = SmallDisk.mount('2m');
describe.skipIf(typeof disk === 'string')(
  `a full disk${typeof disk === 'string' ? ` (skipped: ${disk})` : ''}`,
  () => {
    afterAll(() => (disk as SmallDisk).unmount());

    test('waits for disk space: removes unneeded files, and prints the reason once', async () => {
      const { folder } = disk as SmallDisk;
      const leftover = (disk as SmallDisk).fill();
      const said: string[] = [];
      let sweeps = 0;
      await waitForDiskSpace(path.join(folder, 'data'), {
        print: (line) => said.push(line),
        isStopping: () => false,
        sweep: () => {
          if (++sweeps === 3) rmSync(leftover);
          return Promise.resolve();
        },
      });
      expect(said).toEqual([
        expect.stringMatching(
          /^waiting: .*DATA_DIR.*: the disk is full: make room, .*; press Ctrl-C to give up$/,
        ),
      ]);
      expect(sweeps).toBe(3);
    });

    test('read-only is no reason to wait', async () => {
      (disk as SmallDisk).remount('ro');
      const waiting = waitForDiskSpace((disk as SmallDisk).folder, {
        print: () => {},
        isStopping: () => false,
        sweep: () => Promise.resolve(),
      });
      await expect(waiting).rejects.toThrow(/it is on a read-only file system: set DATA_DIR to/);
    });

    test('a secret that cannot be written leaves no file behind', () => {
      (disk as SmallDisk).remount('rw');
      const { folder } = disk as SmallDisk;
      const filler = (disk as SmallDisk).fill();
      expect(() => readOrCreateWebhookSecret(folder)).toThrow(/webhook-secret: ENOSPC/);
      rmSync(filler);
      expect(readOrCreateWebhookSecret(folder)).toMatch(/^whsec_/);
    });
  },
);

// Root may write everywhere: the rights are those of somebody else.
test.skipIf(process.getuid?.() !== 0).each(['', 'logs', 'redis'])(
  'a folder that this user may not write to: %j',
  (name) => {
    mkdirSync(path.join(dir, name), { recursive: true, mode: 0o755 });
    chmodSync(dir, name === '' ? 0o755 : 0o777);
    const script = `process.setgid(65534); process.setuid(65534);
      const { makeDataDir } = await import(process.argv[1]);
      try { makeDataDir(process.argv[2]); } catch (error) { console.log(error.name, error.message); }`;
    const { stdout } = spawnSync(
      process.execPath,
      [
        '--disable-warning=ExperimentalWarning',
        '--input-type=module',
        '-e',
        script,
        path.resolve('src/launcher/data-dir.ts'),
        dir,
      ],
      { encoding: 'utf8', cwd: '/' },
    );
    expect(stdout).toMatch(
      /^StartupError .*DATA_DIR.*this user may not write to it: give it the right .* or set DATA_DIR/,
    );
    expect(stdout.trim().split('\n')).toHaveLength(1);
  },
);

test('a folder for temporary files that is missing, or whose path is too long for a socket, is not used', () => {
  vi.stubEnv('TMPDIR', path.join(dir, 'none'));
  expect(temporarySocket('a.sock')).toBe('/tmp/a.sock');
  const long = path.join(dir, 'x'.repeat(120));
  mkdirSync(long);
  vi.stubEnv('TMPDIR', long);
  expect(temporarySocket('a.sock')).toBe('/tmp/a.sock');
  vi.stubEnv('TMPDIR', dir);
  expect(temporarySocket('a.sock')).toBe(path.join(dir, 'a.sock'));
  expect(() => temporarySocket('x'.repeat(120))).toThrow(
    /^TMPDIR=.*set TMPDIR to a folder with a short path$/,
  );
});
