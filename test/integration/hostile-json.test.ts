/** Bodies, queries and headers made to cost as much as possible. Each limit is tried at its value and one beyond it. */
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { Stack } from '../support/stack.ts';

let stack: Stack;

beforeAll(async () => {
  stack = await Stack.start({ redisUrl: inject('redisUrl'), workers: 0 });
});
afterAll(() => stack.stop());

const COMPLETE = '/v1/batches/019aaf3c5e7b7c3b9d0e5f1a2b3c4d5e-b-sst2-minilm/complete';

async function post(path: string, body: string) {
  const response = await stack.fetch(path, {
    method: 'POST',
    body,
    headers: { 'Content-Type': 'application/json' },
  });
  const answer = await response.text();
  return { status: response.status, bytes: Buffer.byteLength(answer), ...(JSON.parse(answer) as Problem) };
}
interface Problem {
  code: string;
  detail: string;
  errors?: { path: string; message: string }[];
}

describe('bytes of a body', () => {
  test.each([
    ['/v1/jobs', 10_000_000],
    ['/predict', 10_000_000],
    ['/hf/sst2-minilm', 10_000_000],
    [COMPLETE, 2_560_000],
  ])('%s takes %i', async (path, bytes) => {
    expect(await post(path, '{}'.padEnd(bytes))).toMatchObject({ status: 422, code: 'invalid_request' });
    expect(await post(path, '{}'.padEnd(bytes + 1))).toMatchObject({
      status: 413,
      code: 'body_too_large',
      detail: `the body has more than ${bytes} bytes`,
    });
  });
});
