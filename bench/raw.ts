/** The limit of the machine: one single-threaded inference loop per core, without a service around it. */
import { fork, type ChildProcess } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { cpuSeconds } from './cpu.ts';
import type { Figures } from './figures.ts';
import { SHIPPED } from './models.ts';
import { median, round, withInterval } from './statistics.ts';
import { mixedLengths, sentences } from './texts.ts';

const ROUNDS = 7;

/** The limit alone, for the shipped model. */
export async function raw(): Promise<Figures> {
  const processes = await Raw.start(SHIPPED);
  try {
    const figures: Figures = {};
    for (const [set, texts] of [
      ['sentences', sentences(3000)],
      ['mixed lengths', mixedLengths(800)],
    ] as const) {
      const rounds = [];
      for (let i = 0; i < ROUNDS; i++) rounds.push(await processes.round(texts));
      figures[`${set}: CPU (µs/row)`] = round(
        median(rounds.map(({ cpuMicrosPerRow }) => cpuMicrosPerRow)),
        0,
      );
      figures[`${set}: rows/s, median [95 %]`] = withInterval(
        rounds.map(({ rowsPerSecond }) => rowsPerSecond),
      );
    }
    return figures;
  } finally {
    processes.stop();
  }
}

export interface RawRound {
  rowsPerSecond: number;
  cpuMicrosPerRow: number;
}

export class Raw {
  readonly #children: ChildProcess[];

  private constructor(children: ChildProcess[]) {
    this.#children = children;
  }

  static async start(modelDir: string): Promise<Raw> {
    const children = Array.from({ length: availableParallelism() }, () =>
      fork(new URL('./raw-child.ts', import.meta.url), [modelDir], {
        execArgv: ['--disable-warning=ExperimentalWarning'],
        env: { ...process.env, ORT_DISABLE_TELEMETRY: '1' },
      }),
    );
    await Promise.all(children.map((child) => new Promise((resolve) => child.once('message', resolve))));
    return new Raw(children);
  }

  /** Classifies the texts once, divided among the processes. */
  async round(texts: string[]): Promise<RawRound> {
    const cpu = () => this.#children.reduce((sum, child) => sum + cpuSeconds(child.pid!), 0);
    const cpuBefore = cpu();
    const start = performance.now();
    await Promise.all(
      this.#children.map((child, i) => {
        const done = new Promise((resolve) => child.once('message', resolve));
        child.send(texts.filter((_, place) => place % this.#children.length === i));
        return done;
      }),
    );
    const seconds = (performance.now() - start) / 1000;
    return {
      rowsPerSecond: texts.length / seconds,
      cpuMicrosPerRow: ((cpu() - cpuBefore) / texts.length) * 1e6,
    };
  }

  stop(): void {
    for (const child of this.#children) child.disconnect();
  }
}
