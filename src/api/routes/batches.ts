/** The routes of bulk backfill; docs/bulk.md describes them from outside. */
import { setTimeout as sleep } from 'node:timers/promises';
import { createRoute, OpenAPIHono, z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import type { Config } from '../../shared/runtime/config.ts';
import { batchPartSchema, batchSchema, batchStatusSchema } from '../../shared/contract/batches.ts';
import { completeBatchSchema, type CreateBatchQuery, type RequestSchemas } from '../requests.ts';
import { AppError } from '../../shared/contract/problems.ts';
import { toError } from '../../shared/runtime/to-error.ts';
import { BATCH_ID } from '../../shared/contract/ids.ts';
import type { Logger } from '../../shared/runtime/logger.ts';
import type { BatchService } from '../batches/batch-service.ts';
import type { NewBatch } from '../batches/batch-spec.ts';
import type { Upload } from '../batches/part-uploads.ts';
import type { BatchResults } from '../batches/batch-results.ts';
import { bodyLimits } from '../load/body-limits.ts';
import type { AppEnv } from '../env.ts';
import { bulkBody, bulkType, headerBody } from '../middleware/bulk-body.ts';
import { jsonBody } from '../middleware/json-body.ts';
import { traceOfRequest } from '../middleware/observe.ts';
import { onInvalid } from '../middleware/problems.ts';
import type { WebhookService } from '../webhooks.ts';
import {
  BAD_BODY,
  DEFAULT_PAGE,
  idInPath,
  IDEMPOTENCY_HEADER,
  json,
  NO_QUERY,
  PAGE,
  pageQuery,
  problem,
  REPLAYED,
  replayable,
  UNAVAILABLE,
  wholeNumber,
} from './openapi.ts';

export interface BatchRouteDeps {
  batches: BatchService;
  results: BatchResults;
  webhooks: WebhookService;
  schemas: RequestSchemas;
  config: Config;
  /** Fires when the server shuts down, so that no follower keeps it. */
  stopping: AbortSignal;
  logger: Logger;
}

const id = idInPath(BATCH_ID, '019aaf3c5e7b7c3b9d0e5f1a2b3c4d5e-b-sst2-minilm');

const batchResponse = (description: string) => json(description, batchSchema);
const partResponse = (description: string) => json(description, batchPartSchema);
/** At least one record: something other than line ends and a byte order mark. */
const someRecords = z.string().openapi({ pattern: '[^\\r\\n\\ufeff]' });
const records = {
  content: {
    // CSV first: the Swagger UI of /docs fills that in, while it would put JSON Lines into quotes.
    'text/csv': {
      schema: someRecords.openapi({ description: 'Its header names the column `text_field`.' }),
      example: 'id,text\nr1,utterly charming\nr2,"a tedious, long mess"\n',
    },
    'text/plain': { schema: someRecords, example: 'utterly charming\na tedious mess\n' },
    'application/x-ndjson': {
      schema: someRecords.openapi({
        description: 'A JSON object a line, the first ones with the field `text_field`.',
      }),
      example: '{"id": "r1", "text": "utterly charming"}\n{"id": "r2", "text": "a tedious mess"}\n',
    },
  },
};
const NOT_FOUND = {
  404: problem('Unknown, removed, or past its retention.'),
};
const BAD_UPLOAD = {
  400: problem('No body, or gzip that is none or breaks off.'),
  408: problem('The upload stalled.'),
  413: problem('The batch is too large.'),
  415: problem('Neither `Content-Type` nor `format` says what it is, or another encoding than gzip.'),
  422: problem('The query or the header of the file is not valid.'),
  429: problem(
    'You have too many batches or parts, all together take too much space, or Redis has too little left.',
  ),
  507: problem('The disk of batches or of Redis has too little room.'),
};

export function batchRoutes(deps: BatchRouteDeps): OpenAPIHono<AppEnv> {
  const { batches, results, webhooks, schemas, config, stopping, logger } = deps;
  const app = new OpenAPIHono<AppEnv>({ defaultHook: onInvalid });
  const params = z.object({ id });

  const create = createRoute({
    method: 'post',
    path: '/v1/batches',
    summary: 'Submit a batch, or open one for an upload in parts',
    tags: ['Batches'],
    request: {
      query: schemas.createBatch,
      headers: IDEMPOTENCY_HEADER,
      body: {
        required: false,
        description:
          'The records. With `open=true` there are none yet: no body, or as `text/csv` the header of a CSV.',
        ...records,
      },
    },
    responses: {
      201: replayable(batchResponse('Opened: upload its parts, then complete it.')),
      202: replayable(batchResponse('The input is stored; work begins.')),
      404: problem('There is no such model.'),
      ...BAD_UPLOAD,
      ...UNAVAILABLE,
    },
  });
  app.openapi(create, async (c) => {
    const { open, webhook: url, webhook_events: events, ...query } = c.req.valid('query');
    const idempotencyKey = c.req.valid('header')['idempotency-key'];
    const owner = c.get('owner');
    if (url === undefined && events !== undefined) {
      throw new AppError('invalid_request', '`webhook_events` goes with `webhook` only', {
        errors: [{ path: 'webhook_events', message: 'goes with `webhook` only' }],
      });
    }
    const wish = url === undefined ? undefined : { url, events };
    const extra = {
      webhook: webhooks.accept(owner, wish, traceOfRequest(c)),
      idempotencyKey,
    };
    if (open === 'true') {
      const columns =
        query.columns ?? (await headerBody(c, config.MAX_CSV_HEADER_BYTES, config.BODY_TIMEOUT_S));
      const { batch, replayed } = await batches.open(
        owner,
        toNewBatch({ format: 'ndjson' }, { ...query, columns }, extra),
      );
      if (replayed) c.header(REPLAYED, 'true');
      c.header('Location', batch.urls.self);
      return c.json(batch, 201);
    }
    const type = query.format ? { format: query.format } : bulkType(c.req.header('content-type'));
    const formatNamed = query.format !== undefined;
    const { batch, replayed } = await uploading(c, (upload) =>
      batches.submit(owner, toNewBatch(type, query, extra), { ...upload, formatNamed }),
    );
    if (replayed) c.header(REPLAYED, 'true');
    c.header('Location', batch.urls.self);
    return c.json(batch, 202);
  });

  const putPart = createRoute({
    method: 'put',
    path: '/v1/batches/{id}/parts/{number}',
    summary: 'Upload a part',
    tags: ['Batches'],
    request: {
      params: z.object({ id, number: wholeNumber(1, config.MAX_BATCH_PARTS) }),
      query: NO_QUERY,
      body: { required: true, ...records },
    },
    responses: {
      200: partResponse('The same part is there already.'),
      201: partResponse('Stored.'),
      409: problem('Another part has this number, or the batch takes no more parts.'),
      ...NOT_FOUND,
      ...BAD_UPLOAD,
      ...UNAVAILABLE,
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
    tags: ['Batches'],
    request: { params, query: NO_QUERY },
    responses: {
      200: {
        description: 'By number.',
        content: { 'application/json': { schema: z.object({ parts: z.array(batchPartSchema) }) } },
      },
      ...NOT_FOUND,
      ...UNAVAILABLE,
    },
  });
  app.openapi(listParts, async (c) =>
    c.json({ parts: await batches.parts(c.get('owner'), c.req.valid('param').id) }, 200),
  );

  const complete = createRoute({
    method: 'post',
    path: '/v1/batches/{id}/complete',
    summary: 'Complete an upload in parts',
    tags: ['Batches'],
    middleware: [jsonBody(config, bodyLimits(config).completeBatch)],
    request: {
      params,
      query: NO_QUERY,
      body: {
        required: true,
        content: {
          'application/json': { schema: completeBatchSchema, example: { parts: [{ number: 1 }] } },
        },
      },
    },
    responses: {
      202: batchResponse('The input is whole; work begins. A repeat answers the same.'),
      409: problem('The parts named are not those that are there, or the batch has ended.'),
      ...NOT_FOUND,
      ...BAD_BODY,
      ...UNAVAILABLE,
    },
  });
  app.openapi(complete, async (c) =>
    c.json(await batches.complete(c.get('owner'), c.req.valid('param').id, c.req.valid('json')), 202),
  );

  const list = createRoute({
    method: 'get',
    path: '/v1/batches',
    summary: 'List your batches, newest first',
    tags: ['Batches'],
    request: { query: pageQuery(BATCH_ID, batchStatusSchema) },
    responses: {
      200: json(PAGE, z.object({ batches: z.array(batchSchema), next: z.string().nullable() })),
      422: problem('The query is not valid.'),
      ...UNAVAILABLE,
    },
  });
  app.openapi(list, async (c) => {
    const { limit = DEFAULT_PAGE, after, ...filter } = c.req.valid('query');
    return c.json(await batches.list(c.get('owner'), limit, after, filter), 200);
  });

  const read = createRoute({
    method: 'get',
    path: '/v1/batches/{id}',
    summary: 'Read a batch',
    tags: ['Batches'],
    request: { params, query: NO_QUERY },
    responses: { 200: batchResponse('The batch.'), ...NOT_FOUND, ...UNAVAILABLE },
  });
  app.openapi(read, async (c) => c.json(await batches.get(c.get('owner'), c.req.valid('param').id), 200));

  const readResults = createRoute({
    method: 'get',
    path: '/v1/batches/{id}/results',
    summary: 'Read the results, one line per record, in the order of the input',
    tags: ['Batches'],
    request: {
      params,
      query: z.strictObject({
        after: wholeNumber(0, Number.MAX_SAFE_INTEGER)
          .optional()
          .openapi({ description: 'The last `line` that you have.' }),
        follow: z
          .enum(['true', 'false'])
          .optional()
          .openapi({
            description: `\`true\`: go on until the batch is final. An empty line after ${config.FOLLOW_HEARTBEAT_S} s of silence shows that the connection lives; skip it.`,
          }),
      }),
    },
    responses: {
      200: {
        description: 'What is finished, up to the first record that is not.',
        content: { 'application/x-ndjson': { schema: z.string() } },
      },
      ...NOT_FOUND,
      ...UNAVAILABLE,
    },
  });
  app.openapi(readResults, async (c) => {
    const { id: batch } = c.req.valid('param');
    const { after = 0, follow } = c.req.valid('query');
    const lease = c.get('inFlight').downloads.acquire(c.get('owner'), 1);
    // When the answer has been sent or its client is gone. A stream that nobody has begun to read ends without a word.
    if (c.env.outgoing.destroyed) lease.release();
    else c.env.outgoing.once('close', () => lease.release());
    const record = await batches.read(c.get('owner'), batch);
    const signal = AbortSignal.any([c.req.raw.signal, stopping]);
    const pieces = await results.open(batch, record, {
      after,
      follow: follow === 'true',
      heartbeatMs: takesEmptyLines(c) ? config.FOLLOW_HEARTBEAT_S * 1000 : undefined,
      signal,
    });
    const visibly = breakingOff(c, pieces, (error) => {
      if (!signal.aborted) logger.warn({ batch, reason: error.message }, 'results break off');
    });
    c.header('Content-Type', 'application/x-ndjson');
    c.header('Cache-Control', 'no-store');
    // The types know JSON bodies only.
    return c.body(ReadableStream.from(visibly) as ReadableStream<Uint8Array<ArrayBuffer>>, 200) as never;
  });

  const resume = createRoute({
    method: 'post',
    path: '/v1/batches/{id}/resume',
    summary: 'Resume a failed batch, or one with damaged results',
    tags: ['Batches'],
    request: {
      params,
      query: z.strictObject({
        restart: z.enum(['true', 'false']).optional().openapi({
          description: '`true`: begin again from the input, with the weights that are served now.',
        }),
      }),
    },
    responses: {
      202: batchResponse('It goes on.'),
      409: problem('The batch has not failed, and no damaged results were found.'),
      ...NOT_FOUND,
      ...UNAVAILABLE,
    },
  });
  app.openapi(resume, async (c) => {
    const restart = c.req.valid('query').restart === 'true';
    return c.json(await batches.resume(c.get('owner'), c.req.valid('param').id, restart), 202);
  });

  const cancel = createRoute({
    method: 'delete',
    path: '/v1/batches/{id}',
    summary: 'Cancel a batch, or remove a finished one',
    tags: ['Batches'],
    request: { params, query: NO_QUERY },
    responses: {
      200: batchResponse('Canceled; what was finished can be read.'),
      204: { description: 'It was final; it is removed with its data.' },
      ...NOT_FOUND,
      ...UNAVAILABLE,
    },
  });
  app.openapi(cancel, async (c) => {
    const batch = await batches.cancel(c.get('owner'), c.req.valid('param').id);
    return batch ? c.json(batch, 200) : c.body(null, 204);
  });

  return app;
}

/**
 * Runs `store` with the upload in the body, which counts as one in flight until it ends.
 * @throws AppError `uploads_full`; those of bulkBody() and of `store`
 */
async function uploading<T>(c: Context<AppEnv>, store: (upload: Upload) => Promise<T>): Promise<T> {
  const lease = c.get('inFlight').uploads.acquire(c.get('owner'), 1);
  try {
    return await store(bulkBody(c));
  } finally {
    lease.release();
  }
}

/** The pieces of an answer. When they fail, it ends without the end of its chunked encoding, for the caller to see. */
async function* breakingOff(
  c: Context<AppEnv>,
  pieces: AsyncIterable<Uint8Array>,
  onError: (error: Error) => void,
): AsyncGenerator<Uint8Array> {
  try {
    yield* pieces;
  } catch (error) {
    onError(toError(error));
    await untilSent(c.env.outgoing);
    // Thrown on, it would do the same, but the server's adapter would print it in full.
    c.env.outgoing.destroy();
  }
}

/**
 * Clients of version 0.1 ask for exactly this type, and take an empty line for a row that is none. Others, curl and browsers
 * among them, accept anything.
 */
const takesEmptyLines = (c: Context<AppEnv>): boolean =>
  c.req.header('accept')?.trim() !== 'application/x-ndjson';

/** Longest wait for a slow reader to take what came before an answer broke off. */
const FLUSH_MS = 5000;

/** Until the status and all bytes so far are with the operating system: a reader keeps what came before the break. */
async function untilSent(outgoing: AppEnv['Bindings']['outgoing']): Promise<void> {
  const end = performance.now() + FLUSH_MS;
  while (!outgoing.destroyed && performance.now() < end) {
    if (outgoing.headersSent && outgoing.writableLength === 0) return;
    await sleep(5);
  }
}

function toNewBatch(
  type: { format: NewBatch['format']; delimiter?: string },
  query: Omit<CreateBatchQuery, 'open' | 'webhook' | 'webhook_events'>,
  extra: Pick<NewBatch, 'webhook' | 'idempotencyKey'>,
): NewBatch {
  const { format = type.format, delimiter = type.delimiter } = query;
  return { ...query, format, delimiter, ...extra };
}
