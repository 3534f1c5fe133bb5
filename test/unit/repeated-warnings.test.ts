/** An outage fills no log. */
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { repeatedWarnings } from '../../src/shared/runtime/repeated-warnings.ts';

interface Line {
  msg: string;
  reason: string;
  repeated?: number;
}

let lines: Line[];
let warn: (error: Error) => void;

beforeEach(() => {
  vi.useFakeTimers();
  lines = [];
  const logger = pino({ base: null }, { write: (line: string) => void lines.push(JSON.parse(line) as Line) });
  warn = repeatedWarnings(logger, 'queue');
});
afterEach(() => {
  vi.useRealTimers();
});

/** The same error, eight times a second. */
function outage(seconds: number): void {
  for (let i = 0; i < 8 * seconds; i++) {
    warn(new Error('connect ECONNREFUSED'));
    vi.advanceTimersByTime(125);
  }
}

test('a reason is logged at once, then once a minute with the number of repeats', () => {
  outage(130);
  expect(lines.map(({ msg, reason, repeated }) => [msg, reason, repeated])).toEqual([
    ['queue', 'connect ECONNREFUSED', undefined],
    ['queue', 'connect ECONNREFUSED', 479],
    ['queue', 'connect ECONNREFUSED', 479],
  ]);
});

test('another reason is logged at once', () => {
  outage(1);
  warn(new Error('read ECONNRESET'));
  expect(lines.map(({ reason }) => reason)).toEqual(['connect ECONNREFUSED', 'read ECONNRESET']);
});

test('many reasons, each with an id in it, are all said, and not remembered for ever', () => {
  for (let i = 0; i < 1000; i++) warn(new Error(`could not renew lock for job ${i}`));
  expect(lines).toHaveLength(1000);
});
