/** The processes of a stack, their CPU time and memory. */
import { readdirSync, readFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import type { Stack } from '../test/support/processes/stack.ts';
import { cpuSeconds } from './cpu.ts';

/** Process ids by kind. */
export type Processes = Record<string, number[]>;

export async function processesOf(stack: Stack, redisUrl: string): Promise<Processes> {
  const redis = new Redis(redisUrl);
  const redisPid = Number(/process_id:(\d+)/.exec(await redis.info('server'))?.[1]);
  redis.disconnect();
  const workers = stack.workers.map((worker) => worker.child.pid!);
  return {
    API: [stack.api.child.pid!],
    workers,
    'model processes': workers.flatMap(childrenOf),
    Redis: [redisPid],
    clients: [process.pid],
  };
}

function childrenOf(pid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
        return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === pid;
      } catch {
        return false;
      }
    })
    .map(Number);
}

/** CPU seconds of each kind since its start. */
export function cpuBy(processes: Processes, secondsOf = cpuSeconds): Record<string, number> {
  return Object.fromEntries(
    Object.entries(processes).map(([name, pids]) => [
      name,
      pids.reduce((sum, pid) => sum + secondsOf(pid), 0),
    ]),
  );
}

/** CPU of each kind between two readings, in µs per row. */
export function cpuPerRow(
  before: Record<string, number>,
  after: Record<string, number>,
  rows: number,
): Record<string, number> {
  return Object.fromEntries(
    Object.keys(after).map((name) => [name, ((after[name]! - before[name]!) / rows) * 1e6]),
  );
}

export function residentMb(pid: number): number {
  const kb = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Math.round(Number(kb) / 1000);
}

/** A process's part of the memory of the machine: pages that n processes share count 1/n. Reading it takes milliseconds. */
function proportionalMb(pid: number): number {
  const kb = /^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1];
  return Math.round(Number(kb) / 1000);
}

const SAMPLE_MS = 250;

/** Samples the resident memory of some processes together; pages that they share count for each. */
export class PeakResident {
  readonly #pids: readonly number[];
  readonly #timer: NodeJS.Timeout;
  #peakMb = 0;
  /** What the processes had of the machine's memory at the highest sum so far. */
  proportionalMb = 0;

  constructor(pids: readonly number[]) {
    this.#pids = pids;
    this.#timer = setInterval(() => this.#look(), SAMPLE_MS);
  }

  /** Takes the last sample. @returns the highest sum */
  stop(): number {
    clearInterval(this.#timer);
    this.#look();
    return this.#peakMb;
  }

  #look(): void {
    const sumOf = (megabytesOf: (pid: number) => number) =>
      this.#pids.reduce((sum, pid) => sum + megabytesOf(pid), 0);
    try {
      const megabytes = sumOf(residentMb);
      if (megabytes <= this.#peakMb) return;
      this.proportionalMb = sumOf(proportionalMb);
      this.#peakMb = megabytes;
    } catch {
      // A process has ended: a sum without it would be too small.
    }
  }
}

/** Samples peak memory: of each kind of process (summed), and of the data in Redis. */
export class PeakWatch {
  readonly #processes: Processes;
  readonly #timer: NodeJS.Timeout;
  readonly #redis: Redis;
  readonly #baseKb: Promise<number>;
  readonly peakMb: Record<string, number> = {};
  /** Above the size at the start of the watch. */
  redisPeakKb = 0;

  constructor(processes: Processes, redisUrl: string) {
    this.#redis = new Redis(redisUrl);
    this.#baseKb = this.#usedKb();
    this.#processes = processes;
    this.#timer = setInterval(() => void this.#look().catch(() => {}), SAMPLE_MS);
  }

  /** Takes the last sample. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#look();
    this.#redis.disconnect();
  }

  async #look(): Promise<void> {
    for (const [name, pids] of Object.entries(this.#processes)) {
      const mb = pids.reduce((sum, pid) => sum + residentMb(pid), 0);
      this.peakMb[name] = Math.max(this.peakMb[name] ?? 0, mb);
    }
    const used = (await this.#usedKb()) - (await this.#baseKb);
    this.redisPeakKb = Math.max(this.redisPeakKb, Math.round(used));
  }

  async #usedKb(): Promise<number> {
    return Number(/used_memory_dataset:(\d+)/.exec(await this.#redis.info('memory'))?.[1]) / 1024;
  }
}
