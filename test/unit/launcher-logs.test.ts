/** Log files of `npm start` have an end, and a person can read them. */
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { RotatingLog, rotateIfFull } from '../../src/launcher/rotating-log.ts';
import { readableLine } from '../../src/shared/runtime/log-line.ts';

let dir: string;
let file: string;
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'amulet-logs-'));
  file = path.join(dir, 'api.log');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const lines = (name: string) => readFileSync(path.join(dir, name), 'utf8').trimEnd().split('\n');

test('a full log is renamed, and only the newest are kept: no line is cut or lost in between', () => {
  const log = new RotatingLog(file, { maxBytes: 100, maxFiles: 3 });
  for (let i = 0; i < 50; i++) log.writeLine(`line ${String(i).padStart(3, '0')}`);
  log.close();
  expect(readdirSync(dir).sort()).toEqual(['api.log', 'api.log.1', 'api.log.2']);
  for (const name of readdirSync(dir)) expect(statSync(path.join(dir, name)).size).toBeLessThanOrEqual(100);
  const kept = ['api.log.2', 'api.log.1', 'api.log'].flatMap(lines);
  expect(kept).toEqual(Array.from({ length: kept.length }, (_, i) => `line 0${50 - kept.length + i}`));
});

test('appends to the log of an earlier process, even one beyond the limit', () => {
  writeFileSync(file, 'x'.repeat(150));
  const log = new RotatingLog(file, { maxBytes: 100, maxFiles: 2 });
  log.writeLine('new');
  log.close();
  expect(lines('api.log')).toEqual(['new']);
  const again = new RotatingLog(file, { maxBytes: 100, maxFiles: 2 });
  again.writeLine('more');
  again.close();
  expect(lines('api.log')).toEqual(['new', 'more']);
});

test('one file is kept where only one is wanted', () => {
  const log = new RotatingLog(file, { maxBytes: 10, maxFiles: 1 });
  for (const line of ['first', 'second', 'third']) log.writeLine(line);
  log.close();
  expect(readdirSync(dir)).toEqual(['api.log']);
  expect(lines('api.log')).toEqual(['third']);
});

test('a log that cannot be written loses lines, and takes nothing down', () => {
  writeFileSync(file, '');
  const log = new RotatingLog(path.join(file, 'api.log'), { maxBytes: 10, maxFiles: 2 });
  log.writeLine('lost');
  log.close();
  rotateIfFull(path.join(file, 'api.log'), { maxBytes: 0, maxFiles: 2 });
});

test('a log continues once its missing folder can be created again', () => {
  const below = path.join(dir, 'logs', 'api.log');
  writeFileSync(path.dirname(below), '');
  const log = new RotatingLog(below, { maxBytes: 100, maxFiles: 2 });
  log.writeLine('lost');
  rmSync(path.dirname(below));
  log.writeLine('kept');
  log.close();
  expect(readFileSync(below, 'utf8')).toBe('kept\n');
});

const FULL_DEVICE = '/dev/full';
test.skipIf(!existsSync(FULL_DEVICE)).each([
  ['a logger', 'logger.ts', 'module.createLogger("api", "info").info("line")'],
  ['the launcher', 'logger.ts', 'module.writeLine("line")'],
])('a full disk under standard output does not end %s', (_, file, call) => {
  const module = JSON.stringify(path.resolve('src/shared/runtime', file));
  const script = `const module = await import(${module}); for (let i = 0; i < 3; i++) ${call}; process.exitCode = 7;`;
  const full = openSync(FULL_DEVICE, 'w');
  const { status, stderr } = spawnSync(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', script],
    { stdio: ['ignore', full, 'pipe'], encoding: 'utf8' },
  );
  closeSync(full);
  expect([status, stderr]).toEqual([7, '']);
});

test('a line that a full disk has cut does not run into the next', () => {
  const module = JSON.stringify(path.resolve('src/shared/runtime/logger.ts'));
  // A limit on the size of a file stands for the full disk: SIGXFSZ is ignored by Node, and the write is cut, then refused.
  const script = `const { writeLine } = await import(${module}); const { ftruncateSync } = await import('node:fs');
    writeLine('x'.repeat(2000)); writeLine('lost'); ftruncateSync(1, 10); writeLine('next');`;
  const shell = 'ulimit -f 1; exec "$@" >> "$OUT"';
  const { status, stderr } = spawnSync(
    'bash',
    [
      '-c',
      shell,
      '-',
      process.execPath,
      '--disable-warning=ExperimentalWarning',
      '--input-type=module',
      '-e',
      script,
    ],
    { env: { ...process.env, OUT: file, NODE_COMPILE_CACHE: '' }, encoding: 'utf8' },
  );
  expect([status, stderr]).toEqual([0, '']);
  expect(readFileSync(file, 'utf8')).toBe(`${'x'.repeat(10)}\nnext\n`);
});

test.each([
  [
    { level: 30, time: 0, part: 'api', pid: 1, msg: 'listening', port: 3000, host: '::1' },
    /^\d\d:\d\d:\d\d info {2}api {6}listening {2}port=3000 {2}host=::1$/,
  ],
  [{ level: 40, part: 'worker', msg: 'away', reason: 'no Redis' }, /WARN {2}worker {3}away: no Redis$/],
  [
    { level: 50, part: 'x', msg: 'bug', err: { message: 'm', stack: 'Error: m\n at y' } },
    /ERROR x {7,8} bug: m\nError: m\n at y$/,
  ],
])('%j as a person reads it', (line, text) => expect(readableLine(JSON.stringify(line))).toMatch(text));

test.each(['Warning: something', '{"level": 30}', '{', ''])('%j is no log line, and stays as it is', (line) =>
  expect(readableLine(line)).toBe(line),
);
