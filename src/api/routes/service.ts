/** Routes about the service itself: models, stats, version and limits, health. */
import { createRoute, z } from '@hono/zod-openapi';
import { healthSchema } from '../../shared/contract/responses.ts';
import { modelSchema, modelStatsSchema } from '../../shared/contract/models.ts';
import { toError } from '../../shared/runtime/to-error.ts';
import type { App } from '../env.ts';
import { json, NO_QUERY } from './openapi.ts';
import type { RouteDeps } from './deps.ts';
import { durabilitySchema } from '../load/durability.ts';

export function serviceRoutes(
  app: App,
  { config, catalog, stats, withRedis, durability, version }: RouteDeps,
): void {
  const models = () => withRedis(() => catalog.list());

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v1/models',
      summary: 'List the models',
      request: { query: NO_QUERY },
      responses: {
        200: json('Every model that a worker has ever served.', z.object({ models: z.array(modelSchema) })),
      },
    }),
    async (c) => c.json({ models: await models() }, 200),
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v1/stats',
      summary: 'Waiting work per model',
      request: { query: NO_QUERY },
      responses: {
        200: json(
          'Every model that a worker has ever served.',
          z.object({ models: z.array(modelStatsSchema) }),
        ),
      },
    }),
    async (c) => c.json({ models: await stats.models() }, 200),
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/info',
      summary: 'Version, effective limits, durability',
      responses: {
        200: json(
          'Version and limits of this instance.',
          z.object({
            name: z.string(),
            version: z.string(),
            default_model: z.string(),
            limits: z.record(z.string(), z.number()),
            durability: durabilitySchema.nullable(),
          }),
        ),
      },
    }),
    (c) =>
      c.json(
        {
          name: 'amulet',
          version,
          default_model: config.DEFAULT_MODEL,
          limits: {
            max_body_bytes: config.MAX_BODY_BYTES,
            max_text_chars: config.MAX_TEXT_CHARS,
            max_texts_per_job: config.MAX_TEXTS_PER_JOB,
            max_id_chars: config.MAX_ID_CHARS,
            max_metadata_bytes: config.MAX_METADATA_BYTES,
            max_metadata_depth: config.MAX_METADATA_DEPTH,
            max_wait_s: config.MAX_WAIT_S,
            max_expires_s: config.MAX_EXPIRES_S,
            predict_timeout_ms: config.PREDICT_TIMEOUT_MS,
            result_ttl_s: config.RESULT_TTL_S,
            idempotency_ttl_s: config.IDEMPOTENCY_TTL_S,
            max_batch_bytes: config.MAX_BATCH_BYTES,
            max_record_bytes: config.MAX_RECORD_BYTES,
            max_open_batches: config.MAX_OPEN_BATCHES,
            max_batch_parts: config.MAX_BATCH_PARTS,
            max_batch_chunks: config.MAX_BATCH_CHUNKS,
            max_open_parts: config.MAX_OPEN_PARTS,
            max_kept_batches: config.MAX_KEPT_BATCHES,
            max_csv_columns: config.MAX_CSV_COLUMNS,
            max_csv_header_bytes: config.MAX_CSV_HEADER_BYTES,
            batch_ttl_s: config.BATCH_TTL_S,
            open_batch_ttl_s: config.OPEN_BATCH_TTL_S,
          },
          durability: durability() ?? null,
        },
        200,
      ),
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/health/live',
      summary: 'The process answers',
      responses: { 200: json('The process answers.', healthSchema) },
    }),
    (c) => c.json({ status: 'live' as const }, 200),
  );

  for (const path of ['/health/ready', '/health'] as const) {
    app.openapi(
      createRoute({
        method: 'get',
        path,
        summary:
          path === '/health' ? 'Jobs are accepted; tells whether workers are running' : 'Jobs are accepted',
        responses: {
          200: json('Redis answers.', healthSchema),
          503: json('Redis does not answer.', healthSchema),
        },
      }),
      async (c) => {
        try {
          const known = await models();
          const live = Object.fromEntries(known.map(({ name, workers }) => [name, workers]));
          const workers = known.reduce((sum, model) => sum + model.workers, 0);
          // Jobs are accepted, and wait: a probe that failed here would stop callers for no good reason.
          if (path === '/health' && workers === 0) {
            const reason = 'no worker serves any model: jobs are accepted and wait';
            return c.json({ status: 'no_workers' as const, reason, workers, models: live }, 200);
          }
          return c.json({ status: 'ready' as const, workers, models: live }, 200);
        } catch (error) {
          return c.json({ status: 'not_ready' as const, reason: toError(error).message }, 503);
        }
      },
    );
  }
}
