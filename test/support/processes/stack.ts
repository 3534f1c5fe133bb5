/** Real processes for tests: the API and workers, as `npm start` would run them, on free ports. */
import { fork, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { NODE_FLAGS } from '../../../src/shared/runtime/node-flags.ts';
import { accessOf } from '../redis/secure-redis.ts';

export interface ProcessOptions {
  /** Modules that the process loads before its own. */
  preload?: URL[];
}

export class Process {
  readonly child: ChildProcess;
  /** What it announced; rejects when it ends first. */
  readonly ready: Promise<string>;
  readonly #output: string[] = [];

  constructor(entry: string, env: Record<string, string>, { preload = [] }: ProcessOptions = {}) {
    this.child = fork(new URL(`../../../src/${entry}`, import.meta.url), {
      env: { ...process.env, ...env, ...accessOf(entry, env) },
      execArgv: [...NODE_FLAGS, ...preload.map((url) => `--import=${url.href}`)],
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on('data', (chunk: Buffer) => this.#output.push(chunk.toString()));
    }
    this.ready = new Promise((resolve, reject) => {
      this.child.on('message', (message: { ready?: string }) => {
        if (message.ready !== undefined) resolve(message.ready);
      });
      this.child.once('exit', () => reject(new Error(`${entry} ended:\n${this.output}`)));
    });
    this.ready.catch(() => {});
  }

  get output(): string {
    return this.#output.join('');
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Sends a signal and waits for the end. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    if (this.running) {
      const gone = new Promise((resolve) => this.child.once('exit', resolve));
      this.child.kill(signal);
      await gone;
    }
    return this.child.exitCode;
  }
}

export interface WorkerHealth {
  status: string;
  jobs_in_hand: number;
  model_pids: number[];
  model_restarts: number;
}

export interface StackOptions {
  redisUrl: string;
  workers?: number;
  webhooks?: boolean;
  env?: Record<string, string>;
}

/** Settings with which the processes of a test start quickly, on free ports: without them, each worker measures for a second. */
export const QUICK_START = {
  METRICS_PORT: '0',
  WORKER_PORT: '0',
  WEBHOOK_HEALTH_PORT: '0',
  BATCH_TOKENS: '256',
  BULK_BATCH_TOKENS: '256',
  MODEL_PROCESSES: '1',
};

/** In place of the stand-in of vitest.config.ts, for tests of the shipped model's scores. */
export const SHIPPED_MODEL = { MODEL_DIR: 'models/sst2-minilm' };

/** An API and its workers, on a key prefix of their own. */
export class Stack {
  readonly env: Record<string, string>;
  /** Folder of the blob store, unless `env` names another. */
  readonly blobFolder = mkdtempSync(path.join(tmpdir(), 'amulet-blobs-'));
  api: Process;
  workers: Process[];
  webhooks: Process | undefined;
  url = '';

  /** Starts the processes without waiting for them; tests that want them up call start(). */
  constructor({ redisUrl, workers = 1, webhooks = false, env = {} }: StackOptions) {
    this.env = {
      REDIS_URL: redisUrl,
      REDIS_PREFIX: `{test-${randomBytes(5).toString('hex')}}`,
      PORT: '0',
      LOG_LEVEL: 'warn',
      // Tests about calibration unset its token counts.
      ...QUICK_START,
      BLOB_URL: `file:${this.blobFolder}`,
      ...env,
    };
    this.api = this.startApi();
    this.workers = Array.from({ length: workers }, () => this.startWorker());
    this.webhooks = webhooks ? this.startWebhooks() : undefined;
  }

  /** Starts everything; resolves when the API listens and every worker consumes. */
  static async start(options: StackOptions): Promise<Stack> {
    const stack = new Stack(options);
    stack.url = await stack.api.ready;
    await Promise.all([...stack.workers.map((worker) => worker.ready), stack.webhooks?.ready]);
    // The API listens at once and answers 503 until Redis is there.
    await eventually(async () => ((await stack.fetch('/health/ready')).ok ? true : undefined));
    return stack;
  }

  get prefix(): string {
    return this.env.REDIS_PREFIX!;
  }

  startApi(env: Record<string, string> = {}, options?: ProcessOptions): Process {
    return new Process('api/main.ts', { ...this.env, ...env }, options);
  }

  startWorker(env: Record<string, string> = {}, options?: ProcessOptions): Process {
    return new Process('worker/inference/main.ts', { ...this.env, ...env }, options);
  }

  startWebhooks(env: Record<string, string> = {}): Process {
    return new Process('worker/webhooks/main.ts', { ...this.env, ...env });
  }

  /** Address of a worker's health endpoints. */
  async healthUrl(worker: Process): Promise<string> {
    const port = /health on \S+:(\d+)/.exec(await worker.ready)?.[1];
    return `http://127.0.0.1:${port}`;
  }

  async workerHealth(worker: Process): Promise<WorkerHealth> {
    return (await (await fetch(`${await this.healthUrl(worker)}/health/live`)).json()) as WorkerHealth;
  }

  /** Resolves when the worker has jobs in progress. */
  async busy(worker: Process): Promise<void> {
    await eventually(async () => ((await this.workerHealth(worker)).jobs_in_hand > 0 ? true : undefined));
  }

  /** Resolves when the worker has no job in progress. */
  async idle(worker: Process): Promise<void> {
    await eventually(async () => ((await this.workerHealth(worker)).jobs_in_hand === 0 ? true : undefined));
  }

  async stop(): Promise<void> {
    await this.api.end();
    await Promise.all([...this.workers.map((worker) => worker.end()), this.webhooks?.end()]);
    rmSync(this.blobFolder, { recursive: true, force: true });
  }

  fetch(path: string, init?: RequestInit): Promise<Response> {
    return fetch(this.url + path, init);
  }

  /** POSTs JSON; parses the JSON answer. */
  async post<T = Record<string, unknown>>(
    path: string,
    body: unknown,
    headers: Record<string, string> = {},
  ): Promise<{ status: number; headers: Headers; body: T }> {
    const response = await this.fetch(path, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', ...headers },
      body: JSON.stringify(body),
    });
    return { status: response.status, headers: response.headers, body: (await response.json()) as T };
  }

  async get<T = Record<string, unknown>>(
    path: string,
  ): Promise<{ status: number; headers: Headers; body: T }> {
    const response = await this.fetch(path);
    return { status: response.status, headers: response.headers, body: (await response.json()) as T };
  }
}

/** Calls `probe` until it gives something; the test's own timeout is the limit. */
export async function eventually<T>(probe: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    const value = await probe();
    if (value !== undefined) return value;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
