/**
 * Callers that wait for a job to finish. They are told by the PUBLISH inside settle.lua, on the channel of this API
 * instance for jobs it took in itself and on the job's own channel for others. A message can be missed while the
 * connection is down, so every open wait is also looked up every two seconds and after each reconnect, all in one MGET.
 */
import type { Redis } from 'ioredis';
import type { JobRecord } from '../shared/contract.ts';
import { toError } from '../shared/errors.ts';
import type { Logger } from '../shared/logger.ts';
import { parseDoneMessage, type JobRecords } from '../shared/records.ts';

export type WaitOutcome = JobRecord | 'deleted' | undefined;
type Waiter = (outcome: WaitOutcome) => void;

/** Those who wait for one job. */
interface Wait {
  readonly waiters: Set<Waiter>;
  /** The job's own channel is listened to for them. */
  listening: boolean;
}

const RECHECK_MS = 2000;

export interface WaitersOptions {
  /** Used for nothing but subscriptions. */
  subscriber: Redis;
  records: JobRecords;
  /** This instance's own channel. */
  channel: string;
  logger: Logger;
  /** Told of every wait that has ended, and whether the job had. */
  onEnd?: (settled: boolean) => void;
}

export class Waiters {
  readonly #options: WaitersOptions;
  readonly #waiting = new Map<string, Wait>();
  /** Jobs that will be waited for as soon as they are in the queue, and what was heard of them meanwhile. */
  readonly #expected = new Map<string, JobRecord | 'deleted' | undefined>();
  readonly #timer: NodeJS.Timeout;
  #closed = false;

  constructor(options: WaitersOptions) {
    this.#options = options;
    const { subscriber, records, channel } = options;
    subscriber.on('message', (from: string, message: string) => {
      if (from === channel || records.isDoneChannel(from)) this.#onMessage(message);
    });
    // ioredis subscribes again by itself after a reconnect; what was published in between has to be looked up.
    subscriber.on('ready', () => {
      subscriber.subscribe(channel).catch(() => {});
      void this.#recheck();
    });
    if (subscriber.status === 'ready') subscriber.subscribe(channel).catch(() => {});
    this.#timer = setInterval(() => void this.#recheck(), RECHECK_MS);
  }

  /** The server shuts down: nobody waits any more. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Jobs that are waited for. */
  get size(): number {
    return this.#waiting.size;
  }

  get channel(): string {
    return this.#options.channel;
  }

  /**
   * Call before a job of this instance is added, and wait() or forget() after: a fast worker may be done before add() has
   * returned here, and its message must not be lost.
   */
  expect(id: string): void {
    this.#expected.set(id, undefined);
  }

  forget(id: string): void {
    this.#expected.delete(id);
  }

  expects(id: string): boolean {
    return this.#expected.has(id);
  }

  /**
   * Waits until a job has an outcome.
   * @param own the job announces itself on this instance's channel
   * @param signal the caller hung up
   * @returns undefined after `timeoutMs`, on `signal`, and when the server shuts down
   */
  async wait(id: string, own: boolean, timeoutMs: number, signal?: AbortSignal): Promise<WaitOutcome> {
    const outcome = await this.#wait(id, own, timeoutMs, signal);
    this.#options.onEnd?.(outcome !== undefined);
    return outcome;
  }

  async #wait(
    id: string,
    own: boolean,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<WaitOutcome> {
    const { subscriber, records } = this.#options;
    const expected = this.#expected.has(id);
    const heard = this.#expected.get(id);
    this.#expected.delete(id);
    if (heard !== undefined) return heard;
    if (this.#closed || signal?.aborted || timeoutMs <= 0) return undefined;
    const jobChannel = records.doneChannel(id);
    const wait: Wait = this.#waiting.get(id) ?? { waiters: new Set(), listening: false };
    this.#waiting.set(id, wait);
    const { waiters } = wait;
    const outcome = new Promise<WaitOutcome>((resolve) => {
      const finish: Waiter = (result) => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', giveUp);
        waiters.delete(finish);
        if (waiters.size === 0) {
          this.#waiting.delete(id);
          if (wait.listening) subscriber.unsubscribe(jobChannel).catch(() => {});
        }
        resolve(result);
      };
      const giveUp = () => finish(undefined);
      const timer = setTimeout(giveUp, timeoutMs);
      signal?.addEventListener('abort', giveUp, { once: true });
      waiters.add(finish);
    });
    // Unless it was expected, the job may have finished before anybody listened: look once, when somebody does.
    if (own || wait.listening) {
      if (!expected) void this.#recheck([id]);
    } else {
      wait.listening = true;
      subscriber.subscribe(jobChannel).then(
        () => void this.#recheck([id]),
        () => {},
      );
    }
    return outcome;
  }

  /** Lets everybody go, with no outcome. */
  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    for (const { waiters } of [...this.#waiting.values()])
      for (const finish of [...waiters]) finish(undefined);
  }

  #onMessage(message: string): void {
    try {
      for (const { id, record } of parseDoneMessage(message)) {
        if (!this.#waiting.has(id) && !this.#expected.has(id)) continue;
        if (record) this.#resolve(id, record);
        else void this.#recheck([id]);
      }
    } catch (error) {
      this.#options.logger.error({ err: toError(error) }, 'a message about a finished job could not be read');
    }
  }

  #resolve(id: string, outcome: JobRecord | 'deleted'): void {
    if (this.#expected.has(id)) this.#expected.set(id, outcome);
    for (const finish of [...(this.#waiting.get(id)?.waiters ?? [])]) finish(outcome);
  }

  async #recheck(ids: string[] = [...this.#waiting.keys(), ...this.#expected.keys()]): Promise<void> {
    if (ids.length === 0) return;
    try {
      const outcomes = await this.#options.records.read(ids);
      outcomes.forEach((outcome, i) => {
        if (outcome !== undefined) this.#resolve(ids[i] as string, outcome);
      });
    } catch {
      // Redis is away: the next look comes in two seconds, and at the latest the caller's own timeout.
    }
  }
}
