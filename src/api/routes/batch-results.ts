/** The route that streams the results of a batch, and its end when they break off. */
import { setTimeout as sleep } from 'node:timers/promises';
import { createRoute, OpenAPIHono, z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import type { Config } from '../../shared/runtime/config.ts';
import type { Logger } from '../../shared/runtime/logger.ts';
import { toError } from '../../shared/runtime/to-error.ts';
import type { BatchResults } from '../batches/batch-results.ts';
import type { BatchService } from '../batches/batch-service.ts';
import type { AppEnv } from '../env.ts';
import { onInvalid } from '../middleware/problems.ts';
import { batchId as id, NOT_FOUND } from './batch-openapi.ts';
import { UNAVAILABLE, wholeNumber } from './openapi.ts';

export interface BatchResultRouteDeps {
  batches: BatchService;
  results: BatchResults;
  config: Config;
  /** Fires when the server shuts down, so that no follower keeps it. */
  stopping: AbortSignal;
  logger: Logger;
}

export function batchResultRoutes(deps: BatchResultRouteDeps): OpenAPIHono<AppEnv> {
  const { batches, results, config, stopping, logger } = deps;
  const app = new OpenAPIHono<AppEnv>({ defaultHook: onInvalid });
  const params = z.object({ id });

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

  return app;
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
