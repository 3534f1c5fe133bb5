/** Routes without a key, by the API's own list of routes: a new route is closed until this test lists it as open. */
import { describe, expect, test } from 'vitest';
import { createApp } from '../../src/api/app.ts';
import { inFlightLimits } from '../../src/api/load/in-flight.ts';
import { KeySet, keyLine, newKey, parseKeyLine } from '../../src/shared/runtime/api-keys.ts';
import { loadConfig } from '../../src/shared/runtime/config.ts';
import { createLogger } from '../../src/shared/runtime/logger.ts';

/** No service is ever called: a closed route refuses before that, an open one may fail. */
const unused = undefined as never;
const config = loadConfig({});
const app = createApp({
  config,
  keys: new KeySet([parseKeyLine(keyLine('somebody', newKey()))]),
  limit: () => Promise.resolve(),
  inFlight: inFlightLimits(config),
  observe: (_c, next) => next(),
  logger: createLogger('api', 'silent'),
  stopping: new AbortController().signal,
  version: '0',
  withRedis: unused,
  admins: new KeySet([]),
  jobs: unused,
  submission: unused,
  batches: unused,
  results: unused,
  webhooks: unused,
  catalog: unused,
  stats: unused,
  durability: unused,
});

const OPEN = [
  'GET /',
  'GET /docs',
  'GET /docs/assets/:file',
  'GET /health',
  'GET /health/live',
  'GET /health/ready',
  'GET /openapi.json',
  'GET /page/:file',
];

const routes = [
  ...new Set(
    app.routes.filter(({ method }) => method !== 'ALL').map(({ method, path }) => `${method} ${path}`),
  ),
].sort();

async function statusOf(route: string): Promise<number> {
  const [method = '', path = ''] = route.split(' ');
  const response = await app.request(path.replaceAll(/:\w+(\{[^}]*\})?/g, 'x'), { method });
  return response.status;
}

test('there are routes', () => {
  expect(routes.length).toBeGreaterThan(25);
  expect(routes).toEqual(expect.arrayContaining([...OPEN, 'GET /v1/stats', 'GET /v1/jobs', 'POST /predict']));
});

describe('without a key', () => {
  test.each(routes)('%s', async (route) => {
    const status = await statusOf(route);
    if (OPEN.includes(route)) expect(status).not.toBe(401);
    else expect(status).toBe(401);
  });

  test.each(['GET /admin/queues', 'GET /metrics', 'GET /page', 'GET /v1', 'POST /nothing', 'PUT /v1/jobs'])(
    'an unknown route: %s',
    async (route) => expect(await statusOf(route)).toBe(401),
  );
});
