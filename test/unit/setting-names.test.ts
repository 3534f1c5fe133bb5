/** Misspelt settings are named at start; the ordinary variables of a machine are not. */
import { describe, expect, test } from 'vitest';
import { SETTINGS } from '../../src/shared/runtime/settings/settings.ts';
import { unknownSettings } from '../../src/shared/runtime/setting-names.ts';

const KNOWN = Object.keys(SETTINGS);
const inFile = (...file: string[]) => unknownSettings({ file, environment: file }, KNOWN);
const inEnvironment = (...environment: string[]) => unknownSettings({ file: [], environment }, KNOWN);

test.each([
  ['MAX_TEXT_CHAR', 'MAX_TEXT_CHARS'],
  ['API_KEY', 'API_KEYS'],
  ['APIKEYS', 'API_KEYS'],
  ['api_keys', 'API_KEYS'],
  ['API-KEYS', 'API_KEYS'],
  ['AMULET_API_KEYS', 'API_KEYS'],
  ['API_KYES', 'API_KEYS'],
  ['POTR', 'PORT'],
  ['HOTS', 'HOST'],
  ['REDIS_URI', 'REDIS_URL'],
  ['MODELDIR', 'MODEL_DIR'],
  ['DEFAULT_MODLE', 'DEFAULT_MODEL'],
  ['WEBHOOKS_SCHEMES', 'WEBHOOK_SCHEMES'],
])('%s in .env: did you mean %s?', (name, meant) =>
  expect(inFile(name)).toEqual([`${name} in .env is not a setting and is ignored: did you mean ${meant}?`]),
);

test('warns about a name in .env that resembles no setting', () => {
  expect(inFile('COLOUR_OF_THE_SKY')).toEqual([expect.stringContaining('docs/settings.md')]);
});

test.each([
  ['MAX_TEXT_CHAR', 'MAX_TEXT_CHARS'],
  ['API_KEY', 'API_KEYS'],
  ['DEFAULT_MODLE', 'DEFAULT_MODEL'],
  ['api_keys', 'API_KEYS'],
])('%s in the environment: did you mean %s?', (name, meant) =>
  expect(inEnvironment(name)).toEqual([
    `${name} in the environment is not a setting and is ignored: did you mean ${meant}?`,
  ]),
);

describe('no false alarm', () => {
  test('for settings, and for variables of other programs', () => {
    expect(
      inFile(
        ...KNOWN,
        ...['AMULET_API_KEY', 'HF_TOKEN', 'HF_ENDPOINT', 'OTEL_EXPORTER_OTLP_ENDPOINT', 'AWS_REGION'],
        ...['COMPOSE_PROJECT_NAME', 'REDIS_MAXMEMORY', 'NODE_EXTRA_CA_CERTS', 'HTTPS_PROXY', 'TZ'],
      ),
    ).toEqual([]);
  });

  test('for the variables of shells, CI, containers and Kubernetes', () => {
    const ordinary = `PATH HOME USER SHELL LOGNAME HOSTNAME HOSTTYPE LANG LC_ALL TERM COLORTERM PWD OLDPWD SHLVL EDITOR PAGER
      MAIL DISPLAY TMPDIR TEMP TMP PORTS POST AUTHOR HOSTS WORKER MODE INIT_CWD NODE NODE_ENV NODE_OPTIONS npm_config_registry
      npm_lifecycle_event npm_package_name CI GITHUB_TOKEN GITHUB_ACTIONS DATABASE_URL REDIS_HOST REDIS_PORT REDIS_PASSWORD
      KUBERNETES_SERVICE_HOST KUBERNETES_PORT REDIS_SERVICE_PORT API_PORT API_SERVICE_HOST METRICS_SERVICE_PORT LOG_FILE
      LOG_DIR DATA_DIR_OTHER DATADIR_OLD HTTP_PROXY NO_PROXY SSH_AUTH_SOCK SSH_CONNECTION XDG_RUNTIME_DIR DEBUG TZ _ __CF
      VIRTUAL_ENV CONDA_PREFIX JAVA_HOME GOPATH SENTRY_DSN OPENAI_API_KEY S3_BUCKET VITEST VITEST_WORKER_ID`;
    expect(inEnvironment(...ordinary.split(/\s+/))).toEqual([]);
  });
});
