/** The programs of examples/ and the lines of docs/submit-and-poll.md, as they stand there, against a real server. */
import { spawn, spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { keyLine, newKey } from '../../src/shared/runtime/api-keys.ts';
import { PROBLEMS, type ProblemCode } from '../../src/shared/contract/problems.ts';
import { linkedPackage } from '../support/processes/package.ts';
import { SHIPPED_MODEL, Stack } from '../support/processes/stack.ts';

const apiKey = newKey();
let stack: Stack;
beforeAll(async () => {
  const env = { ...SHIPPED_MODEL, API_KEYS: keyLine('examples', apiKey) };
  stack = await Stack.start({ redisUrl: inject('redisUrl'), env });
});
afterAll(() => stack.stop());

/** @returns what it printed, line by line */
async function output(command: string, ...args: string[]): Promise<string[]> {
  const env = { ...process.env, AMULET_URL: stack.url, AMULET_API_KEY: apiKey };
  const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  expect({ stderr, code: await ended }).toEqual({ stderr: '', code: 0 });
  return stdout.trimEnd().split('\n');
}

const lacking = (...commands: string[]): string[] =>
  commands.filter((command) => spawnSync(command, ['--version'], { stdio: 'ignore' }).status !== 0);
const where = (missing: string[]): string =>
  missing.length === 0 ? '' : ` (skipped: no ${missing.join(', ')})`;

const BLANK = '422 invalid_request must contain something other than white space';

test('TypeScript', async () => {
  const folder = linkedPackage();
  try {
    const program = path.join(folder, 'classify.ts');
    copyFileSync('examples/classify.ts', program);
    expect(await output(process.execPath, '--disable-warning=ExperimentalWarning', program)).toEqual([
      'POSITIVE 0.979',
      expect.stringMatching(/^[0-9a-f]{32}-n-sst2-minilm is \w+$/),
      '0: POSITIVE',
      'r2: NEGATIVE',
      '{ POSITIVE: 667, NEGATIVE: 333 }',
      BLANK,
    ]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

const withoutPython = lacking('python3');
test.skipIf(withoutPython.length > 0)(`Python${where(withoutPython)}`, async () => {
  expect(await output('python3', 'examples/classify.py')).toEqual([
    'succeeded',
    'None POSITIVE',
    'r2 NEGATIVE',
    "completed {'NEGATIVE': 333, 'POSITIVE': 667}",
    BLANK,
  ]);
});

const withoutCurl = lacking('curl', 'jq');
test.skipIf(withoutCurl.length > 0)(`curl${where(withoutCurl)}`, async () => {
  expect(await output('sh', 'examples/classify.sh')).toEqual([
    'POSITIVE',
    'succeeded',
    '- POSITIVE',
    'r2 NEGATIVE',
    '100 NEGATIVE',
    '900 POSITIVE',
    BLANK,
  ]);
});

describe('docs/submit-and-poll.md', () => {
  const page = readFileSync('docs/submit-and-poll.md', 'utf8');
  const shown = [...page.matchAll(/^```sh\n([^]*?)^```\n\n```json\n([^]*?)^```$/gm)];

  test('has an expected answer for every command', () => {
    expect(shown).toHaveLength(page.match(/^```sh$/gm)!.length);
    expect(shown.length).toBeGreaterThan(4);
  });

  test.skipIf(withoutCurl.length > 0)(`every command answers as documented${where(withoutCurl)}`, () => {
    // The API key, which the page leaves out.
    const home = mkdtempSync(path.join(tmpdir(), 'amulet-curl-'));
    writeFileSync(path.join(home, '.curlrc'), `header = "Authorization: Bearer ${apiKey}"\n`);
    /** The last job that was submitted, and left on the page for the lines behind it. */
    let job = '';
    try {
      for (const [, lines, answer] of shown as unknown as [string, string, string][]) {
        const script = lines.replaceAll('http://127.0.0.1:3000', stack.url);
        const { stdout, stderr } = spawnSync('sh', ['-c', script], {
          env: { ...process.env, CURL_HOME: home, job },
          encoding: 'utf8',
        });
        expect(stderr).toBe('');
        const value: unknown = JSON.parse(stdout);
        expect(steady(value), lines).toEqual(steady(JSON.parse(answer)));
        ({ id: job = job } = value as { id?: string });
      }
    } finally {
      rmSync(home, { recursive: true });
    }
  });

  test('names only known error codes', () => {
    const rows = [...page.matchAll(/^\| (\d{3}) +\| (`.*?`) +\|/gm)] as unknown as [string, string, string][];
    const codes = rows.flatMap(([, status, names]) =>
      [...names.matchAll(/\w+/g)].map(([name]) => ({ name, status: Number(status) })),
    );
    expect(codes.length).toBeGreaterThan(10);
    expect(codes).toEqual(codes.map(({ name }) => ({ name, status: PROBLEMS[name as ProblemCode].status })));
  });
});

/** Without what is another each time: ids, times, and the ends of scores. */
function steady(value: unknown): unknown {
  const text = JSON.stringify(value, (key, member: unknown) =>
    /^(.+_at|request_id|timings_ms)$/.test(key) && member !== null ? key : member,
  );
  return JSON.parse(text.replaceAll(/[0-9a-f]{32}/g, 'ID').replaceAll(/\.(\d\d)\d+/g, '.$1'));
}
