/** The parent's handle on one model child: starts it, sends it batches, and restarts it when it dies. */
import { fork, type ChildProcess } from 'node:child_process';
import { systemEnvironment } from '../../shared/runtime/environment.ts';
import { StartupError } from '../../shared/runtime/startup-error.ts';
import type { Logger } from '../../shared/runtime/logger.ts';
import type { ModelInput } from './tokenizer.ts';
import type { FromChild, GraphInfo, LoadMessage, Padding, RunMessage } from './protocol.ts';
import type { BatchRun } from './worker-metrics.ts';

/** The model child died while it loaded the model or ran a batch. */
export class ModelCrashed extends Error {
  override name = 'ModelCrashed';
}

/** The engine was stopped, or gave up on its child. The rows are not at fault: another worker can run them. */
export class EngineStopped extends Error {
  override name = 'EngineStopped';
}

export interface EngineOptions {
  load: Omit<LoadMessage, 'type'>;
  /** A child whose batch takes longer counts as hung, and is killed. */
  runTimeoutMs: number;
  logger: Logger;
  /** Called when the child could not be restarted. The worker should end, so that others take over its jobs. */
  onGiveUp: (error: Error) => void;
  /** Called for every batch that succeeded. */
  onRun?: (run: BatchRun) => void;
  /** Names of environment variables that the child gets in addition to those of the system. */
  variables?: readonly string[];
  /** The child's program; replaced by tests. */
  childEntry?: URL;
}

export interface RunOptions {
  /** Whether the batch overtakes those that are not urgent; true by default. */
  urgent?: boolean;
  /** Whether ONNX Runtime logs no failure, because one is expected; false by default. */
  silent?: boolean;
}

/**
 * Attempts to restart the child: a model file that loaded once may be gone or half-written for a moment, but not for this
 * long.
 */
const MAX_FAILED_STARTS = 5;
const FIRST_BACKOFF_MS = 100;

/** How long the child may take to load and warm up. */
const LOAD_TIMEOUT_MS = 120_000;

/** Keeps ONNX Runtime 1.30 on Linux from reporting usage to its makers. */
const NO_TELEMETRY = { ORT_DISABLE_TELEMETRY: '1' };

interface Run {
  /** Tokens of each row; shape [rows]. */
  lengths: Int32Array;
  resolve: (logits: Float32Array[]) => void;
  reject: (error: Error) => void;
  timer: NodeJS.Timeout;
}

export class Engine {
  readonly #options: EngineOptions;
  #child: ChildProcess | undefined;
  /** Resolves to the child that takes batches; replaced when the child dies. */
  #up: Promise<ChildProcess>;
  readonly #runs = new Map<number, Run>();
  /** Calls of run() that have not ended, including those that wait for the child. */
  #inFlight = 0;
  /** performance.now() when the child last answered, or got its first batch: the start of its current busy time. */
  #since = 0;
  #nextId = 0;
  #stopped = false;
  /** Inputs and outputs of the graph, once it is loaded. */
  graph: GraphInfo | undefined;
  /** How the rows of a batch are padded; undefined: with id 0, on the right. */
  padding: Padding | undefined;
  /** Times the child was started again. */
  restarts = 0;

  private constructor(options: EngineOptions) {
    this.#options = options;
    this.#up = this.#spawn();
  }

  /**
   * Starts the child and waits until its model is loaded and warm.
   * @throws StartupError when the model cannot be served
   */
  static async start(options: EngineOptions): Promise<Engine> {
    const engine = new Engine(options);
    await engine.#up;
    return engine;
  }

  get up(): boolean {
    return this.#child !== undefined;
  }

  /** Process id of the child, for measurements. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Batches that were given to this engine and have not ended. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /**
   * Runs one batch, after those that were sent before.
   * @returns the logits of each row, shape [outputs]
   * @throws ModelCrashed when the child died while it had this batch, EngineStopped, or an Error with the model's own message
   */
  async run(rows: readonly ModelInput[], options: RunOptions = {}): Promise<Float32Array[]> {
    const { urgent = true, silent = false } = options;
    this.#inFlight++;
    try {
      const child = await this.#up;
      if (this.#stopped) throw new EngineStopped('the worker is stopping');
      return await this.#send(child, { ...pack(rows), urgent, silent });
    } finally {
      this.#inFlight--;
    }
  }

  #send(child: ChildProcess, batch: Omit<RunMessage, 'type' | 'id' | 'padding'>): Promise<Float32Array[]> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#options.logger.error(
          { rows: batch.lengths.length, ms: this.#options.runTimeoutMs },
          'a batch timed out: killing the model process',
        );
        child.kill('SIGKILL');
      }, this.#options.runTimeoutMs);
      const message: RunMessage = { type: 'run', id, ...batch, padding: this.padding };
      if (this.#runs.size === 0) this.#since = performance.now();
      this.#runs.set(id, { lengths: message.lengths, resolve, reject, timer });
      child.send(message);
    });
  }

  /** Ends the child. Batches in flight are rejected with EngineStopped. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    const child = this.#child;
    this.#child = undefined;
    this.#rejectAll(new EngineStopped('the worker is stopping'));
    if (child?.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.disconnect();
    // In the middle of a run the child does not see the disconnect, and its result is not needed.
    const timer = setTimeout(() => child.kill('SIGKILL'), 1000);
    await exited;
    clearTimeout(timer);
  }

  #spawn(): Promise<ChildProcess> {
    const { load, variables, childEntry = new URL('./model-child.ts', import.meta.url) } = this.#options;
    const child = fork(childEntry, {
      serialization: 'advanced',
      execArgv: [],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      // The child runs native code on an untrusted model file: it gets no address, key or password.
      env: systemEnvironment(NO_TELEMETRY, variables),
    });
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => child.kill('SIGKILL'), LOAD_TIMEOUT_MS);
      let ready = false;
      child.on('message', (message: FromChild) => {
        if (message.type === 'ready') {
          clearTimeout(timer);
          ready = true;
          this.#child = child;
          this.graph = message.graph;
          resolve(child);
        } else if (message.type === 'unusable') {
          clearTimeout(timer);
          reject(new StartupError(message.message));
          child.kill();
          child.disconnect();
        } else {
          this.#answer(message);
        }
      });
      // Sending to a dying child fails; the exit handler does the rest.
      child.on('error', (error) =>
        this.#options.logger.warn({ reason: error.message }, 'error on the channel to the model process'),
      );
      child.on('exit', (code, signal) => {
        clearTimeout(timer);
        const how = signal ?? `exit status ${code}`;
        if (!ready) reject(new ModelCrashed(`the model process ended while loading (${how})`));
        else if (!this.#stopped) this.#revive(how);
      });
      child.send({ type: 'load', ...load } satisfies LoadMessage);
    });
  }

  #answer(message: Extract<FromChild, { type: 'result' | 'error' }>): void {
    const run = this.#runs.get(message.id);
    if (!run) return;
    clearTimeout(run.timer);
    this.#runs.delete(message.id);
    const now = performance.now();
    const busyMs = now - this.#since;
    this.#since = now;
    if (message.type === 'error') {
      run.reject(new Error(message.message));
      return;
    }
    const rows = run.lengths.length;
    run.resolve(unpack(message.logits, rows));
    this.#options.onRun?.({
      rows,
      tokens: run.lengths.reduce((sum, length) => sum + length, 0),
      paddedTokens: rows * run.lengths.reduce((longest, length) => Math.max(longest, length), 0),
      sessionMs: message.ms,
      idleMs: Math.max(0, busyMs - message.ms),
    });
  }

  #rejectAll(error: Error): void {
    const runs = [...this.#runs.values()];
    this.#runs.clear();
    for (const run of runs) {
      clearTimeout(run.timer);
      run.reject(error);
    }
  }

  /** Starts a new child. The batches of the old one are rejected, and the batcher runs their rows again, one by one. */
  #revive(how: string): void {
    this.#child = undefined;
    this.restarts++;
    this.#options.logger.error({ how, restarts: this.restarts }, 'the model process died: restarting it');
    this.#up = this.#respawn();
    // No run() may be waiting for it, and the rejection must not be unhandled.
    this.#up.catch(() => {});
    this.#rejectAll(new ModelCrashed(`the model process died (${how})`));
  }

  async #respawn(): Promise<ChildProcess> {
    let lastError: unknown;
    for (let failures = 0; failures < MAX_FAILED_STARTS; failures++) {
      if (failures > 0) await new Promise((resolve) => setTimeout(resolve, FIRST_BACKOFF_MS * 2 ** failures));
      if (this.#stopped) throw new EngineStopped('the worker is stopping');
      try {
        return await this.#spawn();
      } catch (error) {
        lastError = error;
        this.#options.logger.error({ err: error }, 'the model process failed to restart');
      }
    }
    const error = new EngineStopped('the model process could not be restarted', { cause: lastError });
    this.#options.onGiveUp(error);
    throw error;
  }
}

/** Concatenates the rows of a batch. */
function pack(rows: readonly ModelInput[]): Pick<RunMessage, 'ids' | 'lengths' | 'typeIds'> {
  const lengths = Int32Array.from(rows, (row) => row.ids.length);
  const total = lengths.reduce((sum, length) => sum + length, 0);
  const ids = new Int32Array(total);
  const typeIds = rows.some((row) => row.typeIds) ? new Int32Array(total) : undefined;
  let offset = 0;
  for (const row of rows) {
    ids.set(row.ids, offset);
    if (row.typeIds) typeIds?.set(row.typeIds, offset);
    offset += row.ids.length;
  }
  return { ids, lengths, typeIds };
}

/** Cuts [rows × outputs] logits into one array per row. */
function unpack(logits: Float32Array, rows: number): Float32Array[] {
  const outputs = logits.length / rows;
  return Array.from({ length: rows }, (_, row) => logits.subarray(row * outputs, (row + 1) * outputs));
}
