/** The attacked processes: API, worker and optionally webhooks, each with little memory, on a private Redis with a bound. */
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Redis } from 'ioredis';
import { keyLine, newKey } from '../../../src/shared/runtime/api-keys.ts';
import type { LoopBlock } from '../processes/loop-probe.ts';
import { freePort, OwnRedis } from '../redis/redis.ts';
import { eventually, Process, QUICK_START } from '../processes/stack.ts';

export interface AttackedOptions {
  /** `--max-old-space-size` of the API, MB. */
  apiHeapMb?: number;
  /** The same of worker and webhook process. */
  workerHeapMb?: number;
  redisMaxMemory?: string;
  webhooks?: boolean;
  env?: Record<string, string>;
  /** Folder for blobs and for Redis, instead of temporary ones. */
  disk?: string | undefined;
}

const PROBE = [new URL('../processes/loop-probe.ts', import.meta.url)];

export class AttackedStack {
  readonly keys = { mallory: newKey(), alice: newKey() };
  readonly api: Process;
  readonly worker: Process;
  readonly webhooks: Process | undefined;
  readonly redis: OwnRedis;
  readonly client: Redis;
  readonly disk: string;
  /** Ports of loopback that webhooks may go to: those of an attack, and one for another caller. */
  readonly receiverPorts: readonly number[];
  readonly otherPort: number;
  url = '';

  private constructor(redis: OwnRedis, ports: number[], options: AttackedOptions) {
    const { apiHeapMb = 512, workerHeapMb = 400, webhooks = false, env = {}, disk } = options;
    this.redis = redis;
    [this.otherPort = 0, ...this.receiverPorts] = ports;
    this.client = new Redis(redis.url, { maxRetriesPerRequest: 1 });
    this.client.on('error', () => {});
    this.disk = disk ?? mkdtempSync(path.join(tmpdir(), 'amulet-attacked-'));
    const common = {
      REDIS_URL: redis.url,
      REDIS_PREFIX: '{attacked}',
      PORT: '0',
      LOG_LEVEL: 'warn',
      ...QUICK_START,
      BLOB_URL: `file:${path.join(this.disk, 'blobs')}`,
      API_KEYS: `${keyLine('mallory', this.keys.mallory)},${keyLine('alice', this.keys.alice)}`,
      WEBHOOK_SCHEMES: 'http',
      WEBHOOK_ALLOW: ports.map((port) => `127.0.0.1:${port}`).join(','),
      ...env,
    };
    const start = (entry: string, heapMb: number) =>
      new Process(entry, { ...common, NODE_OPTIONS: `--max-old-space-size=${heapMb}` }, { preload: PROBE });
    this.api = start('api/main.ts', apiHeapMb);
    this.worker = start('worker/inference/main.ts', workerHeapMb);
    this.webhooks = webhooks ? start('worker/webhooks/main.ts', workerHeapMb) : undefined;
  }

  /** Resolves when the API answers and the worker consumes. */
  static async start(options: AttackedOptions = {}): Promise<AttackedStack> {
    const { redisMaxMemory = '256mb', disk } = options;
    const redis = await OwnRedis.start([
      '--maxmemory',
      redisMaxMemory,
      ...(disk === undefined ? [] : ['--dir', disk]),
    ]);
    const ports = await Promise.all(Array.from({ length: 9 }, freePort));
    const stack = new AttackedStack(redis, ports, options);
    try {
      stack.url = await stack.api.ready;
      await Promise.all([stack.worker.ready, stack.webhooks?.ready]);
      await eventually(async () => ((await fetch(`${stack.url}/health/ready`)).ok ? true : undefined));
      return stack;
    } catch (error) {
      await stack.stop();
      throw error;
    }
  }

  get processes(): Record<string, Process> {
    const { api, worker, webhooks } = this;
    return { API: api, worker, ...(webhooks ? { webhooks } : {}) };
  }

  /** Names of the processes that have ended, Redis among them. */
  async ended(): Promise<string[]> {
    const ended = Object.entries(this.processes).flatMap(([name, { running }]) => (running ? [] : [name]));
    const redis = await this.client.ping().then(
      () => [],
      () => ['Redis'],
    );
    return [...ended, ...redis];
  }

  /** Bytes that Redis uses; NaN when it does not answer. */
  async redisBytes(): Promise<number> {
    const info = await this.client.info('memory').catch(() => '');
    return Number(/used_memory:(\d+)/.exec(info)?.[1]);
  }

  /** Bytes of all files in the blob store. */
  blobBytes(): number {
    return bytesIn(path.join(this.disk, 'blobs'));
  }

  /** Ends everything at once: what is attacked has nothing left to finish. */
  async stop(): Promise<void> {
    this.client.disconnect();
    await Promise.all(Object.values(this.processes).map((each) => each.end('SIGKILL')));
    await this.redis.stop();
    rmSync(this.disk, { recursive: true, force: true });
  }
}

function bytesIn(folder: string): number {
  try {
    return readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .reduce((sum, { parentPath, name }) => sum + statSync(path.join(parentPath, name)).size, 0);
  } catch {
    // A file that is gone meanwhile, or no folder yet.
    return 0;
  }
}

/** The longest block of a process' loop since the last question; undefined when it does not answer in time, or has ended. */
export function askLoop(child: ChildProcess, timeoutMs: number): Promise<LoopBlock | undefined> {
  return new Promise((resolve) => {
    const end = (block?: LoopBlock) => {
      clearTimeout(timer);
      child.off('message', onMessage);
      resolve(block);
    };
    const onMessage = (message: { loop?: LoopBlock }) => {
      if (message.loop !== undefined) end(message.loop);
    };
    const timer = setTimeout(end, timeoutMs);
    child.on('message', onMessage);
    if (!child.connected) end();
    else child.send('loop', (error) => error && end());
  });
}
