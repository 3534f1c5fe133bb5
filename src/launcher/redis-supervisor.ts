/**
 * Keeps the private Redis of `npm start` running: waits for disk space, and restarts Redis whenever it ends, without giving up.
 * Nothing acknowledged is lost: Redis ends before it acknowledges what it cannot write.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { toError } from '../shared/runtime/to-error.ts';
import { makeDataDir, DiskFull, waitForDiskSpace, type WaitOptions } from './data-dir.ts';
import { startPrivateRedis, type PrivateRedis, type PrivateRedisOptions } from './private-redis.ts';

const FIRST_BACKOFF_MS = 500;
const MAX_BACKOFF_MS = 30_000;
/** A Redis that ran this long before it ended starts with the first backoff again. */
const HEALTHY_MS = 60_000;

export interface RedisSupervisorOptions extends WaitOptions {
  dataDir: string;
  redis: PrivateRedisOptions;
}

export class RedisSupervisor {
  readonly #options: RedisSupervisorOptions;
  #redis: PrivateRedis | undefined;
  #startedAt = 0;
  #backoffMs = FIRST_BACKOFF_MS;
  #lastReason = '';

  constructor(options: RedisSupervisorOptions) {
    this.#options = options;
  }

  /**
   * Starts Redis for the first time.
   * @returns the address; undefined when the launcher was stopped meanwhile
   * @throws StartupError when Redis cannot be started, unless because of a full disk
   */
  async start(): Promise<string | undefined> {
    for (;;) {
      await waitForDiskSpace(this.#options.dataDir, this.#options);
      if (this.#options.isStopping()) return undefined;
      try {
        return await this.#startOnce();
      } catch (error) {
        if (!this.#isFull()) throw error;
      }
    }
  }

  async stop(): Promise<void> {
    await this.#redis?.stop();
  }

  async #startOnce(): Promise<string> {
    const { dataDir, print } = this.#options;
    const redis = await startPrivateRedis(dataDir, (how) => void this.#restart(how), this.#options.redis);
    this.#redis = redis;
    await redis.loaded();
    this.#startedAt = performance.now();
    print(redis.detail);
    return redis.url;
  }

  async #restart(how: string): Promise<void> {
    const { dataDir, isStopping } = this.#options;
    if (isStopping()) return;
    if (performance.now() - this.#startedAt > HEALTHY_MS) {
      this.#backoffMs = FIRST_BACKOFF_MS;
      this.#lastReason = '';
    }
    let reason = `died (${how})`;
    while (!isStopping()) {
      this.#report(reason);
      await sleep(this.#backoffMs);
      this.#backoffMs = Math.min(2 * this.#backoffMs, MAX_BACKOFF_MS);
      try {
        await waitForDiskSpace(dataDir, this.#options);
        if (!isStopping()) await this.#startOnce();
        return;
      } catch (error) {
        reason = toError(error).message;
      }
    }
  }

  /** Prints why Redis is restarted, unless the last line had the same reason. */
  #report(reason: string): void {
    if (reason === this.#lastReason) return;
    this.#lastReason = reason;
    this.#options.print(`${reason}; restarting until it stays up`);
  }

  #isFull(): boolean {
    try {
      makeDataDir(this.#options.dataDir);
      return false;
    } catch (error) {
      return error instanceof DiskFull;
    }
  }
}
