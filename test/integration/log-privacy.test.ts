/** What an operator can read in the logs: never a text, whatever goes wrong with it in hand. */
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { eventually, Stack } from '../support/processes/stack.ts';

const TEXT = 'what nobody else may read';

let stack: Stack;
let redis: Redis;

beforeAll(async () => {
  redis = new Redis(inject('redisUrl'));
  stack = await Stack.start({ redisUrl: inject('redisUrl'), env: { LOG_LEVEL: 'debug' } });
});
afterAll(async () => {
  await stack.stop();
  redis.disconnect();
});

test('an error of Redis is logged without its command, which contains the text', async () => {
  // The model stays known; its jobs would wait.
  await stack.workers[0]?.end();
  await redis.set(`${stack.prefix}:classify-sst2-minilm:wait`, 'no list');
  expect((await stack.post('/v1/jobs', { text: TEXT })).status).toBe(500);
  // It comes through a pipe, later than the answer.
  await eventually(() => Promise.resolve(stack.api.output.includes('unexpected error') ? true : undefined));
  expect(stack.api.output).toContain('WRONGTYPE');
  expect(stack.api.output).not.toContain(TEXT);
});
