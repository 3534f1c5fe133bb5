/**
 * Did a change make the road to the model cheaper? CPU, Redis commands and bytes of a job in this checkout and in another one
 * (`--against DIR`), in alternating rounds. Each checkout has its own Redis, and a model that takes no time (stub-onnxruntime.ts).
 * `--against .` compares the checkout with itself: that is the noise.
 */
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { OwnRedis } from '../test/support/redis/redis.ts';
import type { Stack } from '../test/support/processes/stack.ts';
import { runBatch } from './batch-client.ts';
import { COMPILED_JOBS, runClients, submitAndPoll, submitAndWait } from './clients.ts';
import { cpuSecondsOfThreads } from './cpu.ts';
import * as effort from './effort.ts';
import { type Figures, prefixed } from './figures.ts';
import { cpuBy, cpuPerRow } from './processes.ts';
import { median, round, withInterval } from './statistics.ts';
import { sentences } from './texts.ts';
import { callsIn, TrafficMeter, trafficBetween } from './traffic.ts';

const STUB = new URL('./stub-onnxruntime.ts', import.meta.url).href;
/** Both checkouts are started anew so often: a process keeps the luck of its memory layout. */
const STARTS = 2;
const ROUNDS = 8;
const CLIENTS = 64;
const SINGLES = 2500;
const BULK_ROWS = 20_000;

interface Work {
  /** Units of a round. */
  count: number;
  /** Units before the rounds. */
  warmUp: number;
  run: (url: string, texts: string[]) => Promise<void>;
}

/** One unit of each kind of work: a job of one sentence, or a row of a batch. */
const WORK: Record<string, Work> = {
  'a job, waited for': {
    count: SINGLES,
    warmUp: COMPILED_JOBS,
    run: async (url, texts) => {
      await runClients(texts, CLIENTS, (text, agent) => submitAndWait(url, [text], agent));
    },
  },
  'a job, polled': {
    count: SINGLES,
    warmUp: SINGLES,
    run: async (url, texts) => {
      await runClients(texts, CLIENTS, (text, agent) => submitAndPoll(url, [text], agent));
    },
  },
  'a row of a batch': {
    count: BULK_ROWS,
    warmUp: BULK_ROWS,
    run: runBatch,
  },
};

let other: string | undefined;

/** The checkout to compare with. */
export function useOther(folder: string): void {
  other = folder;
}

export async function pair(): Promise<Figures> {
  if (other === undefined) return { skipped: 'name a checkout: --against DIR' };
  const folders = [path.resolve(other), path.resolve('.')];
  /** Costs by kind of work and what is counted: of the other checkout and of this one, round by round. */
  const costs = new Map<string, [number, number][]>();
  // Every round has other texts, so that no cache has their results; both checkouts get the same ones.
  let seed = 100;
  for (let start = 0; start < effort.rounds(STARTS); start++) {
    const sides: Side[] = [];
    try {
      for (const folder of folders) sides.push(await Side.start(folder));
      for (const [kind, { count, warmUp, run }] of Object.entries(WORK)) {
        const first = sentences(effort.rows(warmUp), seed++);
        for (const side of sides) await side.measure(first, run);
        for (let i = 0; i < effort.rounds(ROUNDS); i++) {
          // Which side goes first alternates: the second one may find the machine warmer.
          const order = (start + i) % 2 === 0 ? [0, 1] : [1, 0];
          const texts = sentences(effort.rows(count), seed++);
          const found: Record<string, number>[] = [];
          for (const at of order) found[at] = await sides[at]!.measure(texts, run);
          for (const [what, theirs] of Object.entries(found[0]!)) {
            const name = `${kind}: ${what}`;
            costs.set(name, [...(costs.get(name) ?? []), [theirs, found[1]![what]!]]);
          }
        }
      }
    } finally {
      await Promise.all(sides.map((side) => side.stop()));
    }
  }
  const figures: Figures = {};
  for (const [name, rounds] of costs) {
    const [theirs, ours] = [median(rounds.map(([each]) => each)), median(rounds.map(([, each]) => each))];
    const ratio = withInterval(rounds.map(([before, after]) => after / before));
    figures[name] = `${round(theirs)} → ${round(ours)}, × ${ratio}`;
  }
  return prefixed('other → this', figures);
}

/** A running checkout. */
class Side {
  readonly #redis: OwnRedis;
  readonly #stack: Stack;
  readonly #traffic: TrafficMeter;

  private constructor(redis: OwnRedis, stack: Stack, traffic: TrafficMeter) {
    this.#redis = redis;
    this.#stack = stack;
    this.#traffic = traffic;
  }

  static async start(folder: string): Promise<Side> {
    const redis = await OwnRedis.start();
    // The processes of the other checkout are its own; clients, stub and Redis are this one's.
    const module = pathToFileURL(path.join(folder, 'test/support/processes/stack.ts')).href;
    const other = (await import(module)) as typeof import('../test/support/processes/stack.ts');
    let stack: Stack | undefined;
    try {
      const model = path.join(folder, 'models/sst2-minilm');
      const env = { MODEL_DIR: model, DEFAULT_MODEL: path.basename(model), REDIS_TIMEOUT_MS: '20000' };
      stack = await other.Stack.start({ redisUrl: redis.url, workers: 0, env });
      stack.workers = [stack.startWorker({ NODE_OPTIONS: `--import=${STUB}` })];
      await Promise.all(stack.workers.map((worker) => worker.ready));
      return new Side(redis, stack, await TrafficMeter.open(redis.url));
    } catch (error) {
      await stack?.stop();
      await redis.stop();
      throw error;
    }
  }

  /** Has the texts classified. @returns costs per text */
  async measure(
    texts: string[],
    run: (url: string, texts: string[]) => Promise<void>,
  ): Promise<Record<string, number>> {
    const cpu = () =>
      cpuBy(
        {
          API: [this.#stack.api.child.pid!],
          worker: [this.#stack.workers[0]!.child.pid!],
          Redis: [this.#redis.pid],
        },
        cpuSecondsOfThreads,
      );
    const trafficBefore = await this.#traffic.read();
    const before = cpu();
    await run(this.#stack.url, texts);
    const spent = cpuPerRow(before, cpu(), texts.length);
    const traffic = trafficBetween(trafficBefore, await this.#traffic.read());
    return {
      ...Object.fromEntries(Object.entries(spent).map(([kind, micros]) => [`CPU of ${kind} (µs)`, micros])),
      'commands of Redis': callsIn(traffic) / texts.length,
      'append-only file (bytes)': traffic.fileBytes / texts.length,
    };
  }

  async stop(): Promise<void> {
    this.#traffic.close();
    await this.#stack.stop();
    await this.#redis.stop();
  }
}
