/** `.env` as editors, shells and Windows leave it: read as it was meant, or refused in a line; never lost without a word. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseEnv } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parseEnvFile, readEnvFile } from '../../src/shared/runtime/env-file.ts';
import { StartupError } from '../../src/shared/runtime/startup-error.ts';

const values = (text: string | Buffer): Record<string, string> =>
  Object.fromEntries(parseEnvFile(Buffer.from(text)).entries.map(({ name, value }) => [name, value]));
const utf16 = (text: string): Buffer => Buffer.from(text, 'utf16le');
const BOM = '\uFEFF';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'amulet-env-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

test.each([
  ['A=1\nB=2'],
  ['A=1\r\nB=2\r\n'],
  ['export A=1\nexport  B = 2 '],
  ['# comment\n\n  A=1 # one\nB=\n'],
  ['A="x # y"\nB=\'x"y\'\nC=`a\'b`'],
  ['A="one\\ntwo"\nB=\'one\\ntwo\'\nC="x" # comment'],
  ['A="line one\nline two=2\n"\nB=3'],
  ['A==x==\nB=a=b\nURL=redis://user:p%23ss@host:1/0?x=y&z'],
  ['A=1\nA=2'],
  ['A= spaced value \nB=\t"tab"'],
])('%j means what Node makes of it', (text) => expect(values(text)).toEqual(parseEnv(text)));

test.each([
  ['a byte order mark', `${BOM}A=1\nB=2`],
  ['marks inside, of joined files', `${BOM}A=1\n${BOM}B=2`],
  ['CR alone', 'A=1\rB=2\r'],
  ['a mark and CR LF', `${BOM}A=1\r\nB=2\r\n`],
  ['a comment in Latin-1', Buffer.concat([Buffer.from('# caf\xe9\n', 'latin1'), Buffer.from('A=1\nB=2')])],
])('%s loses no variable', (_name, text) => expect(values(text)).toEqual({ A: '1', B: '2' }));

test('the file as Notepad saves it keeps its first variable', () => {
  const saved = readFileSync('test/fixtures/cases/env-bom/env-with-bom');
  expect(values(saved).API_KEYS).toMatch(/^reviews:/);
});

describe('malformed files are refused in one line, with a remedy and without the value', () => {
  const refused = (bytes: Buffer | string, message: RegExp) => {
    const read = () => parseEnvFile(Buffer.from(bytes));
    expect(read).toThrow(StartupError);
    expect(read).toThrow(message);
    expect(read).not.toThrow(/secret|\n/);
  };

  test.each<[string, Buffer | string, RegExp]>([
    ['UTF-16, little-endian', utf16(`${BOM}API_KEYS=secret\n`), /^\.env is UTF-16.*save it as UTF-8/],
    ['UTF-16, big-endian', utf16(`${BOM}API_KEYS=secret\n`).swap16(), /UTF-16/],
    ['UTF-16 without its mark', utf16('API_KEYS=secret\n'), /UTF-16/],
    ['the same, big-endian', utf16('API_KEYS=secret\n').swap16(), /UTF-16/],
    ['a NUL byte', 'A=1\nAPI_KEYS=secr\0et\n', /line 2 has a NUL byte/],
    [
      'Latin-1 in a value',
      Buffer.from('A=1\nWEBHOOK_SECRET=secr\xe9t', 'latin1'),
      /line 2 is not valid UTF-8/,
    ],
    ['a line without =', 'A=1\nAPI_KEYS secret', /line 2 is not NAME=value/],
    ['a line of YAML', 'API_KEYS: secret', /line 1 is not NAME=value/],
    ['a line of YAML with =', 'API_KEYS: secret=', /line 1 is not NAME=value/],
    ['a line of PowerShell', '$env:API_KEYS="secret"', /line 1 is not NAME=value/],
    ['a line of cmd', 'set API_KEYS=secret', /line 1 is not NAME=value/],
    ['a space in the name', 'API KEYS=secret', /line 1 is not NAME=value/],
    ['no name', '=secret', /line 1 is not NAME=value/],
    ['a name of invisible characters', '\u200bAPI_KEYS=secret', /line 1 is not NAME=value/],
    [
      'a quote that is never closed',
      'A=1\nAPI_KEYS="secret\nB=2',
      /line 2 has a quote \("\) around .*API_KEYS that is never/,
    ],
    ['text behind a quote', 'API_KEYS="secret"secret', /line 1 has text behind the closing quote/],
  ])('%s', (_name, bytes, message) => refused(bytes, message));

  test('a folder, as Docker makes one of a mount that is not there', () => {
    mkdirSync(path.join(dir, '.env'));
    expect(() => readEnvFile(path.join(dir, '.env'))).toThrow(/\.env is a folder: remove it/);
  });

  test('a link that leads nowhere', () => {
    symlinkSync('nowhere', path.join(dir, '.env'));
    expect(() => readEnvFile(path.join(dir, '.env'))).toThrow(/is a link to a file that does not exist/);
  });

  test('a device without an end', () => {
    symlinkSync('/dev/zero', path.join(dir, '.env'));
    expect(() => readEnvFile(path.join(dir, '.env'))).toThrow(/larger than/);
  });

  // Root may read everything: the right is taken from somebody else.
  test.skipIf(process.getuid?.() !== 0)('a file that this user may not read', () => {
    writeFileSync(path.join(dir, '.env'), 'API_KEYS=secret\n', { mode: 0o000 });
    const script = `process.setuid(65534);
      const { readEnvFile } = await import(process.argv[1]);
      try { readEnvFile('/proc/self/cwd/.env'); } catch (error) { console.log(error.message); }`;
    spawnSync('chmod', ['755', dir]);
    const { stdout } = spawnSync(
      process.execPath,
      [
        '--disable-warning=ExperimentalWarning',
        '--input-type=module',
        '-e',
        script,
        path.resolve('src/shared/runtime/env-file.ts'),
      ],
      { cwd: dir, encoding: 'utf8' },
    );
    expect(stdout).toMatch(/cannot be read by this user/);
  });
});

test('no file is no error, and neither is an empty one', () => {
  expect(readEnvFile(path.join(dir, '.env'))).toBeUndefined();
  expect(parseEnvFile(Buffer.alloc(0))).toEqual({ entries: [], warnings: [] });
});

test.each<[string, string, RegExp[]]>([
  [
    'a name with two values',
    'A=1\nB=2\nA=3',
    [/^\.env sets A more than once \(lines 1, 3\): the last one counts$/],
  ],
  ['a name with the same value twice', 'A=1\nA=1', []],
  ['a # that is part of the value', 'REDIS_URL=redis://:pa#ss@host', [/line 1: REDIS_URL ends before its #/]],
  ['a comment behind a value', 'A=1 # one', []],
])('%s: %j', (_name, text, warnings) => {
  const found = parseEnvFile(Buffer.from(text)).warnings;
  expect(found).toHaveLength(warnings.length);
  warnings.forEach((warning, i) => expect(found[i]).toMatch(warning));
});

test('lines that do not matter to the reader are warned about instead', () => {
  const matters = (line: string) => line.includes('AMULET');
  const { entries, warnings } = parseEnvFile(Buffer.from('something else\nB=2'), '.env', matters);
  expect(entries).toMatchObject([{ name: 'B', value: '2' }]);
  expect(warnings).toEqual([expect.stringMatching(/line 1 is not NAME=value.*it is ignored/)]);
  expect(() => parseEnvFile(Buffer.from('AMULET_API_KEY secret'), '.env', matters)).toThrow(StartupError);
});
