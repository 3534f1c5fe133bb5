/** `/v1/jobs`: submit, poll, long-poll, cancel. */
import { createRoute, z } from '@hono/zod-openapi';
import type { Context, TypedResponse } from 'hono';
import type { JSONParsed } from 'hono/utils/types';
import { jobListSchema, jobSchema, jobStatusSchema, type Job } from '../../shared/contract/jobs.ts';
import { topKOf } from '../../shared/contract/options.ts';
import { isFinal } from '../../shared/contract/states.ts';
import type { CreateJobBody } from '../requests.ts';
import { AppError } from '../../shared/contract/problems.ts';
import { JOB_ID } from '../../shared/contract/ids.ts';
import { bodyLimits } from '../load/body-limits.ts';
import type { App, AppEnv } from '../env.ts';
import { jobBody } from '../jobs/job-body.ts';
import { POLL_AFTER_S } from '../jobs/job-service.ts';
import type { NewJob } from '../jobs/job-submission.ts';
import { ownTurn } from '../load/own-turn.ts';
import { jsonBody } from '../middleware/json-body.ts';
import { traceOfRequest } from '../middleware/observe.ts';
import { preferredWait } from '../middleware/prefer.ts';
import { setHeader } from '../middleware/response-headers.ts';
import { setServerTiming } from '../jobs/server-timing.ts';
import {
  BAD_BODY,
  DEFAULT_PAGE,
  FULL,
  idInPath,
  IDEMPOTENCY_HEADER,
  json,
  jsonRequest,
  NO_QUERY,
  PAGE,
  pageQuery,
  problem,
  REPLAYED,
  replayable,
} from './openapi.ts';
import type { RouteDeps } from './deps.ts';

const jobResponse = (description: string) => json(description, jobSchema);
const params = z.object({
  id: idInPath(JOB_ID, '019aaf3c5e7b7c3b9d0e5f1a2b3c4d5e-n-sentiment-multilingual'),
});

/** /docs fills in the first one. */
const EXAMPLES = {
  one: { summary: 'One text, all labels', value: { text: 'utterly charming', top_k: null } },
  threshold: {
    summary: 'The labels with a score of at least 0.3',
    value: { text: 'utterly charming', threshold: 0.3 },
  },
  several: {
    summary: 'Several texts, one with an id',
    value: { texts: ['utterly charming', { id: 'r2', text: 'a tedious mess' }], metadata: { page: 7 } },
  },
};

export function jobRoutes(app: App, { jobs, submission, webhooks, schemas, config }: RouteDeps): void {
  const waitQuery = z.strictObject({
    wait: z
      .string()
      .regex(/^\d+$/, 'must be a whole number of seconds')
      .transform((seconds) => Math.min(Number(seconds), config.MAX_WAIT_S))
      .optional()
      .openapi({
        type: 'integer',
        minimum: 0,
        description: `Hold the response until the job is final, for at most this many seconds, and never more than ${config.MAX_WAIT_S}.`,
      }),
  });

  const preferHeader = z
    .string()
    .optional()
    .openapi({
      pattern: '^wait=\\d+$',
      description: `\`wait=N\`: hold the response until the job is final, for at most N seconds, and never more than ${config.MAX_WAIT_S}. Other preferences are ignored.`,
      example: 'wait=10',
    });

  const create = createRoute({
    method: 'post',
    path: '/v1/jobs',
    summary: 'Submit a job',
    middleware: [jsonBody(config, bodyLimits(config).createJob)],
    request: {
      headers: IDEMPOTENCY_HEADER.extend({
        prefer: preferHeader,
      }),
      query: NO_QUERY,
      body: jsonRequest(schemas.createJob, { examples: EXAMPLES }),
    },
    responses: {
      200: replayable(
        jobResponse('The job is final (only with `Prefer: wait`, or for a repeated `Idempotency-Key`).'),
      ),
      202: replayable(jobResponse('The job is stored in the queue.')),
      404: problem('The model does not exist.'),
      ...BAD_BODY,
      ...FULL,
    },
  });

  const list = createRoute({
    method: 'get',
    path: '/v1/jobs',
    summary: 'List your jobs, newest first',
    request: { query: pageQuery(JOB_ID, jobStatusSchema) },
    responses: {
      200: json(PAGE, jobListSchema),
    },
  });

  const read = createRoute({
    method: 'get',
    path: '/v1/jobs/{id}',
    summary: 'Read a job, or wait for it',
    request: { params, query: waitQuery, headers: z.object({ prefer: preferHeader }) },
    responses: {
      200: jobResponse('The job; `Retry-After` says when to ask again while it is not final.'),
      400: problem('The `Prefer` header is malformed.'),
      404: problem('The job is unknown, deleted, or past its retention.'),
    },
  });

  const cancel = createRoute({
    method: 'delete',
    path: '/v1/jobs/{id}',
    summary: 'Cancel a job, or delete a finished one',
    request: { params, query: NO_QUERY },
    responses: {
      200: jobResponse('The job is canceled, or had finished at the same moment: see `status`.'),
      204: { description: 'The job was final; it is deleted.' },
      404: problem('The job is unknown, deleted, or past its retention.'),
    },
  });

  app.openapi(create, async (c) => {
    const waitS = preferredWait(c.req.header('prefer'), config.MAX_WAIT_S);
    const owner = c.get('owner');
    const body = c.req.valid('json');
    const webhook = body.webhook && webhooks.accept(owner, body.webhook, traceOfRequest(c));
    const idempotencyKey = c.req.valid('header')['idempotency-key'];
    const input = { ...toNewJob(body), webhook, idempotencyKey };
    const { job, replayed } =
      waitS === undefined
        ? await submission.submit(owner, input)
        : await submission.submitAndWait(owner, input, { timeoutMs: waitS * 1000, signal: c.req.raw.signal });
    if (replayed) setHeader(c, REPLAYED, 'true');
    if (waitS !== undefined) setHeader(c, 'Preference-Applied', `wait=${waitS}`);
    setHeader(c, 'Location', job.urls.self);
    setServerTiming(c, job);
    if (isFinal(job.status)) return answer(c, job);
    setHeader(c, 'Retry-After', String(POLL_AFTER_S));
    return c.json(job, 202);
  });

  app.openapi(list, async (c) => {
    const { limit = DEFAULT_PAGE, ...query } = c.req.valid('query');
    return c.json(await jobs.list(c.get('owner'), { ...query, limit }), 200);
  });

  app.openapi(read, async (c) => {
    const { id } = c.req.valid('param');
    const preferred = preferredWait(c.req.header('prefer'), config.MAX_WAIT_S);
    if (preferred !== undefined) setHeader(c, 'Preference-Applied', `wait=${preferred}`);
    const waitS = c.req.valid('query').wait ?? preferred;
    const owner = c.get('owner');
    const job =
      waitS === undefined
        ? await jobs.get(owner, id)
        : await jobs.wait(owner, id, { timeoutMs: waitS * 1000, signal: c.req.raw.signal });
    // The caller hung up: nothing will be read.
    if (!job) return c.body(null, 200) as never;
    if (!isFinal(job.status)) setHeader(c, 'Retry-After', String(POLL_AFTER_S));
    setServerTiming(c, job);
    return answer(c, job);
  });

  app.openapi(cancel, async (c) => {
    const job = await jobs.cancel(c.get('owner'), c.req.valid('param').id);
    return job ? c.json(job, 200) : c.body(null, 204);
  });
}

/** Typed as the JSON of the job. Large bodies are written in separate turns of the event loop: thousands may be ready at once. */
async function answer(
  c: Context<AppEnv>,
  job: Job,
): Promise<Response & TypedResponse<JSONParsed<Job>, 200, 'json'>> {
  const body = jobBody(job);
  if (typeof body !== 'string') await ownTurn();
  return c.body(body, 200, { 'Content-Type': 'application/json' }) as never;
}

function toNewJob(body: CreateJobBody): NewJob {
  const texts = body.text === undefined ? body.texts : [body.text];
  if (!texts) throw new AppError('invalid_request', 'give `text` or `texts`');
  return {
    texts: texts.map((text) => (typeof text === 'string' ? { text } : text)),
    topK: topKOf(body.top_k, body.threshold),
    threshold: body.threshold,
    apply: body.function_to_apply,
    model: body.model,
    metadata: body.metadata,
    priority: body.priority,
    expiresIn: body.expires_in,
  };
}
