/** Processes that cannot start: one line that says why, and exit status 78. */
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { Process, Stack } from '../support/processes/stack.ts';

let stack: Stack;
beforeAll(async () => {
  stack = await Stack.start({ redisUrl: inject('redisUrl'), workers: 0 });
});
afterAll(() => stack.stop());

test.each([
  [
    'a folder that is not there',
    { MODEL_DIR: '/nonexistent/model' },
    'MODEL_DIR=/nonexistent/model does not exist',
  ],
  ['a wrong setting', { BATCH_TOKENS: 'many' }, 'BATCH_TOKENS=many: must be a whole number'],
  ['a file that is no model', { MODEL_FILE: 'config.json' }, 'cannot be loaded'],
])('%s: one line and exit status 78', async (_name, env, line) => {
  const worker = new Process('worker/inference/main.ts', { ...stack.env, ...env });
  const status = await new Promise((resolve) => worker.child.once('close', resolve));
  expect(status).toBe(78);
  const lines = worker.output.trim().split('\n');
  expect(lines).toHaveLength(1);
  expect((JSON.parse(lines[0]!) as { msg: string }).msg).toContain(line);
});

test('a port in use: one line and exit status 78', async () => {
  const port = new URL(stack.url).port;
  const api = new Process('api/main.ts', { ...stack.env, PORT: port });
  const status = await new Promise((resolve) => api.child.once('close', resolve));
  expect(status).toBe(78);
  expect(api.output).toContain(`port ${port} on 127.0.0.1 is in use`);
});
