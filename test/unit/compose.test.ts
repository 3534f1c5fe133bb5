/** docker-compose.yml against what it starts: settings, programs, times and files are those of the repository. */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse, parseAllDocuments, type YAMLMap } from 'yaml';
import { SETTINGS } from '../../src/shared/config.ts';

interface Service {
  image: string;
  command?: string;
  environment?: Record<string, string | null>;
  ports?: string[];
  volumes?: string[];
  read_only: boolean;
  cap_drop: string[];
  security_opt: string[];
  stop_grace_period: string;
  healthcheck?: { start_period?: string };
}

const file = parse(readFileSync('docker-compose.yml', 'utf8'), { merge: true }) as {
  services: Record<string, Service>;
  volumes: Record<string, null>;
};
const services = Object.entries(file.services);
const own = services.filter(([, { image }]) => image === 'amulet');

describe.each(services)('%s', (_, service) => {
  test('needs no rights, and is reached from this machine alone', () => {
    expect(service).toMatchObject({
      read_only: true,
      cap_drop: ['ALL'],
      security_opt: ['no-new-privileges:true'],
    });
    for (const port of service.ports ?? []) expect(port).toMatch(/^127\.0\.0\.1:/);
  });

  test('has volumes and files that there are', () => {
    for (const volume of service.volumes ?? []) {
      const [from = ''] = volume.split(':');
      expect(from.startsWith('./') ? existsSync(from) : from in file.volumes, from).toBe(true);
    }
  });
});

describe.each(own)('%s', (_, { command, environment, stop_grace_period: grace }) => {
  test('has only settings that there are', () => {
    const names = Object.keys(environment ?? {}).filter((name) => !name.startsWith('AWS_'));
    expect(names.filter((name) => !(name in SETTINGS))).toEqual([]);
  });

  test('starts a program that there is', () => {
    const [, entry] = /^node (\S+)$/.exec(command ?? 'node src/api/main.ts') ?? [];
    expect(existsSync(entry!), entry).toBe(true);
  });

  test('may take as long to stop as it does', () => {
    expect(Number.parseInt(grace) * 1000).toBeGreaterThan(Number(SETTINGS.SHUTDOWN_TIMEOUT_MS.default));
  });
});

test('workers can be any number: no port of theirs is published', () => {
  expect(file.services.worker?.ports).toBeUndefined();
});

test('a Redis that reads a large file is waited for, as long as on Kubernetes', () => {
  const [redis] = parseAllDocuments(readFileSync('deploy/kubernetes/redis/redis.yaml', 'utf8'));
  const probe = redis?.getIn(['spec', 'template', 'spec', 'containers', 0, 'startupProbe']) as YAMLMap;
  const seconds = Number(probe.get('periodSeconds')) * Number(probe.get('failureThreshold'));
  expect(file.services.redis?.healthcheck?.start_period).toBe(`${seconds / 60}m`);
});
