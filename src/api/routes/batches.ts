/** The routes that create, list, read, resume and cancel batches; docs/bulk.md explains them to users. */
import { createRoute, z } from '@hono/zod-openapi';
import { batchSchema, batchStatusSchema } from '../../shared/contract/batches.ts';
import { BATCH_ID } from '../../shared/contract/ids.ts';
import { AppError } from '../../shared/contract/problems.ts';
import type { NewBatch } from '../batches/batch-spec.ts';
import type { App } from '../env.ts';
import { bulkType, headerBody, requireNamedFormat } from '../middleware/bulk-body.ts';
import { traceOfRequest } from '../middleware/observe.ts';
import { setHeader } from '../middleware/response-headers.ts';
import type { CreateBatchQuery } from '../requests.ts';
import {
  BAD_UPLOAD,
  batchId as id,
  batchResponse,
  NOT_FOUND,
  recordsBody,
  uploading,
} from './batch-openapi.ts';
import { batchPartRoutes } from './batch-parts.ts';
import { batchResultRoutes } from './batch-results.ts';
import {
  DEFAULT_PAGE,
  IDEMPOTENCY_HEADER,
  json,
  NO_QUERY,
  PAGE,
  pageQuery,
  problem,
  REPLAYED,
  replayable,
} from './openapi.ts';
import type { RouteDeps } from './deps.ts';

export function batchRoutes(app: App, deps: RouteDeps): void {
  const { batches, webhooks, schemas, config } = deps;
  const params = z.object({ id });

  const create = createRoute({
    method: 'post',
    path: '/v1/batches',
    summary: 'Submit a batch, or open one for an upload in parts',
    request: {
      query: schemas.createBatch,
      headers: IDEMPOTENCY_HEADER,
      body: {
        required: false,
        description:
          'The records. With `open=true`: no body, or, with `format=csv`, the header as `text/csv`.',
        ...recordsBody,
      },
    },
    responses: {
      201: replayable(batchResponse('The batch is open: upload its parts, then complete it.')),
      202: replayable(batchResponse('The input is stored; work begins.')),
      404: problem('There is no such model.'),
      ...BAD_UPLOAD,
    },
  });
  app.openapi(create, async (c) => {
    const { open, webhook: url, webhook_events: events, ...query } = c.req.valid('query');
    const idempotencyKey = c.req.valid('header')['idempotency-key'];
    const owner = c.get('owner');
    if (url === undefined && events !== undefined) {
      throw new AppError('invalid_request', '`webhook_events` requires `webhook`', {
        errors: [{ path: 'webhook_events', message: 'requires `webhook`' }],
      });
    }
    const extra = {
      webhook: url === undefined ? undefined : webhooks.accept(owner, { url, events }, traceOfRequest(c)),
      idempotencyKey,
    };
    if (open === 'true') {
      if (query.format === undefined) requireNamedFormat(c.req.header('content-type'));
      const columns =
        query.columns ?? (await headerBody(c, config.MAX_CSV_HEADER_BYTES, config.BODY_TIMEOUT_S));
      const { batch, replayed } = await batches.open(
        owner,
        toNewBatch({ format: 'ndjson' }, { ...query, columns }, extra),
      );
      if (replayed) setHeader(c, REPLAYED, 'true');
      setHeader(c, 'Location', batch.urls.self);
      return c.json(batch, 201);
    }
    const type = query.format ? { format: query.format } : bulkType(c.req.header('content-type'));
    const formatNamed = query.format !== undefined;
    const { batch, replayed } = await uploading(c, (upload) =>
      batches.submit(owner, toNewBatch(type, query, extra), { ...upload, formatNamed }),
    );
    if (replayed) setHeader(c, REPLAYED, 'true');
    setHeader(c, 'Location', batch.urls.self);
    return c.json(batch, 202);
  });

  batchPartRoutes(app, deps);

  const list = createRoute({
    method: 'get',
    path: '/v1/batches',
    summary: 'List your batches, newest first',
    request: { query: pageQuery(BATCH_ID, batchStatusSchema) },
    responses: {
      200: json(PAGE, z.object({ batches: z.array(batchSchema), next: z.string().nullable() })),
    },
  });
  app.openapi(list, async (c) => {
    const { limit = DEFAULT_PAGE, ...options } = c.req.valid('query');
    return c.json(await batches.list(c.get('owner'), { limit, ...options }), 200);
  });

  const read = createRoute({
    method: 'get',
    path: '/v1/batches/{id}',
    summary: 'Read a batch',
    request: { params, query: NO_QUERY },
    responses: { 200: batchResponse('The batch.'), ...NOT_FOUND },
  });
  app.openapi(read, async (c) => c.json(await batches.get(c.get('owner'), c.req.valid('param').id), 200));

  batchResultRoutes(app, deps);

  const resume = createRoute({
    method: 'post',
    path: '/v1/batches/{id}/resume',
    summary: 'Resume a failed batch, or one with damaged results',
    request: {
      params,
      query: z.strictObject({
        restart: z.enum(['true', 'false']).optional().openapi({
          description:
            '`true`: start again from the first record, with the model revision that is served now.',
        }),
      }),
    },
    responses: {
      202: batchResponse('The batch is resumed.'),
      409: problem('The batch has not failed and has no damaged results.'),
      ...NOT_FOUND,
    },
  });
  app.openapi(resume, async (c) => {
    const restart = c.req.valid('query').restart === 'true';
    return c.json(await batches.resume(c.get('owner'), c.req.valid('param').id, { restart }), 202);
  });

  const cancel = createRoute({
    method: 'delete',
    path: '/v1/batches/{id}',
    summary: 'Cancel a batch, or remove a finished one',
    request: { params, query: NO_QUERY },
    responses: {
      200: batchResponse('The batch is canceled; finished results can still be read.'),
      204: { description: 'The batch was final; it is removed with its data.' },
      ...NOT_FOUND,
    },
  });
  app.openapi(cancel, async (c) => {
    const batch = await batches.cancel(c.get('owner'), c.req.valid('param').id);
    return batch ? c.json(batch, 200) : c.body(null, 204);
  });
}

function toNewBatch(
  type: { format: NewBatch['format']; delimiter?: string },
  query: Omit<CreateBatchQuery, 'open' | 'webhook' | 'webhook_events'>,
  extra: Pick<NewBatch, 'webhook' | 'idempotencyKey'>,
): NewBatch {
  const { format = type.format, delimiter = type.delimiter } = query;
  return { ...query, format, delimiter, ...extra };
}
