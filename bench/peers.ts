/**
 * Compares Amulet with other servers of the same ONNX file, on the same cores with the same 64 clients, in alternating rounds.
 * Each server runs alone, started for its turn in a round and stopped after it. peers/README.md explains each configuration.
 */
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { Redis } from 'ioredis';
import { Stack } from '../test/support/processes/stack.ts';
import { cpuSeconds } from './cpu.ts';
import type { Figures } from './figures.ts';
import { SHIPPED } from './models.ts';
import { predictAll, predictions, type Prediction } from './peers/clients.ts';
import {
  nodePackages,
  packageVersion,
  pythonEnvironment,
  pythonVersions,
  Unavailable,
} from './peers/install.ts';
import { endServersWithBench, processTree, Server, type Command } from './peers/server.ts';
import { median, percentile, round, withInterval } from './statistics.ts';
import { mixedLengths, sentences } from './texts.ts';

/** The fewest rounds that give a 95 % interval for a median. */
const ROUNDS = 6;
const CLIENTS = 64;
const MODEL = path.resolve(SHIPPED);
const SERVICES = path.join(import.meta.dirname, 'peers');

const TEXTS: Record<string, string[]> = {
  sentences: sentences(1500),
  'mixed lengths': mixedLengths(300),
};

/** Texts before the measurement. Amulet used 1.3 times as much CPU a row for the first thousand: JIT compilation. */
const WARM_UP = [...sentences(2500, 3), ...mixedLengths(40, 4)];

/** Texts on which every server must agree with Amulet, sent together. */
const CHECKED = [
  'a stirring, funny and finally transporting film',
  'a tedious mess',
  'Ünïcödé — naïve café, 100 % fine 🙂',
  ...sentences(5, 5),
  ...mixedLengths(8, 6),
];
const TOLERANCE = 0.01;

/** A running server. */
interface Serving {
  url: string;
  pids: () => number[];
  stop: () => Promise<void>;
}

interface Contender {
  start: () => Promise<Serving>;
  versions: string;
}

/** One server's measurement in one round, with one set of texts. */
interface Measurement {
  rowsPerSecond: number;
  waits: number[];
  cpuMicrosPerRow: number;
}

export async function peers(redisUrl: string): Promise<Figures> {
  const restore = endServersWithBench();
  try {
    const amulet = await amuletOn(redisUrl);
    const { contenders, left } = await prepare({
      'FastAPI, a worker per core': () => fastApi(availableParallelism(), 1),
      'FastAPI, one worker': () => fastApi(1, availableParallelism()),
      LitServe: litServe,
      'transformers.js': transformersJs,
    });
    const expected = await during(amulet, ({ url }) => predictions(url, CHECKED));

    const names = ['Amulet', ...contenders.keys()];
    const measurements = new Map<string, Measurement[]>();
    for (let i = 0; i < ROUNDS; i++) {
      // The order rotates, so that other load on the machine does not always hit the same server.
      for (const name of [...names.slice(i % names.length), ...names.slice(0, i % names.length)]) {
        if (name in left) continue;
        try {
          const measured = await during(
            name === 'Amulet' ? amulet : contenders.get(name)!,
            async (server) => {
              compare(expected, await predictions(server.url, CHECKED));
              return measureServer(server);
            },
          );
          for (const [set, value] of Object.entries(measured)) {
            const key = `${set}: ${name}`;
            measurements.set(key, [...(measurements.get(key) ?? []), value]);
          }
        } catch (error) {
          if (name === 'Amulet') throw error;
          left[name] = `error: ${oneLine(error)}`;
        }
      }
    }

    const figures: Figures = {};
    for (const set of Object.keys(TEXTS)) {
      for (const name of names.filter((name) => !(name in left))) {
        Object.assign(figures, rows(`${set}: ${name}`, measurements.get(`${set}: ${name}`)!));
      }
      for (const name of names.filter((name) => name !== 'Amulet' && !(name in left))) {
        const [ours, theirs] = [measurements.get(`${set}: Amulet`)!, measurements.get(`${set}: ${name}`)!];
        const ratio = (of: (measurement: Measurement) => number) =>
          withInterval(ours.map((one, i) => of(one) / of(theirs[i]!)));
        figures[`${set}: Amulet ÷ ${name}, rows/s [95 %]`] = ratio((one) => one.rowsPerSecond);
        figures[`${set}: Amulet ÷ ${name}, p99 [95 %]`] = ratio((one) => percentile(one.waits, 99));
      }
    }
    figures['Amulet, versions'] = amulet.versions;
    for (const [name, { versions }] of contenders) figures[`${name}, versions`] = versions;
    return { ...figures, ...left };
  } finally {
    restore();
  }
}

/** Installs the packages of the peers. Peers that cannot be installed are listed with the reason. */
async function prepare(
  makers: Record<string, () => Promise<Contender>>,
): Promise<{ contenders: Map<string, Contender>; left: Record<string, string> }> {
  const contenders = new Map<string, Contender>();
  const left: Record<string, string> = {};
  for (const [name, make] of Object.entries(makers)) {
    try {
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
  await predictAll(server.url, WARM_UP, CLIENTS);
  const measured: Record<string, Measurement> = {};
  for (const [set, texts] of Object.entries(TEXTS)) {
    const pids = server.pids();
    const cpu = () => pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
    const before = cpu();
    const start = performance.now();
    const waits = await predictAll(server.url, texts, CLIENTS);
    const seconds = (performance.now() - start) / 1000;
    measured[set] = {
      rowsPerSecond: texts.length / seconds,
      waits,
      cpuMicrosPerRow: ((cpu() - before) / texts.length) * 1e6,
    };
  }
  return measured;
}

function rows(name: string, measurements: Measurement[]): Figures {
  const waits = measurements.flatMap((one) => one.waits);
  return {
    [`${name} (rows/s)`]: round(median(measurements.map((one) => one.rowsPerSecond)), 0),
    [`${name}, p50 (ms)`]: round(percentile(waits, 50), 0),
    [`${name}, p99 (ms)`]: round(percentile(waits, 99), 0),
    [`${name}, CPU (µs/row)`]: round(median(measurements.map((one) => one.cpuMicrosPerRow)), 0),
  };
}

/** @throws Error when a server gives other results than Amulet: its speed would be meaningless */
function compare(expected: Prediction[], actual: Prediction[]): void {
  for (const [i, { label, score }] of expected.entries()) {
    const other = actual[i]!;
    if (other.label !== label || !(Math.abs(other.score - score) <= TOLERANCE)) {
      throw new Error(
        `text ${i} is ${other.label} ${other.score}, but ${label} ${score.toFixed(4)} by Amulet`,
      );
    }
  }
}

const oneLine = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).replace(/\s+/g, ' ').slice(-300);

/** Amulet as `npm start` runs it; the CPU of its Redis counts for Amulet. */
async function amuletOn(redisUrl: string): Promise<Contender> {
  const redis = new Redis(redisUrl);
  const redisPid = Number(/process_id:(\d+)/.exec(await redis.info('server'))?.[1]);
  redis.disconnect();
  return {
    versions: `onnxruntime-node ${packageVersion('.', 'onnxruntime-node')}, Node ${process.version}`,
    start: async () => {
      const stack = await Stack.start({
        redisUrl,
        env: { MODEL_PROCESSES: '', BATCH_TOKENS: '', BULK_BATCH_TOKENS: '' },
      });
      const processes = [stack.api, ...stack.workers].map(({ child }) => child.pid!);
      return {
        url: stack.url,
        pids: () => processTree([...processes, redisPid]),
        stop: () => stack.stop(),
      };
    },
  };
}

function contender(command: Command, versions: string): Contender {
  return {
    versions,
    start: async () => {
      const server = await Server.start(command);
      return { url: server.url, pids: () => processTree([server.pid]), stop: () => server.stop() };
    },
  };
}

async function fastApi(workers: number, intraOpThreads: number): Promise<Contender> {
  const python = await pythonEnvironment();
  return contender(
    {
      program: python,
      // prettier-ignore
      args: (port) => [
        '-m', 'uvicorn', 'fastapi_service:app', '--host', '127.0.0.1', '--port', String(port),
        '--workers', String(workers), '--no-access-log', '--log-level', 'warning',
      ],
      env: { MODEL_DIR: MODEL, INTRA_OP_THREADS: String(intraOpThreads), PYTHONDONTWRITEBYTECODE: '1' },
      cwd: SERVICES,
      ready: workers,
    },
    await pythonVersions(python, ['fastapi', 'uvicorn', 'onnxruntime', 'tokenizers']),
  );
}

async function litServe(): Promise<Contender> {
  const python = await pythonEnvironment();
  const workers = availableParallelism();
  return contender(
    {
      program: python,
      args: () => ['litserve_service.py'],
      env: {
        MODEL_DIR: MODEL,
        INTRA_OP_THREADS: '1',
        WORKERS: String(workers),
        MAX_BATCH_SIZE: '16',
        BATCH_TIMEOUT: '0.01',
        PYTHONDONTWRITEBYTECODE: '1',
      },
      cwd: SERVICES,
      ready: workers,
    },
    await pythonVersions(python, ['litserve', 'fastapi', 'uvicorn', 'onnxruntime', 'tokenizers']),
  );
}

async function transformersJs(): Promise<Contender> {
  const packages = await nodePackages();
  const processes = availableParallelism();
  const versions = ['@huggingface/transformers', 'onnxruntime-node'].map(
    (name) => `${name} ${packageVersion(packages, name)}`,
  );
  return contender(
    {
      program: process.execPath,
      args: () => ['--disable-warning=ExperimentalWarning', path.join(SERVICES, 'transformers-service.ts')],
      env: { MODEL_DIR: MODEL, INTRA_OP_THREADS: '1', PROCESSES: String(processes), PACKAGES: packages },
      ready: processes,
    },
    [...versions, `hono ${packageVersion('.', 'hono')}`, `Node ${process.version}`].join(', '),
  );
}
