/** The machine's limit: as many 1-thread loops as there are cores. */
import { fork, type ChildProcess } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { cpuSeconds } from './cpu.ts';

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

  /** Has the texts classified once, shared out among the processes. */
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
