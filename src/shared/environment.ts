/**
 * The environment of a process, and what of it concerns the `amulet` command. Apart from the settings (config.ts), so that a
 * command starts without all that they need.
 */
import { readEnvFile } from './env-file.ts';
import { StartupError } from './errors.ts';
import { PACKAGE } from './names.ts';
import { systemVariables } from './system-variables.ts';

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
 * @param matters which unreadable lines of the file are refused: all, unless told otherwise
 * @throws StartupError when the file cannot be read as it was meant
 */
export function environment(matters?: (line: string) => boolean): NodeJS.ProcessEnv {
  const file = readEnvFile('.env', matters);
  if (!file) return process.env;
  const values = new Map(file.entries.map(({ name, value }) => [name, value]));
  const emptied = [...values].filter(([name, value]) => process.env[name] === '' && value !== '');
  // The first reading tells what the environment held before.
  report ??= {
    names: [...values.keys()],
    warnings: [
      ...file.warnings,
      ...emptied.map(([name]) => `${name} is empty in the environment, which counts more than .env`),
    ],
  };
  for (const [name, value] of values) process.env[name] ??= value;
  return process.env;
}

/** The same for the `amulet` command, which runs in the folders of others: only lines for it must be readable. */
function commandEnvironment(): NodeJS.ProcessEnv {
  return environment((line) => /AMULET_API_KEY|HF_TOKEN|HF_ENDPOINT/i.test(line));
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

/** What a secret in a header is made of. What else is in it came along by mistake, such as the line below it. */
const SECRET = /^[\x21-\x7e]+$/;

/** The key that the `amulet` command sends, if there is one. @throws StartupError, without the key in it */
export function clientKey(
  env: Record<string, string | undefined> = commandEnvironment(),
): string | undefined {
  const key = env.AMULET_API_KEY?.trim() ?? '';
  if (key === '') return undefined;
  if (!SECRET.test(key)) throw new StartupError('AMULET_API_KEY has characters that no key has');
  return key;
}

/** A hub of models and who is asking, as the tools of Hugging Face take them from the environment. */
export interface HubAccess {
  /** Without a slash at its end. */
  endpoint: string;
  token: string | undefined;
}

/** @throws StartupError when they cannot be used; a token is not in the message */
export function hubAccess(env: Record<string, string | undefined> = commandEnvironment()): HubAccess {
  const given = (name: string) => (env[name]?.trim() === '' ? undefined : env[name]?.trim());
  const endpoint = (given('HF_ENDPOINT') ?? 'https://huggingface.co').replace(/\/+$/, '');
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  if (url && url.username + url.password !== '')
    throw new StartupError('HF_ENDPOINT must be without a user; set HF_TOKEN');
  if (!/^https?:$/.test(url?.protocol ?? ''))
    throw new StartupError(`HF_ENDPOINT=${endpoint}: must be a URL`);
  const token = given('HF_TOKEN');
  if (token !== undefined && !SECRET.test(token))
    throw new StartupError('HF_TOKEN has characters that no token has');
  return { endpoint, token };
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
