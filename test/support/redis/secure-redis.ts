/**
 * A Redis that speaks TLS alone, to the users of deploy/redis/users.acl and an administrator. Tests are the administrator;
 * the processes they start get the user of their role.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Redis } from 'ioredis';
import { CertificateAuthority } from '../network/certificates.ts';

const USERS = new URL('../../../deploy/redis/users.acl', import.meta.url);
const HOST = '127.0.0.1';
const ADMIN = { username: 'admin', password: 'of-tests' };
/** The user of a process, by the file that it begins with. */
const ROLES: Record<string, string> = {
  'api/main.ts': 'amulet-api',
  'worker/inference/main.ts': 'amulet-worker',
  'worker/webhooks/main.ts': 'amulet-webhooks',
};

/** Path of the authority's certificate: global setup sets it for the processes that run tests. */
const CA_VARIABLE = 'TEST_REDIS_CA_FILE';

export class SecureRedis {
  readonly url: string;
  readonly #authority = new CertificateAuthority();
  readonly #dir = mkdtempSync(path.join(tmpdir(), 'amulet-test-redis-'));
  readonly #server: ChildProcess;

  private constructor(port: number) {
    this.url = `rediss://${ADMIN.username}:${ADMIN.password}@${HOST}:${port}`;
    const { cert, key } = this.#authority.issue(HOST);
    // prettier-ignore
    this.#server = spawn('redis-server', [
      '--port', '0', '--tls-port', String(port), '--bind', HOST, '--dir', this.#dir, '--save', '',
      '--appendonly', 'yes', '--appendfsync', 'always', '--maxmemory-policy', 'noeviction',
      '--tls-cert-file', this.#write('redis.pem', cert), '--tls-key-file', this.#write('redis.key', key),
      '--tls-ca-cert-file', this.#authority.file, '--tls-auth-clients', 'optional',
      '--aclfile', this.#write('users.acl', usersOfTests()),
    ], { stdio: 'ignore' });
  }

  static async start(port: number): Promise<SecureRedis> {
    const server = new SecureRedis(port);
    const ca = server.#authority.file;
    process.env[CA_VARIABLE] = ca;
    // For the connections of the tests themselves.
    process.env.NODE_EXTRA_CA_CERTS = ca;
    const gone = new Promise<never>((_, reject) =>
      server.#server.once('exit', () =>
        reject(new Error('redis-server does not take its users or has no TLS')),
      ),
    );
    gone.catch(() => {});
    await Promise.race([server.#asAdmin((redis) => redis.ping()), gone]);
    return server;
  }

  /** @throws Error when a user was refused something: it has too few rights */
  async stop(): Promise<void> {
    const refused = await this.#asAdmin((redis) => redis.call('ACL', 'LOG'));
    const gone = new Promise((resolve) => this.#server.once('exit', resolve));
    this.#server.kill('SIGKILL');
    await gone;
    rmSync(this.#dir, { recursive: true, force: true });
    this.#authority.remove();
    if ((refused as unknown[]).length > 0) throw new Error(`refused by Redis: ${JSON.stringify(refused)}`);
  }

  async #asAdmin<T>(use: (redis: Redis) => Promise<T>): Promise<T> {
    const redis = new Redis(this.url, {
      tls: { ca: readFileSync(this.#authority.file) },
      retryStrategy: () => 20,
      maxRetriesPerRequest: null,
    });
    redis.on('error', () => {});
    try {
      return await use(redis);
    } finally {
      redis.disconnect();
    }
  }

  #write(name: string, content: string): string {
    const file = path.join(this.#dir, name);
    writeFileSync(file, content, { mode: 0o600 });
    return file;
  }
}

/**
 * What changes in the environment of a process that is given the administrator's URL: the user of its role, and the setting
 * that has it trust the server.
 */
export function accessOf(entry: string, env: Record<string, string>): Record<string, string> {
  const { REDIS_URL, NODE_EXTRA_CA_CERTS = '' } = env;
  const ca = process.env[CA_VARIABLE];
  const user = ROLES[entry];
  // An address of Sentinels has several hosts, which URL does not read; those tests have servers of their own.
  if (ca === undefined || user === undefined || !REDIS_URL?.startsWith('rediss:')) return {};
  const url = new URL(REDIS_URL);
  if (url.username !== ADMIN.username) return {};
  url.username = user;
  url.password = passwordOf(user);
  return { REDIS_URL: url.href, REDIS_TLS_CA_FILE: ca, NODE_EXTRA_CA_CERTS };
}

const passwordOf = (user: string) => `of-${user}`;

/** The users as they are handed out, with passwords, for prefixes of all tests. */
function usersOfTests(): string {
  const users = readFileSync(USERS, 'utf8')
    .replaceAll('{amulet}', '{*}')
    .replaceAll(/^user (\S+) on >\S+/gm, (_, user: string) => `user ${user} on >${passwordOf(user)}`);
  return `${users}user default off\nuser ${ADMIN.username} on >${ADMIN.password} ~* &* +@all\n`;
}
