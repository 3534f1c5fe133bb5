/**
 * The settings: each declared once, with its schema, default and meaning. Nothing else reads the environment but environment.ts.
 * The table in docs/settings.md and the file .env.example are checked against SETTINGS by a test.
 */
import { Resolver } from 'node:dns';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { z } from 'zod';
import { KeySet, parseKeyLine } from './api-keys.ts';
import { MAX_PARTS } from '../contract/batches.ts';
import type { MinFree } from './disk-reserve.ts';
import { environment, envFileReport, isLaunched } from './environment.ts';
import { StartupError } from './startup-error.ts';
import { toError } from './to-error.ts';
import { NAME, NAME_RULE, PACKAGE } from '../contract/names.ts';
import { parseRedisUrl, withoutPasswords } from './redis-url.ts';
import { isLoopback } from './request-host.ts';
import { unknownSettings } from './setting-names.ts';
import { parseAllowed } from './receivers.ts';
import { isSecret } from './webhook-secret.ts';

interface Setting<S extends z.ZodType> {
  schema: S;
  /** As it would be written in the environment; '' = unset. */
  default: string;
  doc: string;
}

const setting = <S extends z.ZodType>(schema: S, defaultValue: string | number, doc: string): Setting<S> => ({
  schema,
  default: String(defaultValue),
  doc,
});

const text = z.string().min(1, 'must not be empty');
const optionalText = z.string().transform((value) => (value === '' ? undefined : value));
const int = (min: number, max: number) =>
  z
    .string()
    .regex(/^-?\d+$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.number().min(min).max(max));

/** The parts of a comma-separated list. */
const list = z.string().transform((value) =>
  value
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== ''),
);

const minFree = z
  .string()
  .regex(/^(auto|\d{1,15})$/, 'must be a whole number of bytes, or auto')
  .transform((value): MinFree => (value === 'auto' ? value : Number(value)));

/** A number of padded tokens, or undefined: measure it. */
const budget = z
  .string()
  .regex(/^\d*$/, 'must be a whole number')
  .transform((value) => (value === '' ? undefined : Number(value)))
  .pipe(z.number().min(1).max(1e6).optional());

const MINUTES_MS = 60_000;
const DAY_S = 86_400;

/**
 * Lines of API keys. Messages do not repeat them: one may be a key that somebody put there by mistake. A list that turns out
 * empty is no reason to serve everybody.
 */
const someKeys = z.string().refine((value) => value === '' || /[^\s,]/.test(value), 'has no keys');
const keyLines = someKeys.pipe(list).transform((lines, context) => {
  try {
    const keys = lines.map(parseKeyLine);
    // Refuses one that is there twice.
    return [...new KeySet(keys)];
  } catch (error) {
    context.addIssue(toError(error).message);
    return z.NEVER;
  }
});

const plainUrl = optionalText.refine(
  (url) => url === undefined || isPlainUrl(url),
  'must be an http:// or https:// URL, without a user, a query or a fragment',
);

export const SETTINGS = {
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
    'PEM file of the authorities that `rediss://` trusts. Unset: those of Node.js, and `NODE_EXTRA_CA_CERTS`.',
  ),
  REDIS_TLS_CERT_FILE: setting(optionalText, '', 'PEM file of the certificate to show to Redis, if it asks.'),
  REDIS_TLS_KEY_FILE: setting(optionalText, '', 'PEM file of the key of that certificate.'),
  REDIS_PREFIX: setting(
    z.string().regex(/^[^\s:]+$/, 'must not contain spaces or colons'),
    '{amulet}',
    'First part of every key. The braces keep all keys in one Redis Cluster slot.',
  ),
  REDIS_TIMEOUT_MS: setting(int(10, 60_000), 1500, 'Deadline of every Redis call of the API.'),

  MAX_BODY_BYTES: setting(
    int(1024, 1e9),
    10_000_000,
    'Largest request body of a call that takes JSON. One that needs less takes less: 2,560,000 bytes for `POST /v1/batches/{id}/complete`.',
  ),
  MAX_BODIES_BYTES: setting(
    int(1024, 1e12),
    64_000_000,
    'Bytes that bodies of requests in flight may have in an API process, uploads to batches aside; twice `MAX_BODY_BYTES` where that is more. Beyond it: 503 `bodies_full`. With API keys, a key may hold at most as much as is free: half of it when it is the only one. Plan memory of three to five times as much.',
  ),
  BODY_TIMEOUT_S: setting(
    int(1, 3600),
    60,
    'Longest time that a request body, other than an upload to a batch, may take to come, in seconds.',
  ),
  MAX_TEXT_CHARS: setting(int(1, 1e7), 5000, 'Longest text, in Unicode code points.'),
  MAX_TEXTS_PER_JOB: setting(int(1, 100_000), 256, 'Most texts in one job.'),
  MAX_SCORES_PER_JOB: setting(
    int(1, 1e9),
    100_000,
    'Most scores in the results of one job: its texts times the labels asked for, `top_k` or all of the model. Each takes about 50 bytes. Beyond it: 422 `too_many_scores`; a job that was taken in before the model was known fails with that code.',
  ),
  MAX_QUEUED_TEXTS: setting(
    int(1, 1e9),
    1_000_000,
    'Texts that may wait for a model, of each priority; anything beyond is refused with 429 `queue_full`.',
  ),
  MAX_QUEUED_BYTES: setting(int(1, 1e12), 500_000_000, 'The same in bytes of text.'),
  MAX_REDIS_MEMORY_PERCENT: setting(
    int(0, 100),
    80,
    'New work is refused with 429 while Redis uses more of its `maxmemory`; low-priority jobs 10 points earlier. 0: never.',
  ),
  MAX_ID_CHARS: setting(int(1, 10_000), 128, 'Longest id that a caller may give a text.'),
  MAX_METADATA_BYTES: setting(int(2, 1e6), 4096, 'Largest `metadata` of a job, as JSON in bytes.'),
  MAX_METADATA_DEPTH: setting(
    int(4, 1000),
    50,
    'Most objects and lists within each other in `metadata`. Many parsers stop at 64 levels, and an event adds two.',
  ),
  MAX_WAIT_S: setting(
    int(0, 600),
    60,
    'Longest `Prefer: wait` and `?wait`, in seconds; longer ones are shortened.',
  ),
  MAX_EXPIRES_S: setting(int(1, 30 * DAY_S), 7 * DAY_S, 'Largest `expires_in`, in seconds.'),
  PREDICT_TIMEOUT_MS: setting(
    int(1, 10 * MINUTES_MS),
    30_000,
    'Longest `/predict` or `/hf` call before a 504.',
  ),
  RESULT_TTL_S: setting(int(1, 30 * DAY_S), 3600, 'How long a finished job can be read, in seconds.'),
  IDEMPOTENCY_TTL_S: setting(
    int(1, 30 * DAY_S),
    DAY_S,
    'How long an `Idempotency-Key` is remembered, in seconds.',
  ),

  BLOB_URL: setting(
    optionalText.refine(
      (url) => url === undefined || /^(file:.|s3:\/\/.)/.test(url),
      'must begin with file: or s3://',
    ),
    '',
    'Where texts and results of batches are stored: `file:PATH`, or `s3://bucket/prefix?region=…&endpoint=…&forcePathStyle=true` (credentials as the AWS SDK finds them). Unset: `blobs` in `DATA_DIR`. API and workers need the same.',
  ),
  MAX_BATCH_BYTES: setting(int(1, 1e15), 100e9, 'Largest input of one batch, uncompressed.'),
  MAX_STORED_BYTES: setting(
    int(1, 1e15),
    1e12,
    'Largest input of all batches together that are kept, uncompressed.',
  ),
  MIN_FREE_DISK_BYTES: setting(
    minFree,
    'auto',
    'Room to keep free on the disk of batches, and of the private Redis: with less, new work is answered with 507; results may use half of it. `auto`: 1 GB, or a tenth of a disk below 10 GB. 0: none.',
  ),
  MAX_BATCH_CHUNKS: setting(
    int(1, 1e7),
    1_000_000,
    'Most chunks of a batch: a chunk has `BULK_CHUNK_BYTES`, or 4,096 records if those are fewer bytes. Each takes up to 48 bytes of memory while a part is uploaded, and 12 bytes of Redis once it is done.',
  ),
  MAX_OPEN_BATCHES: setting(int(1, 1e6), 1000, 'Batches of one API key that are open for parts at a time.'),
  MAX_BATCH_PARTS: setting(int(1, MAX_PARTS), MAX_PARTS, 'Most parts of a batch.'),
  MAX_OPEN_PARTS: setting(int(1, 1e7), 50_000, 'Most parts of all open batches of one API key.'),
  MAX_KEPT_BATCHES: setting(
    int(1, 1e7),
    20_000,
    'Batches of one API key that are kept, in any state; more are refused until some are deleted or expire.',
  ),
  MAX_RECORD_BYTES: setting(
    int(1024, 1e9),
    1_000_000,
    'A longer record of a batch becomes an error row, and is not kept.',
  ),
  MAX_CSV_COLUMNS: setting(
    int(1, 100_000),
    16_384,
    'Most columns of a CSV; the default is what a spreadsheet can have.',
  ),
  MAX_CSV_HEADER_BYTES: setting(int(16, 1e6), 262_144, 'Longest header of a CSV.'),
  BULK_CHUNK_BYTES: setting(
    int(0, 1e8),
    0,
    "Bytes of a batch's input that make one chunk, the unit of work of a worker; 0 = about what a model process does in a second.",
  ),
  UPLOAD_IDLE_S: setting(int(1, 3600), 60, 'An upload that sends nothing for this many seconds is ended.'),
  UPLOAD_MIN_BYTES_PER_S: setting(
    int(0, 1e9),
    10,
    'So is one that sends less than this on average over `UPLOAD_IDLE_S`. Low, because slow producers are legitimate; slower ones upload parts.',
  ),
  MAX_UPLOADS: setting(
    int(1, 1e6),
    32,
    'Uploads to batches in flight in an API process, shared among keys as `MAX_BODIES_BYTES` is. Beyond it: 503 `uploads_full`. Plan 2 MB of memory for each with `file:`, 20 MB with `s3:`.',
  ),
  UPLOAD_LEASE_S: setting(
    int(1, 3600),
    60,
    'How long room that an upload has reserved under the limits above outlives an API process that was killed, in seconds.',
  ),
  MAX_DOWNLOADS: setting(
    int(1, 1e6),
    256,
    'Results of batches that are read or followed in an API process at a time; shared among keys as `MAX_BODIES_BYTES` is. Beyond it: 503 `downloads_full`.',
  ),
  FOLLOW_HEARTBEAT_S: setting(
    int(1, 50),
    15,
    'Longest silence of a response to `?follow=true`, in seconds; an empty line ends it.',
  ),
  BATCH_TTL_S: setting(int(1, 365 * DAY_S), 7 * DAY_S, 'How long a finished batch is kept, in seconds.'),
  OPEN_BATCH_TTL_S: setting(
    int(1, 30 * DAY_S),
    DAY_S,
    'How long a batch waits for its next part, in seconds.',
  ),
  REVISION_GRACE_S: setting(
    int(1, 30 * DAY_S),
    600,
    'A batch begun with weights that no worker has had for this many seconds fails, if workers have other weights.',
  ),

  PUBLIC_URL: setting(
    plainUrl,
    '',
    'Address of the API as callers and receivers of webhooks reach it. Unset: `PUBLIC_URL_DEFAULT`, else `http://HOST:PORT`. Without keys, its host is the one besides loopback that an API on loopback answers to.',
  ),
  PUBLIC_URL_DEFAULT: setting(
    plainUrl,
    '',
    '`PUBLIC_URL` where that is unset: `docker-compose.yml` makes it of the published port.',
  ),
  WEBHOOK_SECRET: setting(
    list.refine((secrets) => secrets.every(isSecret), 'must be `whsec_` and 24 to 64 bytes as base64'),
    '',
    'Secrets that webhooks are signed with while there are no API keys, comma-separated: the new one first, then those being replaced. Unset: webhooks are refused; `npm start` creates one.',
  ),
  WEBHOOK_SECRET_OVERLAP_S: setting(
    int(0, 30 * DAY_S),
    DAY_S,
    "How long an API key's replaced secret still signs beside the new one, in seconds.",
  ),
  WEBHOOK_RETRY_S: setting(
    list.pipe(
      z
        .array(
          z
            .string()
            .regex(/^\d+(\.\d+)?$/, 'must be numbers of seconds')
            .transform(Number)
            .pipe(z.number().max(30 * DAY_S)),
        )
        .max(100, 'must be at most 100 numbers'),
    ),
    '5,300,1800,7200,18000,36000,50400,72000,86400',
    'Seconds from each failed attempt of a delivery to the next, ± 20 %.',
  ),
  WEBHOOK_TIMEOUT_MS: setting(int(100, 2 * MINUTES_MS), 15_000, 'Longest attempt of a delivery.'),
  WEBHOOK_TTL_S: setting(int(1, 365 * DAY_S), 7 * DAY_S, 'How long a failed delivery is kept, in seconds.'),
  WEBHOOK_DELIVERED_TTL_S: setting(int(1, 365 * DAY_S), DAY_S, 'The same for a delivered one.'),
  WEBHOOK_MAX_KEPT: setting(
    int(1, 1e9),
    100_000,
    'Most deliveries that are kept of one key; of more, the oldest that have ended are forgotten early.',
  ),
  WEBHOOK_ALLOW: setting(
    list.transform((entries, context) => {
      try {
        return entries.map(parseAllowed);
      } catch (error) {
        context.addIssue({ code: 'custom', message: (error as Error).message });
        return z.NEVER;
      }
    }),
    '',
    'Receivers inside your network, which are refused otherwise: names, `*.name`, addresses or `10.0.0.0/8`, each with an optional `:port`.',
  ),
  WEBHOOK_SCHEMES: setting(
    list.refine(
      (schemes) => schemes.length > 0 && schemes.every((scheme) => ['http', 'https'].includes(scheme)),
      'must be https, or http,https',
    ),
    'https',
    'Schemes that webhook URLs may have.',
  ),
  WEBHOOK_PORTS: setting(
    list.pipe(z.array(int(1, 65_535))),
    '80,443,8080,8443',
    'Ports that webhook URLs may have. An entry of `WEBHOOK_ALLOW` may name another.',
  ),
  WEBHOOK_DNS: setting(
    list.refine(areDnsServers, 'must be IP addresses, each with an optional `:port`'),
    '',
    'DNS servers used to resolve the names of receivers. Unset: those of the system. Names in `WEBHOOK_ALLOW` are always resolved by the system.',
  ),
  WEBHOOK_PER_HOST: setting(int(1, 1000), 8, 'Most attempts of one key under way to one host and port.'),
  WEBHOOK_CONCURRENCY: setting(
    int(1, 10_000),
    512,
    'Most attempts under way in a webhook process; one key has at most four fifths of them.',
  ),
  WEBHOOK_MAX_RESPONSE_BYTES: setting(
    int(4096, 16e6),
    65_536,
    'Most bytes read of the response to one attempt, headers included: a longer body is cut off, longer headers fail the attempt.',
  ),
  WEBHOOK_MAX_INTERIM_RESPONSES: setting(
    int(0, 1000),
    10,
    'Most interim responses (1xx) that a receiver may send before its answer; more fail the attempt.',
  ),
  WEBHOOK_HEALTH_HOST: setting(text, '127.0.0.1', "Address of a webhook process's health endpoints."),
  WEBHOOK_HEALTH_PORT: setting(
    int(0, 65_535),
    3200,
    "Port of a webhook process's health endpoints. 0 = any free port.",
  ),

  DEFAULT_MODEL: setting(
    optionalText.pipe(z.string().regex(NAME, `must be ${NAME_RULE}`).optional()),
    '',
    'Model of a request that names none. Unset: the one that `MODEL_NAME` or `MODEL_DIR` names.',
  ),
  MODEL_DIR: setting(
    text,
    'models/sst2-minilm',
    'The Hugging Face folder that an inference worker loads, or the ONNX file in it.',
  ),
  MODEL_NAME: setting(optionalText, '', "Name the worker serves its model under. Unset: the folder's name."),
  MODEL_FILE: setting(
    optionalText,
    '',
    'ONNX file inside `MODEL_DIR`. Unset: `onnx/model_quantized.onnx`, else `onnx/model.onnx`, else `model.onnx`, else the only one there is.',
  ),
  EXECUTION_PROVIDERS: setting(
    list.refine((names) => names.length > 0, 'must name at least one provider'),
    'cpu',
    'ONNX Runtime execution providers, comma-separated, best first.',
  ),
  MODEL_ENV: setting(
    list,
    '',
    'Names of environment variables that model processes get beside those of the system, GPU drivers and ONNX Runtime, comma-separated.',
  ),
  INTRA_OP_THREADS: setting(
    int(1, 1024),
    1,
    'Threads of one session. 1 with one model process per core is fastest.',
  ),
  BATCH_INVARIANCE: setting(
    z.enum(['measured', 'strict'], { error: 'must be measured or strict' }),
    'measured',
    'What a worker does with a model whose scores depend on the texts beside them, as with dynamic quantisation. `measured`: it batches texts and shows by how much scores differ (`batch_dependence`); `strict`: it runs such a model one text at a time.',
  ),
  MODEL_PROCESSES: setting(
    int(0, 1024).transform((count) => count || availableParallelism()),
    0,
    'Model processes of one worker; 0 = one per core.',
  ),
  WORKERS: setting(int(1, 1024), 1, 'Inference workers that `npm start` runs.'),
  WORKER_HOST: setting(text, '127.0.0.1', "Address of an inference worker's health endpoints."),
  WORKER_PORT: setting(
    int(0, 65_535),
    3100,
    "Port of an inference worker's health endpoints; `npm start` counts up from it. 0 = any free port.",
  ),
  WORKER_CONCURRENCY: setting(
    int(1, 4096),
    64,
    'Most jobs of each priority that a worker holds at a time, per model process.',
  ),
  MAX_ROWS_IN_HAND: setting(
    int(1, 100_000),
    512,
    'Texts of a priority in hand, per model process, at which a worker fetches no more of its jobs.',
  ),
  ROWS_PER_TURN: setting(
    int(1, 100_000),
    16,
    'Texts of one job in the batcher at a time, so that jobs interleave.',
  ),
  BATCH_TOKENS: setting(
    budget,
    '',
    'Budget of one interactive batch, in padded tokens. Unset: measured when a worker starts.',
  ),
  BULK_BATCH_TOKENS: setting(
    budget,
    '',
    'The same for low-priority and bulk batches: what an urgent text waits for.',
  ),
  MAX_BATCH_MS: setting(int(1, 60_000), 50, 'Longest interactive batch that the measurement may choose.'),
  MAX_BULK_BATCH_MS: setting(
    int(1, 60_000),
    20,
    'Longest low-priority or bulk batch that the measurement may choose.',
  ),
  RUN_TIMEOUT_MS: setting(
    int(100, 60 * MINUTES_MS),
    MINUTES_MS,
    'A batch that runs longer gets its process killed.',
  ),
  LOCK_DURATION_MS: setting(
    int(1000, 10 * MINUTES_MS),
    15_000,
    'After this long without a sign of life, a job is taken over.',
  ),
  STALLED_INTERVAL_MS: setting(
    int(500, 10 * MINUTES_MS),
    10_000,
    'How often workers look for jobs to take over.',
  ),
  SHUTDOWN_TIMEOUT_MS: setting(
    int(0, 10 * MINUTES_MS),
    20_000,
    'Longest drain after the first SIGTERM or SIGINT.',
  ),
} as const;

export type SettingName = keyof typeof SETTINGS;
export type Config = Readonly<
  { [K in Exclude<SettingName, 'DEFAULT_MODEL'>]: z.output<(typeof SETTINGS)[K]['schema']> } & {
    DEFAULT_MODEL: string;
  }
>;

/**
 * The settings from an environment; an empty variable counts as unset.
 * @throws StartupError naming every variable that is wrong and why.
 */
export function loadConfig(env: Record<string, string | undefined> = environment()): Config {
  const problems: string[] = [];
  const values: Record<string, unknown> = {};
  for (const [name, { schema, default: fallback }] of Object.entries(SETTINGS)) {
    const given = env[name] === '' ? undefined : env[name];
    const result = schema.safeParse(given ?? fallback);
    if (result.success) values[name] = result.data;
    else problems.push(`${name}=${readable(name, given ?? '')}: ${result.error.issues[0]?.message}`);
  }
  const config = { ...values, DEFAULT_MODEL: values.DEFAULT_MODEL ?? '' } as Config;
  if (problems.length === 0) {
    if (config.PUBLIC_URL === undefined) Object.assign(config, { PUBLIC_URL: config.PUBLIC_URL_DEFAULT });
    if (config.DEFAULT_MODEL === '') {
      Object.assign(config, { DEFAULT_MODEL: modelName(config) });
      if (config.MODEL_NAME === undefined && !NAME.test(config.DEFAULT_MODEL))
        problems.push(
          `MODEL_DIR=${config.MODEL_DIR} cannot name a model, which needs ${NAME_RULE}: set MODEL_NAME`,
        );
    }
    if (hasKeys(config) && config.AUTH === 'none')
      problems.push('AUTH=none and API keys exclude each other: take AUTH=none out, or the keys');
    if (config.MODEL_NAME !== undefined && !NAME.test(config.MODEL_NAME)) {
      problems.push(`MODEL_NAME=${config.MODEL_NAME}: must be ${NAME_RULE}`);
    }
  }
  if (problems.length > 0) throw new StartupError(`Configuration: ${problems.join('; ')}`);
  return Object.freeze(config);
}

/**
 * The same for a process that callers reach.
 * @throws StartupError also when everybody could call who should not
 */
export function loadApiConfig(env?: Record<string, string | undefined>): Config {
  const config = loadConfig(env);
  const { HOST, AUTH } = config;
  if (!hasKeys(config) && AUTH === 'loopback' && !isLoopback(HOST)) {
    throw new StartupError(
      `Configuration: HOST=${HOST} is not loopback and there are no API keys: make one with \`npx ${PACKAGE} key create NAME\` and put its line into API_KEYS (or set AUTH=none to serve everybody)`,
    );
  }
  return config;
}

/** Whether callers need a key. */
export function hasKeys({ API_KEYS, API_KEYS_FILE }: Config): boolean {
  return API_KEYS.length > 0 || API_KEYS_FILE !== undefined;
}

/** A secret with a slip of the pen is not to be read in the logs. */
function readable(name: string, value: string): string {
  if (['WEBHOOK_SECRET', 'API_KEYS', 'ADMIN_KEYS'].includes(name)) return '…';
  return withoutPasswords(value);
}

/** The name that a worker with these settings serves its model under; it may be one that no model can have. */
export function modelName({ MODEL_NAME, MODEL_DIR }: Pick<Config, 'MODEL_NAME' | 'MODEL_DIR'>): string {
  if (MODEL_NAME !== undefined) return MODEL_NAME;
  const named = path.resolve(MODEL_DIR);
  if (!named.toLowerCase().endsWith('.onnx')) return path.basename(named);
  // The ONNX file itself: its folder, or the one around a folder `onnx`.
  const folder = path.dirname(named);
  return path.basename(path.basename(folder) === 'onnx' ? path.dirname(folder) : folder);
}

/** Logs settingWarnings(), unless the launcher has shown them. */
export function reportSettings(logger: { warn: (message: string) => void }): void {
  if (!isLaunched()) for (const warning of settingWarnings()) logger.warn(warning);
}

/** One line for every setting that `.env` or the environment probably means and that is not read. */
export function settingWarnings(): string[] {
  const environmentNames = Object.keys(environment());
  const { names, warnings } = envFileReport();
  const given = { file: names, environment: environmentNames };
  return [...warnings, ...unknownSettings(given, Object.keys(SETTINGS))];
}

/** Where the data of batches lies. */
export function blobUrl({ BLOB_URL, DATA_DIR }: Config): string {
  return BLOB_URL ?? `file:${path.resolve(DATA_DIR, 'blobs')}`;
}

/** Where others find the API. */
export function publicUrl({ PUBLIC_URL, HOST, PORT }: Config): string {
  return PUBLIC_URL?.replace(/\/+$/, '') ?? `http://${HOST.includes(':') ? `[${HOST}]` : HOST}:${PORT}`;
}

/** It goes to receivers of webhooks, with paths appended. */
function isPlainUrl(url: string): boolean {
  if (!URL.canParse(url)) return false;
  const { protocol, username, password } = new URL(url);
  return /^https?:$/.test(protocol) && username === '' && password === '' && !/[?#]/.test(url);
}

function areDnsServers(servers: string[]): boolean {
  try {
    new Resolver().setServers(servers);
    return true;
  } catch {
    return false;
  }
}
