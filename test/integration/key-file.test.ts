/** API_KEYS_FILE while the API runs: keys follow its lines, and no state of the file lets anyone else in. */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { keyLine, newKey } from '../../src/shared/runtime/api-keys.ts';
import type { Batch } from '../../src/shared/contract/batches.ts';
import type { Job } from '../../src/shared/contract/jobs.ts';
import { eventually, Stack } from '../support/processes/stack.ts';

const keys = { alice: newKey(), bob: newKey(), carol: newKey() };
type Name = keyof typeof keys;
const line = (name: Name, rest = '') => `${keyLine(name, keys[name])}${rest}\n`;

let folder: string;
let file: string;
let stack: Stack;

beforeAll(async () => {
  folder = fs.mkdtempSync(path.join(tmpdir(), 'amulet-key-file-'));
  file = path.join(folder, 'keys');
  fs.writeFileSync(file, line('alice') + line('bob'));
  // No worker serves the model: submitted jobs wait.
  stack = await Stack.start({
    redisUrl: inject('redisUrl'),
    workers: 0,
    env: { API_KEYS_FILE: file, LOG_LEVEL: 'info', MAX_API_KEYS: '5', UPLOAD_IDLE_S: '600' },
  });
});
afterAll(async () => {
  await stack.stop();
  fs.rmSync(folder, { recursive: true });
});

const call = (name: Name, where = '/v1/jobs', init: RequestInit = {}) =>
  stack.fetch(where, {
    ...init,
    headers: { ...(init.headers as object), authorization: `Bearer ${keys[name]}` },
  });
/** undefined: the key was removed while its call was open, which ends the connection; a repeat gets a 401. */
const status = async (name: Name) => {
  try {
    const response = await call(name);
    await response.arrayBuffer();
    return response.status;
  } catch (error) {
    const cause = (error as Error).cause as NodeJS.ErrnoException | undefined;
    if (['UND_ERR_SOCKET', 'ECONNRESET'].includes(cause?.code ?? '')) return undefined;
    throw error;
  }
};
const becomes = (name: Name, wanted: number) =>
  eventually(async () => ((await status(name)) === wanted ? true : undefined));
/** Without waiting for the next check of the file. */
const readAgain = () => stack.api.child.kill('SIGHUP');
/** The log lines about keys since `from`, once one has the text: lines come through a pipe, and may follow the answers. */
const logged = (from: number, text: string) =>
  eventually(() => {
    // Behind the last line end there may be half a line.
    const lines = stack.api.output.slice(from).split('\n').slice(0, -1);
    const found = lines.some((line) => line.includes(text));
    return Promise.resolve(found ? lines.filter((line) => /keys|API_KEYS_FILE/i.test(line)) : undefined);
  });

beforeEach(async () => {
  fs.rmSync(file, { force: true, recursive: true });
  fs.writeFileSync(file, line('alice') + line('bob'));
  readAgain();
  await becomes('alice', 200);
  await becomes('bob', 200);
  await becomes('carol', 401);
  // Lines about this change are in the pipe already; they must be read before a test looks for its own.
  await new Promise((resolve) => setTimeout(resolve, 50));
});

describe('an added or removed line takes effect at once', () => {
  test.each<[string, (text: string) => void]>([
    ['written in place', (text) => fs.writeFileSync(file, text)],
    [
      'saved under another name and renamed, as editors do',
      (text) => {
        fs.writeFileSync(`${file}.new`, text);
        fs.renameSync(`${file}.new`, file);
      },
    ],
    [
      'a link that is moved to another folder, as Kubernetes does',
      (text) => {
        const data = fs.mkdtempSync(path.join(folder, 'data-'));
        fs.writeFileSync(path.join(data, 'keys'), text);
        fs.symlinkSync(path.join(data, 'keys'), `${file}.link`);
        fs.renameSync(`${file}.link`, file);
      },
    ],
  ])('%s', async (_, write) => {
    const from = stack.api.output.length;
    write(line('alice') + line('carol'));
    await becomes('carol', 200);
    expect(await status('bob')).toBe(401);
    expect(await status('alice')).toBe(200);
    const [entry = '', ...others] = await logged(from, 'API keys have changed');
    expect(others).toEqual([]);
    expect(JSON.parse(entry)).toMatchObject({ keys: 2, added: ['carol'], removed: ['bob'], new_limits: [] });
    for (const secret of Object.values(keys)) {
      expect(entry).not.toContain(secret);
      expect(entry).not.toContain(keyLine('x', secret).slice(2));
    }
  });

  test('a changed rate limit takes effect for a key that stays', async () => {
    const from = stack.api.output.length;
    fs.writeFileSync(file, line('alice', ':7') + line('bob'));
    await eventually(async () => ((await call('alice')).headers.has('ratelimit-limit') ? true : undefined));
    expect((await call('alice')).headers.get('ratelimit-limit')).toBe('7');
    const [entry = ''] = await logged(from, 'API keys have changed');
    expect(JSON.parse(entry)).toMatchObject({ added: [], removed: [], new_limits: ['alice'] });
  });

  test('SIGHUP reloads without waiting for the next check', async () => {
    const from = stack.api.output.length;
    fs.writeFileSync(file, line('carol'));
    readAgain();
    await becomes('carol', 200);
    expect(await status('alice')).toBe(401);
    expect(await logged(from, 'API keys have changed')).toHaveLength(1);
  });
});

describe('an unusable file changes nothing, and is logged once', () => {
  test.each<[string, () => void, RegExp]>([
    ['a file that is gone', () => fs.rmSync(file), /ENOENT/],
    [
      'a folder',
      () => {
        fs.rmSync(file);
        fs.mkdirSync(file);
      },
      /EISDIR/,
    ],
    [
      'half a line',
      () => fs.appendFileSync(file, line('carol').slice(0, 30)),
      /line 3: a key must be name:hash/,
    ],
    [
      'a key instead of its line',
      () => fs.appendFileSync(file, keys.carol),
      /line 3: a key must be name:hash/,
    ],
    [
      'an invalid name',
      () => fs.appendFileSync(file, line('carol').replace('carol', 'a b')),
      /1 to 63 ASCII/,
    ],
    ['the same key twice', () => fs.appendFileSync(file, line('bob')), /the same key is listed twice/],
    [
      'another encoding',
      () => fs.writeFileSync(file, `\uFEFF${line('carol')}`, 'utf16le'),
      /is UTF-16, as PowerShell/,
    ],
    ['one key too many', () => fs.writeFileSync(file, many(6)), /6 keys are more than MAX_API_KEYS=5/],
    [
      'more bytes than MAX_API_KEYS allows',
      () => fs.writeFileSync(file, `#${'x'.repeat(5000)}\n`),
      /larger than 1,000 bytes per key/,
    ],
  ])('%s', async (_, spoil, reason) => {
    const from = stack.api.output.length;
    spoil();
    readAgain();
    await logged(from, 'API_KEYS_FILE cannot be used');
    readAgain();
    expect([await status('alice'), await status('bob'), await status('carol')]).toEqual([200, 200, 401]);
    // Repaired, with another key: everything that was logged came before.
    fs.rmSync(file, { recursive: true, force: true });
    fs.writeFileSync(file, line('alice') + line('carol'));
    readAgain();
    await becomes('carol', 200);
    const lines = await logged(from, 'API keys have changed');
    const entries = lines.map(
      (entry) => JSON.parse(entry) as { level: number; msg: string; reason?: string },
    );
    expect(entries[0]).toMatchObject({
      level: 50,
      msg: 'API_KEYS_FILE cannot be used: the earlier keys stay valid',
      reason: expect.stringMatching(reason),
    });
    const unlike = entries.filter(({ reason: other }) => other !== undefined && !reason.test(other));
    // The moment in which the test itself has removed the file.
    for (const { reason: other } of unlike) expect(other).toMatch(/ENOENT/);
    expect(entries.filter(({ reason: same }) => reason.test(same ?? ''))).toHaveLength(1);
    expect(entries.slice(-2).map(({ msg }) => msg)).toEqual([
      'API_KEYS_FILE can be used again',
      'API keys have changed',
    ]);
    for (const secret of Object.values(keys)) expect(lines.join()).not.toContain(secret);
  });

  const many = (count: number) =>
    Array.from({ length: count }, (_, i) => `${keyLine(`caller-${i}`, newKey())}\n`).join('');

  test('a file without keys refuses every call', async () => {
    const from = stack.api.output.length;
    fs.writeFileSync(file, '# nobody\n');
    readAgain();
    await becomes('alice', 401);
    expect((await stack.fetch('/v1/jobs')).status).toBe(401);
    expect((await stack.fetch('/health')).status).toBe(200);
    const refused = 'every call is refused until it has some';
    expect((await logged(from, refused)).join()).toContain(refused);
  });
});

describe('open requests of a removed key', () => {
  let ended: AbortController;
  beforeEach(() => (ended = new AbortController()));
  afterEach(() => ended.abort());

  async function job(name: Name): Promise<Job> {
    const { signal } = ended;
    const init = {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"text":"x"}',
      signal,
    };
    // No worker has ever run: the default model is not known.
    const response = await call(name, '/v1/jobs', init);
    return (await response.json()) as Job;
  }

  async function openBatch(name: Name): Promise<Batch> {
    const response = await call(name, '/v1/batches?open=true', { method: 'POST' });
    return (await response.json()) as Batch;
  }

  test('are ended (a wait, a stream and an upload); those of other keys continue', async () => {
    const worker = stack.startWorker();
    await worker.ready;
    // No worker is left, so that the waits last.
    await worker.end('SIGKILL');
    const { signal } = ended;
    const wait = async (name: Name) => call(name, `${(await job(name)).urls.self}?wait=60`, { signal });
    const follow = async (name: Name) => {
      const init = { method: 'POST', headers: { 'content-type': 'text/plain' }, body: 'a\nb\n' };
      const { urls } = (await (await call(name, '/v1/batches', init)).json()) as Batch;
      const response = await call(name, `${urls.results}?follow=true`, { signal });
      return response.text();
    };
    const upload = async (name: Name) => {
      const { urls } = await openBatch(name);
      const body = new ReadableStream<Uint8Array>({
        start: (controller) => controller.enqueue(Buffer.from('a line\n')),
      });
      return call(name, `${urls.self}/parts/1`, {
        method: 'PUT',
        headers: { 'content-type': 'text/plain' },
        body,
        signal,
        duplex: 'half',
      });
    };
    const outcomes = (name: Name) =>
      [wait, follow, upload].map((begin) => {
        const state = { outcome: 'open' };
        begin(name).then(
          () => (state.outcome = 'answered'),
          () => (state.outcome = 'broken off'),
        );
        return state;
      });
    const bobs = outcomes('bob');
    const alices = outcomes('alice');
    // Until each caller has sent its last request: the API has six open requests.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect([...bobs, ...alices].map(({ outcome }) => outcome)).toEqual(
      Array.from({ length: 6 }, () => 'open'),
    );
    const from = stack.api.output.length;
    fs.writeFileSync(file, line('alice'));
    await eventually(() =>
      Promise.resolve(bobs.every(({ outcome }) => outcome !== 'open') ? true : undefined),
    );
    expect(bobs.map(({ outcome }) => outcome)).toEqual(['broken off', 'broken off', 'broken off']);
    expect(alices.map(({ outcome }) => outcome)).toEqual(['open', 'open', 'open']);
    expect(await status('bob')).toBe(401);
    const message = 'requests of removed API keys are ended';
    const done = (await logged(from, message)).find((entry) => entry.includes(message));
    expect(JSON.parse(done ?? '{}')).toMatchObject({ requests: 3 });
    expect(stack.api.output.slice(from)).not.toMatch(/"level":(50|60)/);
  });
});

test('a pipe is read once, and its end removes no key', async () => {
  const pipe = path.join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const api = stack.startApi({ API_KEYS_FILE: pipe });
  try {
    fs.writeFileSync(pipe, line('alice'));
    const url = await api.ready;
    api.child.kill('SIGHUP');
    const reason = 'SIGHUP: no API_KEYS_FILE to reload';
    await eventually(() => Promise.resolve(api.output.includes(reason) ? true : undefined));
    const headers = { authorization: `Bearer ${keys.alice}` };
    expect((await fetch(`${url}/health/live`, { headers })).status).toBe(200);
    expect((await fetch(`${url}/v1/jobs`, { headers })).status).not.toBe(401);
    expect((await fetch(`${url}/v1/jobs`)).status).toBe(401);
  } finally {
    await api.end();
  }
});
