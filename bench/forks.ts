/** Child processes that divide work among them: each takes a list as a message, and answers when it is done. */
import { fork, type ChildProcess } from 'node:child_process';
import { cpuSeconds } from './cpu.ts';

export class Forks {
  readonly #children: ChildProcess[];

  private constructor(children: ChildProcess[]) {
    this.#children = children;
  }

  /** Starts `count` children, and waits until all are ready. */
  static async start(entry: URL, argument: string, count: number): Promise<Forks> {
    const children = Array.from({ length: count }, () =>
      fork(entry, [argument], {
        execArgv: ['--disable-warning=ExperimentalWarning'],
        env: { ...process.env, ORT_DISABLE_TELEMETRY: '1' },
      }),
    );
    await Promise.all(children.map(answer));
    return new Forks(children);
  }

  get pids(): number[] {
    return this.#children.map(({ pid }) => pid!);
  }

  /** Has the items processed. @returns seconds of wall clock and of CPU, and the answer of each child */
  async run(items: readonly unknown[]): Promise<{ seconds: number; cpu: number; answers: unknown[] }> {
    const cpu = () => this.pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
    const cpuBefore = cpu();
    const start = performance.now();
    const answers = await Promise.all(
      this.#children.map((child, i) => {
        const done = answer(child);
        child.send(items.filter((_, place) => place % this.#children.length === i));
        return done;
      }),
    );
    return { seconds: (performance.now() - start) / 1000, cpu: cpu() - cpuBefore, answers };
  }

  stop(): void {
    for (const child of this.#children) child.disconnect();
  }
}

function answer(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const gone = () => reject(new Error('a child process of the bench ended; see the output above'));
    child.once('exit', gone);
    child.once('message', (message) => {
      child.off('exit', gone);
      resolve(message);
    });
  });
}
