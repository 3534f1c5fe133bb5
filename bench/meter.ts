/** Measures repeated work: its rate, CPU by kind of process, and bytes through Redis. */
import { Redis } from 'ioredis';
import type { Figures } from './figures.ts';
import { cpuBy, cpuPerRow, type Processes } from './processes.ts';
import { median, round } from './statistics.ts';

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
  const redis = new Redis(redisUrl);
  try {
    // A rewrite during the measurement would shorten the file.
    await redis.config('SET', 'auto-aof-rewrite-percentage', '0');
    await run();
    const rates: number[] = [];
    const cost: Record<string, number[]> = {};
    const start = await passedThrough(redis);
    for (let i = 0; i < ROUNDS; i++) {
      const before = cpuBy(processes);
      const started = performance.now();
      await run();
      rates.push((count * 1000) / (performance.now() - started));
      for (const [kind, micros] of Object.entries(cpuPerRow(before, cpuBy(processes), count)))
        (cost[kind] ??= []).push(micros);
    }
    const end = await passedThrough(redis);
    const perUnit = (what: keyof typeof end) => round((end[what] - start[what]) / (ROUNDS * count), 0);
    return {
      [`${unit}s/s`]: round(median(rates), 0),
      ...Object.fromEntries(
        Object.entries(cost).map(([kind, values]) => [
          `CPU of ${kind} (µs/${unit})`,
          round(median(values), 1),
        ]),
      ),
      [`network of Redis (bytes/${unit})`]: perUnit('network'),
      [`append-only file (bytes/${unit})`]: perUnit('file'),
    };
  } finally {
    redis.disconnect();
  }
}

/** Bytes so far: on Redis's connections, and in its append-only file. */
async function passedThrough(redis: Redis): Promise<{ network: number; file: number }> {
  const info = `${await redis.info('stats')}\n${await redis.info('persistence')}`;
  const value = (name: string) => Number(new RegExp(`${name}:(\\d+)`).exec(info)?.[1]);
  return {
    network: value('total_net_input_bytes') + value('total_net_output_bytes'),
    file: value('aof_current_size'),
  };
}
