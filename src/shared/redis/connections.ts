/**
 * Redis connections of two kinds. The API's fails fast: a caller is better served by a 503 now than by an answer after its client
 * has given up. A worker's waits without limit: its jobs are safe in Redis, and no caller waits on the connection.
 */
import type { Writable } from 'node:stream';
import { Redis, type RedisOptions } from 'ioredis';
import { AppError } from '../contract/problems.ts';
import { toError } from '../runtime/to-error.ts';
import type { Logger } from '../runtime/logger.ts';
import { retryStrategy, type RedisAddress } from './address.ts';

/** BullMQ blocks for 5 s at a time on an idle queue; a socket silent for longer than this is dead. */
const WORKER_SOCKET_TIMEOUT_MS = 12_000;

/** Pause after a master was demoted or a cluster is incomplete: its successor is not known at once. */
const DISPLACED_RETRY_MS = 1000;
/** Pause after a cluster node has named the new owner of the slot. */
const MOVED_RETRY_MS = 100;

/**
 * Replies of a server that takes no writes (now): the next connection may lead to another one. A cluster answers ASK and TRYAGAIN
 * for keys that are moving to another node.
 */
const DISPLACED = /^(READONLY|MOVED|ASK|TRYAGAIN|CLUSTERDOWN)\b/;
/** Replies to commands that the user's ACL forbids; within a script, Redis has no error code for them. */
const FORBIDDEN = /^NOPERM\b|user executing the script|ACL failure in script/;

/** Return value of reconnectOnError that makes ioredis resend the refused command. */
const RESEND = 2;

/** Error of a reply, with the command that ioredis adds. */
interface ReplyError extends Error {
  command?: { name: string };
}

interface ConnectOptions {
  enableOfflineQueue?: boolean;
  maxRetriesPerRequest: number | null;
  autoResendUnfulfilledCommands?: boolean;
  commandTimeout?: number;
  socketTimeout: number;
}

function connect(address: RedisAddress, limits: ConnectOptions, logger: Logger, role: string): Redis {
  const reported = new Set<string>();
  const forbidden = new Set<string>();
  /** Pause in ms; set between a DISPLACED reply and the next connection. */
  let displaced: number | undefined;
  const reportForbidden = (error: Error) => {
    const command = (error as ReplyError).command?.name ?? 'a command';
    // CONFIG is only read for information.
    if (forbidden.has(command) || command === 'config') return;
    forbidden.add(command);
    logger.error(
      { role, command, reason: error.message },
      'the Redis user lacks a permission: see docs/redis.md',
    );
  };
  const options = {
    connectTimeout: 2000,
    keepAlive: 5000,
    // Spares the Redis user one more permission.
    disableClientInfo: true,
    retryStrategy: (attempt: number) => {
      const delay = displaced ?? retryStrategy(attempt);
      displaced = undefined;
      return delay;
    },
    reconnectOnError: (error: Error) => {
      const { message } = error;
      if (FORBIDDEN.test(message)) reportForbidden(error);
      if (!DISPLACED.test(message)) return false;
      if (displaced === undefined)
        logger.warn({ role, reason: message }, 'this Redis takes no writes: reconnecting');
      displaced = message.startsWith('MOVED') ? MOVED_RETRY_MS : DISPLACED_RETRY_MS;
      reported.add(message);
      return limits.enableOfflineQueue === false || RESEND;
    },
    ...limits,
    ...address.options,
  } satisfies RedisOptions;
  const redis = address.url === undefined ? new Redis(options) : new Redis(address.url, options);
  redis.on('connect', () => corkWrites(redis.stream));
  redis.on('error', (error) => {
    // ioredis emits one or two errors per attempt: log each reason once, not every 50 ms.
    if (reported.has(error.message)) return;
    reported.add(error.message);
    logger.warn(
      { role, reason: error.message || (error as NodeJS.ErrnoException).code },
      'Redis connection error',
    );
  });
  redis.on('ready', () => {
    if (reported.size > 0) logger.info({ role, recovered: true }, 'connected to Redis again');
    reported.clear();
  });
  return redis;
}

/**
 * Sends the commands of one turn of the event loop in one write. ioredis writes each command to the socket at once; a batch that
 * finishes, or a burst of requests, would cost a system call per command here, and in Redis a read, a loop and (with
 * `appendfsync always`) an fsync each.
 */
function corkWrites(stream: Writable): void {
  const write: Writable['write'] = stream.write.bind(stream);
  let corked = false;
  stream.write = ((...args: Parameters<Writable['write']>) => {
    if (!corked) {
      corked = true;
      stream.cork();
      setImmediate(() => {
        corked = false;
        stream.uncork();
      });
    }
    return write(...args);
  }) as Writable['write'];
}

/** A connection whose commands fail at once while Redis is unreachable, and after `timeoutMs` without an answer. */
export function connectFailFast(
  address: RedisAddress,
  timeoutMs: number,
  logger: Logger,
  role: string,
): Redis {
  return connect(
    address,
    {
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      autoResendUnfulfilledCommands: false,
      commandTimeout: timeoutMs,
      // A frozen or black-holed Redis keeps its TCP connection: close it, so that a new one is opened.
      socketTimeout: 2 * timeoutMs,
    },
    logger,
    role,
  );
}

/** A connection whose commands wait until Redis is there, for BullMQ workers and subscriptions. */
export function connectForWorker(address: RedisAddress, logger: Logger, role: string): Redis {
  return connect(
    address,
    { maxRetriesPerRequest: null, socketTimeout: WORKER_SOCKET_TIMEOUT_MS },
    logger,
    role,
  );
}

const PING_MS = 4000;

/**
 * A worker's connection for subscriptions alone. It only listens, so a dead network would go unnoticed: a regular ping gives the
 * socket timeout something to wait for.
 */
export function connectSubscriber(address: RedisAddress, logger: Logger, role: string): Redis {
  const redis = connectForWorker(address, logger, role);
  const timer = setInterval(() => {
    if (redis.status === 'ready') redis.ping().catch(() => {});
  }, PING_MS);
  redis.once('end', () => clearInterval(timer));
  return redis;
}

/** Runs `call` under one deadline for all of its Redis commands. */
export type WithRedis = <T>(call: () => Promise<T>) => Promise<T>;

/**
 * The API's guard around Redis: a call that hangs, loses its connection or finds Redis full becomes a 503 within `timeoutMs`.
 * A call that timed out may still take effect; callers that write use ids that make a repeat harmless.
 *
 * @throws AppError `redis_unavailable`, `redis_full` or `redis_disk_full`; other errors (bugs) pass unchanged
 */
export function createRedisGuard(redis: Redis, timeoutMs: number): WithRedis {
  return async function withRedis(call) {
    if (redis.status !== 'ready') throw unavailable('Redis is not connected');
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(unavailable(`Redis did not answer within ${timeoutMs} ms`)), timeoutMs);
    });
    try {
      return await Promise.race([call(), deadline]);
    } catch (error) {
      throw toRedisProblem(error);
    } finally {
      clearTimeout(timer);
    }
  };
}

function unavailable(detail: string, cause?: unknown): AppError {
  return new AppError('redis_unavailable', detail, { retryAfterS: 1, cause });
}

/** For new work that the disk of Redis has no room for. */
export function redisDiskFull(cause?: unknown): AppError {
  return new AppError(
    'redis_disk_full',
    'the disk of Redis has too little room for new work: try again later, or ask the operator to make room',
    { retryAfterS: 10, cause },
  );
}

/** Reply when Redis cannot write its file on a full disk; with `appendfsync always` it ends instead. */
const DISK_FULL = /^MISCONF\b.*(No space left|quota exceeded)/i;
/** Replies that mean that the server cannot work now, not that the command was wrong. */
const SERVER_STATE = /^(LOADING|MASTERDOWN|BUSY|NOREPLICAS|MISCONF|NOAUTH|WRONGPASS)\b/;
/** ioredis rejects with plain Errors without a code when a connection is lost. */
const CONNECTION_LOST =
  /Connection is closed|Stream isn't writeable|Command timed out|Socket timeout|max retries per request|Socket closed|ECONN|EPIPE|ENOTFOUND|ETIMEDOUT/i;

/** Translates an error of a Redis command for callers: AppError `redis_unavailable`, `redis_full` or `redis_disk_full`; others unchanged. */
export function toRedisProblem(thrown: unknown): unknown {
  if (thrown instanceof AppError) return thrown;
  const error = toError(thrown);
  if (/\bOOM\b/.test(error.message)) {
    return new AppError('redis_full', 'Redis has no memory left for new jobs', {
      retryAfterS: 5,
      cause: error,
    });
  }
  if (DISK_FULL.test(error.message)) return redisDiskFull(error);
  if ([SERVER_STATE, DISPLACED, FORBIDDEN].some((pattern) => pattern.test(error.message)))
    return unavailable(`Redis answered ${error.message.split(' ')[0]}`, error);
  const code = (error as NodeJS.ErrnoException).code ?? '';
  if (CONNECTION_LOST.test(`${error.name} ${code} ${error.message}`))
    return unavailable('Redis is not reachable', error);
  return error;
}
