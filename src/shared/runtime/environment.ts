/**
 * Access to environment variables and `.env`: the only module that reads `process.env`. Separate from config.ts, so that the
 * `amulet` command starts without the modules that settings need.
 */
import { foreignOwner, readEnvFile } from './env-file.ts';
import { StartupError } from './startup-error.ts';
import { PACKAGE } from '../contract/names.ts';
import { systemVariables } from './system-variables.ts';

const ENV_FILE = '.env';

/**
 * The environment for a child process that needs no settings: only the variables that the system and its libraries read.
 * @param also names of further variables to pass on
 */
export function systemEnvironment(
  changes: Record<string, string> = {},
  also: readonly string[] = [],
): NodeJS.ProcessEnv {
  return { ...systemVariables(process.env, also), ...changes };
}

/** Set for the processes that `npm start` runs: they do not repeat warnings that the launcher has printed. */
const LAUNCHED = 'AMULET_LAUNCHER';

/** The environment for a process of `npm start`. */
export function launchedEnvironment(changes: Record<string, string>): NodeJS.ProcessEnv {
  return { ...process.env, ...changes, [LAUNCHED]: '1' };
}

export function isLaunched(): boolean {
  return process.env[LAUNCHED] === '1';
}

/** Set for the processes of `npm start` when it runs a private Redis. */
export const REDIS_FOLDER = 'AMULET_REDIS_FOLDER';

/** The data folder of the private Redis; undefined when Redis is external. */
export function redisFolder(): string | undefined {
  return isLaunched() ? process.env[REDIS_FOLDER] : undefined;
}

/** Names found in `.env`, and warnings about its probable mistakes. */
export interface EnvFileReport {
  names: readonly string[];
  warnings: readonly string[];
}

let report: EnvFileReport | undefined;

/** The report on the `.env` that environment() has read; empty before, and without a file. */
export function envFileReport(): EnvFileReport {
  return report ?? { names: [], warnings: [] };
}

/**
 * The process's environment, completed from a file `.env` in the working folder; variables that are set already win.
 * @throws StartupError when the file is unreadable or ambiguous
 */
export function environment(): NodeJS.ProcessEnv {
  const file = readEnvFile(ENV_FILE);
  if (!file) return process.env;
  const values = new Map(file.entries.map(({ name, value }) => [name, value]));
  const emptied = [...values].filter(([name, value]) => process.env[name] === '' && value !== '');
  // Only the first call sees which variables the environment itself had set.
  report ??= {
    names: [...values.keys()],
    warnings: [
      ...file.warnings,
      ...emptied.map(([name]) => `${name} is empty in the environment, which overrides .env`),
      ...(values.get('NODE_TLS_REJECT_UNAUTHORIZED') === '0'
        ? [
            '.env sets NODE_TLS_REJECT_UNAUTHORIZED=0: certificates of Redis, buckets and receivers are not checked; name their authority in NODE_EXTRA_CA_CERTS instead',
          ]
        : []),
    ],
  };
  for (const [name, value] of values) process.env[name] ??= value;
  return process.env;
}

/** A variable, and whether it comes from the environment or from a `.env`, which another person may have written. */
export interface Variable {
  value: string;
  from: 'environment' | '.env';
}

export interface Variables {
  /** Without empty ones. */
  values: ReadonlyMap<string, Variable>;
  /** Why a file was not read, in one line. */
  warnings: readonly string[];
}

/**
 * Reads single variables for a command, which runs in folders that others have made: from the environment, else from `.env` in
 * the working folder. Other lines of the file are ignored, and nothing is added to the environment: NODE_TLS_REJECT_UNAUTHORIZED
 * would change whom the command trusts, and NODE_OPTIONS what its child processes run.
 * @throws StartupError when a line with one of the names is malformed
 */
export function readVariables(names: readonly string[]): Variables {
  const owner = foreignOwner(ENV_FILE);
  const file =
    owner === undefined
      ? readEnvFile(ENV_FILE, (line) => names.some((name) => line.toUpperCase().includes(name)))
      : undefined;
  const inFile = new Map(file?.entries.map(({ name, value }) => [name, value]));
  const values = new Map<string, Variable>();
  for (const name of names) {
    const set = process.env[name];
    const value = (set ?? inFile.get(name) ?? '').trim();
    if (value !== '') values.set(name, { value, from: set === undefined ? '.env' : 'environment' });
  }
  const warning = `.env in this folder is not read: it belongs to another user (uid ${owner}); set the variables in the environment`;
  return { values, warnings: owner === undefined ? [] : [warning] };
}

/** Whether the AWS SDK is sent to another server than AWS's. */
export function hasS3Endpoint(): boolean {
  return Boolean(process.env.AWS_ENDPOINT_URL_S3 ?? process.env.AWS_ENDPOINT_URL);
}

/**
 * How this `amulet` command was started, so that commands it suggests can be copied: `amulet`, `npx amulet-classify` or
 * `npm run amulet --`.
 */
export function commandName(env: Record<string, string | undefined> = process.env): string {
  const { npm_lifecycle_event: event, npm_lifecycle_script: script = '' } = env;
  if (event === 'npx' && /^["']?amulet(-classify)?["']?( |$)/.test(script)) return `npx ${PACKAGE}`;
  return event === 'amulet' ? 'npm run amulet --' : 'amulet';
}

/** How spans are encoded on their way to an OTLP endpoint. */
export type OtlpProtocol = 'http/protobuf' | 'http/json';

/**
 * The protocol for spans, from OpenTelemetry's own variables; undefined when no endpoint is set or tracing is switched off. The
 * SDK reads the other variables itself.
 * @throws StartupError for a protocol without an exporter here
 */
export function otlpProtocol(
  env: Record<string, string | undefined> = environment(),
): OtlpProtocol | undefined {
  const given = (...names: string[]) =>
    names.map((name) => env[name]?.trim()).find((value) => value !== undefined && value !== '');
  if (given('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', 'OTEL_EXPORTER_OTLP_ENDPOINT') === undefined)
    return undefined;
  if (given('OTEL_SDK_DISABLED')?.toLowerCase() === 'true' || given('OTEL_TRACES_EXPORTER') === 'none')
    return undefined;
  const protocol =
    given('OTEL_EXPORTER_OTLP_TRACES_PROTOCOL', 'OTEL_EXPORTER_OTLP_PROTOCOL') ?? 'http/protobuf';
  if (protocol !== 'http/protobuf' && protocol !== 'http/json')
    throw new StartupError(`OTEL_EXPORTER_OTLP_PROTOCOL=${protocol}: must be http/protobuf or http/json`);
  return protocol;
}
