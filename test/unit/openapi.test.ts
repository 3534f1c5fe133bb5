/** The OpenAPI document: what is added to all operations at once, beside what their routes describe. */
import { expect, test } from 'vitest';
import { createApp, type AppDeps } from '../../src/api/app.ts';
import { inFlightLimits } from '../../src/api/load/in-flight.ts';
import { KeySet, keyLine, newKey, parseKeyLine } from '../../src/shared/runtime/api-keys.ts';
import { loadConfig } from '../../src/shared/runtime/config.ts';
import { createLogger } from '../../src/shared/runtime/logger.ts';

interface Operation {
  tags: string[];
  responses: Record<string, { content?: Record<string, { schema: unknown }> }>;
}

async function operations(keys: KeySet | undefined): Promise<[name: string, operation: Operation][]> {
  const config = loadConfig({});
  const app = createApp({
    config,
    keys,
    admins: new KeySet([]),
    inFlight: inFlightLimits(config),
    observe: (_c, next) => next(),
    logger: createLogger('api', 'silent'),
  } as Partial<AppDeps> as AppDeps);
  const response = await app.request('http://localhost/openapi.json');
  const { paths } = (await response.json()) as { paths: Record<string, Record<string, Operation>> };
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]): [string, Operation] => [
      `${method} ${path}`,
      operation,
    ]),
  );
}

test.each([
  ['with API keys', new KeySet([parseKeyLine(keyLine('somebody', newKey()))]), '401'],
  ['without API keys', undefined, '403'],
])('%s, every problem refers to the schema of problems', async (_, keys, added) => {
  const all = await operations(keys);
  expect(all.length).toBeGreaterThan(20);
  for (const [name, { responses }] of all) {
    for (const [status, { content }] of Object.entries(responses)) {
      const problem = content?.['application/problem+json'];
      if (problem)
        expect(problem.schema, `${name} ${status}`).toEqual({ $ref: '#/components/schemas/Problem' });
    }
  }
  const [, list] = all.find(([name]) => name === 'get /v1/jobs') ?? [];
  expect(Object.keys(list?.responses ?? {})).toEqual(expect.arrayContaining(['200', added, '422', '503']));
});

test('every operation has the tag of its path', async () => {
  const tags = Object.fromEntries((await operations(undefined)).map(([name, each]) => [name, each.tags]));
  expect(tags).toMatchObject({
    'post /v1/jobs': ['Jobs'],
    'put /v1/batches/{id}/parts/{number}': ['Batches'],
    'get /v1/webhook-secret': ['Webhooks'],
    'post /v1/webhooks/{id}/redeliver': ['Webhooks'],
    'post /predict': ['Synchronous'],
    'post /hf/{model}': ['Synchronous'],
    'delete /v1/models/{name}': ['Service'],
    'get /health': ['Service'],
  });
});
