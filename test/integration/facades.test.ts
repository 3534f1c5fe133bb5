/** Synchronous routes: `/predict` and `/hf` answer in the shapes that their clients expect. */
import { InferenceClient } from '@huggingface/inference';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Job } from '../../src/shared/contract/jobs.ts';
import type { LabelScore } from '../../src/shared/contract/results.ts';
import { eventually, SHIPPED_MODEL, Stack } from '../support/processes/stack.ts';
import { longText } from '../support/inputs/texts.ts';

const REVIEW = 'a stirring, funny and finally transporting re-imagining of beauty and the beast';
let stack: Stack;

beforeAll(async () => {
  stack = await Stack.start({ redisUrl: inject('redisUrl'), env: SHIPPED_MODEL });
});
afterAll(() => stack.stop());

const predict = <T>(body: unknown) => stack.post<T>('/predict', body);

describe('/predict {"text"}', () => {
  test('returns the best label', async () => {
    const { status, body } = await predict<LabelScore>({ text: REVIEW });
    expect(status).toBe(200);
    expect(body).toEqual({ label: 'POSITIVE', score: expect.any(Number) });
    expect(body.score).toBeGreaterThan(0.9);
  });

  test('refuses a blank text with 422', async () => {
    expect((await predict({ text: ' ' })).status).toBe(422);
  });

  test('refuses options of the other shape', async () => {
    const { status, body } = await predict({ text: 'a', raw_scores: true });
    expect(status).toBe(422);
    expect(body).toMatchObject({ errors: [{ path: 'raw_scores' }] });
  });
});

describe('/predict {"inputs"} as text-embeddings-inference', () => {
  test('a string gives a flat list, best first', async () => {
    const { body } = await predict<LabelScore[]>({ inputs: REVIEW });
    expect(body.map(({ label }) => label)).toEqual(['POSITIVE', 'NEGATIVE']);
  });

  test('a batch gives a list per text', async () => {
    const { body } = await predict<LabelScore[][]>({ inputs: [['wonderful'], ['awful']] });
    expect(body.map((labels) => labels[0]!.label)).toEqual(['POSITIVE', 'NEGATIVE']);
  });

  test('["a"] is one text; ["a", "b"] is a pair, which is refused', async () => {
    expect((await predict<LabelScore[]>({ inputs: ['wonderful'] })).body[0]!.label).toBe('POSITIVE');
    expect(await predict({ inputs: ['a', 'b'] })).toMatchObject({
      status: 422,
      body: { errors: [{ path: 'inputs' }] },
    });
    expect(await predict({ inputs: [['a'], ['a', 'b']] })).toMatchObject({
      status: 422,
      body: { errors: [{ path: 'inputs.1' }] },
    });
  });

  test('raw_scores are logits: their softmax is the score', async () => {
    const { body: raw } = await predict<LabelScore[]>({ inputs: REVIEW, raw_scores: true });
    const { body: cooked } = await predict<LabelScore[]>({ inputs: REVIEW });
    const [a, b] = raw.map(({ score }) => Math.exp(score)) as [number, number];
    expect(a / (a + b)).toBeCloseTo(cooked[0]!.score, 6);
  });

  test('truncate: false refuses a text that is too long', async () => {
    expect(await predict({ inputs: longText(4900), truncate: false })).toMatchObject({
      status: 422,
      body: { code: 'text_too_long' },
    });
  });

  test.each([
    [undefined, 'beginning', 'NEGATIVE'],
    ['Right', 'beginning', 'NEGATIVE'],
    ['Left', 'end', 'POSITIVE'],
  ])('truncation_direction %s keeps the %s', async (truncation_direction, _, label) => {
    // Each half fills all the tokens that the model reads.
    const inputs = 'the worst movie ever made. '.repeat(86) + 'the best movie ever made. '.repeat(86);
    const { body } = await predict<LabelScore[]>({ inputs, truncation_direction });
    expect(body[0]).toMatchObject({ label });
    expect(body[0]!.score).toBeGreaterThan(0.9);
  });
});

describe('/hf/{model}', () => {
  test('serves the unmodified @huggingface/inference client', async () => {
    const client = new InferenceClient();
    const labels = await client.textClassification({
      endpointUrl: `${stack.url}/hf/sst2-minilm`,
      inputs: REVIEW,
    });
    expect(labels[0]).toEqual({ label: 'POSITIVE', score: expect.any(Number) });
    expect(labels).toHaveLength(2);
  });

  test('parameters: top_k and function_to_apply', async () => {
    const client = new InferenceClient();
    const one = await client.textClassification({
      endpointUrl: `${stack.url}/hf/sst2-minilm`,
      inputs: REVIEW,
      parameters: { top_k: 1, function_to_apply: 'none' },
    });
    expect(one).toHaveLength(1);
    expect(one[0]!.score).toBeGreaterThan(1);
  });

  test('a list of texts gives a list of lists', async () => {
    const { body } = await stack.post<LabelScore[][]>('/hf/sst2-minilm', { inputs: ['wonderful', 'awful'] });
    expect(body.map((labels) => labels[0]!.label)).toEqual(['POSITIVE', 'NEGATIVE']);
  });

  test('an unknown model is a 404 that names the known ones', async () => {
    const { status, body } = await stack.post('/hf/nope', { inputs: 'a' });
    expect(status).toBe(404);
    expect(body).toMatchObject({ code: 'model_not_found', models: ['sst2-minilm'] });
  });
});

describe('without a result in time', () => {
  test('no live worker: 503 no_worker, and nothing is enqueued', async () => {
    const idle = await Stack.start({ redisUrl: inject('redisUrl'), workers: 0 });
    try {
      const { status, headers, body } = await idle.post('/predict', { text: 'a' });
      expect(status).toBe(503);
      expect(headers.get('retry-after')).toBe('2');
      expect(body).toMatchObject({ code: 'no_worker' });
    } finally {
      await idle.stop();
    }
  });

  test('too slow: 504 with the id of the job, which continues', async () => {
    const hasty = await Stack.start({
      redisUrl: inject('redisUrl'),
      env: { ...SHIPPED_MODEL, PREDICT_TIMEOUT_MS: '1' },
    });
    try {
      const { status, body } = await hasty.post<{ job_id: string }>('/predict', { text: longText(4000) });
      expect(status).toBe(504);
      const { body: job } = await hasty.get<Job>(`/v1/jobs/${body.job_id}?wait=30`);
      expect(job.status).toBe('succeeded');
    } finally {
      await hasty.stop();
    }
  });
});

test('a caller that hangs up spares the model the work', async () => {
  const abort = new AbortController();
  const texts = Array.from({ length: 256 }, () => [longText(4000)]);
  const call = fetch(`${stack.url}/predict`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ inputs: texts }),
    signal: abort.signal,
  }).catch(() => undefined);
  const redis = new Redis(inject('redisUrl'));
  await eventually(async () =>
    (await redis.llen(`${stack.prefix}:classify-sst2-minilm:active`)) > 0 ? true : undefined,
  );
  abort.abort();
  await call;
  const canceled = await eventually(async () => {
    const keys = await redis.keys(`${stack.prefix}:job:*`);
    const records = await Promise.all(keys.map((key) => redis.get(key)));
    return records.find((record) => record?.includes('"status":"canceled"'));
  });
  expect(canceled).toBeDefined();
  // The worker has dropped the job.
  await eventually(async () =>
    (await redis.llen(`${stack.prefix}:classify-sst2-minilm:active`)) === 0 ? true : undefined,
  );
  redis.disconnect();
});

describe('routes about the service', () => {
  test('/v1/models, /info, /health', async () => {
    expect((await stack.get('/v1/models')).body).toEqual({
      models: [
        {
          name: 'sst2-minilm',
          revision: expect.any(String),
          labels: ['NEGATIVE', 'POSITIVE'],
          max_tokens: 512,
          multi_label: false,
          function_to_apply: 'softmax',
          options: ['top_k', 'function_to_apply', 'threshold'],
          model_processes: 1,
          languages: ['en'],
          batch_dependence: 0,
          default: true,
          workers: 1,
          revisions: [{ revision: expect.stringMatching(/^[0-9a-f]{12}$/), workers: 1 }],
        },
      ],
    });
    expect((await stack.get('/info')).body).toMatchObject({
      name: 'amulet',
      limits: { max_text_chars: 5000, max_texts_per_job: 256 },
      durability: { appendonly: true, appendfsync: 'always', maxmemory_policy: 'noeviction' },
    });
    for (const path of ['/health', '/health/ready']) {
      expect(await stack.get(path)).toMatchObject({
        status: 200,
        body: { status: 'ready', models: { 'sst2-minilm': 1 } },
      });
    }
    expect((await stack.get('/health/live')).body).toEqual({ status: 'live' });
  });

  test('/openapi.json is OpenAPI 3.1 with every path, and /docs works without the internet', async () => {
    const { body } = await stack.get<{ openapi: string; paths: object; components: { schemas: object } }>(
      '/openapi.json',
    );
    expect(body.openapi).toBe('3.1.0');
    expect(Object.keys(body.paths).sort()).toEqual(
      [
        '/health',
        '/health/live',
        '/health/ready',
        '/hf/{model}',
        '/info',
        '/predict',
        '/v1/batches',
        '/v1/batches/{id}',
        '/v1/batches/{id}/complete',
        '/v1/batches/{id}/parts',
        '/v1/batches/{id}/parts/{number}',
        '/v1/batches/{id}/results',
        '/v1/batches/{id}/resume',
        '/v1/jobs',
        '/v1/jobs/{id}',
        '/v1/models',
        '/v1/models/{name}',
        '/v1/stats',
        '/v1/webhook-secret',
        '/v1/webhook-secret/rotate',
        '/v1/webhooks',
        '/v1/webhooks/{id}',
        '/v1/webhooks/{id}/cancel',
        '/v1/webhooks/{id}/redeliver',
      ].sort(),
    );
    expect(Object.keys(body.components.schemas)).toEqual(
      expect.arrayContaining(['Job', 'CreateJob', 'Problem', 'RowResult']),
    );
    const page = await (await stack.fetch('/docs')).text();
    expect(page).not.toMatch(/https?:\/\//);
    for (const [, asset] of page.matchAll(/(?:src|href)="([^"]+)"/g)) {
      expect((await stack.fetch(`/${asset}`)).status).toBe(200);
    }
  });
});
