/**
 * An S3 server for tests, in this order: TEST_S3_URL, a `versitygw` or `minio` on the PATH, moto (Python) from
 * `.amulet/test-s3` or the packages of python3, MinIO in a container through testcontainers. TEST_S3=install puts moto into `.amulet/test-s3`
 * first; TEST_S3=container, versitygw, minio or moto takes just that.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { toError } from '../../../src/shared/runtime/to-error.ts';
import { freePort } from '../redis/redis.ts';

export interface TestS3 {
  /** What it is, for the names of the tests. */
  name: string;
  /** `s3://bucket?…` of a bucket that is there. */
  url: string;
  stop: () => Promise<void>;
}

const VENV = path.resolve('.amulet/test-s3');
/** What moto needs for S3 alone; its extra `server` would be three times as large. */
const PACKAGES = [
  'moto==5.2.4',
  'flask==3.1.3',
  'flask-cors==6.0.5',
  'py-partiql-parser==0.6.3',
  'PyYAML==6.0.3',
];
/**
 * moto looks whether an object is there and writes it in two steps, on a thread a request: two conditional writes at once
 * can both succeed, which S3 rules out. One at a time, they cannot.
 */
const MOTO_SERVER = `
import sys, threading
from moto import server
answer, lock = server.DomainDispatcherApplication.__call__, threading.Lock()
def one_conditional_write_at_a_time(self, environ, start_response):
    if 'HTTP_IF_NONE_MATCH' not in environ:
        return answer(self, environ, start_response)
    with lock:
        return answer(self, environ, start_response)
server.DomainDispatcherApplication.__call__ = one_conditional_write_at_a_time
server.main(sys.argv[1:])
`;
const IMAGE = 'minio/minio:RELEASE.2025-09-07T16-13-09Z';
const BUCKET = 'amulet-test';
const ACCESS = 'amulet-test';
const SECRET = 'amulet-test-secret';

/** A server, or why there is none. It sets the AWS_… variables of this process unless TEST_S3_URL is given. */
export async function provideS3(): Promise<TestS3 | string> {
  const given = process.env.TEST_S3_URL;
  if (given) return { name: 'TEST_S3_URL', url: given, stop: () => Promise.resolve() };
  const choice = process.env.TEST_S3 ?? '';
  process.env.AWS_ACCESS_KEY_ID = ACCESS;
  process.env.AWS_SECRET_ACCESS_KEY = SECRET;
  if (choice === 'container') return startContainer();
  const may = (name: string): boolean => ['', name].includes(choice);
  if (may('versitygw') && onPath('versitygw')) {
    return startProcess('versitygw', (port, dir) => [
      'versitygw',
      ['--quiet', '--keep-alive', '--port', `127.0.0.1:${port}`, 'posix', dir],
      { ROOT_ACCESS_KEY: ACCESS, ROOT_SECRET_KEY: SECRET },
    ]);
  }
  if (may('minio') && onPath('minio')) {
    return startProcess('minio', (port, dir) => [
      'minio',
      ['server', '--quiet', '--address', `127.0.0.1:${port}`, '--console-address', '127.0.0.1:0', dir],
      { MINIO_ROOT_USER: ACCESS, MINIO_ROOT_PASSWORD: SECRET },
    ]);
  }
  if (choice === 'install') {
    const problem = installMoto();
    if (problem !== undefined) return problem;
  }
  const python = [path.join(VENV, 'bin', 'python'), 'python3'].find(hasMoto);
  if (python !== undefined && (may('moto') || choice === 'install')) {
    return startProcess('moto', (port) => [
      python,
      ['-c', MOTO_SERVER, '-H', '127.0.0.1', '-p', String(port)],
      {},
    ]);
  }
  if (choice !== '') return `no S3 server (TEST_S3=${choice})`;
  const server = await startContainer();
  if (typeof server !== 'string') return server;
  return `no S3 server: set TEST_S3_URL, put versitygw or minio on the PATH, or set TEST_S3=install (${server})`;
}

function onPath(program: string): boolean {
  return spawnSync('sh', ['-c', 'command -v "$1"', 'sh', program], { stdio: 'ignore' }).status === 0;
}

function hasMoto(python: string): boolean {
  // Without importing them, which takes seconds.
  const found = `import sys; from importlib.util import find_spec as f; sys.exit(not all(map(f, ('moto', 'flask'))))`;
  return spawnSync(python, ['-c', found], { stdio: 'ignore' }).status === 0;
}

/** @returns what went wrong */
function installMoto(): string | undefined {
  const pip = path.join(VENV, 'bin', 'pip');
  if (existsSync(path.join(VENV, 'bin', 'moto_server'))) return undefined;
  for (const [program, args] of [
    ['python3', ['-m', 'venv', VENV]],
    [pip, ['install', '--quiet', '--disable-pip-version-check', ...PACKAGES]],
  ] as const) {
    const { status, stderr, error } = spawnSync(program, args, { encoding: 'utf8' });
    if (status === 0) continue;
    const why = error?.message ?? stderr.trim().split('\n').at(-1);
    return `TEST_S3=install: ${path.basename(program)} ${args.slice(0, 2).join(' ')} failed: ${why}`;
  }
  return undefined;
}

type Command = (port: number, dir: string) => [string, string[], Record<string, string>];

async function startProcess(name: string, command: Command): Promise<TestS3 | string> {
  const port = await freePort();
  const dir = mkdtempSync(path.join(tmpdir(), 'amulet-test-s3-'));
  const [program, args, env] = command(port, dir);
  // No words of its own: moto prints a line for each request.
  const server = spawn(program, args, { stdio: 'ignore', env: { ...process.env, ...env } });
  const gone = new Promise<void>((resolve) => {
    server.once('exit', () => resolve());
    server.once('error', () => resolve());
  });
  const stop = async (): Promise<void> => {
    server.kill('SIGKILL');
    await gone;
    rmSync(dir, { recursive: true, force: true });
  };
  return withBucket(name, `http://127.0.0.1:${port}`, stop);
}

async function startContainer(): Promise<TestS3 | string> {
  try {
    const { GenericContainer } = await import('testcontainers');
    const container = await new GenericContainer(IMAGE)
      .withCommand(['server', '/data'])
      .withEnvironment({ MINIO_ROOT_USER: ACCESS, MINIO_ROOT_PASSWORD: SECRET })
      .withExposedPorts(9000)
      .start();
    return await withBucket(
      'minio in a container',
      `http://${container.getHost()}:${container.getMappedPort(9000)}`,
      async () => {
        await container.stop();
      },
    );
  } catch (error) {
    return `MinIO in a container: ${toError(error).message}`;
  }
}

/** Waits until the server answers, and makes the bucket. */
async function withBucket(
  name: string,
  endpoint: string,
  stop: () => Promise<void>,
): Promise<TestS3 | string> {
  const client = new S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true, maxAttempts: 1 });
  let problem = '';
  const deadline = Date.now() + 30_000;
  while (Date.now() < deadline) {
    try {
      await client.send(new CreateBucketCommand({ Bucket: BUCKET }));
      client.destroy();
      return { name, url: `s3://${BUCKET}?endpoint=${endpoint}&forcePathStyle=true`, stop };
    } catch (error) {
      problem = String(error);
      await sleep(100);
    }
  }
  client.destroy();
  await stop();
  return `${name} did not start: ${problem}`;
}
