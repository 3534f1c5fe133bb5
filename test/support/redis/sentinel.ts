/** A Redis master, its replica and three Sentinels that watch them, all of them with passwords. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Redis } from 'ioredis';
import { freePort, OwnRedis } from './redis.ts';
import { eventually } from '../processes/stack.ts';

const PASSWORD = 'secret/of:redis';
const SENTINEL_PASSWORD = 'secret&of=sentinels';
const NAME = 'mymaster';
/** A master that does not answer for so long is down. Longer than a busy machine keeps a process waiting. */
const DOWN_AFTER_MS = 2000;

const OPTIONS = ['--requirepass', PASSWORD, '--masterauth', PASSWORD, '--repl-diskless-sync-delay', '0'];

export class RedisGroup {
  readonly master: OwnRedis;
  readonly replica: OwnRedis;
  readonly #dir = mkdtempSync(path.join(tmpdir(), 'amulet-test-sentinel-'));
  readonly #sentinels: { port: number; process: ChildProcess }[] = [];

  private constructor(master: OwnRedis, replica: OwnRedis) {
    this.master = master;
    this.replica = replica;
  }

  /** @returns a group in which everybody knows everybody */
  static async start(): Promise<RedisGroup> {
    const master = await OwnRedis.start(OPTIONS);
    const replica = await OwnRedis.start([...OPTIONS, '--replicaof', '127.0.0.1', String(master.port)]);
    const group = new RedisGroup(master, replica);
    // Sentinels ask a master for its replicas when they first see it, and then not for ten seconds.
    await group.on(master, (redis) =>
      eventually(async () => ((await redis.info()).includes('state=online') ? true : undefined)),
    );
    for (let i = 0; i < 3; i++) await group.#addSentinel();
    for (const { port } of group.#sentinels) {
      await group.#ask(port, (sentinel) =>
        eventually(async () => {
          const info = await sentinel.info();
          return info.includes('slaves=1,sentinels=3') ? true : undefined;
        }),
      );
    }
    return group;
  }

  /** For REDIS_URL. */
  get url(): string {
    return this.urlBy(this.sentinelPorts);
  }

  get sentinelPorts(): number[] {
    return this.#sentinels.map(({ port }) => port);
  }

  /** The same, where just these are to be asked. */
  urlBy(ports: number[]): string {
    const hosts = ports.map((port) => `127.0.0.1:${port}`).join(',');
    const query = `sentinel_password=${encodeURIComponent(SENTINEL_PASSWORD)}`;
    return `redis+sentinel://:${encodeURIComponent(PASSWORD)}@${hosts}/${NAME}?${query}`;
  }

  /** Of one of the servers, to look at it itself. */
  urlOf({ port }: OwnRedis): string {
    return `redis://:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}`;
  }

  /** Lends a connection to one of the servers. */
  on<T>(server: OwnRedis, use: (redis: Redis) => Promise<T>): Promise<T> {
    return lend(new Redis(this.urlOf(server)), use);
  }

  /** Has the replica lose its master, who stays where it is. */
  async cutReplication(): Promise<void> {
    await this.on(this.replica, async (redis) => {
      await redis.config('SET', 'masterauth', 'another');
      await redis.call('CLIENT', 'KILL', 'TYPE', 'master');
    });
    await this.on(this.master, (redis) =>
      eventually(async () => ((await redis.info()).includes('connected_slaves:0') ? true : undefined)),
    );
  }

  /** Resolves when the replica has read all that its dead master had sent. */
  async drained(): Promise<void> {
    await this.on(this.replica, (redis) =>
      eventually(async () => ((await redis.info()).includes('master_link_status:up') ? undefined : true)),
    );
  }

  /** Asks a Sentinel to put the replica in the place of the master, who is well. */
  async failover(): Promise<void> {
    await this.#ask(this.#sentinels[0]?.port, (sentinel) => sentinel.call('SENTINEL', 'FAILOVER', NAME));
  }

  /** Resolves when so many processes listen to every Sentinel. */
  async watched(processes: number): Promise<void> {
    for (const { port } of this.#sentinels) {
      await this.#ask(port, (sentinel) =>
        eventually(async () => {
          const clients = String(await sentinel.client('LIST'));
          return clients.split(' sub=1 ').length > processes ? true : undefined;
        }),
      );
    }
  }

  /** Resolves when nobody but Sentinels is connected to the master, who is one still. */
  async abandoned(): Promise<void> {
    await this.on(this.master, (redis) =>
      eventually(async () => {
        const clients = String(await redis.client('LIST'))
          .trim()
          .split('\n');
        if (!clients.every((client) => /name=sentinel-|cmd=client\|list/.test(client))) return undefined;
        if (!(await redis.info()).includes('role:master')) throw new Error('it is a replica by now');
        return true;
      }),
    );
  }

  /** Has the first Sentinel reach neither server any more, and the others hang. */
  async blindSentinels(): Promise<void> {
    for (const { process } of this.#sentinels.slice(1)) process.kill('SIGSTOP');
    await this.#ask(this.#sentinels[0]?.port, (sentinel) =>
      sentinel.call('SENTINEL', 'SET', NAME, 'auth-pass', 'another'),
    );
  }

  /** Resolves when all Sentinels say that the replica is the master now. */
  async promoted(): Promise<void> {
    for (const { port } of this.#sentinels) {
      await this.#ask(port, (sentinel) =>
        eventually(async () => {
          const address = await sentinel.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', NAME);
          return (address as string[])[1] === String(this.replica.port) ? true : undefined;
        }),
      );
    }
  }

  /** Has the Sentinels hang. @param count how many of them; the first is the one that everybody asks first */
  freezeSentinels(count: number): void {
    for (const { process } of this.#sentinels.slice(0, count)) process.kill('SIGSTOP');
  }

  thawSentinels(): void {
    for (const { process } of this.#sentinels) process.kill('SIGCONT');
  }

  async stop(): Promise<void> {
    for (const { process } of this.#sentinels) process.kill('SIGKILL');
    await Promise.all([this.master.stop(), this.replica.stop()]);
    rmSync(this.#dir, { recursive: true, force: true });
  }

  async #addSentinel(): Promise<void> {
    const port = await freePort();
    const file = path.join(this.#dir, `${port}.conf`);
    const settings = [
      `port ${port}`,
      'bind 127.0.0.1',
      `dir ${this.#dir}`,
      `requirepass ${SENTINEL_PASSWORD}`,
      `sentinel monitor ${NAME} 127.0.0.1 ${this.master.port} 2`,
      `sentinel auth-pass ${NAME} ${PASSWORD}`,
      `sentinel down-after-milliseconds ${NAME} ${DOWN_AFTER_MS}`,
      `sentinel failover-timeout ${NAME} 10000`,
    ];
    writeFileSync(file, settings.join('\n'));
    const process = spawn('redis-server', [file, '--sentinel'], { stdio: 'ignore' });
    this.#sentinels.push({ port, process });
    await this.#ask(port, (sentinel) => sentinel.ping());
  }

  #ask<T>(port: number | undefined, use: (sentinel: Redis) => Promise<T>): Promise<T> {
    return lend(new Redis(`redis://:${encodeURIComponent(SENTINEL_PASSWORD)}@127.0.0.1:${port}`), use);
  }
}

async function lend<T>(redis: Redis, use: (redis: Redis) => Promise<T>): Promise<T> {
  redis.on('error', () => {});
  try {
    return await use(redis);
  } finally {
    redis.disconnect();
  }
}
