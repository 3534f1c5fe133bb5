import { describe, expect, test } from 'vitest';
import { loadConfig } from '../../src/shared/config.ts';
import {
  createRequestSchemas,
  isFinal,
  JOB_TRANSITIONS,
  jobStatusSchema,
} from '../../src/shared/contract.ts';
import { PROBLEMS } from '../../src/shared/errors.ts';

const { createJob, predict, hfClassify } = createRequestSchemas(loadConfig({}));
const nested = (depth: number): unknown => JSON.parse('{"a":'.repeat(depth) + '1' + '}'.repeat(depth));

describe('createJob', () => {
  test('defaults', () => {
    expect(createJob.parse({ text: 'a' })).toEqual({ text: 'a', top_k: 1, priority: 'normal' });
  });

  test.each<[string, unknown]>([
    ['5,000 emoji', { text: '🎬'.repeat(5000) }],
    ['256 texts', { texts: Array.from({ length: 256 }, () => 'a') }],
    ['mixed texts', { texts: ['a', { id: 'x', text: 'b' }, { text: 'c' }] }],
    ['top_k null', { text: 'a', top_k: null }],
    ['metadata of 4,096 bytes', { text: 'a', metadata: { a: 'x'.repeat(4096 - '{"a":""}'.length) } }],
    ['a week to start', { text: 'a', expires_in: 604_800 }],
  ])('%s is fine', (_name, body) => expect(createJob.safeParse(body).success).toBe(true));

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
