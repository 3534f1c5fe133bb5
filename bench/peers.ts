/**
 * Compares Amulet with other servers of the same ONNX file, on the same cores with the same clients, in alternating rounds. Each
 * server runs alone, started for its turn in a round and stopped after it. peers/README.md explains each configuration.
 */
import { availableParallelism } from 'node:os';
import { AMULET, AMULET_JOBS, FASTAPI, TEI, TRANSFORMERS_JS } from './budgets.ts';
import { cpuSeconds } from './cpu.ts';
import * as effort from './effort.ts';
import type { Figures } from './figures.ts';
import { JOB, PREDICT, predictAll, predictions, type Prediction } from './peers/clients.ts';
import {
  amuletOn,
  bentoMl,
  fastApi,
  infinity,
  litServe,
  textEmbeddingsInference,
  transformersJs,
  type Contender,
  type Serving,
} from './peers/contenders.ts';
import { Unavailable } from './peers/install.ts';
import { endServersWithBench } from './peers/server.ts';
import { PeakResident } from './processes.ts';
import { median, percentile, round, withInterval } from './statistics.ts';
import { mixedLengths, sentences } from './texts.ts';

/** The fewest rounds that give a 95 % interval for a median. */
const ROUNDS = 6;
const CLIENTS = 64;

const PEERS: Record<string, () => Promise<Contender>> = {
  [FASTAPI]: () => fastApi(availableParallelism(), 1),
  'FastAPI, one worker': () => fastApi(1, availableParallelism()),
  LitServe: litServe,
  [TRANSFORMERS_JS]: transformersJs,
  [TEI]: textEmbeddingsInference,
  'infinity, a process pinned to each core': infinity,
  BentoML: bentoMl,
};

interface Load {
  texts: string[];
  clients: number;
}

/** One client has to wait for each text; many compete. */
const loads = (): Record<string, Load> => ({
  sentences: { texts: sentences(effort.rows(1500)), clients: CLIENTS },
  'mixed lengths': { texts: mixedLengths(effort.rows(300)), clients: CLIENTS },
  'one client': { texts: sentences(effort.rows(300), 7), clients: 1 },
});

/** Texts before the measurement. Amulet used 1.3 times as much CPU a row for the first thousand: JIT compilation. */
const warmUp = (): string[] => [...sentences(effort.rows(2500), 3), ...mixedLengths(effort.rows(40), 4)];

/** Texts on which every server must agree with Amulet, sent together. */
const CHECKED = [
  'a stirring, funny and finally transporting film',
  'a tedious mess',
  'Ünïcödé — naïve café, 100 % fine 🙂',
  ...sentences(5, 5),
  ...mixedLengths(8, 6),
];
const TOLERANCE = 0.01;

/** One server's measurement in one round, with one load. */
interface Measurement {
  rowsPerSecond: number;
  waits: number[];
  cpuMicrosPerRow: number;
  residentMb: number;
}

let only: readonly string[] = [''];

/** Only peers whose names contain one of these. */
export function usePeers(texts: readonly string[]): void {
  only = texts;
}

export async function peers(redisUrl: string): Promise<Figures> {
  const restore = endServersWithBench();
  try {
    const amulet = await amuletOn(redisUrl, PREDICT);
    const { contenders: others, left } = await prepare();
    const ours = [AMULET, AMULET_JOBS];
    const contenders = new Map([[AMULET, amulet], [AMULET_JOBS, await amuletOn(redisUrl, JOB)], ...others]);
    const expected = await during(amulet, (server) => predictions(server, CHECKED));

    const names = [...contenders.keys()];
    const measurements = new Map<string, Measurement[]>();
    for (let i = 0; i < effort.rounds(ROUNDS); i++) {
      // The order rotates, so that other load on the machine does not always hit the same server.
      for (const name of [...names.slice(i % names.length), ...names.slice(0, i % names.length)]) {
        if (name in left) continue;
        try {
          const measured = await during(contenders.get(name)!, async (server) => {
            compare(expected, await predictions(server, CHECKED));
            return measureServer(server);
          });
          for (const [load, value] of Object.entries(measured)) {
            const key = `${load}: ${name}`;
            measurements.set(key, [...(measurements.get(key) ?? []), value]);
          }
        } catch (error) {
          if (ours.includes(name)) throw error;
          left[name] = `error: ${oneLine(error)}`;
        }
      }
    }

    const figures: Figures = {};
    const measured = names.filter((name) => !(name in left));
    for (const [load, { clients }] of Object.entries(loads())) {
      for (const name of measured) {
        Object.assign(figures, rows(`${load}: ${name}`, measurements.get(`${load}: ${name}`)!));
      }
      for (const our of ours) {
        for (const name of measured.filter((name) => !ours.includes(name))) {
          const [own, theirs] = [measurements.get(`${load}: ${our}`)!, measurements.get(`${load}: ${name}`)!];
          const ratio = (of: (measurement: Measurement) => number) =>
            withInterval(own.map((one, i) => of(one) / of(theirs[i]!)));
          const pair = `${load}: ${our} ÷ ${name}`;
          if (clients === 1) figures[`${pair}, p50 [95 %]`] = ratio((one) => percentile(one.waits, 50));
          else figures[`${pair}, rows/s [95 %]`] = ratio((one) => one.rowsPerSecond);
          figures[`${pair}, p99 [95 %]`] = ratio((one) => percentile(one.waits, 99));
        }
      }
    }
    for (const [name, { versions }] of contenders) figures[`${name}, versions`] = versions;
    return { ...figures, ...left };
  } finally {
    restore();
  }
}

/** Installs the packages of the peers. Peers that cannot be installed are listed with the reason. */
async function prepare(): Promise<{ contenders: Map<string, Contender>; left: Record<string, string> }> {
  const contenders = new Map<string, Contender>();
  const left: Record<string, string> = {};
  for (const [name, make] of Object.entries(PEERS)) {
    try {
      if (!only.some((text) => name.includes(text))) throw new Unavailable('not chosen by --peer');
      contenders.set(name, await make());
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error;
      left[name] = `skipped: ${oneLine(error)}`;
    }
  }
  return { contenders, left };
}

async function during<T>(contender: Contender, work: (server: Serving) => Promise<T>): Promise<T> {
  const server = await contender.start();
  try {
    return await work(server);
  } finally {
    await server.stop();
  }
}

async function measureServer(server: Serving): Promise<Record<string, Measurement>> {
  await predictAll(server, warmUp(), CLIENTS);
  const measured: Record<string, Measurement> = {};
  for (const [load, { texts, clients }] of Object.entries(loads())) {
    const pids = server.pids();
    const cpu = () => pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
    const resident = new PeakResident(pids);
    try {
      const before = cpu();
      const start = performance.now();
      const waits = await predictAll(server, texts, clients);
      const seconds = (performance.now() - start) / 1000;
      measured[load] = {
        rowsPerSecond: texts.length / seconds,
        waits,
        cpuMicrosPerRow: ((cpu() - before) / texts.length) * 1e6,
        residentMb: resident.stop(),
      };
    } finally {
      resident.stop();
    }
  }
  return measured;
}

function rows(name: string, measurements: Measurement[]): Figures {
  const waits = measurements.flatMap((one) => one.waits);
  return {
    [`${name} (rows/s)`]: round(median(measurements.map((one) => one.rowsPerSecond)), 0),
    [`${name}, p50 (ms)`]: round(percentile(waits, 50), 1),
    [`${name}, p99 (ms)`]: round(percentile(waits, 99), 1),
    [`${name}, CPU (µs/row)`]: round(median(measurements.map((one) => one.cpuMicrosPerRow)), 0),
    [`${name}, RSS (MB)`]: round(median(measurements.map((one) => one.residentMb)), 0),
  };
}

/** @throws Error when a server gives other results than Amulet: its speed would be meaningless */
function compare(expected: Prediction[], actual: Prediction[]): void {
  for (const [i, other] of actual.entries()) {
    const { label, score } = expected[i % expected.length]!;
    if (other.label !== label || !(Math.abs(other.score - score) <= TOLERANCE)) {
      throw new Error(
        `text ${i % expected.length} is ${other.label} ${other.score}, but ${label} ${score.toFixed(4)} by Amulet`,
      );
    }
  }
}

const oneLine = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).replace(/\s+/g, ' ').slice(-300);
