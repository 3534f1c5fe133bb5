/** Runs the processes of a peer: starts them on a free port and stops them as a process group, even when the bench is interrupted. */
import { spawn, type ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../../test/support/redis/redis.ts';
import { predictions, type Protocol } from './clients.ts';

const START_TIMEOUT_MS = 90_000;
const STOP_TIMEOUT_MS = 8_000;

export interface Command {
  program: string;
  args: (port: number) => string[];
  env: Record<string, string>;
  cwd?: string;
  /** Processes that print a line `ready` when their model is loaded; 0 where only requests can tell. */
  ready: number;
  protocol: Protocol;
}

/** Running servers, to be killed when the bench ends. */
const running = new Set<Server>();

export class Server {
  readonly url: string;
  readonly #child: ChildProcess;
  #output = '';

  private constructor(command: Command, port: number) {
    this.url = `http://127.0.0.1:${port}`;
    // A separate process group: all processes of a server then end together, by one pid.
    this.#child = spawn(command.program, command.args(port), {
      cwd: command.cwd,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...process.env,
        PORT: String(port),
        // As in Amulet: no usage reports.
        ORT_DISABLE_TELEMETRY: '1',
        HF_HUB_OFFLINE: '1',
        ...command.env,
      },
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (chunk: Buffer) => (this.#output += chunk.toString()));
    }
    this.#child.on('error', (error) => (this.#output += String(error)));
    running.add(this);
  }

  /**
   * Starts a server; resolves when all its processes have loaded their model and it responds.
   * @throws Error with the end of its output when it does not start
   */
  static async start(command: Command): Promise<Server> {
    const server = new Server(command, await freePort());
    const deadline = performance.now() + START_TIMEOUT_MS;
    for (;;) {
      const loaded = server.#output.match(/^ready$/gm)?.length ?? 0;
      if (loaded >= command.ready) {
        try {
          await predictions({ urls: [server.url], protocol: command.protocol }, ['is it up?']);
          return server;
        } catch {
          // Not listening yet.
        }
      }
      if (!server.#alive || performance.now() > deadline) {
        await server.stop();
        throw new Error(`did not start: ${server.#output.trim().slice(-500)}`);
      }
      await sleep(50);
    }
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get #alive(): boolean {
    return this.#child.pid !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  async stop(): Promise<void> {
    const deadline = performance.now() + STOP_TIMEOUT_MS;
    this.#signal('SIGTERM');
    while (this.#signal(0) && performance.now() < deadline) await sleep(20);
    this.kill();
  }

  kill(): void {
    this.#signal('SIGKILL');
    running.delete(this);
  }

  /** Sends a signal to the process group. @returns whether a process received it */
  #signal(signal: NodeJS.Signals | 0): boolean {
    if (this.#child.pid === undefined) return false;
    try {
      return process.kill(-this.#child.pid, signal);
    } catch {
      return false;
    }
  }
}

/**
 * Kills the servers when the bench ends: they run in separate process groups, which a Ctrl-C does not reach.
 * @returns a function that removes these handlers
 */
export function endServersWithBench(): () => void {
  const end = () => {
    for (const server of running) server.kill();
  };
  const interrupted = () => process.exit(130);
  process.on('exit', end);
  process.once('SIGINT', interrupted);
  process.once('SIGTERM', interrupted);
  return () => {
    process.off('exit', end);
    process.off('SIGINT', interrupted);
    process.off('SIGTERM', interrupted);
  };
}

/** The given processes and all their descendants. */
export function processTree(roots: readonly number[]): number[] {
  const parents = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
        const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
        return [[Number(name), parent] as const];
      } catch {
        // It ended between the listing and the reading.
        return [];
      }
    });
  const tree = new Set(roots);
  for (let before = 0; before !== tree.size;) {
    before = tree.size;
    for (const [pid, parent] of parents) if (tree.has(parent)) tree.add(pid);
  }
  return [...tree];
}
