/**
 * The environment of a process, and what of it concerns the `amulet` command. Apart from the settings (config.ts), so that a
 * command starts without all that they need.
 */
import { foreignOwner, readEnvFile } from './env-file.ts';
import { StartupError } from './startup-error.ts';
import { PACKAGE } from '../contract/names.ts';
import { systemVariables } from './system-variables.ts';

const ENV_FILE = '.env';

/**
 * The environment of a child process that needs no settings: of this one's, only what the system and its libraries read.
 * @param also names of further variables
 */
export function systemEnvironment(
  changes: Record<string, string> = {},
  also: readonly string[] = [],
): NodeJS.ProcessEnv {
  return { ...systemVariables(process.env, also), ...changes };
}

/** Set for the processes that `npm start` runs: what it has said already they need not repeat. */
const LAUNCHED = 'AMULET_LAUNCHER';

/** The environment of a process of `npm start`. */
export function launchedEnvironment(changes: Record<string, string>): NodeJS.ProcessEnv {
  return { ...process.env, ...changes, [LAUNCHED]: '1' };
}

export function isLaunched(): boolean {
  return process.env[LAUNCHED] === '1';
}

/** Set for the processes that `npm start` runs with a Redis of its own. */
export const REDIS_FOLDER = 'AMULET_REDIS_FOLDER';

/** The data folder of that Redis; undefined where Redis is somebody else's. */
export function redisFolder(): string | undefined {
  return isLaunched() ? process.env[REDIS_FOLDER] : undefined;
}

/** What was found in `.env`, and what in it is probably not meant. */
export interface EnvFileReport {
  names: readonly string[];
  warnings: readonly string[];
}

let report: EnvFileReport | undefined;

/** Of the file that environment() has read; empty before, and without a file. */
export function envFileReport(): EnvFileReport {
  return report ?? { names: [], warnings: [] };
}

/**
 * The process's environment, completed from a file `.env` in the working folder; what is set already wins.
 * @throws StartupError when the file cannot be read as it was meant
 */
export function environment(): NodeJS.ProcessEnv {
  const file = readEnvFile(ENV_FILE);
  if (!file) return process.env;
  const values = new Map(file.entries.map(({ name, value }) => [name, value]));
  const emptied = [...values].filter(([name, value]) => process.env[name] === '' && value !== '');
  // The first reading tells what the environment held before.
  report ??= {
    names: [...values.keys()],
    warnings: [
      ...file.warnings,
      ...emptied.map(([name]) => `${name} is empty in the environment, which counts more than .env`),
      ...(values.get('NODE_TLS_REJECT_UNAUTHORIZED') === '0'
        ? [
            '.env sets NODE_TLS_REJECT_UNAUTHORIZED=0: no certificate is checked, of Redis, buckets or receivers; name the authority in NODE_EXTRA_CA_CERTS instead',
          ]
        : []),
    ],
  };
  for (const [name, value] of values) process.env[name] ??= value;
  return process.env;
}

/** A variable, and whether it comes from the environment or from a `.env` that somebody else may have written. */
export interface Variable {
  value: string;
  from: 'environment' | '.env';
}

export interface Variables {
  /** Without those that are empty. */
  values: ReadonlyMap<string, Variable>;
  /** Why a file was not read, in one line. */
  warnings: readonly string[];
}

/**
 * Single variables for a command, which runs in folders that others have made: of the environment, else of `.env` in the
 * working folder. No other line of the file counts, and nothing enters the environment: NODE_TLS_REJECT_UNAUTHORIZED would
 * change whom the command trusts, and NODE_OPTIONS what its child processes run.
 * @throws StartupError when a line with one of the names cannot be read as it was meant
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

/**
 * How this `amulet` command was started, so that what it suggests can be typed as it stands: `amulet`, `npx amulet-classify`
 * or `npm run amulet --`.
 */
export function commandName(env: Record<string, string | undefined> = process.env): string {
  const { npm_lifecycle_event: event, npm_lifecycle_script: script = '' } = env;
  if (event === 'npx' && /^["']?amulet(-classify)?["']?( |$)/.test(script)) return `npx ${PACKAGE}`;
  return event === 'amulet' ? 'npm run amulet --' : 'amulet';
}

/** How spans are encoded on their way to an OTLP endpoint. */
export type OtlpProtocol = 'http/protobuf' | 'http/json';

/**
 * How spans are to be sent, by the variables that OpenTelemetry defines; undefined when no endpoint is set, or tracing is
 * switched off. The SDK reads the rest of them itself.
 * @throws StartupError for a protocol that Amulet has no exporter for
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
