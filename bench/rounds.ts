/** Rounds of Amulet in turn with the raw limit of the machine, which they are compared with. */
import type { Stack } from '../test/support/processes/stack.ts';
import type { Forks } from './forks.ts';
import { cpuBy, cpuPerRow, processesOf } from './processes.ts';
import { rawRound, type RawRound } from './raw.ts';
import { median, round, withInterval } from './statistics.ts';
import { between, readBatches } from './worker-metrics.ts';

/**
 * @param run classifies the texts once
 * @returns figures, and the CPU by process (µs/row) of each round
 */
export async function besideRaw(
  { raw, stack, redisUrl, rounds }: { raw: Forks; stack: Stack; redisUrl: string; rounds: number },
  texts: string[],
  run: () => Promise<void>,
) {
  const pids = await processesOf(stack, redisUrl);
  const rates: number[] = [];
  const limits: RawRound[] = [];
  const spent: Record<string, number>[] = [];
  const batches = await readBatches(stack);
  for (let i = 0; i < rounds; i++) {
    limits.push(await rawRound(raw, texts));
    const before = cpuBy(pids);
    const start = performance.now();
    await run();
    rates.push(texts.length / ((performance.now() - start) / 1000));
    spent.push(cpuPerRow(before, cpuBy(pids), texts.length));
  }
  const ran = between(batches, await readBatches(stack));
  const medianOf = (values: number[]) => round(median(values), 0);
  const names = Object.keys(spent[0] ?? {});
  return {
    cpu: {
      'CPU of raw (µs/row)': medianOf(limits.map(({ cpuMicrosPerRow }) => cpuMicrosPerRow)),
      ...Object.fromEntries(
        names.map((name) => [`CPU of ${name} (µs/row)`, medianOf(spent.map((each) => each[name]!))]),
      ),
    },
    rawSpeed: { 'raw (rows/s)': medianOf(limits.map(({ rowsPerSecond }) => rowsPerSecond)) },
    speed: {
      'rows/s': medianOf(rates),
      'ratio to raw, median [95 %]': withInterval(rates.map((rate, i) => rate / limits[i]!.rowsPerSecond)),
    },
    batches: {
      'rows per micro-batch': round(ran.rows / ran.batches, 1),
      'padded ÷ real tokens': round(ran.paddedTokens / ran.tokens),
      'model process idle while rows wait (%)': round(
        (100 * ran.idleSeconds) / (ran.seconds + ran.idleSeconds),
        1,
      ),
    },
    spent,
    ran,
  };
}
