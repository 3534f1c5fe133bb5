/** `/openapi.json` and `/docs`: the API's description for machines and for people. Served from this process; no CDN. */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { OpenAPIHono } from '@hono/zod-openapi';
import { html } from 'hono/html';
import type { App } from '../env.ts';
import { isOpen } from '../middleware/api-keys.ts';

const ASSETS: Record<string, string> = {
  'swagger-ui.css': 'text/css; charset=utf-8',
  'swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
};

/** The settings that change the OpenAPI document. */
interface Access {
  version: string;
  /** Whether webhooks can be signed. */
  webhooks: boolean;
  /** Whether callers need a key. */
  keys: boolean;
  /** Whether requests of other origins are refused. */
  guarded: boolean;
}

export function docsRoutes(app: App, access: Access): void {
  let document: unknown;
  app.get('/openapi.json', (c) => {
    document ??= describe(app, access);
    return c.json(document as object);
  });
  app.get('/docs/assets/:file', async (c) => {
    const file = c.req.param('file');
    const type = ASSETS[file];
    if (type === undefined) return c.notFound();
    const content = await readFile(assetPath(file));
    return c.body(content, 200, { 'Content-Type': type, 'Cache-Control': 'public, max-age=86400' });
  });
  app.get('/docs', (c) => c.html(page()));
}

/** The OpenAPI document of the routes, with the responses that middleware gives in their place. */
function describe(routes: App, { version, keys, guarded, webhooks }: Access): object {
  const document = routes.getOpenAPI31Document({
    openapi: '3.1.0',
    info: {
      title: 'Amulet',
      version,
      description:
        'Asynchronous text classification: submit texts, then poll, wait, or be notified by webhook.',
      license: { name: 'Apache-2.0', url: 'https://www.apache.org/licenses/LICENSE-2.0' },
    },
    tags: Object.keys(TAGS).map((name) => ({ name })),
  });
  if (keys) {
    document.components = {
      ...document.components,
      securitySchemes: { key: { type: 'http', scheme: 'bearer', description: 'An API key.' } },
    };
  }
  if (!webhooks) withoutWebhooks(document);
  for (const [path, methods] of Object.entries(document.paths ?? {})) {
    for (const operation of Object.values(methods as Record<string, OperationObject>)) {
      const needsKey = keys && !isOpen(path);
      if (needsKey) operation.security = [{ key: [] }];
      operation.tags = [tagOf(path)];
      operation.responses = {
        ...(needsKey && {
          401: problemOf('No valid API key.'),
          429: problemOf('This key has made too many requests.'),
        }),
        // Routes may describe these themselves.
        ...(takesQuery(path) && { 422: problemOf('The query is not valid.'), 503: problemOf(UNAVAILABLE) }),
        ...(guarded && {
          403: problemOf('The request came from a page of another origin, or `Host` is not this machine.'),
        }),
        ...operation.responses,
      };
    }
  }
  return document;
}

/** As openapi.ts has it for a route, but in the finished document, where a schema is known by its name. */
const problemOf = (description: string) => ({
  description,
  content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
});

const UNAVAILABLE =
  'Redis is not reachable or full, or too much is in flight; try again after `Retry-After` seconds.';

/** Whether the path checks its query, as in app.ts: probes and pages take any. */
const takesQuery = (path: string) => /^\/(?:v1|hf|predict)(?:\/|$)/.test(path);

/** Removes the webhook fields: without a secret to sign with, they are refused. */
function withoutWebhooks({ components, paths }: ReturnType<OpenAPIHono['getOpenAPI31Document']>): void {
  const { properties } = components?.schemas?.CreateJob as { properties: Record<string, unknown> };
  delete properties.webhook;
  const create = paths?.['/v1/batches']?.post;
  create?.parameters?.splice(
    0,
    Infinity,
    ...create.parameters.filter((each) => !('name' in each && /^webhook(?:_|$)/.test(each.name))),
  );
}

/** The groups of the operations, in the order of /docs, and the paths of each. */
const TAGS = {
  Jobs: /^\/v1\/jobs/,
  Batches: /^\/v1\/batches/,
  Webhooks: /^\/v1\/webhook/,
  Synchronous: /^\/(?:predict|hf)/,
  Service: /^/,
};

const tagOf = (path: string): string =>
  Object.entries(TAGS).find(([, paths]) => paths.test(path))?.[0] ?? 'Service';

interface OperationObject {
  tags?: string[];
  security?: object[];
  responses?: object;
}

/** Resolved, but never imported: the package's entry would run the whole page in this process. */
const assetPath = (file: string) => fileURLToPath(import.meta.resolve(`swagger-ui-dist/${file}`));

const page = () =>
  html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>Amulet API</title>
        <link rel="stylesheet" href="docs/assets/swagger-ui.css" />
      </head>
      <body>
        <div id="docs"></div>
        <script src="docs/assets/swagger-ui-bundle.js"></script>
        <script>
          SwaggerUIBundle({
            url: 'openapi.json',
            dom_id: '#docs',
            deepLinking: true,
            tryItOutEnabled: true,
            // The example of JSON Lines is shown, and would be sent, as one JSON string.
            requestInterceptor: (request) => {
              const isLines = request.headers['Content-Type'] === 'application/x-ndjson';
              if (isLines && request.body?.startsWith('"')) request.body = JSON.parse(request.body);
              return request;
            },
          });
        </script>
      </body>
    </html>`;
