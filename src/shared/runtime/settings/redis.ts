/** Settings of Redis. */
import { z } from 'zod';
import { parseRedisUrl } from '../redis-url.ts';
import { setting, optionalText, int } from './schemas.ts';

export const REDIS = {
  REDIS_URL: setting(
    optionalText.refine(
      (url) => url === undefined || parseRedisUrl(url) !== undefined,
      'must begin with redis://, rediss:// or unix:///, or be redis+sentinel://host:port,host:port/name or redis+cluster://host:port,host:port',
    ),
    '',
    'Redis or Valkey ≥ 7, as `redis://`, `rediss://`, `unix:///path`, [`redis+sentinel://host,host/name`](docs/operations.md#replicas-and-sentinel) or [`redis+cluster://host,host`](docs/redis.md#cluster). Unset: the launcher runs a private one.',
  ),
  PRIVATE_REDIS_MAX_BYTES: setting(
    int(0, 1e15),
    0,
    "`maxmemory` of the Redis that `npm start` runs; new work is refused at `MAX_REDIS_MEMORY_PERCENT` of it. 0: a quarter of the machine's or container's memory.",
  ),
  REDIS_TLS_CA_FILE: setting(
    optionalText,
    '',
    'PEM file of the certificate authorities that `rediss://` trusts. Unset: those of Node.js and `NODE_EXTRA_CA_CERTS`.',
  ),
  REDIS_TLS_CERT_FILE: setting(
    optionalText,
    '',
    'PEM file of the client certificate to show to Redis, if it asks.',
  ),
  REDIS_TLS_KEY_FILE: setting(optionalText, '', 'PEM file of the private key of `REDIS_TLS_CERT_FILE`.'),
  REDIS_PREFIX: setting(
    z.string().regex(/^[^\s:]+$/, 'must not contain spaces or colons'),
    '{amulet}',
    'First part of every Redis key. The braces keep all keys in one Redis Cluster slot.',
  ),
  REDIS_TIMEOUT_MS: setting(
    int(10, 60_000),
    1500,
    'Deadline of each Redis call of the API, in milliseconds.',
  ),
} as const;
