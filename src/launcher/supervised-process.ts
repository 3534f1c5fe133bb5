/**
 * One supervised process of `npm start`: started in its own process group (so that Ctrl-C on a terminal reaches only the
 * launcher), restarted with backoff when it dies, and stopped gracefully.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { EXIT_CONFIG } from '../shared/runtime/startup-error.ts';
import { parseLogLine } from '../shared/runtime/log-line.ts';
import { NODE_FLAGS } from '../shared/runtime/node-flags.ts';
import { RotatingLog, type RotatingLogOptions } from './rotating-log.ts';

export interface SupervisedProcessOptions {
  /** As shown to the user, for example `worker-1`. */
  name: string;
  /** The TypeScript entry. */
  entry: URL;
  env: NodeJS.ProcessEnv;
  logDir: string;
  /** Rotation of the log. */
  logs: RotatingLogOptions;
  print: (name: string, line: string) => void;
  /** Called when the process cannot work with this configuration or model. */
  onUnusable: (name: string, reason: string) => void;
}

const FIRST_BACKOFF_MS = 500;
const MAX_BACKOFF_MS = 30_000;
/** A process that ran this long before it died starts with the first backoff again. */
const HEALTHY_MS = 60_000;
/** How long children may outlive their process: a model process ends by itself, unless it hangs in a run. */
const ORPHANS_MS = 1000;

/** Within this time after it was shown, the same line is not shown again: the connections of a process fail together. */
const REPEATED_MS = 1000;
/** pino's numeric levels; below `warn` a line goes to the log file only, unless it reports the end of a failure. */
const WARN = 40;
const FATAL = 60;

export class SupervisedProcess {
  readonly #options: SupervisedProcessOptions;
  #child: ChildProcess | undefined;
  /** Before it has installed its handlers, SIGHUP would end it. */
  #isUp = false;
  #stopping = false;
  #backoffMs = FIRST_BACKOFF_MS;
  #restartTimer: NodeJS.Timeout | undefined;
  #lastFatal = '';
  #lastShown = { text: '', at: 0 };
  /** Resolves with the detail that the process reports when it is ready for the first time. */
  readonly ready: Promise<string>;
  readonly #markReady: (detail: string) => void;

  constructor(options: SupervisedProcessOptions) {
    this.#options = options;
    const { promise, resolve } = Promise.withResolvers<string>();
    this.ready = promise;
    this.#markReady = resolve;
    this.#start();
  }

  get name(): string {
    return this.#options.name;
  }

  #start(): void {
    const { name, entry, env, logDir, logs } = this.#options;
    const log = new RotatingLog(path.join(logDir, `${name}.log`), logs);
    const child = spawn(process.execPath, [...NODE_FLAGS, fileURLToPath(entry)], {
      env,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    this.#child = child;
    this.#isUp = false;
    const startedAt = performance.now();
    for (const stream of [child.stdout, child.stderr]) {
      if (!stream) continue;
      createInterface({ input: stream }).on('line', (line) => {
        log.writeLine(line);
        this.#show(line);
      });
    }
    child.on('message', (message) => {
      const { ready } = message as { ready?: string };
      if (ready === undefined) return;
      this.#isUp = true;
      this.#markReady(ready);
    });
    child.on('error', (error) => this.#options.print(name, `failed to start: ${error.message}`));
    // Its children hold its pipes too; while they do, 'close' is never emitted.
    let orphans: NodeJS.Timeout | undefined;
    child.on('exit', () => (orphans = setTimeout(() => killGroup(child), ORPHANS_MS)));
    child.on('close', (code, signal) => {
      clearTimeout(orphans);
      log.close();
      this.#child = undefined;
      if (!this.#stopping) this.#onDeath(code, signal, performance.now() - startedAt);
    });
  }

  #onDeath(code: number | null, signal: NodeJS.Signals | null, livedMs: number): void {
    const { name, print, onUnusable } = this.#options;
    if (code === EXIT_CONFIG) {
      onUnusable(name, this.#lastFatal || 'its configuration cannot be used');
      return;
    }
    if (livedMs > HEALTHY_MS) this.#backoffMs = FIRST_BACKOFF_MS;
    print(name, `died (${signal ?? `exit status ${code}`}); restarting in ${this.#backoffMs / 1000} s`);
    this.#restartTimer = setTimeout(() => {
      this.#start();
      print(name, 'restarted');
    }, this.#backoffMs);
    this.#backoffMs = Math.min(2 * this.#backoffMs, MAX_BACKOFF_MS);
  }

  /** Prints warnings, errors and their end, but not at once again for another connection; the log file has everything. */
  #show(line: string): void {
    const parsed = parseLogLine(line);
    if (!parsed) {
      if (line.trim() !== '') this.#options.print(this.name, line);
      return;
    }
    if (parsed.level >= FATAL) this.#lastFatal = parsed.msg;
    // The launcher prints a fatal configuration error as its own last line.
    if ((parsed.level < WARN && parsed.recovered !== true) || parsed.level >= FATAL) return;
    const why = typeof parsed.reason === 'string' ? parsed.reason : parsed.err?.message;
    const text = why ? `${parsed.msg}: ${why}` : parsed.msg;
    const now = performance.now();
    const repeated = text === this.#lastShown.text && now - this.#lastShown.at < REPEATED_MS;
    this.#lastShown = { text, at: now };
    if (!repeated) this.#options.print(this.name, text);
  }

  /** Asks the process to finish its work, and waits until it has ended. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#restartTimer);
    const child = this.#child;
    if (!child) return;
    const gone = new Promise((resolve) => child.once('close', resolve));
    child.kill('SIGTERM');
    await gone;
  }

  /** Passes a signal on to the process, if it is ready. */
  signal(signal: NodeJS.Signals): void {
    if (this.#isUp) this.#child?.kill(signal);
  }

  /** Kills the process at once. */
  kill(): void {
    this.#stopping = true;
    clearTimeout(this.#restartTimer);
    if (this.#child) killGroup(this.#child);
  }
}

/** Kills a process and its children. */
function killGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {
    // None of them is left.
  }
}
