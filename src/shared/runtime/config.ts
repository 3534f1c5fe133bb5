/**
 * The configuration of a process: the settings (settings/settings.ts) as the environment gives them, checked one by one and
 * against each other, and what follows from several of them.
 */
import path from 'node:path';
import type { z } from 'zod';
import { NAME, NAME_RULE, PACKAGE } from '../contract/names.ts';
import { environment, envFileReport, isLaunched } from './environment.ts';
import { withoutPasswords } from './redis-url.ts';
import { isLoopback } from './request-host.ts';
import { unknownSettings } from './setting-names.ts';
import { SETTINGS, type SettingName } from './settings/settings.ts';
import { StartupError } from './startup-error.ts';

export type Config = Readonly<
  { [K in Exclude<SettingName, 'DEFAULT_MODEL'>]: z.output<(typeof SETTINGS)[K]['schema']> } & {
    DEFAULT_MODEL: string;
  }
>;

/**
 * Reads the settings from an environment; an empty variable counts as unset.
 * @throws StartupError with every variable that is wrong, and why
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
      problems.push('AUTH=none and API keys exclude each other: remove one of them');
    if (config.MODEL_NAME !== undefined && !NAME.test(config.MODEL_NAME)) {
      problems.push(`MODEL_NAME=${config.MODEL_NAME}: must be ${NAME_RULE}`);
    }
  }
  if (problems.length > 0) throw new StartupError(`Configuration: ${problems.join('; ')}`);
  return Object.freeze(config);
}

/**
 * Reads the settings for a process that callers reach.
 * @throws StartupError also when the API would be open to the network without keys
 */
export function loadApiConfig(env?: Record<string, string | undefined>): Config {
  const config = loadConfig(env);
  const { HOST, AUTH } = config;
  if (!hasKeys(config) && AUTH === 'loopback' && !isLoopback(HOST)) {
    throw new StartupError(
      `Configuration: HOST=${HOST} is not loopback and there are no API keys: create one with \`npx ${PACKAGE} key create NAME\` and put its line into API_KEYS (or set AUTH=none to serve every caller)`,
    );
  }
  return config;
}

/** Whether callers need a key. */
export function hasKeys({ API_KEYS, API_KEYS_FILE }: Config): boolean {
  return API_KEYS.length > 0 || API_KEYS_FILE !== undefined;
}

/** Hides secrets: a misspelt one must not appear in the logs. */
function readable(name: string, value: string): string {
  if (['WEBHOOK_SECRET', 'API_KEYS', 'ADMIN_KEYS'].includes(name)) return '…';
  return withoutPasswords(value);
}

/** The name under which a worker with these settings serves its model; it may break the rule for names. */
export function modelName({ MODEL_NAME, MODEL_DIR }: Pick<Config, 'MODEL_NAME' | 'MODEL_DIR'>): string {
  if (MODEL_NAME !== undefined) return MODEL_NAME;
  const named = path.resolve(MODEL_DIR);
  if (!named.toLowerCase().endsWith('.onnx')) return path.basename(named);
  // MODEL_DIR is an ONNX file: named after its folder, or after the parent of a folder `onnx`.
  const folder = path.dirname(named);
  return path.basename(path.basename(folder) === 'onnx' ? path.dirname(folder) : folder);
}

/** Logs settingWarnings(), unless the launcher has printed them. */
export function reportSettings(logger: { warn: (message: string) => void }): void {
  if (!isLaunched()) for (const warning of settingWarnings()) logger.warn(warning);
}

/** Warnings about probable mistakes in `.env` and the environment, such as misspelt settings. */
export function settingWarnings(): string[] {
  const environmentNames = Object.keys(environment());
  const { names, warnings } = envFileReport();
  const given = { file: names, environment: environmentNames };
  return [...warnings, ...unknownSettings(given, Object.keys(SETTINGS))];
}

/** URL of the blob store, which holds the data of batches. */
export function blobUrl({ BLOB_URL, DATA_DIR }: Config): string {
  return BLOB_URL ?? `file:${path.resolve(DATA_DIR, 'blobs')}`;
}

/** URL of the API for callers. */
export function publicUrl({ PUBLIC_URL, HOST, PORT }: Config): string {
  return PUBLIC_URL?.replace(/\/+$/, '') ?? `http://${HOST.includes(':') ? `[${HOST}]` : HOST}:${PORT}`;
}
