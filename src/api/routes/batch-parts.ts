/** The routes of an upload in parts: upload a part, list the parts, complete the batch. */
import { createRoute, z } from '@hono/zod-openapi';
import { batchPartSchema } from '../../shared/contract/batches.ts';
import type { App } from '../env.ts';
import { bodyLimits } from '../load/body-limits.ts';
import { jsonBody } from '../middleware/json-body.ts';
import { completeBatchSchema } from '../requests.ts';
import {
  BAD_UPLOAD,
  batchId as id,
  batchResponse,
  NOT_FOUND,
  partResponse,
  recordsBody,
  uploading,
} from './batch-openapi.ts';
import { BAD_BODY, json, jsonRequest, NO_QUERY, problem, wholeNumber } from './openapi.ts';
import type { RouteDeps } from './deps.ts';

export function batchPartRoutes(app: App, { batches, config }: RouteDeps): void {
  const params = z.object({ id });

  const putPart = createRoute({
    method: 'put',
    path: '/v1/batches/{id}/parts/{number}',
    summary: 'Upload a part',
    request: {
      params: z.object({ id, number: wholeNumber(1, config.MAX_BATCH_PARTS) }),
      query: NO_QUERY,
      body: { required: true, ...recordsBody },
    },
    responses: {
      200: partResponse('The same part was uploaded before.'),
      201: partResponse('Stored.'),
      409: problem('This number has a part with different content, or the batch takes no more parts.'),
      ...NOT_FOUND,
      ...BAD_UPLOAD,
    },
  });
  app.openapi(putPart, async (c) => {
    const { id: batch, number } = c.req.valid('param');
    const { part, added } = await uploading(c, (upload) =>
      batches.putPart(c.get('owner'), batch, number, upload),
    );
    return added ? c.json(part, 201) : c.json(part, 200);
  });

  const listParts = createRoute({
    method: 'get',
    path: '/v1/batches/{id}/parts',
    summary: 'List the parts that were uploaded',
    request: { params, query: NO_QUERY },
    responses: {
      200: json('The parts, by number.', z.object({ parts: z.array(batchPartSchema) })),
      ...NOT_FOUND,
    },
  });
  app.openapi(listParts, async (c) =>
    c.json({ parts: await batches.parts(c.get('owner'), c.req.valid('param').id) }, 200),
  );

  const complete = createRoute({
    method: 'post',
    path: '/v1/batches/{id}/complete',
    summary: 'Complete an upload in parts',
    middleware: [jsonBody(config, bodyLimits(config).completeBatch)],
    request: {
      params,
      query: NO_QUERY,
      body: jsonRequest(completeBatchSchema, { example: { parts: [{ number: 1 }] } }),
    },
    responses: {
      202: batchResponse('The input is complete; work begins. A repeated request gets the same response.'),
      409: problem('The listed parts differ from the uploaded ones, or the batch has ended.'),
      ...NOT_FOUND,
      ...BAD_BODY,
    },
  });
  app.openapi(complete, async (c) =>
    c.json(await batches.complete(c.get('owner'), c.req.valid('param').id, c.req.valid('json')), 202),
  );
}
