/** `.env` in the working folder of every process that reads it: its keys are asked for, or the process does not start. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { appendFileSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { freePort } from '../support/redis/redis.ts';
import { eventually } from '../support/processes/stack.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
const NODE = ['--disable-warning=ExperimentalWarning'];
const SERVERS = [
  'src/api/main.ts',
  'src/worker/inference/main.ts',
  'src/worker/webhooks/main.ts',
  'src/main.ts',
];

let dir: string;
let child: ChildProcess | undefined;
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'amulet-env-'));
});
afterEach(async () => {
  if (child?.exitCode === null) {
    const closed = new Promise((resolve) => child?.once('close', resolve));
    child.kill('SIGKILL');
    await closed;
  }
  child = undefined;
  rmSync(dir, { recursive: true, force: true });
});

/** With what the processes of other tests are told left out. */
function inFolder(changes: Record<string, string> = {}) {
  const { REDIS_URL: _redis, API_KEYS: _keys, ...inherited } = process.env;
  return { cwd: dir, env: { ...inherited, ...changes }, encoding: 'utf8' } as const;
}

test('the API asks for a key that the file as Notepad saves it names, and warns of a misspelt setting', async () => {
  copyFileSync(path.join(ROOT, 'test/fixtures/cases/env-bom/env-with-bom'), path.join(dir, '.env'));
  appendFileSync(path.join(dir, '.env'), '\nNODE_TLS_REJECT_UNAUTHORIZED=0\n');
  const port = await freePort();
  const env = { PORT: String(port), METRICS_PORT: '0', REDIS_URL: 'redis://127.0.0.1:1', MAX_TEXT_CHAR: '9' };
  child = spawn(process.execPath, [...NODE, path.join(ROOT, 'src/api/main.ts')], inFolder(env));
  let log = '';
  child.stdout?.on('data', (chunk: Buffer) => (log += chunk.toString()));
  const answer = await eventually(() => fetch(`http://127.0.0.1:${port}/v1/models`).catch(() => undefined));
  expect(answer.status).toBe(401);
  expect(log).toMatch(/"level":40.*MAX_TEXT_CHAR in the environment.*did you mean MAX_TEXT_CHARS\?/);
  expect(log).toMatch(
    /"level":40.*NODE_TLS_REJECT_UNAUTHORIZED=0: certificates of Redis, buckets and receivers are not checked/,
  );
});

test.each(SERVERS)('%s does not start with a file that it cannot read, and says why in a line', (entry) => {
  writeFileSync(path.join(dir, '.env'), Buffer.from('\uFEFFAPI_KEYS=secret\n', 'utf16le'));
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [...NODE, path.join(ROOT, entry)],
    inFolder(),
  );
  expect(status).toBe(entry === 'src/main.ts' ? 1 : 78);
  expect(stderr).toBe('');
  expect(stdout.trim().split('\n')).toEqual([expect.stringMatching(/\.env is UTF-16.*save it as UTF-8/)]);
});

test('the command refuses a file that may hold its key, and minds no line that is for others', () => {
  const backfill = () => {
    writeFileSync(path.join(dir, 'in.txt'), 'a text\n');
    const args = [path.join(ROOT, 'src/cli/bin.js'), 'backfill', 'in.txt', '--out', 'o', '--patience', '0'];
    return spawnSync(process.execPath, [...args, '--url', 'http://127.0.0.1:1'], inFolder());
  };
  mkdirSync(path.join(dir, '.env'));
  expect(backfill()).toMatchObject({ status: 2, stderr: expect.stringContaining('.env is a folder') });
  rmSync(path.join(dir, '.env'), { recursive: true });
  writeFileSync(path.join(dir, '.env'), 'AMULET_API_KEY secret\n');
  const refused = backfill();
  expect(refused).toMatchObject({ status: 2, stderr: expect.stringContaining('line 1 is not NAME=value') });
  expect(refused.stderr).not.toContain('secret');
  writeFileSync(path.join(dir, '.env'), 'a line of another program\n');
  expect(backfill().stderr).not.toContain('.env');
});
