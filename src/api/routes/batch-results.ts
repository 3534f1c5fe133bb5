/** The route that streams the results of a batch, and breaks the response off when they cannot be read to their end. */
import { setTimeout as sleep } from 'node:timers/promises';
import { createRoute, z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { toError } from '../../shared/runtime/to-error.ts';
import { readForm, resultFormats } from '../batches/result-form.ts';
import type { App, AppEnv } from '../env.ts';
import { batchId as id, NOT_FOUND } from './batch-openapi.ts';
import { problem, wholeNumber } from './openapi.ts';
import type { RouteDeps } from './deps.ts';

export function batchResultRoutes(app: App, deps: RouteDeps): void {
  const { batches, results, config, stopping, logger } = deps;
  const params = z.object({ id });

  const readResults = createRoute({
    method: 'get',
    path: '/v1/batches/{id}/results',
    summary: 'Read the results, one line per record, in the order of the input',
    request: {
      params,
      query: z.strictObject({
        after: wholeNumber(0, Number.MAX_SAFE_INTEGER)
          .optional()
          .openapi({ description: 'Results start after this `line`: the last one that you have.' }),
        follow: z
          .enum(['true', 'false'])
          .optional()
          .openapi({
            description: `\`true\`: wait for further results until the batch is final. After ${config.FOLLOW_HEARTBEAT_S} s without results, an empty line of NDJSON keeps the connection alive; skip it.`,
          }),
        format: z.enum(resultFormats).optional().openapi({
          description:
            '`ndjson` (default), or, of a batch that is no longer open, a table with a header, which only a response without `after` has. Text that a spreadsheet would take for a formula gets an apostrophe in front.',
        }),
        keep: z.string().min(1).max(config.MAX_CSV_HEADER_BYTES).optional().openapi({
          description:
            'Of a batch that is no longer open: columns of a CSV or fields of JSON objects to return beside the results: `*`, or names as a CSV record. NDJSON keeps their types. One that is called like a field of the results gets `input_` in front.',
          example: '*',
        }),
        score_columns: z.enum(['true', 'false']).optional().openapi({
          description: 'Tables, of a batch with `top_k=all`: a column `score_LABEL` for each label.',
        }),
        raw: z.enum(['true', 'false']).optional().openapi({
          description: 'Tables: `true` leaves formulas as they are.',
        }),
      }),
    },
    responses: {
      200: {
        description: 'The finished results, up to the first record without one.',
        content: {
          'application/x-ndjson': { schema: z.string() },
          'text/csv': { schema: z.string() },
          'text/tab-separated-values': { schema: z.string() },
        },
      },
      422: problem('The query is not valid, or the input has no such column.'),
      ...NOT_FOUND,
    },
  });
  app.openapi(readResults, async (c) => {
    const { id: batch } = c.req.valid('param');
    const { after = 0, follow, ...query } = c.req.valid('query');
    const { format = 'ndjson' } = query;
    const limits = { columns: config.MAX_CSV_COLUMNS };
    const form = readForm(query, limits);
    const lease = c.get('inFlight').downloads.acquire(c.get('owner'), 1);
    // On the close of the connection's response: a stream of which nothing was read does not report its end.
    if (c.env.outgoing.destroyed) lease.release();
    else c.env.outgoing.once('close', () => lease.release());
    const record = await batches.read(c.get('owner'), batch);
    const signal = AbortSignal.any([c.req.raw.signal, stopping]);
    const pieces = await results.open(batch, record, {
      after,
      follow: follow === 'true',
      form,
      limits,
      // An empty line in a table would be a row of a spreadsheet.
      heartbeatMs: format === 'ndjson' && takesEmptyLines(c) ? config.FOLLOW_HEARTBEAT_S * 1000 : undefined,
      signal,
    });
    const visibly = breakingOff(c, pieces, (error) => {
      if (!signal.aborted)
        logger.warn({ batch, reason: error.message }, 'a response with results was cut off');
    });
    c.header('Content-Type', CONTENT_TYPES[format]);
    if (query.format !== undefined) c.header('Content-Disposition', disposition(c, `${batch}.${format}`));
    c.header('Cache-Control', 'no-store');
    // The types of the route allow only JSON bodies.
    return c.body(ReadableStream.from(visibly) as ReadableStream<Uint8Array<ArrayBuffer>>, 200);
  });
}

const CONTENT_TYPES = {
  ndjson: 'application/x-ndjson',
  csv: 'text/csv; charset=utf-8',
  tsv: 'text/tab-separated-values; charset=utf-8',
} as const;

/** Without a name for our own page, whose links name the file after the upload: browsers prefer this header. */
const disposition = (c: Context<AppEnv>, file: string): string =>
  c.req.header('sec-fetch-site') === 'same-origin' ? 'attachment' : `attachment; filename="${file}"`;

/** Passes the pieces of a response through. When they fail, the response ends without the end of its chunked encoding, which a client sees. */
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
    // Rethrowing would have the same effect, but the server's adapter would print the whole error.
    c.env.outgoing.destroy();
  }
}

/**
 * Whether the client skips empty lines. Clients of version 0.1, which ask for exactly this type, fail on one; others, such as curl
 * and browsers, accept any type.
 */
const takesEmptyLines = (c: Context<AppEnv>): boolean =>
  c.req.header('accept')?.trim() !== 'application/x-ndjson';

/** Longest wait for a slow reader before a response is cut off. */
const FLUSH_MS = 5000;

/** Waits until the operating system has the status and all bytes so far, so that the client receives them. */
async function untilSent(outgoing: AppEnv['Bindings']['outgoing']): Promise<void> {
  const end = performance.now() + FLUSH_MS;
  while (!outgoing.destroyed && performance.now() < end) {
    if (outgoing.headersSent && outgoing.writableLength === 0) return;
    await sleep(5);
  }
}
