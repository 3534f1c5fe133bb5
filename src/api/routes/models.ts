/** `DELETE /v1/models/{name}`: forgets a model that no worker serves any more. */
import { createRoute, OpenAPIHono, z } from '@hono/zod-openapi';
import type { KeySet } from '../../shared/runtime/api-keys.ts';
import { AppError } from '../../shared/contract/problems.ts';
import { NAME } from '../../shared/contract/names.ts';
import type { WithRedis } from '../../shared/redis/connections.ts';
import type { ModelCatalog } from '../model-catalog.ts';
import type { AppEnv } from '../env.ts';
import { requireAdmin } from '../middleware/admins.ts';
import { onInvalid } from '../middleware/problems.ts';
import type { Stats } from '../load/stats.ts';
import { idInPath, NO_QUERY, problem, UNAVAILABLE } from './openapi.ts';

export interface ModelRoutesDeps {
  admins: KeySet;
  /** Whether callers need a key; if so, the removal of a model needs an admin's. */
  hasKeys: boolean;
  catalog: ModelCatalog;
  stats: Stats;
  withRedis: WithRedis;
}

/** Whether a request is for admins alone, who have no key of callers. */
export const isModelRemoval = (method: string, path: string): boolean =>
  method === 'DELETE' && /^\/v1\/models\/[^/]+$/.test(path);

export function modelRoutes({
  admins,
  hasKeys,
  catalog,
  stats,
  withRedis,
}: ModelRoutesDeps): OpenAPIHono<AppEnv> {
  const app = new OpenAPIHono<AppEnv>({ defaultHook: onInvalid });
  app.openapi(
    createRoute({
      method: 'delete',
      path: '/v1/models/{name}',
      summary: 'Forget a model',
      description:
        'Takes a model that no worker serves any more off the list. Needs user and password of an entry of `ADMIN_KEYS`, if there are any keys. A worker that serves it later puts it back.',
      tags: ['Service'],
      request: { params: z.object({ name: idInPath(NAME, 'old-model') }), query: NO_QUERY },
      responses: {
        204: { description: 'It is off the list.' },
        403: problem('There are API keys and no `ADMIN_KEYS` (`admin_only`).'),
        404: problem('There is no such model.'),
        409: problem('Workers serve it, or work for it waits (`model_in_use`).'),
        ...UNAVAILABLE,
      },
    }),
    async (c) => {
      if (admins.size > 0) requireAdmin(c, admins);
      else if (hasKeys)
        throw new AppError(
          'admin_only',
          'set ADMIN_KEYS, and send the name and key of an entry as user and password',
        );
      const { name } = c.req.valid('param');
      const known = (await withRedis(() => catalog.list())).find((model) => model.name === name);
      if (!known) throw new AppError('model_not_found', `there is no model ${name}`);
      // Not a copy: what came in since it was made would be forgotten.
      const load = (await stats.readNow()).find((model) => model.name === name);
      const texts = (load?.texts.normal ?? 0) + (load?.texts.low ?? 0);
      const batches = load?.batches.running ?? 0;
      const reasons = [
        ...(known.workers > 0 ? [`${known.workers} live workers serve it`] : []),
        ...(texts > 0 ? [`${texts} texts of jobs wait for it`] : []),
        ...(batches > 0 ? [`${batches} batches are not finished`] : []),
      ];
      if (reasons.length > 0) throw new AppError('model_in_use', `${name} is in use: ${reasons.join(', ')}`);
      await withRedis(() => catalog.remove(name));
      return c.body(null, 204);
    },
  );
  return app;
}
