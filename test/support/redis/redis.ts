/**
 * A Redis for tests, in this order: TEST_REDIS_URL, a private redis-server, a container through testcontainers.
 * TEST_REDIS=container skips the private one; TEST_REDIS=tls-acl has it speak TLS alone, to users with the least rights.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Redis } from 'ioredis';
import { SecureRedis } from './secure-redis.ts';

export interface TestRedis {
  url: string;
  stop: () => Promise<void>;
}

/** @throws Error with one clear line when there is no Redis to be had */
export async function provideRedis(): Promise<TestRedis> {
  const given = process.env.TEST_REDIS_URL;
  if (given) return { url: given, stop: () => Promise.resolve() };
  if (process.env.TEST_REDIS === 'tls-acl') return SecureRedis.start(await freePort());
  const local = spawnSync('redis-server', ['--version']).status === 0;
  if (local && process.env.TEST_REDIS !== 'container') return OwnRedis.start();
  try {
    const { RedisContainer } = await import('@testcontainers/redis');
    const container = await new RedisContainer('redis:8-alpine')
      .withCommand(['redis-server', '--appendonly', 'yes', '--appendfsync', 'always', '--save', ''])
      .start();
    return {
      url: container.getConnectionUrl(),
      stop: async () => {
        await container.stop();
      },
    };
  } catch (error) {
    throw new Error(
      `no Redis for the tests: set TEST_REDIS_URL, install redis-server (./setup does), or start Docker (${String(error)})`,
      { cause: error },
    );
  }
}

/** A redis-server of a test's own, which it may freeze, kill and start again on the same port with the same data. */
export class OwnRedis implements TestRedis {
  readonly port: number;
  readonly dir: string;
  readonly #options: string[];
  readonly #env: Record<string, string>;
  #server: ChildProcess;

  private constructor(port: number, dir: string, options: string[], env: Record<string, string>) {
    this.port = port;
    this.dir = dir;
    this.#options = options;
    this.#env = env;
    this.#server = this.#spawn();
  }

  static async start(options: string[] = [], env: Record<string, string> = {}): Promise<OwnRedis> {
    const redis = new OwnRedis(
      await freePort(),
      mkdtempSync(path.join(tmpdir(), 'amulet-test-redis-')),
      options,
      env,
    );
    await redis.#answers();
    return redis;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  get pid(): number {
    const { pid } = this.#server;
    if (pid === undefined) throw new Error('redis-server did not start');
    return pid;
  }

  freeze(): void {
    this.#server.kill('SIGSTOP');
  }

  thaw(): void {
    this.#server.kill('SIGCONT');
  }

  /** Ends it as a crash would. */
  async kill(): Promise<void> {
    const gone = new Promise((resolve) => this.#server.once('exit', resolve));
    this.#server.kill('SIGKILL');
    await gone;
  }

  /** Starts it again after kill(). */
  async restart(): Promise<void> {
    this.#server = this.#spawn();
    await this.#answers();
  }

  async stop(): Promise<void> {
    if (this.#server.exitCode === null && this.#server.signalCode === null) await this.kill();
    rmSync(this.dir, { recursive: true, force: true });
  }

  #spawn(): ChildProcess {
    // prettier-ignore
    return spawn('redis-server', [
      '--port', String(this.port), '--bind', '127.0.0.1', '--dir', this.dir, '--save', '',
      '--appendonly', 'yes', '--appendfsync', 'always', '--maxmemory-policy', 'noeviction', ...this.#options,
    ], { stdio: 'ignore', env: { ...process.env, ...this.#env } });
  }

  async #answers(): Promise<void> {
    const redis = new Redis(this.url, { retryStrategy: () => 20, maxRetriesPerRequest: null });
    redis.on('error', () => {});
    try {
      // One with a password answers, too.
      await redis.ping().catch((error: unknown) => {
        if (!String(error).includes('NOAUTH')) throw error;
      });
    } finally {
      redis.disconnect();
    }
  }
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
