/** Measures repeated work: its rate, CPU by kind of process, and the traffic of Redis. */
import type { Figures } from './figures.ts';
import { cpuBy, cpuPerRow, type Processes } from './processes.ts';
import { median, round } from './statistics.ts';
import { callsByName, callsIn, TrafficMeter, trafficBetween } from './traffic.ts';

const ROUNDS = 5;

export interface Work {
  /** Unit of `count`, for the names of the figures: `job` or `row`. */
  unit: string;
  /** Units in one round. */
  count: number;
  run: () => Promise<void>;
}

/** Runs the work once to warm up, then in rounds. */
export async function meter(
  processes: Processes,
  redisUrl: string,
  { unit, count, run }: Work,
): Promise<Figures> {
  const redis = await TrafficMeter.open(redisUrl);
  try {
    await run();
    const rates: number[] = [];
    const cost: Record<string, number[]> = {};
    const start = await redis.read();
    for (let i = 0; i < ROUNDS; i++) {
      const before = cpuBy(processes);
      const started = performance.now();
      await run();
      rates.push((count * 1000) / (performance.now() - started));
      for (const [kind, micros] of Object.entries(cpuPerRow(before, cpuBy(processes), count)))
        (cost[kind] ??= []).push(micros);
    }
    const traffic = trafficBetween(start, await redis.read());
    const perUnit = (sum: number, digits = 0) => round(sum / (ROUNDS * count), digits);
    return {
      [`${unit}s/s`]: round(median(rates), 0),
      ...Object.fromEntries(
        Object.entries(cost).map(([kind, values]) => [
          `CPU of ${kind} (µs/${unit})`,
          round(median(values), 1),
        ]),
      ),
      [`network of Redis (bytes/${unit})`]: perUnit(traffic.networkBytes),
      [`append-only file (bytes/${unit})`]: perUnit(traffic.fileBytes),
      [`commands of Redis (per ${unit})`]: perUnit(callsIn(traffic), 2),
      [`of these (per ${unit})`]: callsByName(traffic, ROUNDS * count),
    };
  } finally {
    redis.close();
  }
}
