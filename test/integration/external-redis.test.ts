/** `npm start` with REDIS_URL: it says what it waits for, once, and what no waiting would cure. */
import { spawn, type ChildProcess } from 'node:child_process';
import { createServer } from 'node:net';
import { createServer as createHttpServer } from 'node:http';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, describe, expect, inject, test } from 'vitest';
import { waitForExternalRedis } from '../../src/launcher/external-redis.ts';
import { loadConfig } from '../../src/shared/runtime/config.ts';
import { StartupError } from '../../src/shared/runtime/startup-error.ts';
import { freePort, OwnRedis } from '../support/redis/redis.ts';
import { eventually, Process } from '../support/processes/stack.ts';

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

function wait(url: string, stop = () => false): { said: string[]; done: Promise<void> } {
  const said: string[] = [];
  const done = waitForExternalRedis(loadConfig({ REDIS_URL: url }), (line) => said.push(line), stop);
  done.catch(() => {});
  return { said, done };
}

/** Something that listens, and answers every command so. */
async function answering(reply: (command: string) => string): Promise<string> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', (data) => socket.write(reply(data.toString())));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => server.close());
  return `redis://127.0.0.1:${(server.address() as { port: number }).port}`;
}

test('a running Redis is used without output', async () => {
  const { said, done } = wait(inject('redisUrl'));
  await done;
  expect(said).toEqual([]);
});

test('an unreachable Redis is waited for, with one line that hides the password', async () => {
  const port = await freePort();
  let stopping = false;
  const { said, done } = wait(`redis://me:secret@127.0.0.1:${port}`, () => stopping);
  await eventually(() => Promise.resolve(said.length > 0 || undefined));
  await new Promise((resolve) => setTimeout(resolve, 1500));
  expect(said).toEqual([
    expect.stringMatching(
      /^waiting for Redis at redis:\/\/…@127\.0\.0\.1:\d+ \(.*ECONNREFUSED.*\): start it or correct REDIS_URL, or press Ctrl-C to give up$/,
    ),
  ]);
  stopping = true;
  await done;
});

describe('errors that waiting does not cure end the start in one line', () => {
  const refused = async (url: string, message: RegExp) => {
    const { done } = wait(url);
    await expect(done).rejects.toThrow(StartupError);
    await expect(done).rejects.toThrow(message);
  };

  test('a wrong password, and a missing one', async () => {
    const redis = await OwnRedis.start(['--requirepass', 'right']);
    closers.push(() => redis.stop());
    const { host } = new URL(redis.url);
    await refused(`redis://:wrong@${host}`, /refuses the user or password/);
    await refused(`redis://${host}`, /refuses the user or password/);
  });

  test('an old version', async () => {
    const info = '# Server\r\nredis_version:6.2.14\r\n';
    const url = await answering((command) =>
      /info/i.test(command) ? `$${info.length}\r\n${info}\r\n` : '+OK\r\n',
    );
    await refused(url, /is version 6\.2\.14: Amulet needs 7 or newer/);
  });

  test('something else than Redis', async () => {
    const server = createHttpServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    closers.push(() => {
      server.closeAllConnections();
      server.close();
    });
    await refused(`redis://127.0.0.1:${(server.address() as { port: number }).port}`, /is not Redis/);
  });
});

test('rediss:// to a server without TLS is named as a possible cause', async () => {
  let stopping = false;
  const { said, done } = wait(
    await answering(() => '').then((url) => url.replace('redis', 'rediss')),
    () => stopping,
  );
  await eventually(() => Promise.resolve(said.length > 0 || undefined));
  expect(said).toEqual([expect.stringContaining('does it speak TLS, as rediss:// says?')]);
  stopping = true;
  await done;
}, 30_000);

test('npm start that waits for Redis ends at once on Ctrl-C', async () => {
  const dir = mkdtempSync(path.join(tmpdir(), 'amulet-wait-'));
  closers.push(() => rmSync(dir, { recursive: true, force: true }));
  const env = { ...process.env, DATA_DIR: dir, REDIS_URL: `redis://127.0.0.1:${await freePort()}` };
  const child: ChildProcess = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', 'src/main.ts'],
    { env },
  );
  let output = '';
  child.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()));
  await eventually(() => Promise.resolve(output.includes('waiting for Redis at') || undefined));
  const closed = new Promise((resolve) => child.once('close', resolve));
  child.kill('SIGINT');
  expect(await closed).toBe(0);
  expect(output.trim().split('\n')).toEqual([
    expect.stringContaining('waiting for Redis at'),
    expect.stringContaining('stopping'),
    expect.stringContaining('stopped'),
  ]);
});

test('a webhook process without Redis stops on SIGTERM', async () => {
  const port = String(await freePort());
  const env = { REDIS_URL: `redis://127.0.0.1:${await freePort()}`, WEBHOOK_HEALTH_PORT: port };
  const child = new Process('worker/webhooks/main.ts', env);
  closers.push(() => child.end('SIGKILL'));
  const health = `http://127.0.0.1:${port}/health/ready`;
  await eventually(async () => (await fetch(health).catch(() => undefined))?.status);
  // Its signals are listened to right behind the health endpoints.
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect(await child.end('SIGTERM')).toBe(0);
  expect(child.output).not.toContain('took too long');
}, 60_000);
