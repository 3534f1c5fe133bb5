/** Schemas of requests, records and events, the table of problems, and the states of jobs and batches. */
import { describe, expect, test } from 'vitest';
import { loadConfig } from '../../src/shared/runtime/config.ts';
import {
  BATCH_TRANSITIONS,
  type BatchStatus,
  isFinal,
  JOB_TRANSITIONS,
  type JobStatus,
} from '../../src/shared/contract/states.ts';
import { batchStatusSchema } from '../../src/shared/contract/batches.ts';
import { createRequestSchemas } from '../../src/api/requests.ts';
import { jobStatusSchema } from '../../src/shared/contract/jobs.ts';
import { modelInfoSchema } from '../../src/shared/contract/models.ts';
import { PROBLEMS } from '../../src/shared/contract/problems.ts';

const { createJob, predict, hfClassify } = createRequestSchemas(loadConfig({}));
const nested = (depth: number): unknown => JSON.parse('{"a":'.repeat(depth) + '1' + '}'.repeat(depth));

describe('createJob', () => {
  test('defaults', () => {
    expect(createJob.parse({ text: 'a' })).toEqual({ text: 'a', priority: 'normal' });
  });

  test.each<[string, unknown]>([
    ['5,000 emoji', { text: '🎬'.repeat(5000) }],
    ['256 texts', { texts: Array.from({ length: 256 }, () => 'a') }],
    ['mixed texts', { texts: ['a', { id: 'x', text: 'b' }, { text: 'c' }] }],
    ['top_k null', { text: 'a', top_k: null }],
    ['metadata of 4,096 bytes', { text: 'a', metadata: { a: 'x'.repeat(4096 - '{"a":""}'.length) } }],
    ['a week to start', { text: 'a', expires_in: 604_800 }],
  ])('%s is accepted', (_name, body) => expect(createJob.safeParse(body).success).toBe(true));

  test.each<[string, unknown]>([
    ['5,001 emoji', { text: '🎬'.repeat(5001) }],
    ['257 texts', { texts: Array.from({ length: 257 }, () => 'a') }],
    ['an id that is empty', { texts: [{ id: '', text: 'a' }] }],
    ['an id with a lone surrogate', { texts: [{ id: '\ud800', text: 'a' }] }],
    ['an id of 129 characters', { texts: [{ id: 'x'.repeat(129), text: 'a' }] }],
    ['metadata of 4,097 bytes', { text: 'a', metadata: { a: 'x'.repeat(4097 - '{"a":""}'.length) } }],
    ['metadata nested 100,000 deep', { text: 'a', metadata: nested(100_000) }],
    ['a model name with a slash', { text: 'a', model: 'org/model' }],
    ['a model name with a colon', { text: 'a', model: 'a:b' }],
    ['more than a week to start', { text: 'a', expires_in: 604_801 }],
    ['top_k as a string', { text: 'a', top_k: '1' }],
  ])('%s is refused', (_name, body) => expect(createJob.safeParse(body).success).toBe(false));
});

test('predict takes exactly one of text and inputs', () => {
  expect(predict.safeParse({ text: 'a' }).success).toBe(true);
  expect(predict.safeParse({ inputs: [['a'], ['b']], truncate: true }).success).toBe(true);
  expect(predict.safeParse({ text: 'a', inputs: 'b' }).success).toBe(false);
  expect(predict.safeParse({ text: 'a', truncate: true }).success).toBe(false);
  expect(predict.safeParse({}).success).toBe(false);
});

test('hfClassify takes what clients of the Hugging Face API send', () => {
  expect(
    hfClassify.safeParse({
      inputs: 'a',
      parameters: { top_k: 2, function_to_apply: 'sigmoid' },
      options: { wait_for_model: true },
    }).success,
  ).toBe(true);
  expect(hfClassify.safeParse({ inputs: [] }).success).toBe(false);
  expect(hfClassify.safeParse({ inputs: 'a', parameters: { function_to_apply: 'tanh' } }).success).toBe(
    false,
  );
});

test('nothing leaves a final state, and every state leads to a final one', () => {
  const finals = jobStatusSchema.options.filter(isFinal);
  expect(finals).toEqual(['succeeded', 'failed', 'canceled', 'expired']);
  for (const [state, next] of Object.entries(JOB_TRANSITIONS)) {
    if (!finals.includes(state as never))
      expect(next.some((follower) => finals.includes(follower as never))).toBe(true);
  }
});

test('every problem has an error status and a title', () => {
  for (const { status, title } of Object.values(PROBLEMS)) {
    expect(status).toBeGreaterThanOrEqual(400);
    expect(status).toBeLessThan(600);
    expect(title.length).toBeGreaterThan(0);
  }
});

describe('createJob at its limits', () => {
  const withTexts = (texts: unknown) => ({ texts });
  test.each<[string, unknown]>([
    ['5,000 letters', { text: 'x'.repeat(5000) }],
    ['one text', withTexts(['a'])],
    ['5,000 emoji in a list', withTexts(['🎬'.repeat(5000)])],
    ['5,000 emoji beside an id', withTexts([{ id: 'x', text: '🎬'.repeat(5000) }])],
    ['an id of 128 characters', withTexts([{ id: 'x'.repeat(128), text: 'a' }])],
    ['top_k 1', { text: 'a', top_k: 1 }],
    ['top_k 1,000,000', { text: 'a', top_k: 1_000_000 }],
    ['a second to start', { text: 'a', expires_in: 1 }],
    ['low priority', { text: 'a', priority: 'low' }],
    ['empty metadata', { text: 'a', metadata: {} }],
    ['4,096 bytes of emoji as metadata', { text: 'a', metadata: { a: '🎬'.repeat(1022) } }],
    ['a model name of 63 characters', { text: 'a', model: 'x'.repeat(63) }],
  ])('%s passes', (_name, body) => expect(createJob.safeParse(body).success).toBe(true));

  test.each<[string, unknown, (string | number)[], RegExp]>([
    ['5,001 letters', { text: 'x'.repeat(5001) }, ['text'], /has 5001 characters; at most 5000/],
    ['5,001 emoji', { text: '🎬'.repeat(5001) }, ['text'], /has 5001 characters; at most 5000/],
    ['a high surrogate', { text: 'a\ud83c' }, ['text'], /lone surrogate/],
    ['a low surrogate', { text: '\udfac!' }, ['text'], /lone surrogate/],
    ['a swapped pair', { text: '\udfac\ud83c' }, ['text'], /lone surrogate/],
    ['NUL', { text: 'a\0b' }, ['text'], /NUL/],
    ['an empty text', { text: '' }, ['text'], /must not be empty/],
    ['white space', { text: ' \t\r\n\u00a0\u3000' }, ['text'], /other than white space/],
    ['an unknown field', { text: 'a', callback: 'x' }, [], /callback/],
    ['both text and texts', { text: 'a', texts: ['b'] }, [], /not both/],
    ['neither text nor texts', {}, [], /give `text` or `texts`/],
    ['no texts', withTexts([]), ['texts'], /at least one/],
    ['257 texts', withTexts(Array.from({ length: 257 }, () => 'a')), ['texts'], /at most 256/],
    ['top_k 0', { text: 'a', top_k: 0 }, ['top_k'], /./],
    ['top_k -1', { text: 'a', top_k: -1 }, ['top_k'], /./],
    ['top_k 1.5', { text: 'a', top_k: 1.5 }, ['top_k'], /./],
    ['top_k 1,000,001', { text: 'a', top_k: 1_000_001 }, ['top_k'], /./],
    ['expires_in 0', { text: 'a', expires_in: 0 }, ['expires_in'], /./],
    ['another priority', { text: 'a', priority: 'bulk' }, ['priority'], /./],
    ['metadata that is a list', { text: 'a', metadata: [] }, ['metadata'], /./],
    [
      '4,097 bytes of emoji',
      { text: 'a', metadata: { a: `x${'🎬'.repeat(1022)}` } },
      ['metadata'],
      /4097 bytes/,
    ],
    ['metadata 100,000 deep', { text: 'a', metadata: nested(100_000) }, ['metadata'], /nested too deeply/],
    ['a model name of 64', { text: 'a', model: 'x'.repeat(64) }, ['model'], /not a model name/],
    ['no body', null, [], /./],
  ])('%s is refused at its path, with a reason', (_name, body, where, why) => {
    const { error } = createJob.safeParse(body);
    expect(error?.issues).toHaveLength(1);
    expect(error?.issues[0]).toMatchObject({ path: where, message: expect.stringMatching(why) });
  });

  test.each<[string, unknown, (string | number)[]]>([
    ['a bad text', { id: 'x', text: 'a\0' }, ['texts', 1, 'text']],
    ['an unknown field', { id: 'x', text: 'a', label: 'POSITIVE' }, ['texts', 1]],
    ['no text', { id: 'x' }, ['texts', 1]],
    ['a number for a text', 7, ['texts', 1]],
  ])('one entry with %s fails the whole job, at its index', (_name, entry, where) => {
    expect(createJob.safeParse(withTexts(['a', entry])).error?.issues).toMatchObject([{ path: where }]);
  });

  test('limits come from the settings', () => {
    const small = createRequestSchemas(
      loadConfig({
        MAX_TEXT_CHARS: '3',
        MAX_TEXTS_PER_JOB: '2',
        MAX_METADATA_BYTES: '2',
        MAX_EXPIRES_S: '5',
      }),
    ).createJob;
    const body = { texts: ['🎬🎬🎬', 'abc'], metadata: {}, expires_in: 5 };
    expect(small.safeParse(body).success).toBe(true);
    for (const beyond of [
      { texts: ['abcd'] },
      { texts: ['a', 'b', 'c'] },
      { metadata: { a: 1 } },
      { expires_in: 6 },
    ])
      expect(small.safeParse({ ...body, ...beyond }).success).toBe(false);
  });
});

describe('predict and hfClassify at their limits', () => {
  const rows = (count: number) => Array.from({ length: count }, () => 'a');
  test.each<[string, typeof predict | typeof hfClassify, unknown, boolean]>([
    ['256 inputs', predict, { inputs: rows(256).map((row) => [row]) }, true],
    ['257 inputs', predict, { inputs: rows(257).map((row) => [row]) }, false],
    ['no inputs', predict, { inputs: [] }, false],
    ['one text in a list', predict, { inputs: ['a'] }, true],
    ['an option with null', predict, { inputs: 'a', truncate: null }, true],
    ['5,000 emoji', predict, { text: '🎬'.repeat(5000) }, true],
    ['5,001 emoji', predict, { inputs: [['🎬'.repeat(5001)]] }, false],
    ['an unknown field', predict, { text: 'a', texts: ['b'] }, false],
    ['256 inputs for Hugging Face', hfClassify, { inputs: rows(256) }, true],
    ['257 inputs for Hugging Face', hfClassify, { inputs: rows(257) }, false],
    ['a lone surrogate for Hugging Face', hfClassify, { inputs: ['\ud800'] }, false],
    ['top_k null', hfClassify, { inputs: 'a', parameters: { top_k: null } }, true],
    ['top_k 0', hfClassify, { inputs: 'a', parameters: { top_k: 0 } }, false],
    ['an unknown parameter', hfClassify, { inputs: 'a', parameters: { temperature: 1 } }, false],
  ])('%s', (_name, schema, body, valid) => expect(schema.safeParse(body).success).toBe(valid));
});

describe('inputs of text-embeddings-inference in another shape', () => {
  const asBatch = 'a batch is a list of lists, as in [["a"], ["b"]]';
  const pair = 'is a pair of texts, which this model cannot classify';
  test.each<[unknown, (string | number)[], string]>([
    [['a', 'b'], ['inputs'], `${pair}; ${asBatch}`],
    [['a', 'b', 'c'], ['inputs'], `has 3 texts; ${asBatch}`],
    [[['a', 'b']], ['inputs', 0], pair],
    [[['a'], ['b', 'c']], ['inputs', 1], pair],
    [[['a', 'b', 'c']], ['inputs', 0], 'must have one text, but has 3'],
    [[['a'], []], ['inputs', 1], 'must have one text, but has 0'],
    [[['a'], 'b'], ['inputs', 1], `must be a list: ${asBatch}`],
    [['a', ['b']], ['inputs', 0], `must be a list: ${asBatch}`],
    [[], ['inputs'], 'must contain at least one text'],
    [Array.from({ length: 257 }, () => ['a']), ['inputs'], 'must have at most 256 items'],
  ])('%j', (inputs, path, message) => {
    expect(predict.safeParse({ inputs }).error?.issues).toMatchObject([{ path, message }]);
  });
});

describe('ids of texts', () => {
  const withId = (id: unknown) => createJob.safeParse({ texts: [{ id, text: 'a' }] });
  test.each(['x', '🎬'.repeat(128), 'a\nb', ' '])('%j is accepted', (id) =>
    expect(withId(id).success).toBe(true),
  );
  test.each([
    ['', 'must not be empty'],
    ['🎬'.repeat(129), 'has 129 characters; at most 128 are allowed'],
    ['\ud83c', 'contains a NUL or a lone surrogate'],
    ['a\0', 'contains a NUL or a lone surrogate'],
  ])('%j is refused', (id, message) => {
    const [issue] = withId(id).error?.issues ?? [];
    expect(JSON.stringify(issue)).toContain(message);
  });
});

describe('JOB_TRANSITIONS', () => {
  test.each(['succeeded', 'failed', 'canceled', 'expired'] as const)('nothing leaves %s', (state) =>
    expect(JOB_TRANSITIONS[state]).toEqual([]),
  );

  test('a job succeeds only from processing, and its retry is the only way back', () => {
    const before = (state: JobStatus) =>
      jobStatusSchema.options.filter((from) => JOB_TRANSITIONS[from].includes(state));
    expect(before('succeeded')).toEqual(['processing']);
    expect(before('queued')).toEqual(['processing']);
    for (const state of ['failed', 'canceled', 'expired'] as const)
      expect(before(state)).toEqual(['queued', 'processing']);
  });

  test('a job is final where nothing follows', () => {
    const final = jobStatusSchema.options.filter(isFinal);
    expect(final).toEqual(['succeeded', 'failed', 'canceled', 'expired']);
  });
});

test('a batch is final once it has ended; only resuming it leads out of that', () => {
  const final: BatchStatus[] = batchStatusSchema.options.filter(isFinal);
  expect(final).toEqual(['completed', 'failed', 'canceled', 'expired']);
  for (const status of batchStatusSchema.options) {
    const others = BATCH_TRANSITIONS[status].filter((next) => next !== 'queued');
    if (final.includes(status)) expect([status, others]).toEqual([status, []]);
    else expect([status, others]).toEqual([status, expect.arrayContaining(['canceled'])]);
  }
});

test.each<[string, unknown, string]>([
  ['a text', '0.5', 'must be a number, "model", or an object'],
  ['null', null, 'must be a number, "model", or an object'],
  ['a list', [0.5], 'must be a number, "model", or an object'],
  ['no label', {}, 'must name at least one label'],
  ['a text by label', { joy: '0.5' }, 'must be a finite number'],
  ['Infinity', { joy: Infinity }, 'must be a finite number'],
  ['257 labels', Object.fromEntries(Array.from({ length: 257 }, (_, i) => [i, 0.5])), 'at most 256 labels'],
  ['a very long name', { ['x'.repeat(201)]: 0.5 }, 'more than 200 characters'],
])('a threshold that is %s is refused', (_, threshold, message) => {
  const { createBatch } = createRequestSchemas(loadConfig({}));
  expect(createJob.safeParse({ text: 'a', threshold }).error?.issues[0]?.message).toContain(message);
  expect(createBatch.safeParse({ threshold: JSON.stringify(threshold) }).success).toBe(false);
});

test.each<[string, unknown]>([
  ['0.5', 0.5],
  ['-3', -3],
  ['model', 'model'],
  ['{"joy":0.25,"__proto__":0.5}', JSON.parse('{"joy":0.25,"__proto__":0.5}')],
])('the threshold %s means the same for a batch as for a job', (query, threshold) => {
  const { createBatch } = createRequestSchemas(loadConfig({}));
  const asked = createBatch.parse({ threshold: query }).threshold;
  expect(JSON.stringify(asked)).toBe(JSON.stringify(threshold));
  expect(JSON.stringify(createJob.parse({ text: 'a', threshold }).threshold)).toBe(JSON.stringify(threshold));
});

test('metadata keeps every key', () => {
  const metadata = JSON.parse('{"__proto__":{"x":1},"b":"\\ud800"}') as object;
  expect(JSON.stringify(createJob.parse({ text: 'a', metadata }).metadata)).toBe(JSON.stringify(metadata));
});

test('an id with a NUL is refused', () => {
  expect(createJob.safeParse({ texts: [{ id: 'a\0', text: 'b' }] }).success).toBe(false);
});

test('the model report of older and newer workers is read', () => {
  const old = { name: 'm', revision: 'r', labels: ['a'], max_tokens: 512, multi_label: false };
  expect(modelInfoSchema.parse(old)).toEqual(old);
  expect(
    modelInfoSchema.parse({ ...old, batch_dependence: 0.002, languages: ['en'], from_later: 1 }),
  ).toEqual({
    ...old,
    batch_dependence: 0.002,
    languages: ['en'],
  });
});

test('a repeated event of a batch is stored once', () => {
  const { createBatch } = createRequestSchemas(loadConfig({}));
  const { webhook_events } = createBatch.parse({
    webhook_events: 'batch.failed,batch.completed,batch.failed',
  });
  expect(webhook_events).toEqual(['batch.failed', 'batch.completed']);
});
