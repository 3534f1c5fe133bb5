/** Memory and open files of processes over time, from /proc. */
import { readdirSync, readFileSync } from 'node:fs';

interface Sample {
  /** Minutes since the first one. */
  at: number;
  rssMb: number;
  files: number;
}

const EVERY_MS = 2000;

export class Samples {
  readonly #series = new Map<string, Sample[]>();
  readonly #pids: () => Map<string, number>;
  readonly #start = Date.now();
  readonly #timer: NodeJS.Timeout;

  /** @param pids of what is watched, by name */
  constructor(pids: () => Map<string, number>) {
    this.#pids = pids;
    this.#timer = setInterval(() => this.#take(), EVERY_MS);
  }

  #take(): void {
    for (const [name, pid] of this.#pids()) {
      try {
        const rssKb = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
        const files = readdirSync(`/proc/${pid}/fd`).length;
        const series = this.#series.get(name) ?? [];
        series.push({ at: (Date.now() - this.#start) / 60_000, rssMb: rssKb / 1024, files });
        this.#series.set(name, series);
      } catch {
        // It ended just now.
      }
    }
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** For each process: medians of the second and of the last quarter (the first one is warming up), and what that is an hour. */
  summary(): { name: string; early: Sample; late: Sample; mbPerHour: number }[] {
    return [...this.#series].map(([name, series]) => {
      const quarter = Math.floor(series.length / 4);
      const early = median(series.slice(quarter, 2 * quarter));
      const late = median(series.slice(-Math.max(1, quarter)));
      return {
        name,
        early,
        late,
        mbPerHour: ((late.rssMb - early.rssMb) / Math.max(1e-3, late.at - early.at)) * 60,
      };
    });
  }
}

function median(samples: Sample[]): Sample {
  const middle = (of: keyof Sample) => {
    const sorted = samples.map((sample) => sample[of]).sort((a, b) => a - b);
    return sorted[Math.floor(sorted.length / 2)] ?? 0;
  };
  return { at: middle('at'), rssMb: middle('rssMb'), files: middle('files') };
}
