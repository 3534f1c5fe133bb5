/** startHeartbeat(): when a worker announces itself. */
import { EventEmitter } from 'node:events';
import type { Redis } from 'ioredis';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createLogger } from '../../src/shared/runtime/logger.ts';
import { HEARTBEAT_MS } from '../../src/shared/store/models.ts';
import { startHeartbeat } from '../../src/worker/inference/heartbeat.ts';

class Connection extends EventEmitter {
  status = 'ready';
}

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

function start(announce = vi.fn(() => Promise.resolve())) {
  const connection = new Connection();
  const logger = createLogger('test', 'silent');
  const stop = startHeartbeat(connection as unknown as Redis, announce, logger);
  return { connection, announce, logger, stop };
}

test('one per interval, none while Redis is away, and one at once when it is back', () => {
  const { connection, announce } = start();
  vi.advanceTimersByTime(2 * HEARTBEAT_MS);
  expect(announce).toHaveBeenCalledTimes(2);
  connection.status = 'reconnecting';
  vi.advanceTimersByTime(5 * HEARTBEAT_MS);
  expect(announce).toHaveBeenCalledTimes(2);
  connection.status = 'ready';
  connection.emit('ready');
  expect(announce).toHaveBeenCalledTimes(3);
});

test('a failed one is logged, and the next is sent', async () => {
  const announce = vi.fn(() => Promise.reject(new Error('READONLY')));
  const { logger } = start(announce);
  const warn = vi.spyOn(logger, 'warn');
  await vi.advanceTimersByTimeAsync(2 * HEARTBEAT_MS);
  expect(announce).toHaveBeenCalledTimes(2);
  expect(warn).toHaveBeenCalledTimes(2);
});

test('none after the end', () => {
  const { connection, announce, stop } = start();
  stop();
  vi.advanceTimersByTime(2 * HEARTBEAT_MS);
  connection.emit('ready');
  expect(announce).not.toHaveBeenCalled();
});
