/** Texts that the shipped model cannot read, or only in part, through every way in. */
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Batch } from '../../src/shared/contract/batches.ts';
import type { Job } from '../../src/shared/contract/jobs.ts';
import type { Model } from '../../src/shared/contract/models.ts';
import type { LabelScore, RowResult } from '../../src/shared/contract/results.ts';
import type { WebhookEvent } from '../../src/shared/contract/webhook-events.ts';
import { newSecret } from '../../src/shared/runtime/webhook-secret.ts';
import { BatchCalls } from '../support/api/batches.ts';
import { Receiver } from '../support/webhooks/receiver.ts';
import { eventually, SHIPPED_MODEL, Stack } from '../support/processes/stack.ts';
import { longText } from '../support/inputs/texts.ts';

/** Text, and share of its tokens that are unknown; `unreadable` when there is no other, `invisible` when nothing is seen. */
const CASES: [text: string, expected: number | 'unreadable' | 'invisible'][] = [
  ['a joy from start to finish', 0],
  ['😀', 'unreadable'],
  ['😡', 'unreadable'],
  ['😀😡❤️', 'unreadable'],
  ['สวัสดี ครับ', 'unreadable'],
  // Terrible hotel, great hotel: of each, one character in five is in the vocabulary, but in a script that no English text has.
  ['糟糕的酒店', 1],
  ['很棒的酒店', 1],
  // All letters are in the vocabulary.
  ['Это отличный результат', 1],
  ['a joy from start to finish Москва', 0.5],
  ['what a joy 😀', 0.25],
  ['I love it 😀 😡', 0.4],
  ['\u200b\u200b', 'invisible'],
  ['\u2060 \ufeff\u3164', 'invisible'],
  ['\ufe0f', 'invisible'],
  // Visible, but BERT's tokenizer drops it.
  ['\ufffd\ufffd', 'unreadable'],
];
const TEXTS = CASES.map(([text]) => text);

let receiver: Receiver;
let stack: Stack;
let calls: BatchCalls;

beforeAll(async () => {
  receiver = await Receiver.start();
  stack = await Stack.start({
    redisUrl: inject('redisUrl'),
    webhooks: true,
    env: {
      ...SHIPPED_MODEL,
      WEBHOOK_SECRET: newSecret(),
      WEBHOOK_SCHEMES: 'http,https',
      WEBHOOK_ALLOW: `127.0.0.1:${receiver.port}`,
    },
  });
  calls = new BatchCalls(stack);
});
afterAll(async () => {
  await stack.stop();
  await receiver.stop();
});

function expectOutcome(result: RowResult, expected: (typeof CASES)[number][1]): void {
  if (typeof expected === 'string') {
    expect(result).toMatchObject({ error: { code: 'unreadable_text' } });
    expect(JSON.stringify(result).includes('only invisible characters')).toBe(expected === 'invisible');
    expect(result).not.toHaveProperty('label');
  } else {
    expect(result).toMatchObject({ label: expect.any(String) as string });
    expect('unknown' in result ? result.unknown : 0).toBe(expected);
  }
}

async function classify(body: object, url = stack.url): Promise<Job> {
  const response = await fetch(`${url}/v1/jobs`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Prefer: 'wait=30' },
    body: JSON.stringify(body),
  });
  expect(response.status).toBe(200);
  return (await response.json()) as Job;
}

describe('a job', () => {
  test('each text has its own outcome, in the record and in the webhook', async () => {
    const texts = TEXTS.map((text, i) => ({ id: `t${i}`, text }));
    const job = await classify({ texts, webhook: { url: receiver.url('/job') } });
    expect(job.status).toBe('succeeded');
    expect(job.failed_texts).toBe(CASES.filter(([, expected]) => typeof expected === 'string').length);
    job.results!.forEach((result, i) => expectOutcome(result, CASES[i]![1]));
    const [received] = await eventually(() => {
      const all = receiver.at('/job');
      return Promise.resolve(all.length > 0 ? all : undefined);
    });
    const event = JSON.parse(received!.body) as WebhookEvent;
    expect(event.data).toMatchObject({ results: job.results });
  });

  test.each(['😀', '\u200b\u200b'])('of %j alone fails, with the reason', async (text) => {
    const job = await classify({ text });
    expect(job).toMatchObject({
      status: 'failed',
      error: { code: 'unreadable_text' },
      results: [{ error: { code: 'unreadable_text' } }],
    });
  });
});

describe('a batch', () => {
  const input = TEXTS.map((text, i) => `${JSON.stringify({ id: `t${i}`, text })}\n`).join('');
  const withLabels = CASES.flatMap(([, expected]) => (typeof expected === 'number' ? [expected] : []));
  const shares = withLabels.filter((share) => share > 0);
  const rows = {
    total: CASES.length,
    finished: CASES.length,
    failed: CASES.length - withLabels.length,
    with_unknown: shares.length,
    mean_unknown: Math.round((shares.reduce((sum, share) => sum + share, 0) / shares.length) * 1e4) / 1e4,
    truncated: 0,
    mean_score: expect.any(Number),
    with_other_label: 0,
  };

  test('counts rows with unknown tokens, in its results, its webhook and its metrics', async () => {
    const before = await unknownTexts();
    const { body: batch } = await calls.post(input, `?webhook=${encodeURIComponent(receiver.url('/batch'))}`);
    expect(batch.rows).toMatchObject({ with_unknown: 0, mean_unknown: null });
    const { text } = await calls.results(batch.id);
    const lines = text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as RowResult);
    expect(lines).toHaveLength(CASES.length);
    lines.forEach((result, i) => expectOutcome(result, CASES[i]![1]));
    expect((await calls.get(batch.id)).body.rows).toEqual(rows);
    const [received] = await eventually(() => {
      const all = receiver.at('/batch');
      return Promise.resolve(all.length > 0 ? all : undefined);
    });
    expect((JSON.parse(received!.body) as { data: Batch }).data.rows).toEqual(rows);
    expect((await unknownTexts()) - before).toBe(shares.length);
  });

  async function unknownTexts(): Promise<number> {
    const response = await fetch(`${await stack.healthUrl(stack.workers[0]!)}/metrics`);
    const value = /^amulet_unknown_texts_total\{.*source="batch".*\} (\d+)$/m.exec(
      await response.text(),
    )?.[1];
    return Number(value ?? 0);
  }
});

describe('/predict and /hf', () => {
  const headersOf = (headers: Headers) => [headers.get('amulet-truncated'), headers.get('amulet-unknown')];

  test.each([
    ['/predict, a text', '/predict', { text: 'a joy' }, 'false', '0'],
    ['/predict, one with an emoji', '/predict', { text: 'what a joy 😀' }, 'false', '0.25'],
    ['/predict, a long one', '/predict', { text: longText(4900) }, 'true', '0'],
    ['/predict, inputs', '/predict', { inputs: 'what a joy 😀' }, 'false', '0.25'],
    [
      '/predict, a batch of inputs',
      '/predict',
      { inputs: [['a joy'], ['what a joy 😀'], [longText(4900)]] },
      'false, false, true',
      '0, 0.25, 0',
    ],
    ['/hf, one input', '/hf/sst2-minilm', { inputs: 'what a joy 😀' }, 'false', '0.25'],
    ['/hf, two', '/hf/sst2-minilm', { inputs: [longText(4900), '糟糕的酒店'] }, 'true, false', '0, 1'],
    ['/predict, Russian', '/predict', { text: 'Это отличный результат!' }, 'false', '0.9524'],
  ])('%s', async (_, url, body, truncated, unknown) => {
    const { status, headers } = await stack.post<LabelScore>(url, body);
    expect(status).toBe(200);
    expect(headersOf(headers)).toEqual([truncated, unknown]);
  });

  test('are in the OpenAPI document, and so is the problem', async () => {
    interface Document {
      paths: Record<
        string,
        { post: { responses: Record<string, { description: string; headers?: object }> } }
      >;
    }
    const { paths } = (await stack.get<Document>('/openapi.json')).body;
    for (const url of ['/predict', '/hf/{model}']) {
      const { responses } = paths[url]!.post;
      expect(Object.keys(responses['200']!.headers ?? {})).toEqual(['Amulet-Truncated', 'Amulet-Unknown']);
      expect(responses['422']!.description).toContain('`unreadable_text`');
    }
  });

  test('with very many texts, there is one value for all', async () => {
    const inputs = Array.from({ length: 200 }, (_, i) =>
      i === 7 ? 'what a joy 😀' : i === 9 ? '糟糕的酒店' : 'fine',
    );
    const { status, headers } = await stack.post('/hf/sst2-minilm', { inputs });
    expect([status, ...headersOf(headers)]).toEqual([200, 'false', '1']);
  });

  test.each([
    ['/predict', { text: '😀' }, 'text'],
    ['/predict', { text: '\u200b\u200b' }, 'text'],
    ['/predict', { inputs: '😀' }, 'inputs'],
    ['/predict', { inputs: [['fine'], ['😀']] }, 'inputs.1'],
    ['/hf/sst2-minilm', { inputs: 'สวัสดี' }, 'inputs'],
    ['/hf/sst2-minilm', { inputs: ['fine', 'fine', '😀'] }, 'inputs.2'],
  ])('%s %j: 422 that names the text', async (url, body, at) => {
    const answer = await stack.post(url, body);
    expect(answer).toMatchObject({
      status: 422,
      body: {
        code: 'unreadable_text',
        detail: expect.any(String) as string,
        errors: [{ path: at, message: expect.any(String) as string }],
      },
    });
  });
});

test('a model without languages: only unknown tokens count; GET /v1/models shows the difference', async () => {
  const folder = fs.mkdtempSync(path.join(tmpdir(), 'amulet-silent-'));
  try {
    fs.cpSync('models/sst2-minilm', folder, { recursive: true });
    fs.rmSync(path.join(folder, 'amulet.json'));
    const worker = stack.startWorker({ MODEL_DIR: folder, MODEL_NAME: 'silent' });
    await worker.ready;
    const texts = ['Это отличный результат', '糟糕的酒店'];
    const job = await classify({ texts, model: 'silent' });
    expect(job.results!.map((result) => 'unknown' in result && result.unknown)).toEqual([false, 0.8]);
    const { body } = await stack.get<{ models: Model[] }>('/v1/models');
    const languages = body.models.map((model) => [model.name, model.languages]);
    expect(Object.fromEntries(languages)).toEqual({ silent: null, 'sst2-minilm': ['en'] });
    await worker.end();
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
});

test('a model whose amulet.json says classify gives labels, and reports that all tokens are unknown', async () => {
  const folder = fs.mkdtempSync(path.join(tmpdir(), 'amulet-lenient-'));
  try {
    fs.cpSync('models/sst2-minilm', folder, { recursive: true });
    fs.writeFileSync(path.join(folder, 'amulet.json'), '{"unreadable_text": "classify"}');
    const worker = stack.startWorker({ MODEL_DIR: folder, MODEL_NAME: 'lenient' });
    await worker.ready;
    const texts = ['😀', '\u200b\u200b', 'what a joy 😀'];
    const job = await classify({ texts, model: 'lenient' });
    expect(job).toMatchObject({ status: 'succeeded', failed_texts: 0 });
    expect(job.results).toMatchObject([{ unknown: 1 }, { unknown: 1 }, { unknown: 0.25 }]);
    expect(job.model.revision).toMatch(/^80dd2b2f36a3-[0-9a-f]{12}$/);
    await worker.end();
    fs.writeFileSync(path.join(folder, 'amulet.json'), '{"unreadable": "classify"}');
    const refused = stack.startWorker({ MODEL_DIR: folder, MODEL_NAME: 'lenient' });
    await expect(refused.ready).rejects.toThrow('is not a setting; known: unreadable_text, languages');
    expect(await refused.end()).toBe(78);
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
});
