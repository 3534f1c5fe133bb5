/**
 * Keeps the private Redis of `npm start` running: waits for room on its disk, and starts it again whenever it ends, for as
 * long as that takes. Nothing acknowledged is lost meanwhile: it ends before it acknowledges what it cannot write.
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
   * Starts it for the first time.
   * @returns its address; undefined when this launcher was told to stop meanwhile
   * @throws StartupError when it cannot be started, for another reason than a full disk
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
    const redis = await startPrivateRedis(dataDir, (how) => void this.#startAgain(how), this.#options.redis);
    this.#redis = redis;
    await redis.loaded();
    this.#startedAt = performance.now();
    print(redis.detail);
    return redis.url;
  }

  async #startAgain(how: string): Promise<void> {
    const { dataDir, isStopping } = this.#options;
    if (isStopping()) return;
    if (performance.now() - this.#startedAt > HEALTHY_MS) {
      this.#backoffMs = FIRST_BACKOFF_MS;
      this.#lastReason = '';
    }
    let reason = `died (${how})`;
    while (!isStopping()) {
      this.#tell(reason);
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

  /** Says a reason for starting it again, unless it is the one that was said last. */
  #tell(reason: string): void {
    if (reason === this.#lastReason) return;
    this.#lastReason = reason;
    this.#options.print(`${reason}; starting it again until it stays`);
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
