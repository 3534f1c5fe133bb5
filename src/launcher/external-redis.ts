/** The Redis that REDIS_URL names: `npm start` waits for it before it starts what needs it, and says what it waits for. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import type { Config } from '../shared/runtime/config.ts';
import { StartupError } from '../shared/runtime/startup-error.ts';
import { toError } from '../shared/runtime/to-error.ts';
import { redisAddress } from '../shared/redis/address.ts';
import { isTls, withoutPasswords } from '../shared/runtime/redis-url.ts';
import { MIN_MAJOR } from './private-redis.ts';

const RETRY_MS = 500;
/** Sentinels and clusters are asked again and again by themselves. */
const ATTEMPT_MS = 5000;

/** What does not pass by waiting, and what to do about it. */
const FATAL: [RegExp, string][] = [
  [
    /WRONGPASS|NOAUTH|invalid (username-)?password/i,
    'it refuses the user or the password of REDIS_URL: correct them',
  ],
  [/NOPERM/, 'its user may not do what is needed: see docs/redis.md'],
  [/certificate|self.signed/i, 'its certificate is not trusted: set REDIS_TLS_CA_FILE'],
  [
    /wrong version number|packet length too long|SSL routines/i,
    'it does not speak TLS: begin REDIS_URL with redis:// instead of rediss://',
  ],
  [
    /Protocol error|Unknown RESP type/i,
    'what listens there is not Redis (or it wants rediss://): correct REDIS_URL',
  ],
];

/**
 * Resolves when Redis answers, and is one that can be used.
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
      print(`waiting for Redis at ${where} (${reason}): start it, or correct REDIS_URL; Ctrl-C ends this`);
    said = reason;
    await sleep(RETRY_MS);
  }
}

/** @returns why it is not there yet; undefined when it is. @throws StartupError */
async function attempt(config: Config, where: string): Promise<string | undefined> {
  const { url, options } = redisAddress(config);
  const once = {
    ...options,
    lazyConnect: true,
    retryStrategy: () => null,
    maxRetriesPerRequest: 0,
    enableReadyCheck: false,
    // A command less that its user must be allowed.
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
    // It answers: that its user may not ask for its version is nothing to wait for.
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
      `Redis at ${where} is version ${version}: Amulet needs ${MIN_MAJOR} or newer, or Valkey; unset REDIS_URL to have npm start run one`,
    );
}
