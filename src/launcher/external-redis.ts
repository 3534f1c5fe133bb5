/** Waits for the Redis that REDIS_URL names, before `npm start` starts the processes that need it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import type { Config } from '../shared/runtime/config.ts';
import { StartupError } from '../shared/runtime/startup-error.ts';
import { toError } from '../shared/runtime/to-error.ts';
import { redisAddress } from '../shared/redis/address.ts';
import { isTls, withoutPasswords } from '../shared/runtime/redis-url.ts';
import { MIN_MAJOR, ONE_ATTEMPT } from './private-redis.ts';

const RETRY_MS = 500;
/** One attempt may ask several Sentinels or cluster nodes, again and again. */
const ATTEMPT_MS = 5000;

/** Errors that waiting does not cure, and what to do about them. */
const FATAL: [RegExp, string][] = [
  [
    /WRONGPASS|NOAUTH|invalid (username-)?password/i,
    'it refuses the user or password of REDIS_URL: correct them',
  ],
  [/NOPERM/, 'the user lacks permissions: see docs/redis.md'],
  [/certificate|self.signed/i, 'its certificate is not trusted: set REDIS_TLS_CA_FILE'],
  [
    /wrong version number|packet length too long|SSL routines/i,
    'it does not speak TLS: begin REDIS_URL with redis:// instead of rediss://',
  ],
  [
    /Protocol error|Unknown RESP type/i,
    'the server there is not Redis, or needs rediss://: correct REDIS_URL',
  ],
];

/**
 * Resolves when Redis answers and can be used.
 * @param print gets a line when the reason for waiting changes
 * @throws StartupError when waiting is of no use
 */
export async function waitForExternalRedis(
  config: Config,
  print: (line: string) => void,
  isStopping: () => boolean,
): Promise<void> {
  const where = withoutPasswords(config.REDIS_URL ?? '');
  let said: string | undefined;
  while (!isStopping()) {
    const reason = await attempt(config, where);
    if (reason === undefined) return;
    if (reason !== said)
      print(
        `waiting for Redis at ${where} (${reason}): start it or correct REDIS_URL, or press Ctrl-C to give up`,
      );
    said = reason;
    await sleep(RETRY_MS);
  }
}

/** @returns why Redis cannot be used yet; undefined when it can. @throws StartupError */
async function attempt(config: Config, where: string): Promise<string | undefined> {
  const { url, options } = redisAddress(config);
  const once = {
    ...options,
    ...ONE_ATTEMPT,
    // Spares the user one more permission.
    disableClientInfo: true,
    connectTimeout: ATTEMPT_MS,
  };
  const redis = url === undefined ? new Redis(once) : new Redis(url, once);
  let reported = '';
  const tls = isTls(config.REDIS_URL ?? '');
  redis.on('error', (error) => {
    reported ||= error.message || ((error as NodeJS.ErrnoException).code ?? '');
  });
  const given = new AbortController();
  try {
    const late = sleep(ATTEMPT_MS, undefined, { signal: given.signal }).then(() => {
      throw new Error(
        reported ||
          `no answer within ${ATTEMPT_MS / 1000} s${tls ? '; does it speak TLS, as rediss:// says?' : ''}`,
      );
    });
    checkVersion(await Promise.race([redis.connect().then(() => redis.info('server')), late]), where);
    return undefined;
  } catch (error) {
    if (error instanceof StartupError) throw error;
    const message = `${toError(error).message} ${reported}`;
    // Redis answers: a user who may not read its version is no reason to wait.
    if (message.includes('NOPERM') && /info/i.test(message)) return undefined;
    const cure = FATAL.find(([pattern]) => pattern.test(message))?.[1];
    if (cure !== undefined) throw new StartupError(`Redis at ${where}: ${cure}`, { cause: error });
    if (message.includes('LOADING')) return 'it is loading its data';
    return reported || toError(error).message;
  } finally {
    given.abort();
    redis.disconnect();
  }
}

function checkVersion(info: string, where: string): void {
  const version = /^redis_version:(\S+)/m.exec(info)?.[1];
  if (version !== undefined && Number.parseInt(version) < MIN_MAJOR)
    throw new StartupError(
      `Redis at ${where} is version ${version}: Amulet needs ${MIN_MAJOR} or newer, or Valkey; unset REDIS_URL to let npm start run one`,
    );
}
