/** Rounds of Amulet in turn with the raw limit of the machine, which they are compared with. */
import type { Stack } from '../test/support/processes/stack.ts';
import * as effort from './effort.ts';
import type { Forks } from './forks.ts';
import { cpuBy, cpuPerRow, PeakResident, processesOf } from './processes.ts';
import { rawRound, type RawRound } from './raw.ts';
import { median, round, withInterval } from './statistics.ts';
import { callsByName, callsIn, sumOfTraffic, TrafficMeter, trafficBetween, type Traffic } from './traffic.ts';
import { between, readBatches } from './worker-metrics.ts';

export interface Rounds {
  raw: Forks;
  stack: Stack;
  redisUrl: string;
  rounds: number;
  /** Texts of a round: other ones than before, so that no cache has their results. */
  texts: (round: number) => string[];
  /** Classifies the texts once. */
  run: (texts: string[]) => Promise<void>;
}

/** @returns figures, and the CPU by process (µs/row) of each round */
export async function besideRaw({ raw, stack, redisUrl, rounds, texts: textsOf, run }: Rounds) {
  const pids = await processesOf(stack, redisUrl);
  const { clients: _, ...servers } = pids;
  const rates: number[] = [];
  const limits: RawRound[] = [];
  const spent: Record<string, number>[] = [];
  const traffic: Traffic[] = [];
  const batches = await readBatches(stack);
  const meter = await TrafficMeter.open(redisUrl);
  const resident = new PeakResident(Object.values(servers).flat());
  let rows = 0;
  let residentMb: number;
  try {
    for (let i = 0; i < effort.rounds(rounds); i++) {
      const texts = textsOf(i);
      rows += texts.length;
      limits.push(await rawRound(raw, texts));
      const trafficBefore = await meter.read();
      const before = cpuBy(pids);
      const start = performance.now();
      await run(texts);
      rates.push(texts.length / ((performance.now() - start) / 1000));
      spent.push(cpuPerRow(before, cpuBy(pids), texts.length));
      traffic.push(trafficBetween(trafficBefore, await meter.read()));
    }
  } finally {
    meter.close();
    residentMb = resident.stop();
  }
  const ran = between(batches, await readBatches(stack));
  const used = sumOfTraffic(traffic);
  const medianOf = (values: number[]) => round(median(values), 0);
  const names = Object.keys(spent[0] ?? {});
  return {
    cpu: {
      'CPU of raw (µs/row)': medianOf(limits.map(({ cpuMicrosPerRow }) => cpuMicrosPerRow)),
      'of that, the model (µs/row)': medianOf(limits.map(({ modelMicrosPerRow }) => modelMicrosPerRow)),
      ...Object.fromEntries(
        names.map((name) => [`CPU of ${name} (µs/row)`, medianOf(spent.map((each) => each[name]!))]),
      ),
      "model processes ÷ raw's model, median [95 %]": withInterval(
        spent.map((each, i) => each['model processes']! / limits[i]!.modelMicrosPerRow),
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
    redis: {
      'commands of Redis (per row)': round(callsIn(used) / rows, 2),
      'of these (per row)': callsByName(used, rows),
      'append-only file (bytes/row)': round(used.fileBytes / rows, 0),
    },
    memory: {
      'RSS of API, worker, model processes and Redis, peak (MB)': residentMb,
      'of that, pages that n processes share counted 1/n (MB)': resident.proportionalMb,
    },
    spent,
    ran,
  };
}
