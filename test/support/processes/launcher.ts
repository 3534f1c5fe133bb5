/** `npm start` as a user runs it. */
import { spawn, type ChildProcess } from 'node:child_process';
import { eventually } from './stack.ts';

export class Launcher {
  readonly process: ChildProcess;
  output = '';

  constructor(env: Record<string, string>) {
    // No REDIS_URL: the launcher must find a Redis of its own.
    const { REDIS_URL: _, ...inherited } = process.env;
    this.process = spawn('npm', ['start'], {
      env: { ...inherited, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream?.on('data', (chunk: Buffer) => (this.output += chunk.toString()));
    }
  }

  async says(pattern: RegExp): Promise<RegExpExecArray> {
    return eventually(() => {
      if (this.process.exitCode !== null && !pattern.test(this.output)) throw new Error(this.output);
      return Promise.resolve(pattern.exec(this.output) ?? undefined);
    });
  }

  /** As a terminal does on Ctrl-C: to every process of the group. */
  async interrupt(): Promise<number | null> {
    if (this.process.exitCode === null && this.process.signalCode === null) {
      const closed = new Promise((resolve) => this.process.once('close', resolve));
      process.kill(-this.process.pid!, 'SIGINT');
      await closed;
    }
    return this.process.exitCode;
  }
}
