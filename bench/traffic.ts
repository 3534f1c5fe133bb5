/** Traffic of a Redis by its own counters: commands by name, bytes on its connections and in its append-only file. */
import { Redis } from 'ioredis';
import { round } from './statistics.ts';

export interface Traffic {
  /** Calls of each command; commands inside scripts count, too. */
  calls: Map<string, number>;
  networkBytes: number;
  fileBytes: number;
}

/** Commands of this module itself. */
const OWN = new Set(['info', 'config|set']);
/** Commands named in a figure. */
const LISTED = 12;

export class TrafficMeter {
  readonly #redis: Redis;

  private constructor(redis: Redis) {
    this.#redis = redis;
  }

  static async open(redisUrl: string): Promise<TrafficMeter> {
    const redis = new Redis(redisUrl);
    // A rewrite during a measurement would shorten the file.
    await redis.config('SET', 'auto-aof-rewrite-percentage', '0');
    return new TrafficMeter(redis);
  }

  /** Sums since the start of Redis. */
  async read(): Promise<Traffic> {
    const sections = ['commandstats', 'stats', 'persistence'];
    return parseTraffic((await Promise.all(sections.map((name) => this.#redis.info(name)))).join('\n'));
  }

  close(): void {
    this.#redis.disconnect();
  }
}

export function parseTraffic(info: string): Traffic {
  const value = (name: string) => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info)?.[1] ?? 0);
  const calls = new Map(
    [...info.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)].map(([, name = '', count]) => [name, Number(count)]),
  );
  for (const name of OWN) calls.delete(name);
  return {
    calls,
    networkBytes: value('total_net_input_bytes') + value('total_net_output_bytes'),
    fileBytes: value('aof_current_size'),
  };
}

export function trafficBetween(before: Traffic, after: Traffic): Traffic {
  return {
    calls: new Map([...after.calls].map(([name, count]) => [name, count - (before.calls.get(name) ?? 0)])),
    networkBytes: after.networkBytes - before.networkBytes,
    fileBytes: after.fileBytes - before.fileBytes,
  };
}

export function sumOfTraffic(parts: readonly Traffic[]): Traffic {
  const calls = new Map<string, number>();
  for (const part of parts) {
    for (const [name, count] of part.calls) calls.set(name, (calls.get(name) ?? 0) + count);
  }
  const sum = (of: 'networkBytes' | 'fileBytes') => parts.reduce((total, part) => total + part[of], 0);
  return { calls, networkBytes: sum('networkBytes'), fileBytes: sum('fileBytes') };
}

export const callsIn = ({ calls }: Traffic): number => [...calls.values()].reduce((sum, n) => sum + n, 0);

/** `zadd 2.1, hset 1`: calls per row of the most frequent commands. */
export function callsByName({ calls }: Traffic, rows: number): string {
  return [...calls]
    .sort(([, a], [, b]) => b - a)
    .slice(0, LISTED)
    .map(([name, count]) => `${name} ${round(count / rows)}`)
    .join(', ');
}
