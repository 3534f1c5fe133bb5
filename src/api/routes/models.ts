/** `DELETE /v1/models/{name}`: removes a model that no worker serves from the list. */
import { createRoute, z } from '@hono/zod-openapi';
import { AppError } from '../../shared/contract/problems.ts';
import { NAME } from '../../shared/contract/names.ts';
import type { App } from '../env.ts';
import { requireAdmin } from '../middleware/admins.ts';
import { idInPath, NO_QUERY, problem } from './openapi.ts';
import type { RouteDeps } from './deps.ts';

/** Whether a request removes a model: it needs an admin's key instead of a caller's. */
export const isModelRemoval = (method: string, path: string): boolean =>
  method === 'DELETE' && /^\/v1\/models\/[^/]+$/.test(path);

export function modelRoutes(app: App, { admins, hasKeys, catalog, stats, withRedis }: RouteDeps): void {
  app.openapi(
    createRoute({
      method: 'delete',
      path: '/v1/models/{name}',
      summary: 'Remove a model from the list',
      description:
        'Removes a model that no worker serves from the list. With API keys, user and password must be the name and the key of an `ADMIN_KEYS` entry. A worker that serves the model later adds it again.',
      request: { params: z.object({ name: idInPath(NAME, 'old-model') }), query: NO_QUERY },
      responses: {
        204: { description: 'The model is removed.' },
        403: problem('API keys are set, but no `ADMIN_KEYS` (`admin_only`).'),
        404: problem('The model does not exist.'),
        409: problem('Workers serve the model, or work waits for it (`model_in_use`).'),
      },
    }),
    async (c) => {
      if (admins.size > 0) requireAdmin(c, admins);
      else if (hasKeys)
        throw new AppError(
          'admin_only',
          'set ADMIN_KEYS, and send the name and the key of an entry as user and password',
        );
      const { name } = c.req.valid('param');
      const known = (await withRedis(() => catalog.list())).find((model) => model.name === name);
      if (!known) throw new AppError('model_not_found', `there is no model ${name}`);
      // Not the cached stats: work that came in since would be lost.
      const load = (await stats.readNow()).find((model) => model.name === name);
      const texts = (load?.texts.normal ?? 0) + (load?.texts.low ?? 0);
      const batches = load?.batches.running ?? 0;
      const reasons = [
        ...counted(known.workers, 'live worker'),
        ...counted(texts, 'waiting text'),
        ...counted(batches, 'unfinished batch', 'unfinished batches'),
      ];
      if (reasons.length > 0) throw new AppError('model_in_use', `${name} has ${reasons.join(', ')}`);
      await withRedis(() => catalog.remove(name));
      return c.body(null, 204);
    },
  );
}

/** A count with its noun, in a list of one; an empty list for 0. */
function counted(count: number, one: string, many = `${one}s`): string[] {
  return count === 0 ? [] : [`${count} ${count === 1 ? one : many}`];
}
