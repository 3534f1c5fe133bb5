import { describe, expect, test } from 'vitest';
import { loadConfig, SETTINGS } from '../../src/shared/config.ts';
import { StartupError } from '../../src/shared/errors.ts';

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

describe('what is wrong is named, all of it at once', () => {
  test.each([
    [{ PORT: '70000' }, /PORT=70000/],
    [{ PORT: '3e3' }, /PORT=3e3: must be a whole number/],
    [{ BATCH_TOKENS: '-1' }, /BATCH_TOKENS=-1/],
    [{ REDIS_PREFIX: 'a:b' }, /REDIS_PREFIX=a:b: must not contain/],
    [{ MODEL_NAME: 'a/b' }, /MODEL_NAME=a\/b/],
    [{ HOST: '0.0.0.0' }, /HOST=0\.0\.0\.0 is not loopback.*AUTH=none/],
    [{ HOST: '127.0.0.1.example.com' }, /is not loopback/],
    [{ PORT: 'x', LOG_LEVEL: 'loud' }, /PORT=x.*LOG_LEVEL=loud/],
  ])('%j', (env, message) => {
    expect(() => loadConfig(env)).toThrow(StartupError);
    expect(() => loadConfig(env)).toThrow(message);
  });

  test.each([
    { HOST: '0.0.0.0', AUTH: 'none' },
    { HOST: '::1' },
    { HOST: 'localhost' },
    { HOST: '127.1.2.3' },
  ])('%j is fine', (env) => expect(loadConfig(env).HOST).toBe(env.HOST));
});
