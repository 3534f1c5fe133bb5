/**
 * Synchronous routes, over direct calls or the same queue as all jobs: `/predict` takes `{"text"}` and the request of text-embeddings-inference,
 * `/hf/{model}` that of the Hugging Face Inference API.
 */
import { createRoute, z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { labelScoreSchema, type LabelScore } from '../../shared/contract/results.ts';
import type { Job } from '../../shared/contract/jobs.ts';
import type { PredictBody } from '../requests.ts';
import { AppError, type ProblemCode } from '../../shared/contract/problems.ts';
import { NAME } from '../../shared/contract/names.ts';
import { bodyLimits } from '../load/body-limits.ts';
import type { App, AppEnv } from '../env.ts';
import { isFinal } from '../../shared/contract/states.ts';
import type { NewJob } from '../jobs/job-submission.ts';
import { jsonBody } from '../middleware/json-body.ts';
import { RESULT_HEADERS, setResultHeaders } from '../jobs/result-headers.ts';
import { setServerTiming } from '../jobs/server-timing.ts';
import { BAD_BODY, FULL, idInPath, json, jsonRequest, problem } from './openapi.ts';
import type { RouteDeps } from './deps.ts';

const ranked = z.array(labelScoreSchema);
const FAILURES = {
  404: problem('The model does not exist.'),
  ...BAD_BODY,
  422: problem(
    'The body is not valid, the model cannot read a text (`unreadable_text`, `text_too_long`), or it would need too many scores (`too_many_scores`); `errors` names the fields.',
  ),
  ...FULL,
  503: problem('No live worker serves the model (`no_worker`), or Redis is not reachable.'),
  504: problem('Not finished in time; the job continues, its id is in `job_id`.'),
};

/** /docs fills in the first one. */
const EXAMPLES = {
  text: { summary: 'One text', value: { text: 'utterly charming' } },
  inputs: {
    summary: 'The request of text-embeddings-inference',
    value: { inputs: [['utterly charming'], ['a tedious mess']] },
  },
};

export function predictRoutes(app: App, { jobs, submission, schemas, config }: RouteDeps): void {
  const predict = createRoute({
    method: 'post',
    path: '/predict',
    summary: 'Classify and wait for the result',
    middleware: [jsonBody(config, bodyLimits(config).predict)],
    request: { body: jsonRequest(schemas.predict, { examples: EXAMPLES }) },
    responses: {
      200: {
        ...json(
          'For `text`: the best label. For `inputs`: all labels, best first, in a list per text when `inputs` is a batch.',
          z.union([labelScoreSchema, ranked, z.array(ranked)]),
        ),
        headers: RESULT_HEADERS,
      },
      ...FAILURES,
    },
  });

  const hf = createRoute({
    method: 'post',
    path: '/hf/{model}',
    summary: 'Classify, in the format of the Hugging Face Inference API',
    middleware: [jsonBody(config, bodyLimits(config).hfClassify)],
    request: {
      params: z.object({ model: idInPath(NAME, config.DEFAULT_MODEL) }),
      body: jsonRequest(schemas.hfClassify, { example: { inputs: 'utterly charming' } }),
    },
    responses: {
      200: { ...json('A list of labels, best first, per text.', z.array(ranked)), headers: RESULT_HEADERS },
      ...FAILURES,
    },
  });

  /**
   * Submits a job, waits for it, and returns the labels of every text, best first.
   * @param pathOf path of text `i` in the body
   */
  async function classify(
    c: Context<AppEnv>,
    input: NewJob,
    pathOf: (i: number) => string,
  ): Promise<LabelScore[][]> {
    const owner = c.get('owner');
    const { signal } = c.req.raw;
    const limits = { timeoutMs: config.PREDICT_TIMEOUT_MS, signal };
    const { job } = await submission.submitAndWait(
      owner,
      { ...input, needsWorker: true, early: true },
      limits,
    );
    if (isFinal(job.status)) {
      setServerTiming(c, job);
      const labels = toLabels(job, pathOf);
      setResultHeaders(c, job);
      return labels;
    }
    // The caller hung up: spare the model the work.
    if (signal.aborted) await jobs.cancel(owner, job.id).catch(() => {});
    const extra = { job_id: job.id, urls: job.urls };
    if (jobs.stopping) {
      throw new AppError(
        'shutting_down',
        `the server is shutting down; the job continues, see ${job.urls.self}`,
        {
          retryAfterS: 1,
          extra,
        },
      );
    }
    throw new AppError(
      'predict_timeout',
      `no result within ${config.PREDICT_TIMEOUT_MS} ms; the job continues, see ${job.urls.self}`,
      { extra },
    );
  }

  app.openapi(predict, async (c) => {
    const body = c.req.valid('json');
    if (body.text !== undefined) {
      const input = { texts: [{ text: body.text }], topK: 1, model: body.model };
      const [labels] = await classify(c, input, () => 'text');
      return c.json(labels?.[0] as LabelScore, 200);
    }
    const { texts, batch } = teiInputs(body.inputs);
    const input: NewJob = {
      texts: texts.map((text) => ({ text })),
      topK: null,
      model: body.model,
      apply: body.raw_scores ? 'none' : undefined,
      truncate:
        body.truncate === false
          ? 'never'
          : (body.truncation_direction?.toLowerCase() as 'left' | 'right' | undefined),
    };
    const labels = await classify(c, input, (i) => (batch ? `inputs.${i}` : 'inputs'));
    return c.json(batch ? labels : (labels[0] as LabelScore[]), 200);
  });

  app.openapi(hf, async (c) => {
    const { inputs, parameters } = c.req.valid('json');
    const texts = typeof inputs === 'string' ? [inputs] : inputs;
    const input: NewJob = {
      texts: texts.map((text) => ({ text })),
      topK: parameters?.top_k ?? null,
      model: c.req.valid('param').model,
      apply: parameters?.function_to_apply ?? undefined,
    };
    const labels = await classify(c, input, (i) => (typeof inputs === 'string' ? 'inputs' : `inputs.${i}`));
    return c.json(labels, 200);
  });
}

/** The texts of a text-embeddings-inference request, and whether its response is a list per text. */
function teiInputs(inputs: PredictBody['inputs']): { texts: string[]; batch: boolean } {
  if (!inputs) throw new AppError('invalid_request', 'give `text` or `inputs`');
  if (typeof inputs === 'string') return { texts: [inputs], batch: false };
  return { texts: inputs.flat(), batch: Array.isArray(inputs[0]) };
}

/**
 * @param pathOf path of text `i` in the body
 * @throws AppError with the code of the job or of its first bad text, which names all bad texts
 */
function toLabels(job: Job, pathOf: (i: number) => string): LabelScore[][] {
  const details = { extra: { job_id: job.id } };
  if (job.status === 'canceled')
    throw new AppError('job_canceled', 'the job was canceled by another request', details);
  if (!job.results) {
    throw new AppError(
      (job.error?.code as ProblemCode | undefined) ?? 'internal_error',
      job.error?.message ?? 'the job has no results',
      details,
    );
  }
  const errors = job.results.flatMap((row, i) =>
    'error' in row ? [{ path: pathOf(i), message: row.error.message }] : [],
  );
  return job.results.map((row) => {
    if ('error' in row) {
      throw new AppError(row.error.code, row.error.message, { ...details, errors });
    }
    return row.labels ?? [{ label: row.label, score: row.score }];
  });
}
