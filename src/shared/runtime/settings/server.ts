/** Settings of the API server, of keys and of logs. */
import { z } from 'zod';
import { setting, text, optionalText, int, keyLines } from './schemas.ts';

export const SERVER = {
  HOST: setting(
    text,
    '127.0.0.1',
    'Address the API listens on. Any address other than loopback needs API keys, or an explicit `AUTH=none`.',
  ),
  PORT: setting(int(0, 65_535), 3000, 'Port of the API.'),
  METRICS_HOST: setting(text, '127.0.0.1', "Address of the API's `/metrics`."),
  METRICS_PORT: setting(
    int(0, 65_535),
    3300,
    "Port of the API's `/metrics`; no other port serves them. 0, or a port that is taken: any free port.",
  ),
  KEEP_ALIVE_S: setting(
    int(1, 3600),
    75,
    'Seconds for which an idle connection stays open. Must be longer than the idle timeout of a load balancer in front, or requests are lost.',
  ),
  MAX_CONNECTIONS: setting(
    int(1, 1e6),
    10_000,
    'Most connections of an API process. Beyond it, the process closes idle connections, and new ones until it has room.',
  ),
  MAX_REQUESTS: setting(
    int(1, 1e6),
    10_000,
    'Most requests in flight in an API process, including those that wait for a job; shared among keys as `MAX_BODIES_BYTES` is. Beyond it: 503 `requests_full`.',
  ),
  ANSWER_IDLE_S: setting(
    int(1, 86_400),
    900,
    'Seconds after which a client that reads nothing of its response is disconnected.',
  ),
  MAX_PIPELINED_REQUESTS: setting(
    int(0, 10_000),
    100,
    'Most pipelined requests of a connection that wait for earlier responses; one more closes the connection.',
  ),
  AUTH: setting(
    z.enum(['loopback', 'none', 'optional']),
    'loopback',
    '`loopback`: without API keys, only callers on loopback are served. `none`: every caller is served on any address, so put a proxy in front. `optional`: like `none` while no key is set, for a container whose port is published on loopback only. Without keys, [pages of other origins](docs/security.md#which-address) are refused.',
  ),
  API_KEYS: setting(
    keyLines,
    '',
    'API keys, comma-separated: lines printed by `amulet key create NAME`, each with an optional `:N` for N requests a minute. With any key set, every caller needs one.',
  ),
  API_KEYS_FILE: setting(
    optionalText,
    '',
    'File with more API keys, one per line; `#` begins a comment. The API [reads it again](docs/security.md#keys) when it has changed, and at SIGHUP.',
  ),
  MAX_API_KEYS: setting(
    int(1, 1_000_000),
    10_000,
    'Most API keys. `API_KEYS_FILE` may have 1,000 bytes per key.',
  ),
  ADMIN_KEYS: setting(
    keyLines,
    '',
    'Keys for the queue board at `/admin/queues`, which shows waiting texts too: lines as for `API_KEYS`. Name and key serve as user name and password. Empty: the board is switched off.',
  ),
  RATE_LIMIT_PER_MINUTE: setting(
    int(0, 1_000_000),
    0,
    'Requests a minute for each key without its own limit. 0: no limit.',
  ),
  LOG_LEVEL: setting(
    z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']),
    'info',
    'Least severe level that is logged.',
  ),
  DATA_DIR: setting(text, '.amulet', 'Folder for the private Redis, logs and batches.'),
  LOG_MAX_BYTES: setting(
    int(10_000, 1e12),
    20_000_000,
    'Bytes at which `npm start` rotates the log file of a process.',
  ),
  LOG_MAX_FILES: setting(
    int(1, 1000),
    5,
    'Log files that `npm start` keeps per process; older ones are deleted.',
  ),
} as const;
