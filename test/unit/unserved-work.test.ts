/** The warning about work that waits for a model without a worker. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { UnservedWork } from '../../src/api/load/unserved-work.ts';
import type { ModelStats } from '../../src/shared/contract/models.ts';
import type { Logger } from '../../src/shared/runtime/logger.ts';

interface Load {
  workers?: number;
  normal?: number;
  low?: number;
  running?: number;
}

let models: Record<string, Load>;
let lines: [level: string, { model: string; reason?: string; recovered?: boolean }, message: string][];
/** Texts by queue. */
let backlogs: Map<string, { texts: number }>;
let unserved: UnservedWork;

const watch = (redisUrl?: string) => {
  const stats = {
    models: () =>
      Promise.resolve(
        Object.entries(models).map(
          ([name, { workers = 0, normal = 0, low = 0, running = 0 }]): ModelStats => ({
            name,
            workers,
            texts: { normal, low, ended: 0 },
            batches: { running, rows: running, rows_per_second: 0 },
          }),
        ),
      ),
  };
  const log = (level: string) => (fields: (typeof lines)[0][1], message: string) =>
    lines.push([level, fields, message]);
  const logger = { warn: log('warn'), info: log('info') } as unknown as Logger;
  const backlog = { sizes: () => Promise.resolve(backlogs) };
  return new UnservedWork({ stats, backlog, defaultModel: 'usual', redisUrl, logger });
};

/** Checks every ten seconds, as the API does. */
async function pass(seconds: number): Promise<void> {
  for (let passed = 0; passed < seconds; passed += 10) {
    vi.advanceTimersByTime(10_000);
    await unserved.check();
  }
}

beforeEach(() => {
  vi.useFakeTimers();
  models = {};
  backlogs = new Map();
  lines = [];
  unserved = watch();
});
afterEach(() => {
  vi.useRealTimers();
});

test('names the model, its work and the command for a worker, once', async () => {
  models = { 'sst2-minilm': { normal: 2, low: 1, running: 1 }, other: { workers: 1, normal: 5 } };
  await pass(30);
  expect(lines).toEqual([]);
  await pass(100);
  expect(lines).toEqual([
    [
      'warn',
      {
        model: 'sst2-minilm',
        reason: 'start one: MODEL_DIR=models/sst2-minilm WORKER_PORT=0 npm run start:worker',
      },
      'no worker serves sst2-minilm, and work waits for it: 3 texts, 1 batch',
    ],
  ]);
});

test.each([
  [{ normal: 1 }, '1 text'],
  [{ running: 2 }, '2 batches'],
])('of %j: %s', async (load, work) => {
  models = { m: load };
  await pass(60);
  expect(lines.map(([, , message]) => message)).toEqual([
    `no worker serves m, and work waits for it: ${work}`,
  ]);
});

describe('is not logged', () => {
  test('for a model without work, or with a worker', async () => {
    models = { idle: {}, served: { workers: 1, normal: 9, running: 9 } };
    await pass(200);
    expect(lines).toEqual([]);
  });

  test('when the worker is back in time', async () => {
    models = { m: { normal: 1 } };
    await pass(30);
    models = { m: { workers: 1, normal: 1 } };
    await pass(10);
    models = { m: { normal: 1 } };
    await pass(30);
    expect(lines).toEqual([]);
  });
});

test('is followed by a line when a worker serves the model, and can come again', async () => {
  models = { m: { normal: 1 } };
  await pass(60);
  models = { m: { workers: 1, normal: 1 } };
  await pass(60);
  models = { m: { normal: 1 } };
  await pass(60);
  expect(lines.map(([level, { recovered }]) => [level, recovered])).toEqual([
    ['warn', undefined],
    ['info', true],
    ['warn', undefined],
  ]);
  // The work is gone instead: canceled, or expired.
  models = { m: {} };
  await pass(60);
  expect(lines).toHaveLength(3);
});

test.each([
  [
    'unix:///srv/amulet/redis.sock',
    'REDIS_URL=unix:///srv/amulet/redis.sock MODEL_DIR=models/sst2-minilm WORKER_PORT=0 npm run start:worker',
  ],
  ['redis://:secret@host:6379', 'MODEL_DIR=models/sst2-minilm WORKER_PORT=0 npm run start:worker'],
])('a command beside %s: %s', async (url, command) => {
  unserved = watch(url);
  models = { 'sst2-minilm': { normal: 1 } };
  await pass(60);
  expect(lines[0]?.[1].reason).toBe(`start one: ${command}`);
});

test('a model whose folder is elsewhere', async () => {
  models = { mine: { normal: 1 } };
  await pass(60);
  expect(lines[0]?.[1].reason).toContain('MODEL_DIR=FOLDER MODEL_NAME=mine ');
});

test('the default model is named although no worker has ever served it', async () => {
  backlogs = new Map([
    ['classify-usual', { texts: 2 }],
    ['low-usual', { texts: 1 }],
    ['classify-other', { texts: 5 }],
  ]);
  await pass(60);
  expect(lines.map(([, , message]) => message)).toEqual([
    'no worker serves usual, and work waits for it: 3 texts',
  ]);
  models = { usual: { workers: 1, normal: 2, low: 1 } };
  await pass(60);
  expect(lines).toHaveLength(2);
});
