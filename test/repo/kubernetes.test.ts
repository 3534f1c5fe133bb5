/**
 * deploy/kubernetes: its settings, ports, paths, times and models match the code. Whether Kubernetes accepts the manifests is left
 * to `kubectl apply -k --dry-run=server`.
 */
import { existsSync, globSync, readFileSync } from 'node:fs';
import { BlockList } from 'node:net';
import path from 'node:path';
import { parseEnv } from 'node:util';
import { OpenAPIHono } from '@hono/zod-openapi';
import { describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import type { z } from 'zod';
import type { AppEnv } from '../../src/api/env.ts';
import type { RouteDeps } from '../../src/api/routes/deps.ts';
import { serviceRoutes } from '../../src/api/routes/service.ts';
import { keyLine, newKey } from '../../src/shared/runtime/api-keys.ts';
import { loadApiConfig, loadConfig } from '../../src/shared/runtime/config.ts';
import { SETTINGS } from '../../src/shared/runtime/settings/settings.ts';
import { modelStatsSchema } from '../../src/shared/contract/models.ts';
import { createHealthApp } from '../../src/shared/runtime/health-server.ts';
import { createMetrics } from '../../src/shared/runtime/metrics.ts';

const ROOT = 'deploy/kubernetes';

interface Probe {
  httpGet?: { path: string; port: string };
}

interface Container {
  name: string;
  image: string;
  command?: string[];
  env: { name: string; value?: string }[];
  envFrom?: { configMapRef?: { name: string }; secretRef?: { name: string; optional?: boolean } }[];
  ports: { name: string; containerPort: number }[];
  startupProbe: Probe;
  readinessProbe: Probe;
  livenessProbe: Probe;
  lifecycle?: { preStop: { sleep: { seconds: number } } };
  resources: { requests: Record<string, string>; limits: Record<string, string> };
  securityContext: unknown;
}

interface Selector {
  matchLabels?: Record<string, string>;
  matchExpressions?: { key: string; operator: 'In'; values: string[] }[];
}

interface Peer {
  ipBlock?: { cidr: string; except: string[] };
  podSelector?: Selector;
  namespaceSelector?: Selector;
}

/** The fields of all kinds of manifest that these tests read. */
interface Resource {
  kind: string;
  metadata: { name: string };
  /** Fields of a Kustomization. */
  resources?: string[];
  components?: string[];
  spec: {
    selector?: Selector | Record<string, string>;
    podSelector?: Selector;
    template?: {
      metadata: { labels: Record<string, string> };
      spec: {
        automountServiceAccountToken: boolean;
        terminationGracePeriodSeconds: number;
        securityContext: unknown;
        containers: [Container];
      };
    };
    egress?: { to?: Peer[]; ports: { port: number | string }[] }[];
    ports?: { targetPort: string }[];
    scaleTargetRef?: { name: string };
    triggers?: { metadata: Record<string, string>; authenticationRef: { name: string } }[];
  };
}

const files = globSync(`${ROOT}/**/*.yaml`).sort();
const documents = files.flatMap((file) =>
  parseAllDocuments(readFileSync(file, 'utf8')).map((document) => ({ file, document: document })),
);
const resources = documents.map(({ document }) => document.toJS() as Resource);
const named = (kind: string, name: string): Resource => {
  const found = resources.find((each) => each.kind === kind && each.metadata.name === name);
  if (!found) throw new Error(`there is no ${kind} ${name}`);
  return found;
};
const pods = resources.flatMap(({ spec, metadata }) => {
  const template = (spec as Resource['spec'] | undefined)?.template;
  return template
    ? [
        {
          ...template.spec,
          container: template.spec.containers[0],
          labels: template.metadata.labels,
          name: metadata.name,
        },
      ]
    : [];
});
const own = pods.filter(({ container }) => container.image === 'amulet');
const pod = (name: string) => pods.find((each) => each.name === name)!;

const settingsFile = parseEnv(readFileSync(`${ROOT}/settings.env`, 'utf8')) as Record<string, string>;
/** Values of the secrets that README.md creates. */
const SECRETS: Record<string, Record<string, string>> = {
  'amulet-redis': { REDIS_URL: 'redis://:PASSWORD@redis:6379' },
  'amulet-keys': { API_KEYS: keyLine('reviews', newKey()) },
  'amulet-blobs': { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b' },
};

/** The environment of a container, with a bucket. */
function environmentOf({ env, envFrom = [] }: Container): Record<string, string> {
  const from = envFrom.map(({ configMapRef, secretRef }) =>
    configMapRef ? settingsFile : SECRETS[secretRef?.name ?? ''],
  );
  // Kubernetes sets the requested cores; here one.
  const own = Object.fromEntries(env.map(({ name, value = '1' }) => [name, value]));
  const all: Record<string, string> = Object.assign({}, ...from, own);
  return { ...all, BLOB_URL: all.BLOB_URL?.replace('CHANGE-ME', 'bucket') ?? '' };
}

const matches = (selector: Selector, labels: Record<string, string>): boolean =>
  Object.entries(selector.matchLabels ?? {}).every(([key, value]) => labels[key] === value) &&
  (selector.matchExpressions ?? []).every(({ key, values }) => values.includes(labels[key] ?? ''));

test('every file is valid YAML', () => {
  expect(
    documents.flatMap(({ file, document }) =>
      [...document.errors, ...document.warnings].map((error) => `${file}: ${error.message}`),
    ),
  ).toEqual([]);
});

test('every file is named by a kustomization, and every kustomization by another', () => {
  const reached = new Set<string>();
  const visit = (folder: string) => {
    const file = path.join(folder, 'kustomization.yaml');
    reached.add(file);
    // With the lines that are commented out, for those who want them.
    const all = readFileSync(file, 'utf8').replaceAll(/^ {2}# - /gm, '  - ');
    const { resources: parts = [], components = [] } = parseAllDocuments(all)[0]!.toJS() as Resource;
    for (const part of [...parts, ...components]) {
      if (part.endsWith('.yaml')) reached.add(path.join(folder, part));
      else visit(path.join(folder, part));
    }
  };
  visit(ROOT);
  expect([...reached].sort()).toEqual(files);
});

describe.each(own)('$name', ({ name, container, terminationGracePeriodSeconds }) => {
  const env = environmentOf(container);
  const config = loadConfig(env);

  test('has only known settings', () => {
    const names = Object.keys(env).filter((each) => !each.startsWith('AWS_'));
    expect(names.filter((each) => !(each in SETTINGS))).toEqual([]);
  });

  test('starts a program that exists', () => {
    const [node, entry] = container.command ?? [];
    expect(node).toBe('node');
    expect(existsSync(entry!), entry).toBe(true);
  });

  test('listens on its ports, on every address', () => {
    const addresses: Record<string, [string, number][]> = {
      api: [
        [config.HOST, config.PORT],
        [config.METRICS_HOST, config.METRICS_PORT],
      ],
      worker: [[config.WORKER_HOST, config.WORKER_PORT]],
      webhooks: [[config.WEBHOOK_HEALTH_HOST, config.WEBHOOK_HEALTH_PORT]],
    };
    expect(addresses[name]).toEqual(container.ports.map(({ containerPort }) => ['0.0.0.0', containerPort]));
  });

  test('has probes with known paths on one of its ports', () => {
    const api = new OpenAPIHono<AppEnv>();
    serviceRoutes(api, { config } as RouteDeps);
    const app =
      name === 'api' ? api : createHealthApp(() => ({ notReady: undefined }), createMetrics('worker'));
    const paths = app.routes.map((route) => route.path);
    const probes = [container.startupProbe, container.readinessProbe, container.livenessProbe];
    expect(probes.map(({ httpGet }) => httpGet?.path)).toEqual([
      '/health/live',
      '/health/ready',
      '/health/live',
    ]);
    for (const { httpGet } of probes) {
      expect(paths).toContain(httpGet?.path);
      expect(container.ports.map((port) => port.name)).toContain(httpGet?.port);
    }
  });

  test('has a grace period longer than its shutdown', () => {
    const leaving = container.lifecycle?.preStop.sleep.seconds ?? 0;
    const graceMs = (terminationGracePeriodSeconds - leaving) * 1000;
    expect(graceMs).toBeGreaterThan(config.SHUTDOWN_TIMEOUT_MS);
    expect(graceMs).toBeGreaterThan(config.LOCK_DURATION_MS);
  });
});

test.each(pods)('$name needs no capabilities', (each) => {
  const { container } = each;
  expect(each.automountServiceAccountToken).toBe(false);
  expect(each.securityContext).toMatchObject({
    runAsNonRoot: true,
    seccompProfile: { type: 'RuntimeDefault' },
  });
  expect(container.securityContext).toEqual({
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'] },
  });
  expect(Object.keys(container.resources.requests).sort()).toEqual(['cpu', 'memory']);
  expect(Object.keys(container.resources.limits)).toEqual(['memory']);
});

test('no process starts with example values', () => {
  const { container } = pod('api');
  const env = environmentOf(container);
  expect(settingsFile.BLOB_URL).toContain('s3://CHANGE-ME/');
  expect(() => loadApiConfig({ ...env, API_KEYS: '' })).toThrow('is not loopback and there are no API keys');
  // An absent secret keeps a pod from starting, unless it is optional.
  const optional = own
    .flatMap((each) => each.container.envFrom ?? [])
    .filter((from) => from.secretRef?.optional);
  expect(new Set(optional.map((from) => from.secretRef?.name))).toEqual(new Set(['amulet-blobs']));
});

test('keys and credentials go only where they are needed', () => {
  const secretsOf = (name: string) =>
    pod(name).container.envFrom?.flatMap(({ secretRef }) => secretRef?.name ?? []);
  expect(secretsOf('api')).toEqual(['amulet-redis', 'amulet-keys', 'amulet-blobs']);
  expect(secretsOf('worker')).toEqual(['amulet-redis', 'amulet-blobs']);
  expect(secretsOf('webhooks')).toEqual(['amulet-redis']);
});

test('every selector selects a pod', () => {
  for (const { kind, metadata, spec } of resources.filter((each) => 'spec' in each)) {
    const selector =
      kind === 'Service'
        ? { matchLabels: spec.selector as Record<string, string> }
        : (spec.podSelector ?? spec.selector);
    if (selector === undefined) continue;
    const selected = pods.filter(({ labels }) => matches(selector as Selector, labels));
    expect(selected.length, `${kind} ${metadata.name}`).toBeGreaterThan(0);
    for (const { targetPort } of kind === 'Service' ? (spec.ports ?? []) : [])
      expect(selected[0]?.container.ports.map((port) => port.name)).toContain(targetPort);
  }
});

describe('networks', () => {
  const policies = resources.filter(({ kind }) => kind === 'NetworkPolicy');
  /** Names of the policies that let a pod reach addresses outside the cluster. */
  const outside = (name: string) =>
    policies
      .filter(({ spec }) => matches(spec.podSelector ?? {}, pod(name).labels))
      .filter(({ spec }) => spec.egress?.some(({ to }) => to?.some(({ ipBlock }) => ipBlock)))
      .map(({ metadata }) => metadata.name);

  test('only webhooks reach receivers, only API and workers reach the bucket, Redis reaches no address', () => {
    expect(outside('api')).toEqual(['to-blobs']);
    expect(outside('worker')).toEqual(['to-blobs']);
    expect(outside('webhooks')).toEqual(['to-receivers']);
    expect(outside('redis')).toEqual([]);
  });

  test('receivers have the ports that webhook URLs may have', () => {
    const [rule] = named('NetworkPolicy', 'to-receivers').spec.egress ?? [];
    expect(rule?.ports.map(({ port }) => port)).toEqual(loadConfig({}).WEBHOOK_PORTS);
  });

  test.each(['to-blobs', 'to-receivers'])('%s leads to no private address', (name) => {
    const refused = new BlockList();
    for (const { ipBlock } of named('NetworkPolicy', name).spec.egress?.flatMap(({ to = [] }) => to) ?? []) {
      for (const range of ipBlock?.except ?? []) {
        const [network = '', bits] = range.split('/');
        refused.addSubnet(network, Number(bits), network.includes(':') ? 'ipv6' : 'ipv4');
      }
    }
    const inside = [
      '10.1.2.3',
      '172.31.0.1',
      '192.168.1.1',
      '169.254.169.254',
      '100.100.0.1',
      '127.0.0.1',
      '0.0.0.1',
      '239.1.1.1',
    ];
    expect(inside.filter((address) => !refused.check(address))).toEqual([]);
    expect(
      ['::1', 'fd00::1', 'fe80::1', '64:ff9b::a00:1', 'ff02::1'].filter(
        (address) => !refused.check(address, 'ipv6'),
      ),
    ).toEqual([]);
    expect(refused.check('93.184.215.14') || refused.check('2606:2800::1', 'ipv6')).toBe(false);
  });
});

const models = globSync(`${ROOT}/models/*`)
  .map((folder) => path.basename(folder))
  .sort();

describe.each(models)('the model %s', (model) => {
  test('is in the repository, and its pods name it', () => {
    const file = readFileSync(`${ROOT}/models/${model}/kustomization.yaml`, 'utf8');
    expect(existsSync(`models/${model}/config.json`)).toBe(true);
    expect(parseAllDocuments(file)[0]!.toJS()).toMatchObject({
      nameSuffix: `-${model}`,
      labels: [{ pairs: { model }, includeSelectors: true }],
      patches: [{ patch: expect.stringMatching(new RegExp(`value: models/${model}\\n`)) as string }],
    });
  });

  test('is scaled by figures that the API exports', () => {
    const { spec } = named('ScaledObject', `worker-${model}`);
    expect(spec.scaleTargetRef?.name).toBe(`worker-${model}`);
    const places = spec.triggers?.map(({ metadata }) => metadata.valueLocation ?? '') ?? [];
    expect(places.map((place) => place.slice(place.indexOf(')') + 2))).toEqual([
      'texts.normal',
      'texts.low',
      'batches.rows',
    ]);
    for (const place of places) {
      expect(place.startsWith(`models.#(name=="${model}").`), place).toBe(true);
      const [part = '', figure = ''] = place.slice(place.indexOf(')') + 2).split('.');
      const shape = (modelStatsSchema.shape as Record<string, z.ZodType>)[part] as z.ZodObject;
      expect(Object.keys(shape.shape)).toContain(figure);
    }
    for (const { metadata, authenticationRef } of spec.triggers ?? []) {
      expect(metadata.url).toBe('http://api.amulet.svc.cluster.local/v1/stats');
      named('TriggerAuthentication', authenticationRef.name);
    }
  });
});
