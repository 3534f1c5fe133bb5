/** docker-compose.yml: its settings, programs, times and files match the repository. */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parseAllDocuments, type YAMLMap } from 'yaml';
import { keyLine } from '../../src/shared/runtime/api-keys.ts';
import { loadApiConfig, loadConfig } from '../../src/shared/runtime/config.ts';
import { SETTINGS } from '../../src/shared/runtime/settings/settings.ts';
import { withoutSecretsOfOthers, type Role } from '../../src/launcher/secrets.ts';
import { newSecret } from '../../src/shared/runtime/webhook-secret.ts';
import { composeFile, containerEnvironment } from '../support/processes/compose-file.ts';
import { NOT_LISTED } from '../../tools/settings-docs/pages.ts';

const services = Object.entries(composeFile.services);
const own = services.filter(([, { image }]) => image === 'amulet');

describe.each(services)('%s', (_, service) => {
  test('needs no capabilities, and publishes ports on loopback only', () => {
    expect(service).toMatchObject({
      read_only: true,
      cap_drop: ['ALL'],
      security_opt: ['no-new-privileges:true'],
    });
    for (const port of service.ports ?? []) expect(port).toMatch(/^127\.0\.0\.1:/);
  });

  test('uses only volumes and files that exist', () => {
    for (const volume of service.volumes ?? []) {
      const [from = ''] = volume.split(':');
      expect(from.startsWith('./') ? existsSync(from) : from in composeFile.volumes, from).toBe(true);
    }
  });
});

describe.each(own)('%s', (_, service) => {
  test('receives every documented setting from the shell or .env', () => {
    const names = Object.keys(service.environment ?? {});
    const byHand = ['REDIS_URL', 'AUTH', 'PUBLIC_URL_DEFAULT'];
    const missing = Object.keys(SETTINGS).filter((name) => !names.includes(name));
    expect(missing.filter((name) => !NOT_LISTED.has(name) || byHand.includes(name))).toEqual([]);
    const given = {
      DEFAULT_MODEL: 'other',
      MODEL_DIR: 'models/other',
      WEBHOOK_SCHEMES: 'http,https',
      REDIS_URL: 'redis://elsewhere:1',
      PUBLIC_URL: 'https://example.com',
    };
    const made = containerEnvironment(service, given);
    expect(made).toMatchObject(given);
    expect(loadConfig(made)).toMatchObject({ DEFAULT_MODEL: 'other', WEBHOOK_SCHEMES: ['http', 'https'] });
  });
});

test.each<[Role]>([['api'], ['worker'], ['webhooks']])(
  '%s has the secrets that it reads, and no others',
  (role) => {
    const secrets = {
      API_KEYS: keyLine('reviews', 'a key'),
      ADMIN_KEYS: keyLine('ops', 'another'),
      WEBHOOK_SECRET: newSecret(),
      AWS_ACCESS_KEY_ID: 'id',
      AWS_SECRET_ACCESS_KEY: 'secret',
      AWS_SESSION_TOKEN: 'token',
    };
    // As npm start has it.
    const wanted = { ...secrets, ...withoutSecretsOfOthers(role) };
    const made = containerEnvironment(composeFile.services[role]!, secrets);
    for (const name of Object.keys(secrets))
      expect([name, made[name]]).toEqual([name, wanted[name as keyof typeof secrets]]);
    expect(() => loadConfig(made)).not.toThrow();
  },
);

describe('callers of the API', () => {
  const config = (given: Record<string, string>) =>
    loadApiConfig(containerEnvironment(composeFile.services.api!, given));

  test.each([
    ['API_KEYS', { API_KEYS: keyLine('reviews', 'a key') }],
    ['API_KEYS_FILE', { API_KEYS_FILE: '/run/keys' }],
  ])('only holders of a key once %s has one', (_, given) => {
    const made = config(given);
    expect(made.AUTH).not.toBe('none');
    if (made.API_KEYS_FILE === undefined) expect(made.API_KEYS).toMatchObject([{ name: 'reviews' }]);
    else expect(made.API_KEYS_FILE).toBe('/run/keys');
  });

  test('every caller that reaches the port without keys; keys together with AUTH=none are refused', () => {
    expect(config({}).API_KEYS).toEqual([]);
    expect(() => config({ AUTH: 'none', API_KEYS: keyLine('reviews', 'a key') })).toThrow(
      /exclude each other/,
    );
    expect(() => config({ AUTH: 'loopback' })).toThrow(/not loopback/);
  });
});

describe.each(own)('%s', (_, { command, environment, stop_grace_period: grace }) => {
  test('has only known settings', () => {
    const names = Object.keys(environment ?? {}).filter((name) => !/^(AWS|OTEL|NODE)_/.test(name));
    expect(names.filter((name) => !(name in SETTINGS))).toEqual([]);
  });

  test('starts a program that exists', () => {
    const [, entry] = /^node (\S+)$/.exec(command ?? 'node src/api/main.ts') ?? [];
    expect(existsSync(entry!), entry).toBe(true);
  });

  test('has a grace period longer than its shutdown', () => {
    expect(Number.parseInt(grace) * 1000).toBeGreaterThan(Number(SETTINGS.SHUTDOWN_TIMEOUT_MS.default));
  });
});

test('workers publish no port, so any number can run', () => {
  expect(composeFile.services.worker?.ports).toBeUndefined();
});

test('a Redis may take as long to read a large file as on Kubernetes', () => {
  const [redis] = parseAllDocuments(readFileSync('deploy/kubernetes/redis/redis.yaml', 'utf8'));
  const probe = redis?.getIn(['spec', 'template', 'spec', 'containers', 0, 'startupProbe']) as YAMLMap;
  const seconds = Number(probe.get('periodSeconds')) * Number(probe.get('failureThreshold'));
  expect(composeFile.services.redis?.healthcheck?.start_period).toBe(`${seconds / 60}m`);
});
