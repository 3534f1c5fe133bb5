/** The HTTP application: routes and middleware put together. No I/O happens here; a test calls `app.request()`. */
import { OpenAPIHono } from '@hono/zod-openapi';
import { requestId } from 'hono/request-id';
import { secureHeaders } from 'hono/secure-headers';
import { createRequestSchemas } from '../shared/contract.ts';
import type { Logger } from '../shared/logger.ts';
import { EVERYBODY } from '../shared/owner.ts';
import type { AppEnv } from './env.ts';
import type { JobService } from './jobs.ts';
import { onError, onInvalid, onNotFound } from './middleware/problems.ts';
import type { BatchResults } from './batch-results.ts';
import type { BatchService } from './batches.ts';
import { batchRoutes } from './routes/batches.ts';
import { docsRoutes } from './routes/docs.ts';
import { jobRoutes } from './routes/jobs.ts';
import { predictRoutes } from './routes/predict.ts';
import { documentWebhooks, webhookRoutes } from './routes/webhooks.ts';
import type { WebhookService } from './webhooks.ts';
import { serviceRoutes, type ServiceParts } from './routes/service.ts';

export interface AppParts extends ServiceParts {
  jobs: JobService;
  batches: BatchService;
  results: BatchResults;
  webhooks: WebhookService;
  /** Who makes a request. */
  ownerOf?: (request: Request) => string;
  /** Fires when the server shuts down. */
  stopping: AbortSignal;
  logger: Logger;
}

export function createApp(parts: AppParts): OpenAPIHono<AppEnv> {
  const { jobs, batches, results, webhooks, config, stopping, logger, ownerOf = () => EVERYBODY } = parts;
  const schemas = createRequestSchemas(config);
  const app = new OpenAPIHono<AppEnv>({ defaultHook: onInvalid });
  app.use(requestId());
  // TLS ends at a proxy, if anywhere; promising it from here would lock browsers out of http://localhost.
  app.use(secureHeaders({ strictTransportSecurity: false }));
  app.use(async (c, next) => {
    c.set('owner', ownerOf(c.req.raw));
    const start = performance.now();
    await next();
    const ms = Math.round(performance.now() - start);
    logger.debug(
      { request: c.get('requestId'), method: c.req.method, path: c.req.path, status: c.res.status, ms },
      'request',
    );
  });
  app.onError(onError(logger));
  app.route('/', jobRoutes(jobs, webhooks, schemas, config));
  app.route('/', batchRoutes({ batches, results, webhooks, schemas, config, stopping, logger }));
  app.route('/', webhookRoutes(webhooks));
  documentWebhooks(app);
  app.route('/', predictRoutes(jobs, schemas, config));
  app.route('/', serviceRoutes(parts));
  app.route('/', docsRoutes(app, parts.version));
  app.notFound(onNotFound(app.routes));
  return app;
}
