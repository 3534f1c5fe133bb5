import { describe, expect, test } from 'vitest';
import { loadApiConfig, loadConfig } from '../../src/shared/runtime/config.ts';
import { SETTINGS, type SettingName } from '../../src/shared/runtime/settings/settings.ts';
import { StartupError } from '../../src/shared/runtime/startup-error.ts';
import { systemVariables } from '../../src/shared/runtime/system-variables.ts';

test('defaults are valid, and an empty variable counts as unset', () => {
  const defaults = loadConfig({});
  expect(defaults).toMatchObject({
    HOST: '127.0.0.1',
    PORT: 3000,
    MAX_TEXT_CHARS: 5000,
    REDIS_URL: undefined,
  });
  expect(loadConfig(Object.fromEntries(Object.keys(SETTINGS).map((name) => [name, ''])))).toEqual(defaults);
  expect(Object.isFrozen(defaults)).toBe(true);
});

test('lists and counts are parsed', () => {
  const config = loadConfig({ EXECUTION_PROVIDERS: 'cuda, cpu', WORKERS: '3' });
  expect(config.EXECUTION_PROVIDERS).toEqual(['cuda', 'cpu']);
  expect(config.WORKERS).toBe(3);
  expect(loadConfig({}).WORKERS).toBeGreaterThan(0);
});

describe('names all mistakes at once', () => {
  test.each([
    [{ PORT: '70000' }, /PORT=70000/],
    [{ PORT: '3e3' }, /PORT=3e3: must be a whole number/],
    [{ BATCH_TOKENS: '-1' }, /BATCH_TOKENS=-1/],
    [{ REDIS_PREFIX: 'a:b' }, /REDIS_PREFIX=a:b: must not contain/],
    [{ API_KEYS: ',' }, /API_KEYS=…: has no keys/],
    [{ ADMIN_KEYS: ' ' }, /ADMIN_KEYS=…: has no keys/],
    [
      { BLOB_URL: 'https://key:secret@bucket/x' },
      /BLOB_URL=https:\/\/…@bucket\/x: must begin with file: or s3:/,
    ],
    [{ WEBHOOK_RETRY_S: '5,99999999999999999999' }, /WEBHOOK_RETRY_S=/],
    [{ PUBLIC_URL: 'https://me:secret@host' }, /PUBLIC_URL=https:\/\/…@host: must be .* without a user/],
    [{ PUBLIC_URL: 'https://host/?x=1' }, /PUBLIC_URL=\S+: must be/],
    [{ PUBLIC_URL: 'https://host/#x' }, /PUBLIC_URL=\S+: must be/],
    [{ MODEL_NAME: 'a/b' }, /MODEL_NAME=a\/b/],
    [{ PORT: 'x', LOG_LEVEL: 'loud' }, /PORT=x.*LOG_LEVEL=loud/],
  ])('%j', (env, message) => {
    expect(() => loadConfig(env)).toThrow(StartupError);
    expect(() => loadConfig(env)).toThrow(message);
  });
});

describe('an API that everybody could reach', () => {
  test.each([{ HOST: '0.0.0.0' }, { HOST: '127.0.0.1.example.com' }, { HOST: '192.168.0.1' }])(
    'without keys, at %j, is refused; a worker has nothing to do with it',
    (env) => {
      const refused = /^Configuration: HOST=\S+ is not loopback.*AUTH=none/;
      expect(() => loadApiConfig(env)).toThrow(StartupError);
      expect(() => loadApiConfig(env)).toThrow(refused);
      expect(loadConfig(env).HOST).toBe(env.HOST);
    },
  );

  test.each([
    { HOST: '0.0.0.0', AUTH: 'none' },
    { HOST: '0.0.0.0', API_KEYS_FILE: 'keys' },
    { HOST: '::1' },
    { HOST: 'localhost' },
    { HOST: '127.1.2.3' },
  ])('%j is fine', (env) => expect(loadApiConfig(env).HOST).toBe(env.HOST));
});

test('the line about a public address names keys first', () => {
  expect(() => loadApiConfig({ HOST: '0.0.0.0' })).toThrow(/key create NAME.*API_KEYS.*AUTH=none/);
});

describe('the default model', () => {
  test.each([
    [{}, 'sentiment-multilingual'],
    [{ MODEL_DIR: 'models/sst2-minilm' }, 'sst2-minilm'],
    [{ MODEL_DIR: 'models/goemotions-minilm' }, 'goemotions-minilm'],
    [{ MODEL_DIR: 'models/goemotions-minilm/' }, 'goemotions-minilm'],
    [{ MODEL_DIR: '/srv/m/onnx/model.onnx' }, 'm'],
    [{ MODEL_DIR: '/srv/m/model.onnx' }, 'm'],
    [{ MODEL_DIR: 'models/x', MODEL_NAME: 'y' }, 'y'],
    [{ MODEL_DIR: 'models/x', DEFAULT_MODEL: 'z' }, 'z'],
    [{ MODEL_NAME: 'y' }, 'y'],
  ])('%j: %s', (env, name) => expect(loadConfig(env).DEFAULT_MODEL).toBe(name));

  test('is not the name of a folder that no model can have', () => {
    expect(() => loadConfig({ MODEL_DIR: 'models/my model' })).toThrow(
      /MODEL_DIR=models\/my model.*set MODEL_NAME/,
    );
    expect(loadConfig({ MODEL_DIR: 'models/my model', MODEL_NAME: 'mine' }).DEFAULT_MODEL).toBe('mine');
  });
});

describe('every setting', () => {
  test.each(Object.entries(SETTINGS))('%s has a default that is valid and a meaning', (_name, declared) => {
    expect(declared.schema.safeParse(declared.default).success).toBe(true);
    expect(declared.doc).toMatch(/^\S.*\.$/);
  });
});

test.each<[keyof typeof SETTINGS, number, number]>([
  ['PORT', 0, 65_535],
  ['REDIS_TIMEOUT_MS', 10, 60_000],
  ['MAX_BODY_BYTES', 1024, 1e9],
  ['MAX_TEXTS_PER_JOB', 1, 100_000],
  ['MAX_WAIT_S', 0, 600],
  ['LOCK_DURATION_MS', 1000, 600_000],
])('%s goes from %i to %i', (name, min, max) => {
  expect(loadConfig({ [name]: String(min) })[name]).toBe(min);
  expect(loadConfig({ [name]: String(max) })[name]).toBe(max);
  for (const beyond of [min - 1, max + 1])
    expect(() => loadConfig({ [name]: String(beyond) })).toThrow(new RegExp(`${name}=${beyond}`));
});

test.each(['1.5', ' 1', '0x10', '1e3', 'ten', '٣'])('%j is not a whole number', (value) =>
  expect(() => loadConfig({ PORT: value })).toThrow('must be a whole number'),
);

test.each([
  ['PATH LD_LIBRARY_PATH LC_ALL TZ NODE_OPTIONS CUDA_VISIBLE_DEVICES OMP_NUM_THREADS ORT_LOG', true],
  ['REDIS_URL API_KEYS WEBHOOK_SECRET AWS_SECRET_ACCESS_KEY HF_TOKEN OTEL_EXPORTER_OTLP_HEADERS', false],
  ['NODE_AUTH_TOKEN NVIDIA_API_KEY CUDA_TOKEN npm_config__auth GITHUB_TOKEN https_proxy MODEL_DIR', false],
])('to a process without settings, of the environment: %s: %s', (names, passed) => {
  const env = Object.fromEntries(names.split(' ').map((name) => [name, 'x']));
  expect(systemVariables(env)).toEqual(passed ? env : {});
  expect(systemVariables(env, names.split(' '))).toEqual(env);
});

test('empty provider names are skipped; a URL that is not of Redis is refused', () => {
  expect(loadConfig({ EXECUTION_PROVIDERS: 'cuda,,cpu,' }).EXECUTION_PROVIDERS).toEqual(['cuda', 'cpu']);
  expect(() => loadConfig({ EXECUTION_PROVIDERS: ',' })).toThrow(/at least one provider/);
  expect(() => loadConfig({ REDIS_URL: 'http://x' })).toThrow(/REDIS_URL=http:\/\/x: must begin with redis/);
  for (const REDIS_URL of ['redis://h:1', 'rediss://h', 'unix:///run/redis.sock'])
    expect(loadConfig({ REDIS_URL }).REDIS_URL).toBe(REDIS_URL);
});

test.each(Object.keys(SETTINGS) as SettingName[])(
  '%s says what it must be in words, not in a pattern',
  (name) => {
    for (const value of ['a b/:', '-', '\t', ':', '!'.repeat(100), '1e99', '{"a":1}']) {
      const result = SETTINGS[name].schema.safeParse(value);
      for (const { message } of result.error?.issues ?? [])
        expect(message).not.toMatch(/[\\^]|\[A-Z|pattern|regex/i);
    }
  },
);

test('a name that no model can have is refused in words', () => {
  for (const env of [{ MODEL_NAME: 'a/b' }, { DEFAULT_MODEL: 'a/b' }, { MODEL_DIR: 'models/my model' }])
    expect(() => loadConfig(env)).toThrow(/1 to 63 ASCII letters, digits/);
});
