/** Memory and open files of processes over time, from /proc and heap-probe.ts. */
import type { ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

interface Sample {
  /** Minutes since the first one. */
  at: number;
  rssMb: number;
  /** In use after a garbage collection: JavaScript objects and what they hold outside the heap. */
  heapMb: number;
  files: number;
}

/** Rarely, because every sample runs a full garbage collection. */
const EVERY_MS = 15_000;
const MB = 2 ** 20;

export class Samples {
  readonly #series = new Map<string, Sample[]>();
  readonly #processes: () => Map<string, ChildProcess>;
  readonly #start = Date.now();
  readonly #timer: NodeJS.Timeout;

  /** @param processes that are watched, by name; they have loaded heap-probe.ts */
  constructor(processes: () => Map<string, ChildProcess>) {
    this.#processes = processes;
    this.#timer = setInterval(() => void this.#takeAll(), EVERY_MS);
  }

  async #takeAll(): Promise<void> {
    for (const [name, child] of this.#processes()) {
      try {
        const heapMb = (await heapBytes(child)) / MB;
        const { pid } = child;
        const rssKb = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
        const files = readdirSync(`/proc/${pid}/fd`).length;
        const series = this.#series.get(name) ?? [];
        series.push({ at: (Date.now() - this.#start) / 60_000, rssMb: rssKb / 1024, heapMb, files });
        this.#series.set(name, series);
      } catch {
        // The process has just ended.
      }
    }
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** For each process: medians of the second and of the last quarter (the first one is warming up), and what that is an hour. */
  summary(): { name: string; early: Sample; late: Sample; perHour: (of: 'rssMb' | 'heapMb') => number }[] {
    return [...this.#series].map(([name, series]) => {
      const quarter = Math.floor(series.length / 4);
      const early = median(series.slice(quarter, 2 * quarter));
      const late = median(series.slice(-Math.max(1, quarter)));
      return {
        name,
        early,
        late,
        perHour: (of) => ((late[of] - early[of]) / Math.max(1e-3, late.at - early.at)) * 60,
      };
    });
  }
}

function heapBytes(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    const onMessage = (message: unknown) => {
      if (typeof message !== 'object' || message === null || !('heapBytes' in message)) return;
      child.off('message', onMessage);
      resolve(Number(message.heapBytes));
    };
    child.on('message', onMessage);
    child.send('heap', (error) => error && reject(error));
  });
}

function median(samples: Sample[]): Sample {
  const middle = (of: keyof Sample) => {
    const sorted = samples.map((sample) => sample[of]).sort((a, b) => a - b);
    return sorted[Math.floor(sorted.length / 2)] ?? 0;
  };
  return { at: middle('at'), rssMb: middle('rssMb'), heapMb: middle('heapMb'), files: middle('files') };
}
