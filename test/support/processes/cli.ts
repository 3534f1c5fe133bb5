/** The `amulet` command, run in this process or as a separate one. */
import { spawn, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { backfill } from '../../../src/cli/backfill/backfill.ts';
import { parseBackfill } from '../../../src/cli/backfill/command-line.ts';
import { CliError } from '../../../src/cli/terminal/exit.ts';
import { progressLine } from '../../../src/cli/terminal/progress-line.ts';
import type { Reporter } from '../../../src/cli/terminal/reporter.ts';

export interface Outcome {
  code: number | null;
  /** What was said, line by line. */
  said: string;
}

/** Runs `amulet backfill` in this process. An error that is no CliError is thrown. */
export async function runBackfill(
  args: readonly string[],
  signal = new AbortController().signal,
): Promise<Outcome> {
  const said: string[] = [];
  let looking: NodeJS.Timeout | undefined;
  const reporter: Reporter = {
    watch: (view) => {
      clearInterval(looking);
      looking = setInterval(() => said.push(progressLine(view(), 200)), 50);
    },
    unwatch: () => clearInterval(looking),
    log: (line) => said.push(line),
    warn: (line) => said.push(line),
  };
  try {
    const command = parseBackfill(args);
    if (command === 'help') throw new Error('no help here');
    const code = await backfill(command, signal, reporter);
    return { code, said: said.join('\n') };
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    return { code: error.exitCode, said: [...said, error.message, ...error.hints].join('\n') };
  } finally {
    clearInterval(looking);
  }
}

const BIN = fileURLToPath(new URL('../../../src/cli/bin.js', import.meta.url));

/** The command in a child process. */
export class CliProcess {
  readonly child: ChildProcess;
  stdout = '';
  stderr = '';
  readonly ended: Promise<Outcome & { signal: NodeJS.Signals | null }>;

  constructor(args: readonly string[], cwd?: string, env: Record<string, string> = {}) {
    this.child = spawn(process.execPath, [BIN, ...args], {
      cwd,
      env: { ...process.env, ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.child.stdout?.on('data', (chunk: Buffer) => (this.stdout += chunk.toString()));
    this.child.stderr?.on('data', (chunk: Buffer) => (this.stderr += chunk.toString()));
    // It may be killed before it has read everything.
    this.child.stdin?.on('error', () => {});
    this.ended = new Promise((resolve) =>
      this.child.once('close', (code, signal) => resolve({ code, signal, said: this.stderr })),
    );
  }

  /** Gives it its whole standard input. */
  feed(bytes: Buffer | string): this {
    this.child.stdin?.end(bytes);
    return this;
  }
}
