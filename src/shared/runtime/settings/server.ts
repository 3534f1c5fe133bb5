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
    "Port of the API's `/metrics`, which are nowhere else. Taken or 0 = any free port.",
  ),
  KEEP_ALIVE_S: setting(
    int(1, 3600),
    75,
    'How long an idle connection is kept open, in seconds. Longer than the load balancer in front keeps it, or requests are lost.',
  ),
  MAX_CONNECTIONS: setting(
    int(1, 1e6),
    10_000,
    'Connections to an API process. Beyond it idle ones are closed, and new ones until there is room.',
  ),
  MAX_REQUESTS: setting(
    int(1, 1e6),
    10_000,
    'Requests without an answer in an API process, those that wait for a job included; shared among keys as `MAX_BODIES_BYTES` is. Beyond it: 503 `requests_full`.',
  ),
  ANSWER_IDLE_S: setting(
    int(1, 86_400),
    900,
    'A client that reads nothing of its answer for this many seconds is cut off.',
  ),
  MAX_PIPELINED_REQUESTS: setting(
    int(0, 10_000),
    100,
    'Requests of a connection that may wait for the answers to earlier ones; with one more it is closed.',
  ),
  AUTH: setting(
    z.enum(['loopback', 'none', 'optional']),
    'loopback',
    '`loopback`: without keys, loopback callers only. `none`: no keys on any address; put a proxy in front. `optional`: `none` unless there are keys, for a container whose port is published on loopback only. Without keys, [pages of other origins](docs/security.md#which-address) are refused.',
  ),
  API_KEYS: setting(
    keyLines,
    '',
    'Those who may call, comma-separated: lines printed by `amulet key create NAME`, each with an optional `:N` for N requests a minute. Once there are keys, everybody needs one.',
  ),
  API_KEYS_FILE: setting(
    optionalText,
    '',
    'File with more of them, one per line; `#` begins a comment. The API [reads it again](docs/security.md#keys) when it has changed, and at SIGHUP.',
  ),
  MAX_API_KEYS: setting(
    int(1, 1_000_000),
    10_000,
    'Most API keys. `API_KEYS_FILE` may have 1,000 bytes for each.',
  ),
  ADMIN_KEYS: setting(
    keyLines,
    '',
    'Those who may look into the queues at `/admin/queues`, waiting texts included: lines as for `API_KEYS`. Name and key serve as user name and password. Empty: nobody, and there is no such page.',
  ),
  RATE_LIMIT_PER_MINUTE: setting(
    int(0, 1_000_000),
    0,
    'Requests a minute of a key that has no limit of its own. 0: no limit.',
  ),
  LOG_LEVEL: setting(
    z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']),
    'info',
    'Least severe log level.',
  ),
  DATA_DIR: setting(text, '.amulet', 'Folder of the private Redis, logs, and batches.'),
  LOG_MAX_BYTES: setting(
    int(10_000, 1e12),
    20_000_000,
    'Size at which `npm start` begins a new log file for a process.',
  ),
  LOG_MAX_FILES: setting(
    int(1, 1000),
    5,
    'Log files that `npm start` keeps of a process; older ones are removed.',
  ),
} as const;
