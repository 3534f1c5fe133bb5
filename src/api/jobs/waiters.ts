/**
 * Waiters: callers that wait for a job to end. The PUBLISH in settle.lua wakes them, on the channel of this API instance for jobs
 * that it accepted itself, on the job's own channel for others. A message can be missed while the connection is down, so every
 * awaited job is also looked up every two seconds and after each reconnect.
 */
import type { Redis } from 'ioredis';
import type { JobRecord } from '../../shared/contract/jobs.ts';
import { toError } from '../../shared/runtime/to-error.ts';
import type { Logger } from '../../shared/runtime/logger.ts';
import { parseDoneMessage, type JobRecords } from '../../shared/store/jobs/job-records.ts';
import { ownTurn } from '../load/own-turn.ts';
import { SharedReads } from './shared-reads.ts';

export type WaitOutcome = JobRecord | 'deleted' | undefined;
type Waiter = (outcome: WaitOutcome) => void;

/** All waits for one job. */
interface Wait {
  readonly owner: string;
  readonly waiters: Set<Waiter>;
  /** The channel that its end is expected on: this instance's, or the job's own, which is subscribed to only during the wait. */
  listensOn: 'instance' | 'job' | undefined;
}

export interface WaitLimits {
  timeoutMs: number;
  /** Fires when the caller hangs up. */
  signal?: AbortSignal | undefined;
}

export interface WaitOptions extends WaitLimits {
  /** Owner of the job. */
  owner: string;
  /** The job's end is announced on this instance's channel. */
  onInstanceChannel: boolean;
}

const RECHECK_MS = 2000;
/** Jobs in one MGET: many may have ended while the connection was down, each with megabytes of results. */
const LOOK_UPS = 16;

export interface WaitersDeps {
  /** Used only for subscriptions. */
  subscriber: Redis;
  records: JobRecords;
  /** The channel of this instance. */
  channel: string;
  logger: Logger;
  /** Called at the end of every wait; `settled`: the job had ended. */
  onEnd?: (outcome: 'settled' | 'given_up') => void;
}

export class Waiters {
  readonly #deps: WaitersDeps;
  readonly #waiting = new Map<string, Wait>();
  /** Jobs that will be waited for once they are in the queue, and their outcome if it was announced meanwhile. */
  readonly #expected = new Map<string, JobRecord | 'deleted' | undefined>();
  readonly #lookUps = new SharedReads((id) => this.#lookUp([id]));
  readonly #timer: NodeJS.Timeout;
  #closed = false;

  constructor(deps: WaitersDeps) {
    this.#deps = deps;
    const { subscriber, records, channel } = deps;
    subscriber.on('message', (from: string, message: string) => {
      if (from === channel || records.isDoneChannel(from)) this.#onMessage(message);
    });
    // ioredis subscribes again by itself after a reconnect; outcomes published in between must be looked up.
    subscriber.on('ready', () => {
      subscriber.subscribe(channel).catch(() => {});
      void this.#recheckAll();
    });
    if (subscriber.status === 'ready') subscriber.subscribe(channel).catch(() => {});
    this.#timer = setInterval(() => void this.#recheckAll(), RECHECK_MS);
  }

  /** Whether the server is shutting down, so that waits end at once. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Number of jobs that callers wait for. */
  get size(): number {
    return this.#waiting.size;
  }

  get channel(): string {
    return this.#deps.channel;
  }

  /**
   * Records the outcome of a job until wait() or forget(). Call it before the job is added: a fast worker may finish it before
   * add() has returned, and its message must not be lost.
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

  /** Whether a caller of this owner waits for the job already. */
  waitsFor(id: string, owner: string): boolean {
    return this.#waiting.get(id)?.owner === owner;
  }

  /**
   * Waits for the outcome of a job.
   * @returns undefined after `timeoutMs`, on `signal`, and when the server shuts down
   */
  async wait(id: string, options: WaitOptions): Promise<WaitOutcome> {
    const outcome = await this.#wait(id, options);
    this.#deps.onEnd?.(outcome === undefined ? 'given_up' : 'settled');
    return outcome;
  }

  async #wait(
    id: string,
    { owner, onInstanceChannel, timeoutMs, signal }: WaitOptions,
  ): Promise<WaitOutcome> {
    const { subscriber, records } = this.#deps;
    const expected = this.#expected.has(id);
    const announced = this.#expected.get(id);
    this.#expected.delete(id);
    if (announced !== undefined) return announced;
    if (this.#closed || signal?.aborted || timeoutMs <= 0) return undefined;
    const jobChannel = records.doneChannel(id);
    const wait: Wait = this.#waiting.get(id) ?? { owner, waiters: new Set(), listensOn: undefined };
    this.#waiting.set(id, wait);
    const { waiters } = wait;
    const outcome = new Promise<WaitOutcome>((resolve) => {
      const finish: Waiter = (result) => {
        if (!waiters.delete(finish)) return;
        clearTimeout(timer);
        signal?.removeEventListener('abort', giveUp);
        if (waiters.size === 0) {
          this.#waiting.delete(id);
          if (wait.listensOn === 'job') subscriber.unsubscribe(jobChannel).catch(() => {});
        }
        resolve(result);
      };
      // Thousands of callers may hang up at once.
      const giveUp = () => void ownTurn().then(() => finish(undefined));
      const timer = setTimeout(giveUp, timeoutMs);
      signal?.addEventListener('abort', giveUp, { once: true });
      waiters.add(finish);
    });
    // A job that was not expected may have ended before this wait listened: look it up once.
    if (onInstanceChannel) wait.listensOn ??= 'instance';
    if (wait.listensOn !== undefined) {
      if (!expected) void this.#recheck(id);
    } else {
      wait.listensOn = 'job';
      subscriber.subscribe(jobChannel).then(
        () => void this.#recheck(id),
        () => {},
      );
    }
    return outcome;
  }

  /** Ends all waits, without outcome. */
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
        else void this.#recheck(id);
      }
    } catch (error) {
      this.#deps.logger.error({ err: toError(error) }, 'cannot parse a message about finished jobs');
    }
  }

  #resolve(id: string, outcome: JobRecord | 'deleted'): void {
    if (this.#expected.has(id)) this.#expected.set(id, outcome);
    const [first, ...others] = this.#waiting.get(id)?.waiters ?? [];
    first?.(outcome);
    // Thousands of answers in one turn of the event loop would block all other requests.
    for (const finish of others) void ownTurn().then(() => finish(outcome));
  }

  /** Looks a job up. Never rejects. */
  async #recheck(id: string): Promise<void> {
    await this.#lookUps.read(id);
  }

  async #recheckAll(): Promise<void> {
    const ids = [...this.#waiting.keys(), ...this.#expected.keys()];
    for (let start = 0; start < ids.length; start += LOOK_UPS)
      await this.#lookUp(ids.slice(start, start + LOOK_UPS));
  }

  async #lookUp(ids: string[]): Promise<void> {
    try {
      const outcomes = await this.#deps.records.read(ids);
      outcomes.forEach((outcome, i) => {
        if (outcome !== undefined) this.#resolve(ids[i] as string, outcome);
      });
    } catch {
      // Redis is away: the next look-up is in two seconds, and the caller's own timeout ends the wait.
    }
  }
}
