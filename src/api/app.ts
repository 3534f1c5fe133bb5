/** The HTTP application: puts routes and middleware together. It does no I/O itself, so tests call `app.request()`. */
import type { Hono } from 'hono';
import { PACKAGE } from '../shared/contract/names.ts';
import { AppError } from '../shared/contract/problems.ts';
import { CheckedApp } from './checked-app.ts';
import { createRequestSchemas } from './requests.ts';
import type { App, AppEnv } from './env.ts';
import type { InFlight } from './load/in-flight.ts';
import { BOARD_PATH } from './middleware/admins.ts';
import { authenticate, isOpen, ownerOf, type KeyLookup } from './middleware/api-keys.ts';
import type { Observe } from './middleware/observe.ts';
import type { OpenRequests } from './middleware/open-requests.ts';
import { createOriginGuard } from './middleware/same-origin.ts';
import type { RateLimit } from './middleware/rate-limit.ts';
import { onError, onNotFound } from './middleware/problems.ts';
import { checkQuery } from './middleware/query.ts';
import { nameRequest, nodeResponse } from './middleware/response-headers.ts';
import { batchRoutes } from './routes/batches.ts';
import { docsRoutes } from './routes/docs.ts';
import { jobRoutes } from './routes/jobs.ts';
import { isModelRemoval, modelRoutes } from './routes/models.ts';
import { pageRoutes } from './routes/page.ts';
import { predictRoutes } from './routes/predict.ts';
import { documentWebhooks, webhookRoutes } from './routes/webhooks.ts';
import { serviceRoutes } from './routes/service.ts';
import type { RouteDeps } from './routes/deps.ts';

export interface AppDeps extends Omit<RouteDeps, 'schemas' | 'hasKeys'> {
  /** The API keys of callers; undefined: anyone may call, and all callers are one owner. */
  keys: KeyLookup | undefined;
  /** Records every open request that has a key. */
  requests?: OpenRequests;
  limit: RateLimit;
  inFlight: InFlight;
  observe: Observe;
  /** The page of the queues, for admins. */
  board?: Hono<AppEnv> | undefined;
}

export function createApp(deps: AppDeps): App {
  const { config, logger, keys, admins, requests, limit, inFlight, board } = deps;
  const hasKeys = keys !== undefined;
  const app = new CheckedApp();
  // Few middlewares: each takes 2 µs a request.
  app.use((c, next) => {
    nameRequest(c);
    return deps.observe(c, next);
  });
  const isBoard = (path: string) => path === BOARD_PATH || path.startsWith(`${BOARD_PATH}/`);
  const hasOwnKeys = (method: string, path: string) =>
    (board !== undefined && isBoard(path)) || (admins.size > 0 && isModelRemoval(method, path));
  const originGuard = createOriginGuard(config, { hasKeys });
  app.use(async (c, next) => {
    originGuard?.(c.req.method, (name) => c.req.header(name));
    const open = isOpen(c.req.path);
    const key =
      keys === undefined || open || hasOwnKeys(c.req.method, c.req.path)
        ? undefined
        : authenticate(keys, c.req.header('authorization'));
    const owner = ownerOf(key);
    c.set('owner', owner);
    c.set('inFlight', inFlight);
    // Probes are answered under any load.
    const lease = open ? undefined : inFlight.requests.acquire(owner, 1);
    try {
      if (key) {
        const response = nodeResponse(c);
        if (response) requests?.add(response, key);
        await limit(c, key);
      }
      checkQuery(c.req.path, c.req.url);
      const start = performance.now();
      await next();
      const ms = Math.round(performance.now() - start);
      logger.debug(
        { request: c.get('requestId'), method: c.req.method, path: c.req.path, status: c.res.status, ms },
        'request',
      );
    } finally {
      lease?.release();
    }
  });
  app.onError(onError(logger));
  const routeDeps: RouteDeps = { ...deps, hasKeys, schemas: createRequestSchemas(config) };
  for (const register of [jobRoutes, batchRoutes, webhookRoutes, predictRoutes, serviceRoutes, modelRoutes])
    register(app, routeDeps);
  documentWebhooks(app);
  docsRoutes(app, {
    version: deps.version,
    keys: hasKeys,
    guarded: originGuard !== undefined,
    webhooks: hasKeys || config.WEBHOOK_SECRET.length > 0,
  });
  pageRoutes(app, deps.version);
  if (board) app.route(BOARD_PATH, board);
  else app.all(`${BOARD_PATH}/*`, noBoard);
  app.notFound(onNotFound(app.routes));
  return app;
}

function noBoard(): never {
  throw new AppError(
    'not_found',
    `this page needs ADMIN_KEYS: create a key with \`npx ${PACKAGE} key create ops\`, and add its line to ADMIN_KEYS`,
  );
}
