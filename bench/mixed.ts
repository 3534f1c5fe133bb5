/**
 * What urgent texts wait while the machine is full: one client's /predict on an idle service, then again under an endless
 * backlog of low-priority jobs (the stand-in for bulk work), with the rate at which that backlog goes on.
 */
import type { Job } from '../src/shared/contract.ts';
import { Stack } from '../test/support/stack.ts';
import type { Figures } from './main.ts';
import { percentile, round } from './statistics.ts';
import { sentences } from './texts.ts';
import { between, longestMs, readBatches } from './worker-metrics.ts';

const CALLS = 600;
const ROWS_PER_JOB = 128;
const BACKLOG_JOBS = 12;

export async function mixed(redisUrl: string): Promise<Figures> {
  const stack = await Stack.start({
    redisUrl,
    env: { MODEL_PROCESSES: '', BATCH_TOKENS: '', BULK_BATCH_TOKENS: '' },
  });
  try {
    const texts = sentences(CALLS);
    const call = async () => {
      const times: number[] = [];
      for (const text of texts) {
        const start = performance.now();
        const { status } = await stack.post('/predict', { text });
        if (status !== 200) throw new Error(`/predict answered ${status}`);
        times.push(performance.now() - start);
      }
      return times;
    };
    await call();
    const idle = await call();

    let going = true;
    let done = 0;
    const backlog = Array.from({ length: BACKLOG_JOBS }, async (_, i) => {
      const rows = sentences(ROWS_PER_JOB, 100 + i);
      while (going) {
        const { body } = await stack.post<Job>(
          '/v1/jobs',
          { texts: rows, priority: 'low' },
          { Prefer: 'wait=60' },
        );
        if (body.status === 'succeeded') done += ROWS_PER_JOB;
      }
    });
    await new Promise((resolve) => setTimeout(resolve, 2000));
    const before = done;
    const batches = await readBatches(stack);
    const start = performance.now();
    const busy = await call();
    const rate = (done - before) / ((performance.now() - start) / 1000);
    const longest = longestMs(between(batches, await readBatches(stack)));
    going = false;
    await Promise.all(backlog);
    const [idleP99, busyP99] = [percentile(idle, 99), percentile(busy, 99)];
    return {
      'idle p50 (ms)': round(percentile(idle, 50)),
      'idle p99 (ms)': round(idleP99),
      'under a backlog p50 (ms)': round(percentile(busy, 50)),
      'under a backlog p99 (ms)': round(busyP99),
      'backlog meanwhile (rows/s)': round(rate, 0),
      'longest batch, at most (ms)': longest,
      '(p99 under a backlog − idle p99) ÷ longest batch': round((busyP99 - idleP99) / longest),
    };
  } finally {
    await stack.stop();
  }
}
