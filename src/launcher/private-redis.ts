/**
 * The private redis-server of `npm start`: on a Unix socket (no port to clash with, out of reach for other users), each write on
 * disk before it is acknowledged, never evicting. It survives a killed launcher; the next one finds it by its socket.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, closeSync, lstatSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { systemEnvironment } from '../shared/runtime/environment.ts';
import { StartupError } from '../shared/runtime/startup-error.ts';
import { toError } from '../shared/runtime/to-error.ts';
import { makeFolder } from '../shared/runtime/make-folder.ts';
import { MAX_SOCKET_PATH, temporarySocket } from './data-dir.ts';
import { adjustLimits, type RedisLimits } from './redis-limits.ts';
import { rotateIfFull, type RotatingLogOptions } from './rotating-log.ts';

const BINARIES = ['redis-server', 'valkey-server'];
/** As in ./setup. */
export const MIN_MAJOR = 7;

const START_TIMEOUT_MS = 10_000;
/** Loading a large append-only file takes minutes. */
const LOAD_TIMEOUT_MS = 10 * 60_000;

export interface PrivateRedis {
  url: string;
  /** How it was started, for the user. */
  detail: string;
  /** Resolves when the data is in memory; until then Redis refuses other commands. @throws StartupError */
  loaded: () => Promise<void>;
  /** Shuts it down; also while it loads. */
  stop: () => Promise<void>;
}

export interface PrivateRedisOptions {
  /** Rotation of redis.log. */
  logs?: RotatingLogOptions;
  limits?: RedisLimits;
}

const NO_ROTATION = { maxBytes: Infinity, maxFiles: 1 };
const DEFAULT_LIMITS = { maxBytes: 0, admissionPercent: 80 };
/** How often the limits are updated. */
const LIMITS_MS = 5000;

/**
 * Starts the server, or takes over one that an earlier launcher left running.
 * @param onDeath called when the server ends without having been stopped
 * @throws StartupError
 */
export async function startPrivateRedis(
  dataDir: string,
  onDeath: (how: string) => void,
  { logs = NO_ROTATION, limits = DEFAULT_LIMITS }: PrivateRedisOptions = {},
): Promise<PrivateRedis> {
  const dir = privateRedisFolder(dataDir);
  makeFolder(dir);
  const socket = socketPath(dir);
  const keeper = new LimitUpdater(socket, dir, limits);
  if (await answers(socket)) {
    const unwatch = onEnd(socket, () => {
      keeper.stop();
      onDeath('its connection closed');
    });
    return {
      url: `unix://${socket}`,
      detail: 'still running from an earlier start',
      loaded: async () => {
        await loaded(socket);
        await keeper.start();
      },
      stop: async () => {
        unwatch();
        keeper.stop();
        await shutdown(socket);
      },
    };
  }
  const binary = BINARIES.find(isRecent);
  if (binary === undefined) {
    throw new StartupError(
      `no redis-server ${MIN_MAJOR} or newer on the PATH: run ./setup, or set REDIS_URL to a running Redis`,
    );
  }
  let stopping = false;
  const log = path.join(dir, 'redis.log');
  rotateIfFull(log, logs);
  removeUnfinished(dir);
  const out = openSync(log, 'a');
  const server = spawn(
    binary,
    // prettier-ignore
    [
      '--port', '0', '--unixsocket', socket, '--unixsocketperm', '700', '--dir', dir,
      '--appendonly', 'yes', '--appendfsync', 'always', '--save', '',
      '--maxmemory-policy', 'noeviction', '--daemonize', 'no',
    ],
    { detached: true, stdio: ['ignore', out, out], env: systemEnvironment() },
  );
  server.unref();
  closeSync(out);
  const died = new Promise<string>((resolve) => {
    server.once('error', (error) => resolve(error.message));
    server.once('exit', (code, signal) => resolve(signal ?? `exit status ${code}`));
  });
  const deathWhile = (when: string, how: string) =>
    new StartupError(`${binary} ended ${when} (${how}): ${lastLine(log)} (${log})${suggestion(log, dir)}`);
  const startedAt = performance.now();
  while (!(await answers(socket))) {
    const dead = await Promise.race([died, sleep(50)]);
    if (dead !== undefined) throw deathWhile('at start-up', dead);
    if (performance.now() - startedAt > START_TIMEOUT_MS) {
      server.kill();
      throw new StartupError(`${binary} did not answer within ${START_TIMEOUT_MS / 1000} s; see ${log}`);
    }
  }
  chmodSync(dir, 0o700);
  let loading = true;
  const diedLoading = new Promise<never>((_, reject) => {
    void died.then((how) => {
      keeper.stop();
      if (stopping) return;
      if (loading) reject(deathWhile('while loading its data', how));
      else onDeath(how);
    });
  });
  diedLoading.catch(() => {});
  return {
    url: `unix://${socket}`,
    loaded: async () => {
      await Promise.race([loaded(socket).then(() => keeper.start()), diedLoading]);
      loading = false;
    },
    detail: `${binary}, appendfsync always, data in ${path.relative('', dir) || dir}`,
    stop: async () => {
      stopping = true;
      keeper.stop();
      await shutdown(socket);
      await ended(server);
    },
  };
}

/** Updates the limits of a running server every few seconds. */
class LimitUpdater {
  readonly #adjust: () => Promise<void>;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(socket: string, dir: string, limits: RedisLimits) {
    // A server that does not answer now gets its limits next time.
    this.#adjust = () => withConnection(socket, (redis) => adjustLimits(redis, dir, limits)).catch(() => {});
  }

  /** Updates now and again later, one update at a time: of two at once, the older figures could be written last. */
  async start(): Promise<void> {
    await this.#adjust();
    if (!this.#stopped) this.#timer = setTimeout(() => void this.start(), LIMITS_MS).unref();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }
}

/** Folder of the server's data. */
export const privateRedisFolder = (dataDir: string): string => path.resolve(dataDir, 'redis');

/** Removes unfinished rewrites of a killed server: each can be as large as all of its data. */
function removeUnfinished(dir: string): void {
  for (const folder of [dir, path.join(dir, 'appendonlydir')]) {
    let names: string[];
    try {
      names = readdirSync(folder);
    } catch {
      continue;
    }
    for (const name of names)
      if (/^temp-.*\.(aof|rdb|incr|manifest)$/.test(name)) rmSync(path.join(folder, name), { force: true });
  }
}

/** Cure for data that Redis cannot read. A file that a crash has cut off is no such case: Redis reads it. */
function suggestion(log: string, dir: string): string {
  if (!/Bad file format|Unexpected end of file|Wrong signature|aof format/i.test(lastLine(log))) return '';
  const manifest = path.join(dir, 'appendonlydir', 'appendonly.aof.manifest');
  return `: restore ${dir} from a backup, or copy it and run redis-check-aof --fix ${manifest}, which cuts off what cannot be read`;
}

/** The last line of the server's log, without process id and time. */
function lastLine(log: string): string {
  try {
    const line = readFileSync(log, 'utf8').trimEnd().split('\n').at(-1) ?? '';
    return line.replace(/^\d+:\w \d+ \w+ \d+ [\d:.]+ [*#.-] /, '').slice(0, 300) || 'no reason in its log';
  } catch {
    return 'no reason in its log';
  }
}

/** Whether the binary exists and is new enough. */
function isRecent(binary: string): boolean {
  const { error, stdout } = spawnSync(binary, ['--version'], { encoding: 'utf8' });
  return error === undefined && Number(/ v=(\d+)\./.exec(stdout)?.[1]) >= MIN_MAJOR;
}

function socketPath(dir: string): string {
  const inside = path.join(dir, 'redis.sock');
  if (Buffer.byteLength(inside) <= MAX_SOCKET_PATH) return inside;
  return temporarySocket(`amulet-${createHash('sha256').update(dir).digest('hex').slice(0, 16)}.sock`);
}

/** Options of a connection that is made once, and used before the data is loaded, too. */
export const ONE_ATTEMPT = {
  lazyConnect: true,
  retryStrategy: () => null,
  maxRetriesPerRequest: 0,
  enableReadyCheck: false,
};

async function withConnection<T>(socket: string, use: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(socket, ONE_ATTEMPT);
  redis.on('error', () => {});
  try {
    await redis.connect();
    return await use(redis);
  } finally {
    redis.disconnect();
  }
}

/**
 * Whether a server listens, even if it is still loading its data.
 * @throws StartupError when another user made the socket. The owner cannot change between this check and the connection, not
 *   even in a folder where all may write.
 */
async function answers(socket: string): Promise<boolean> {
  const stats = lstatSync(socket, { throwIfNoEntry: false });
  if (!stats) return false;
  if (stats.uid !== process.getuid?.())
    throw new StartupError(`${socket} belongs to another user: set DATA_DIR to another folder`);
  try {
    await withConnection(socket, (redis) => redis.ping());
    return true;
  } catch (error) {
    return toError(error).message.startsWith('LOADING');
  }
}

/** Calls back when a server ends that is not this launcher's child. @returns a function that stops watching */
function onEnd(socket: string, callback: () => void): () => void {
  let watching = true;
  const redis = new Redis(socket, { retryStrategy: () => null, enableReadyCheck: false });
  redis.on('error', () => {});
  redis.once('end', () => {
    if (!watching) return;
    // Only this connection may have been closed.
    const stillThere = answers(socket).catch(() => false);
    void stillThere.then((there) => {
      if (!watching) return;
      if (there) unwatch = onEnd(socket, callback);
      else callback();
    });
  });
  let unwatch = () => redis.disconnect();
  return () => {
    watching = false;
    unwatch();
  };
}

async function loaded(socket: string): Promise<void> {
  const startedAt = performance.now();
  for (;;) {
    try {
      await withConnection(socket, (redis) => redis.ping());
      return;
    } catch (error) {
      if (performance.now() - startedAt > LOAD_TIMEOUT_MS)
        throw new StartupError(`Redis did not finish loading its data: ${toError(error).message}`);
      await sleep(100);
    }
  }
}

async function shutdown(socket: string): Promise<void> {
  // A server that ends does not answer: the connection just closes.
  await withConnection(socket, (redis) => redis.shutdown('NOSAVE')).catch(() => {});
  while (await answers(socket)) await sleep(50);
}

async function ended(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  await once(server, 'exit');
}
