/**
 * Bull Board at `/admin/queues`: shows BullMQ's queues to admins. Read-only. It shows the texts of waiting jobs of all owners, so it
 * needs an admin's key.
 */
import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { HonoAdapter } from '@bull-board/hono';
import { serveStatic } from '@hono/node-server/serve-static';
import type { Queue } from 'bullmq';
import { Hono } from 'hono';
import { secureHeaders } from 'hono/secure-headers';
import type { KeySet } from '../../shared/runtime/api-keys.ts';
import { AppError } from '../../shared/contract/problems.ts';
import { toRedisProblem } from '../../shared/redis/connections.ts';
import type { AppEnv } from '../env.ts';
import { BOARD_PATH, requireAdmin } from '../middleware/admins.ts';
import type { Deps } from '../deps.ts';

export interface BoardDeps extends Deps<'catalog' | 'queues' | 'withRedis'> {
  admins: KeySet;
}

const SELF = "'self'";
const NONE = "'none'";

/** Blocks the fonts that the page asks for elsewhere. Allows its inline styles; its only inline script holds data. */
const POLICY = {
  defaultSrc: [NONE],
  scriptSrc: [SELF],
  styleSrc: [SELF, "'unsafe-inline'"],
  imgSrc: [SELF, 'data:'],
  fontSrc: [SELF],
  connectSrc: [SELF],
  baseUri: [SELF],
  formAction: [NONE],
  frameAncestors: [NONE],
};

export function createBoard({ admins, catalog, queues, withRedis }: BoardDeps): Hono<AppEnv> {
  const adapter = new HonoAdapter(serveStatic);
  adapter.setBasePath(BOARD_PATH);
  const board = createBullBoard({
    queues: [],
    serverAdapter: adapter,
    options: {
      uiConfig: {
        boardTitle: 'Amulet',
        hideDocsLink: true,
        showWorkers: false,
        pollingInterval: { showSetting: true },
      },
    },
  });
  // Bull Board's own handler would answer 500 with a stack trace; ours answers 503 when Redis is not reachable.
  adapter.setErrorHandler((error) => {
    throw toRedisProblem(error);
  });

  const shown = new Set<string>();
  /** Adds the queues of new models, and of the revisions that batches are pinned to. */
  const refresh = async () => {
    const models = await catalog.list();
    const all: Promise<Queue<unknown, undefined>>[] = models.flatMap(({ name, revisions }) => [
      queues.get('normal', name),
      queues.get('low', name),
      queues.getBulk(name, undefined),
      ...revisions.map(({ revision }) => queues.getBulk(name, revision)),
    ]);
    for (const queue of await Promise.all([...all, queues.getDeliveries()])) {
      if (shown.has(queue.name)) continue;
      shown.add(queue.name);
      board.addQueue(new BullMQAdapter(queue, { readOnlyMode: true, allowRetries: false }));
    }
  };

  const app = new Hono<AppEnv>();
  app.use(secureHeaders({ contentSecurityPolicy: POLICY, strictTransportSecurity: false }));
  app.use(async (c, next) => {
    requireAdmin(c, admins);
    await next();
  });
  app.use(async (c, next) => {
    if (c.req.method !== 'GET' && c.req.method !== 'HEAD')
      throw new AppError('method_not_allowed', 'this page is read-only');
    if (c.req.path.startsWith(`${BOARD_PATH}/api/`)) await withRedis(refresh);
    await next();
  });
  app.route('/', adapter.registerPlugin());
  return app;
}
