/** Turns the settings into ioredis options: address, credentials and TLS. */
import { readFileSync } from 'node:fs';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import type { RedisOptions } from 'ioredis';
import { ClusterConnector } from './cluster-connector.ts';
import type { Config } from '../runtime/config.ts';
import { StartupError } from '../runtime/startup-error.ts';
import { toError } from '../runtime/to-error.ts';
import { isTls, parseRedisUrl } from '../runtime/redis-url.ts';
import { WatchingConnector } from './sentinel-connector.ts';

/** Reconnects after 50 ms, then more slowly, but at least once a second: a restart of Redis should go almost unnoticed. */
export const retryStrategy = (attempt: number): number => Math.min(50 * attempt, 1000);

/** The arguments of `new Redis()`. */
export interface RedisAddress {
  /** URL or socket path; undefined: the address is in the options. */
  url: string | undefined;
  options: Omit<RedisOptions, 'replyMapping'>;
}

/** Sentinels are asked in turn until one answers; one that hangs is skipped. */
const SENTINEL_OPTIONS = {
  sentinelRetryStrategy: retryStrategy,
  sentinelCommandTimeout: 1000,
  Connector: WatchingConnector,
} satisfies RedisOptions;

type Settings = Pick<
  Config,
  'REDIS_URL' | 'REDIS_PREFIX' | 'REDIS_TLS_CA_FILE' | 'REDIS_TLS_CERT_FILE' | 'REDIS_TLS_KEY_FILE'
>;

/** @throws StartupError when the settings do not fit together, or a file cannot be used */
export function redisAddress(config: Settings): RedisAddress {
  const { REDIS_URL: url, REDIS_PREFIX: prefix } = config;
  if (url === undefined)
    throw new StartupError('REDIS_URL is not set (without it, only `npm start` runs a private Redis)');
  const files = readTlsFiles(config);
  if (files && !isTls(url))
    throw new StartupError('REDIS_TLS_…_FILE is set, but REDIS_URL does not begin with rediss');
  const tls = files ?? {};
  const target = parseRedisUrl(url);
  if (typeof target !== 'object') return { url: target ?? url, options: isTls(url) ? { tls } : {} };
  const secure = isTls(url) && { tls };
  if ('clusterNodes' in target) {
    if (!/\{[^}]+\}/.test(prefix)) {
      throw new StartupError(
        `REDIS_PREFIX=${prefix}: a cluster needs braces around a part of it, to keep all keys in one slot`,
      );
    }
    const options = { ...target, clusterKey: `${prefix}:`, Connector: ClusterConnector, ...secure };
    return { url: undefined, options };
  }
  const sentinel = isTls(url) && { sentinelTLS: tls, enableTLSForSentinelMode: true };
  return { url: undefined, options: { ...SENTINEL_OPTIONS, ...target, ...secure, ...sentinel } };
}

function readTlsFiles(config: Settings): SecureContextOptions | undefined {
  const ca = read('REDIS_TLS_CA_FILE', config.REDIS_TLS_CA_FILE);
  const cert = read('REDIS_TLS_CERT_FILE', config.REDIS_TLS_CERT_FILE);
  const key = read('REDIS_TLS_KEY_FILE', config.REDIS_TLS_KEY_FILE);
  if ((cert === undefined) !== (key === undefined))
    throw new StartupError('REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE need each other');
  const files = {
    ...(ca !== undefined && { ca }),
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
  };
  // Checking nothing would cost every start 20 ms of CPU time.
  if (Object.keys(files).length === 0) return undefined;
  try {
    createSecureContext(files);
  } catch (error) {
    throw new StartupError(`REDIS_TLS_…_FILE: ${toError(error).message}`, { cause: error });
  }
  return files;
}

function read(setting: string, file: string | undefined): Buffer | undefined {
  if (file === undefined) return undefined;
  let content: Buffer;
  try {
    content = readFileSync(file);
  } catch (error) {
    throw new StartupError(`${setting}=${file}: ${toError(error).message}`, { cause: error });
  }
  // OpenSSL treats a file without certificates as an empty list, and fails only later, at every connection.
  if (!content.includes('-----BEGIN')) throw new StartupError(`${setting}=${file}: is not a PEM file`);
  return content;
}
