/**
 * The processes of a soak: an API and a worker that are never killed, whose memory is watched for the whole run; an API, a
 * worker and a webhook process that are; and Redis, which one worker reaches through a network that can fail.
 */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { newKey } from '../../src/shared/runtime/api-keys.ts';
import { keyLines } from '../../test/support/api/key-lines.ts';
import { FaultProxy } from '../../test/support/network/proxy.ts';
import { answer, Receiver } from '../../test/support/webhooks/receiver.ts';
import { OwnRedis } from '../../test/support/redis/redis.ts';
import { eventually, Process } from '../../test/support/processes/stack.ts';

export type Role = 'api' | 'worker' | 'webhooks';
const ENTRIES: Record<Role, string> = {
  api: 'api/main.ts',
  worker: 'worker/inference/main.ts',
  webhooks: 'worker/webhooks/main.ts',
};

export class Cluster {
  readonly prefix = `{soak-${randomBytes(4).toString('hex')}}`;
  /** Of the load, and of the one that attacks. */
  readonly keys = { load: newKey(), hostile: newKey() };
  /** Signs the webhooks of the load. */
  secret = '';
  readonly redis: OwnRedis;
  readonly proxy: FaultProxy;
  readonly receiver: Receiver;
  readonly #blobs = mkdtempSync(path.join(tmpdir(), 'amulet-soak-'));
  readonly #env: Record<string, string>;
  readonly #apiUrls = new Map<Process, string>();
  readonly #processes = new Map<string, { role: Role; process: Process }>();

  private constructor(redis: OwnRedis, proxy: FaultProxy, receiver: Receiver, resultTtlS: number) {
    this.redis = redis;
    this.proxy = proxy;
    this.receiver = receiver;
    this.#env = {
      REDIS_PREFIX: this.prefix,
      PORT: '0',
      WORKER_PORT: '0',
      WEBHOOK_HEALTH_PORT: '0',
      LOG_LEVEL: 'error',
      MODEL_DIR: 'models/sst2-minilm',
      MODEL_PROCESSES: '1',
      BATCH_TOKENS: '256',
      BULK_BATCH_TOKENS: '256',
      BLOB_URL: `file:${this.#blobs}`,
      BULK_CHUNK_BYTES: '2000',
      LOCK_DURATION_MS: '3000',
      STALLED_INTERVAL_MS: '1000',
      RESULT_TTL_S: String(resultTtlS),
      API_KEYS: keyLines(this.keys),
      WEBHOOK_SCHEMES: 'http',
      WEBHOOK_ALLOW: `127.0.0.1:${receiver.port}`,
      WEBHOOK_RETRY_S: Array(50).fill('2').join(','),
      WEBHOOK_TIMEOUT_MS: '3000',
    };
  }

  static async start(resultTtlS: number): Promise<Cluster> {
    const redis = await OwnRedis.start();
    const cluster = new Cluster(
      redis,
      await FaultProxy.start(redis.port),
      await Receiver.start(answer(204)),
      resultTtlS,
    );
    for (const name of ['api-steady', 'api-mortal', 'worker-steady', 'worker-mortal', 'webhooks-mortal']) {
      cluster.#start(name, name.split('-')[0] as Role);
    }
    await Promise.all([...cluster.#processes.values()].map(({ process }) => process.ready));
    cluster.secret = await cluster.#readSecret();
    return cluster;
  }

  async #readSecret(): Promise<string> {
    const headers = { Authorization: `Bearer ${this.keys.load}` };
    return eventually(async () => {
      const response = await fetch(`${this.apiUrls[0]}/v1/webhook-secret`, { headers });
      // 503 until the API has its Redis.
      if (!response.ok) return undefined;
      const { secrets } = (await response.json()) as { secrets: { secret: string }[] };
      return secrets[0]?.secret;
    });
  }

  #start(name: string, role: Role): Process {
    // One worker alone is cut off: the other shows whether work goes on without it.
    const REDIS_URL = name === 'worker-mortal' ? this.proxy.url : this.redis.url;
    const preload = name.endsWith('-steady') ? [new URL('./heap-probe.ts', import.meta.url)] : [];
    const started = new Process(ENTRIES[role], { ...this.#env, REDIS_URL }, { preload });
    this.#processes.set(name, { role, process: started });
    if (role === 'api') void started.ready.then((url) => this.#apiUrls.set(started, url)).catch(() => {});
    return started;
  }

  get(name: string): Process {
    const found = this.#processes.get(name);
    if (!found) throw new Error(`no process ${name}`);
    return found.process;
  }

  get names(): string[] {
    return [...this.#processes.keys()];
  }

  /** Addresses of the API instances that are up. */
  get apiUrls(): string[] {
    return [...this.#apiUrls].flatMap(([api, url]) => (api.running ? [url] : []));
  }

  /** Ends a process and starts another in its place. */
  async replace(name: string, signal: NodeJS.Signals): Promise<void> {
    const { role, process: old } = this.#processes.get(name) ?? {};
    if (!old || !role) throw new Error(`no process ${name}`);
    await old.end(signal);
    await this.#start(name, role).ready;
  }

  async stop(): Promise<void> {
    const of = (role: Role) => [...this.#processes.values()].filter((each) => each.role === role);
    for (const role of ['api', 'worker', 'webhooks'] as const) {
      await Promise.all(of(role).map(({ process }) => process.end()));
    }
    await this.receiver.stop();
    await this.proxy.stop();
    await this.redis.stop();
    rmSync(this.#blobs, { recursive: true, force: true });
  }
}
