/**
 * Latency of interactive texts on a full machine: /predict of one client on an idle service, then during a backfill, with the
 * rate of that backfill; and the time of a batch of ten rows submitted meanwhile.
 */
import { Stack } from '../test/support/processes/stack.ts';
import { archiveTexts, asNdjson } from './archive.ts';
import { countResults, deleteBatch, readBatch, submitBatch } from './batch-client.ts';
import type { Figures } from './figures.ts';
import { percentile, round } from './statistics.ts';
import { sentences } from './texts.ts';
import { between, longestMs, readBatches } from './worker-metrics.ts';

const CALLS = 600;
/** More rows than the machine finishes during the measurement. */
const BACKFILL_ROWS = 100_000;

export async function mixed(redisUrl: string): Promise<Figures> {
  const stack = await Stack.start({
    redisUrl,
    env: { MODEL_PROCESSES: '', BATCH_TOKENS: '', BULK_BATCH_TOKENS: '' },
  });
  try {
    // Other texts each time, so that no cache has their results.
    let seed = 100;
    const call = async () => {
      const times: number[] = [];
      for (const text of sentences(CALLS, seed++)) {
        const start = performance.now();
        const { status } = await stack.post('/predict', { text });
        if (status !== 200) throw new Error(`/predict answered ${status}`);
        times.push(performance.now() - start);
      }
      return times;
    };
    await call();
    const idle = await call();

    const { id } = await submitBatch(stack.url, asNdjson(archiveTexts(BACKFILL_ROWS)));
    await new Promise((resolve) => setTimeout(resolve, 2000));
    const finished = async () => (await readBatch(stack.url, id)).rows.finished;
    const before = await finished();
    const batches = await readBatches(stack);
    const start = performance.now();
    const busy = await call();
    const rate = ((await finished()) - before) / ((performance.now() - start) / 1000);
    const longest = longestMs(between(batches, await readBatches(stack)));
    const smallStart = performance.now();
    const small = await submitBatch(stack.url, asNdjson(archiveTexts(10)));
    await countResults(stack.url, small.id);
    const smallMs = performance.now() - smallStart;
    await deleteBatch(stack.url, id);
    const [idleP99, busyP99] = [percentile(idle, 99), percentile(busy, 99)];
    return {
      'idle p50 (ms)': round(percentile(idle, 50)),
      'idle p99 (ms)': round(idleP99),
      'during a backfill p50 (ms)': round(percentile(busy, 50)),
      'during a backfill p99 (ms)': round(busyP99),
      'backfill meanwhile (rows/s)': round(rate, 0),
      'a batch of 10 rows, meanwhile (ms)': round(smallMs, 0),
      'longest micro-batch, at most (ms)': longest,
      '(p99 during a backfill − idle p99) ÷ longest micro-batch': round((busyP99 - idleP99) / longest),
    };
  } finally {
    await stack.stop();
  }
}
