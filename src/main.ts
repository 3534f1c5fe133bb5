/**
 * `npm start`: all of Amulet on one machine. Starts Redis (unless REDIS_URL names one), the API, the inference workers and the
 * webhook process, and restarts each that dies. Ctrl-C stops them in an order that loses nothing: the API first, so that no
 * work comes in; then the workers, once they have finished their jobs; then the webhooks; Redis last.
 */
import path from 'node:path';
import { sweepTemporaryFiles } from './shared/blobs/open.ts';
import { blobUrl, loadApiConfig, modelName, settingWarnings, type Config } from './shared/runtime/config.ts';
import { launchedEnvironment, REDIS_FOLDER } from './shared/runtime/environment.ts';
import { StartupError } from './shared/runtime/startup-error.ts';
import { toError } from './shared/runtime/to-error.ts';
import { writeLine } from './shared/runtime/logger.ts';
import { printableLines } from './shared/runtime/printable.ts';
import { waitForDiskSpace, type WaitOptions } from './launcher/data-dir.ts';
import { waitForExternalRedis } from './launcher/external-redis.ts';
import { SupervisedProcess } from './launcher/supervised-process.ts';
import { privateRedisFolder } from './launcher/private-redis.ts';
import { RedisSupervisor } from './launcher/redis-supervisor.ts';
import type { RotatingLogOptions } from './launcher/rotating-log.ts';
import { withoutSecretsOfOthers, type Role } from './launcher/secrets.ts';
import { tryCommand, waitUntilServed } from './launcher/wait-until-served.ts';
import { lockDataDir } from './launcher/data-dir-lock.ts';
import { readOrCreateWebhookSecret } from './launcher/webhook-secret.ts';
import { isOnTerminal } from './shared/runtime/shutdown.ts';

const NAME_WIDTH = 10;
const print = (name: string, line: string): void => {
  writeLine(`${name.padEnd(NAME_WIDTH)} ${printableLines(line)}`);
};

/** npm passes a terminal's Ctrl-C on although the terminal has already sent it: one key press, two signals. */
const SAME_PRESS_MS = 500;

class Launcher {
  readonly #config: Config;
  #redis: RedisSupervisor | undefined;
  #api: SupervisedProcess | undefined;
  #workers: SupervisedProcess[] = [];
  #webhooks: SupervisedProcess | undefined;
  /** As performance.now(): a clock that is set must not make a second Ctrl-C the first one. */
  #stopping: { since: number } | undefined;

  constructor(config: Config) {
    this.#config = config;
  }

  async start(): Promise<void> {
    const config = this.#config;
    await lockDataDir(config.DATA_DIR);
    // Before Redis starts: it may need the disk space.
    await sweepTemporaryFiles(blobUrl(config)).catch(() => {});
    process.on('SIGINT', () => void this.stop(0));
    process.on('SIGTERM', () => void this.stop(0));
    // SIGHUP on a terminal means that its window was closed: stop in order. Elsewhere it asks the API to reload its files.
    // Checked now, because a closed terminal no longer counts as one.
    const onTerminal = isOnTerminal();
    process.on('SIGHUP', () => (onTerminal ? void this.stop(0) : this.#api?.signal('SIGHUP')));

    const url = config.REDIS_URL ?? (await this.#startRedis());
    if (config.REDIS_URL !== undefined) {
      const options = this.#waiting;
      await waitForDiskSpace(config.DATA_DIR, options);
      await waitForExternalRedis(config, options.print, options.isStopping);
    }
    if (this.#isStopping() || url === undefined) return;
    if (config.REDIS_URL !== undefined) print('redis', 'external, from REDIS_URL');
    const secret = config.WEBHOOK_SECRET.join(',') || readOrCreateWebhookSecret(config.DATA_DIR);
    const redisData: Record<string, string> =
      config.REDIS_URL === undefined ? { [REDIS_FOLDER]: privateRedisFolder(config.DATA_DIR) } : {};
    const supervise = (name: string, role: Role, entry: string, changes: Record<string, string> = {}) =>
      new SupervisedProcess({
        name,
        entry: new URL(entry, import.meta.url),
        env: launchedEnvironment({
          REDIS_URL: url,
          WEBHOOK_SECRET: secret,
          ...redisData,
          ...changes,
          ...withoutSecretsOfOthers(role),
        }),
        logDir: path.join(config.DATA_DIR, 'logs'),
        logs: this.#logs,
        print,
        onUnusable: (who, reason) => void this.#giveUp(who, reason),
      });
    this.#api = supervise('api', 'api', './api/main.ts');
    this.#workers = Array.from({ length: config.WORKERS }, (_, i) =>
      supervise(`worker-${i + 1}`, 'worker', './worker/inference/main.ts', {
        WORKER_PORT: String(config.WORKER_PORT === 0 ? 0 : config.WORKER_PORT + i),
      }),
    );
    this.#webhooks = supervise('webhooks', 'webhooks', './worker/webhooks/main.ts');
    const address = await this.#up(this.#api);
    await Promise.all([...this.#workers, this.#webhooks].map((each) => this.#up(each)));
    if (this.#isStopping()) return;
    const own = modelName(config);
    const served = await waitUntilServed(address, [config.DEFAULT_MODEL, own], () => this.#isStopping());
    if (this.#isStopping()) return;
    const state =
      served === config.DEFAULT_MODEL
        ? `Amulet is ready on ${address}`
        : `Amulet is running on ${address}, but no worker serves DEFAULT_MODEL=${config.DEFAULT_MODEL}: requests must name a model, such as ${own}`;
    const hints = `docs: ${address}/docs, logs: ${path.join(config.DATA_DIR, 'logs')}, stop: Ctrl-C`;
    writeLine(`\n${state}   (${hints})\nTry:  ${tryCommand(address, config, served)}\n`);
  }

  get #logs(): RotatingLogOptions {
    return { maxBytes: this.#config.LOG_MAX_BYTES, maxFiles: this.#config.LOG_MAX_FILES };
  }

  #isStopping(): boolean {
    return this.#stopping !== undefined;
  }

  async #up(started: SupervisedProcess): Promise<string> {
    const detail = await started.ready;
    print(started.name, detail);
    return detail;
  }

  /** @returns the address; undefined when the launcher was stopped meanwhile */
  async #startRedis(): Promise<string | undefined> {
    const { DATA_DIR, PRIVATE_REDIS_MAX_BYTES, MAX_REDIS_MEMORY_PERCENT } = this.#config;
    const limits = { maxBytes: PRIVATE_REDIS_MAX_BYTES, admissionPercent: MAX_REDIS_MEMORY_PERCENT };
    this.#redis = new RedisSupervisor({
      dataDir: DATA_DIR,
      redis: { logs: this.#logs, limits },
      ...this.#waiting,
    });
    return this.#redis.start();
  }

  get #waiting(): WaitOptions {
    return {
      print: (line) => print('redis', line),
      isStopping: () => this.#isStopping(),
      sweep: () => sweepTemporaryFiles(blobUrl(this.#config)),
    };
  }

  /** Stops everything because one process cannot work; the reason becomes the last line. */
  async #giveUp(who: string, reason: string): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = { since: performance.now() };
    await this.#stopAll();
    print(who, `cannot start: ${reason}`);
    process.exit(1);
  }

  async #stopAll(): Promise<void> {
    await this.#api?.stop();
    await Promise.all(this.#workers.map((worker) => worker.stop()));
    await this.#webhooks?.stop();
    await this.#redis?.stop();
  }

  /** Stops all processes in order and exits with `status`; a second call ends everything at once. */
  async stop(status: number): Promise<void> {
    if (this.#stopping) {
      if (performance.now() - this.#stopping.since < SAME_PRESS_MS) return;
      print('amulet', 'ending at once; unfinished jobs stay in Redis and run again after the next start');
      for (const each of [this.#api, ...this.#workers, this.#webhooks]) each?.kill();
      await this.#redis?.stop();
      process.exit(1);
    }
    this.#stopping = { since: performance.now() };
    print('amulet', 'stopping: workers finish their jobs (press Ctrl-C again to end at once)');
    await this.#stopAll();
    print('amulet', 'stopped');
    process.exit(status);
  }
}

try {
  // First: a misspelt setting may be why the others do not fit together.
  for (const warning of settingWarnings()) print('amulet', warning);
  const config = loadApiConfig();
  await new Launcher(config).start();
} catch (error) {
  print(
    'amulet',
    error instanceof StartupError ? error.message : `failed to start: ${toError(error).stack ?? ''}`,
  );
  process.exit(1);
}
