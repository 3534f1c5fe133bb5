/** The progress line, the reporter and the units of the command. */
import { describe, expect, test } from 'vitest';
import { progressLine, type Progress } from '../../src/cli/terminal/progress-line.ts';
import { RateMeter } from '../../src/cli/terminal/rate-meter.ts';
import { createReporter } from '../../src/cli/terminal/reporter.ts';
import { bytes, count, duration, percent, plural, rate, shellWord } from '../../src/cli/terminal/units.ts';

const STYLE = { done: (cells: string) => cells, left: (cells: string) => cells };
const line = (progress: Progress, columns: number) => progressLine(progress, columns, STYLE);

const classifying: Progress = {
  label: 'Classifying',
  unit: 'rows',
  done: 120_000,
  total: 309_431,
  rate: 1650.2,
  etaS: 115,
};
const shared: Progress = {
  ...classifying,
  failed: 12,
  shares: ['POSITIVE 61 %', 'NEUTRAL 22 %', 'NEG\x1b 17 %'],
};
const uploading: Progress = {
  label: 'Uploading',
  unit: 'bytes',
  done: 7.7e6,
  total: 12.7e6,
  rate: 4.1e6,
  etaS: 1.2,
};

describe('a line', () => {
  test.each<[number, Progress, string]>([
    [
      120,
      classifying,
      'Classifying ━━━━━━━━━━━───────────────────  38%  120,000/309,431 rows  1,650/s  ETA 1:55',
    ],
    [77, classifying, 'Classifying ━━━━━━━────────────  38%  120,000/309,431 rows  1,650/s  ETA 1:55'],
    [
      77,
      { ...classifying, failed: 12 },
      'Classifying ━━━─────  38%  120,000/309,431 rows  1,650/s  ETA 1:55  12 errors',
    ],
    [
      77,
      { ...classifying, failed: 1234 },
      'Classifying ━━━───────  38%  120,000/309,431  1,650/s  ETA 1:55  1,234 errors',
    ],
    [57, classifying, 'Classifying  38%  120,000/309,431  1,650/s  ETA 1:55'],
    [37, classifying, 'Classifying  38%  1,650/s  ETA 1:55'],
    [37, { ...classifying, failed: 1 }, 'Classifying  38%  ETA 1:55  1 error'],
    [20, classifying, 'Classifying  38%'],
    [
      120,
      uploading,
      'Uploading   ━━━━━━━━━━━━━━━━━━────────────  60%  7.7 MB of 12.7 MB  4.1 MB/s  ETA 0:01',
    ],
    [37, uploading, 'Uploading    60%  4.1 MB/s  ETA 0:01'],
    [77, { ...uploading, total: undefined, etaS: undefined }, 'Uploading    7.7 MB  4.1 MB/s'],
    [
      77,
      { ...classifying, done: 0, rate: undefined, etaS: undefined },
      'Classifying ──────────────────────────────   0%  0/309,431 rows',
    ],
    [
      77,
      { ...classifying, done: 309_431 },
      'Classifying ━━━━━━━━━━━━━━━━━━━ 100%  309,431/309,431 rows  1,650/s  ETA 1:55',
    ],
    [
      97,
      shared,
      'Classifying ━━━━━━━━━━──────────────────  38%  120,000/309,431 rows  1,650/s  ETA 1:55  12 errors',
    ],
    [
      120,
      shared,
      'Classifying ━━━━━━━━──────────────  38%  120,000/309,431 rows  1,650/s  ETA 1:55  12 errors  POSITIVE 61 %, NEUTRAL 22 %',
    ],
    [
      157,
      shared,
      'Classifying ━━━━━━━━━━━───────────────────  38%  120,000/309,431 rows  1,650/s  ETA 1:55  12 errors  POSITIVE 61 %, NEUTRAL 22 %, NEG\\u001b 17 %',
    ],
    [
      77,
      { ...classifying, delay: 'connection refused for 0:42; retrying' },
      'Classifying  38%  connection refused for 0:42; retrying',
    ],
    [
      37,
      { ...classifying, delay: 'connection refused for 0:42; retrying' },
      'Classifying  38%  connection refused…',
    ],
  ])('of %i columns: %j', (columns, progress, expected) => {
    expect(line(progress, columns)).toBe(expected);
    expect(expected.length).toBeLessThanOrEqual(columns);
  });

  test('fits any width', () => {
    for (let columns = 20; columns < 130; columns++) {
      for (const progress of [
        classifying,
        shared,
        uploading,
        { ...classifying, failed: 3, total: 123_456_789 },
      ]) {
        expect(line(progress, columns).length).toBeLessThanOrEqual(columns);
      }
    }
  });

  test('without a bar, for logs', () => {
    expect(progressLine(classifying, Infinity)).toBe(
      'Classifying  38%  120,000/309,431 rows  1,650/s  ETA 1:55',
    );
  });
});

/** A stream that remembers. */
function terminal(isTTY: boolean, columns = 80) {
  const written: string[] = [];
  const stream = {
    isTTY,
    columns,
    write: (text: string) => written.push(text) > 0,
    on: () => stream,
    off: () => stream,
  };
  return { stream: stream as unknown as NodeJS.WriteStream, written };
}

describe('a reporter', () => {
  test('on a terminal redraws one line, and clears it for messages', () => {
    const { stream, written } = terminal(true, 30);
    const reporter = createReporter(stream, false);
    reporter.watch(() => classifying);
    reporter.log('Uploaded');
    reporter.unwatch();
    reporter.log('Done');
    const drawn = '\rClassifying  38%  ETA 1:55\x1b[K';
    expect(written).toEqual([drawn, '\r\x1b[KUploaded\n', drawn, '\r\x1b[K', 'Done\n']);
  });

  test('elsewhere writes whole lines', () => {
    const { stream, written } = terminal(false);
    const reporter = createReporter(stream, false);
    reporter.watch(() => classifying);
    reporter.unwatch();
    expect(written).toEqual(['Classifying  38%  120,000/309,431 rows  1,650/s  ETA 1:55\n']);
  });

  test('with --quiet writes no progress', () => {
    const { stream, written } = terminal(true);
    const reporter = createReporter(stream, true);
    reporter.watch(() => classifying);
    reporter.log('x');
    reporter.unwatch();
    expect(written).toEqual([]);
  });
});

test('units', () => {
  expect([0, 999, 1000, 1234567].map(count)).toEqual(['0', '999', '1,000', '1,234,567']);
  expect([0, 1, 2].map((value) => plural(value, 'row'))).toEqual(['0 rows', '1 row', '2 rows']);
  expect([0, 999, 1000, 999_949, 999_950, 12_720_420, 1e13].map(bytes)).toEqual([
    '0 B',
    '999 B',
    '1.0 KB',
    '999.9 KB',
    '1.0 MB',
    '12.7 MB',
    '10.0 TB',
  ]);
  expect([-1, 7.4, 754, 3723, 273_600].map(duration)).toEqual([
    '0:00',
    '0:07',
    '12:34',
    '1:02:03',
    '3 d 4 h',
  ]);
  expect([0, 0.0001, 0.01, 0.4, 0.994, 0.9999, 1].map(percent)).toEqual([
    '0 %',
    'under 1 %',
    '1 %',
    '40 %',
    'over 99 %',
    'over 99 %',
    '100 %',
  ]);
  expect([0.04, 9.94, 9.96, 1650.2].map(rate)).toEqual(['0.0/s', '9.9/s', '10/s', '1,650/s']);
  expect(['a.jsonl', '-', 'a b', "it's", '{"a":1}', ''].map(shellWord)).toEqual([
    'a.jsonl',
    '-',
    "'a b'",
    `'it'\\''s'`,
    `'{"a":1}'`,
    "''",
  ]);
});

test('a rate covers the last ten seconds', () => {
  let now = 0;
  const meter = new RateMeter(() => now);
  expect(meter.perSecond).toBeUndefined();
  for (; now <= 20_000; now += 50) meter.add(now);
  expect(meter.perSecond).toBeCloseTo(1000, -2);
  // Then nothing arrives.
  now += 10_000;
  expect(meter.perSecond).toBeCloseTo(500, -2);
});
