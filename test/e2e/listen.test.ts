/** `amulet listen` beside a server that sends webhooks. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Job } from '../../src/shared/contract/jobs.ts';
import { newSecret } from '../../src/shared/runtime/webhook-secret.ts';
import { CliProcess } from '../support/processes/cli.ts';
import { freePort } from '../support/redis/redis.ts';
import { eventually, Stack } from '../support/processes/stack.ts';

const secret = newSecret();
let stack: Stack;
let port: number;
let folder: string;

beforeAll(async () => {
  port = await freePort();
  folder = mkdtempSync(path.join(tmpdir(), 'amulet-listen-'));
  mkdirSync(path.join(folder, '.amulet'));
  writeFileSync(path.join(folder, '.amulet', 'webhook-secret'), `${secret}\n`);
  stack = await Stack.start({
    redisUrl: inject('redisUrl'),
    webhooks: true,
    env: {
      WEBHOOK_SECRET: secret,
      WEBHOOK_SCHEMES: 'http',
      WEBHOOK_ALLOW: `127.0.0.1:${port}`,
      WEBHOOK_RETRY_S: '0.1,0.1',
    },
  });
});
afterAll(async () => {
  await stack.stop();
  rmSync(folder, { recursive: true });
});

const running: CliProcess[] = [];
afterEach(async () => {
  for (const cli of running.splice(0)) {
    cli.child.kill('SIGKILL');
    await cli.ended;
  }
});

async function listen(...args: string[]): Promise<CliProcess> {
  const cli = new CliProcess(['listen', '--port', String(port), ...args], folder);
  running.push(cli);
  await eventually(() => Promise.resolve(cli.stderr.includes('Listening') ? true : undefined));
  return cli;
}
const submit = async (texts: string[]) =>
  (await stack.post<Job>('/v1/jobs', { texts, webhook: { url: `http://127.0.0.1:${port}/` } })).body;
const lines = (cli: CliProcess, count: number) =>
  eventually(() => {
    const all = cli.stdout.split('\n').filter((line) => line !== '');
    return Promise.resolve(all.length >= count ? all : undefined);
  });

test('prints a line per event, with its outcome, and ends with Ctrl-C', async () => {
  const cli = await listen();
  await expect
    .poll(() => cli.stderr)
    .toContain(`  WEBHOOK_SCHEMES=http WEBHOOK_ALLOW=127.0.0.1:${port} npm start\n`);
  const job = await submit(['utterly charming', 'a tedious mess']);
  const [line] = await lines(cli, 1);
  expect(line).toMatch(
    new RegExp(
      `^\\d\\d:\\d\\d:\\d\\d  job\\.succeeded  ${job.id}  POSITIVE 0\\.\\d{3} and 1 more  evt_[0-9a-f]{32}$`,
    ),
  );
  cli.child.kill('SIGINT');
  expect((await cli.ended).code).toBe(0);
});

test('answers with the given status; repeats are marked', async () => {
  const cli = await listen('--status', '500');
  await submit(['again']);
  // All attempts, or the last would come to the next test.
  const [first, second] = await lines(cli, 3);
  expect(second).toBe(`${first}  (again)`.replace(/^\S+/, second!.slice(0, 8)));
  cli.child.kill('SIGTERM');
  expect((await cli.ended).code).toBe(0);
});

test('--json prints whole events', async () => {
  const cli = await listen('--json');
  const job = await submit(['good']);
  const [line] = await lines(cli, 1);
  expect(JSON.parse(line!)).toMatchObject({ type: 'job.succeeded', thin: false, data: { id: job.id } });
  cli.child.kill('SIGTERM');
  await cli.ended;
});

describe('a request that is no webhook of this server', () => {
  test('is answered with 400 and reported', async () => {
    const cli = await listen('--secret', newSecret());
    await submit(['signed with another secret']);
    await eventually(() => Promise.resolve(cli.stderr.includes('not verified') ? true : undefined));
    const unsigned = await fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body: '{}' });
    expect(unsigned.status).toBe(400);
    expect((await fetch(`http://127.0.0.1:${port}/`)).status).toBe(405);
    expect(cli.stdout).toBe('');
    cli.child.kill('SIGTERM');
    await cli.ended;
  });
});

test.each([
  [['--port', 'x'], '--port x: must be a number from 0 to 65535'],
  [['--status', '99'], '--status 99: must be a number from 200 to 599'],
  [['--secret', 'abc'], '--secret must be whsec_ followed by base64'],
])('refuses %j', async (args, message) => {
  const { code, said } = await new CliProcess(['listen', ...args], folder).ended;
  expect([code, said]).toEqual([2, `amulet: ${message}\n`]);
});

test('names the sources of a secret, and a port in use', async () => {
  const nowhere = await new CliProcess(['listen'], tmpdir()).ended;
  expect(nowhere.said).toContain('missing --secret: this folder has no .amulet/webhook-secret');
  const cli = await listen();
  const second = await new CliProcess(['listen', '--port', String(port)], folder).ended;
  expect([second.code, second.said]).toEqual([
    1,
    `amulet: port ${port} is in use; choose another with --port\n`,
  ]);
  cli.child.kill('SIGTERM');
  await cli.ended;
});
