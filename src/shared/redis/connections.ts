/**
 * The two kinds of Redis connection. The API's fails fast: a caller is better served by a 503 now than by an answer
 * after the client gave up. A worker's waits for ever: its jobs are safe in Redis and nobody is on the line.
 */
import type { Writable } from 'node:stream';
import { Redis, type RedisOptions } from 'ioredis';
import { AppError } from '../contract/problems.ts';
import { toError } from '../runtime/to-error.ts';
import type { Logger } from '../runtime/logger.ts';
import { retryStrategy, type RedisAddress } from './address.ts';

/** BullMQ blocks for 5 s at a time on an idle queue; a socket silent for longer than this is dead. */
const WORKER_SOCKET_TIMEOUT_MS = 12_000;

/** After a master said that it is one no more, or a cluster that it is not whole: what comes next is not known at once. */
const DISPLACED_RETRY_MS = 1000;
/** After a node of a cluster named the new owner of the slot. */
const MOVED_RETRY_MS = 100;

/**
 * This is not the server to write to, or not now: the next connection may be to another one. A cluster says ASK and TRYAGAIN
 * of keys that are on their way to another node.
 */
const DISPLACED = /^(READONLY|MOVED|ASK|TRYAGAIN|CLUSTERDOWN)\b/;
/** What the ACL of the user does not allow; in a script, Redis has no code for it. */
const FORBIDDEN = /^NOPERM\b|user executing the script|ACL failure in script/;

/** What reconnectOnError answers to have the refused command sent again. */
const RESEND = 2;

/** As ioredis completes it. */
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
  /** Set between an answer of DISPLACED and the next connection, in ms. */
  let displaced: number | undefined;
  const reportForbidden = (error: Error) => {
    const command = (error as ReplyError).command?.name ?? 'a command';
    // That one is for information.
    if (forbidden.has(command) || command === 'config') return;
    forbidden.add(command);
    logger.error(
      { role, command, reason: error.message },
      'the Redis user may not do this: see docs/redis.md',
    );
  };
  const options = {
    connectTimeout: 2000,
    keepAlive: 5000,
    // A command less that a user must be allowed.
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
        logger.warn({ role, reason: message }, 'another Redis is in charge: reconnecting');
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
    // ioredis emits one error or two per attempt: say a new one once, not every 50 ms.
    if (reported.has(error.message)) return;
    reported.add(error.message);
    logger.warn(
      { role, reason: error.message || (error as NodeJS.ErrnoException).code },
      'Redis connection error',
    );
  });
  redis.on('ready', () => {
    if (reported.size > 0) logger.info({ role }, 'Redis is back');
    reported.clear();
  });
  return redis;
}

/**
 * Sends the commands of one turn of the event loop together. ioredis writes each to the socket as it comes; a batch that
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

/** A connection whose commands fail at once while Redis is away, and after `timeoutMs` when it does not answer. */
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
      // A frozen or black-holed Redis keeps its TCP connection: give it up, so that the next one is fresh.
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
 * A patient connection for nothing but subscriptions. It only ever listens, so a dead network would go unnoticed: a ping
 * now and then gives the socket timeout something to wait for.
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
 * The API's guard around Redis: whatever hangs, drops or is full becomes a 503 within `timeoutMs`.
 * The work of a call that timed out may still happen; callers that write use ids that make a repeat harmless.
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
    'the disk of Redis has too little room for new work: try again later; the operator makes room',
    { retryAfterS: 10, cause },
  );
}

/** The reply while its file cannot be written for want of room; with `appendfsync always` it ends instead. */
const DISK_FULL = /^MISCONF\b.*(No space left|quota exceeded)/i;
/** Replies that say the server cannot work now, rather than that the command was wrong. */
const SERVER_STATE = /^(LOADING|MASTERDOWN|BUSY|NOREPLICAS|MISCONF|NOAUTH|WRONGPASS)\b/;
/** ioredis rejects with plain Errors when a connection goes away; they carry no code to tell them by. */
const CONNECTION_LOST =
  /Connection is closed|Stream isn't writeable|Command timed out|Socket timeout|max retries per request|Socket closed|ECONN|EPIPE|ENOTFOUND|ETIMEDOUT/i;

/** An error of a Redis command as a caller is to see it: AppError `redis_unavailable`, `redis_full` or `redis_disk_full`; others as they are. */
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
