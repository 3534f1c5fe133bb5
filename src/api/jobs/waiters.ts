/**
 * Callers that wait for a job to finish. They are told by the PUBLISH inside settle.lua, on the channel of this API
 * instance for jobs it took in itself and on the job's own channel for others. A message can be missed while the
 * connection is down, so every open wait is also looked up every two seconds and after each reconnect.
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

/** Those who wait for one job. */
interface Wait {
  readonly owner: string;
  readonly waiters: Set<Waiter>;
  /** The channel on which its end is announced: this instance's, or the job's own, which is listened to as long as they wait. */
  listensOn: 'instance' | 'job' | undefined;
}

export interface WaitOptions {
  /** Whose job it is. */
  owner: string;
  /** The job announces itself on this instance's channel. */
  onInstanceChannel: boolean;
  timeoutMs: number;
  /** The caller hung up. */
  signal?: AbortSignal | undefined;
}

const RECHECK_MS = 2000;
/** Jobs in one MGET: many may have ended while the connection was down, with megabytes of results each. */
const LOOK_UPS = 16;

export interface WaitersDeps {
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
  readonly #deps: WaitersDeps;
  readonly #waiting = new Map<string, Wait>();
  /** Jobs that will be waited for as soon as they are in the queue, and what was heard of them meanwhile. */
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
    // ioredis subscribes again by itself after a reconnect; what was published in between has to be looked up.
    subscriber.on('ready', () => {
      subscriber.subscribe(channel).catch(() => {});
      void this.#recheckAll();
    });
    if (subscriber.status === 'ready') subscriber.subscribe(channel).catch(() => {});
    this.#timer = setInterval(() => void this.#recheckAll(), RECHECK_MS);
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
    return this.#deps.channel;
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

  /** Whether somebody waits for this job already, and it is this owner's. */
  waitsFor(id: string, owner: string): boolean {
    return this.#waiting.get(id)?.owner === owner;
  }

  /**
   * Waits until a job has an outcome.
   * @returns undefined after `timeoutMs`, on `signal`, and when the server shuts down
   */
  async wait(id: string, options: WaitOptions): Promise<WaitOutcome> {
    const outcome = await this.#wait(id, options);
    this.#deps.onEnd?.(outcome !== undefined);
    return outcome;
  }

  async #wait(
    id: string,
    { owner, onInstanceChannel, timeoutMs, signal }: WaitOptions,
  ): Promise<WaitOutcome> {
    const { subscriber, records } = this.#deps;
    const expected = this.#expected.has(id);
    const heard = this.#expected.get(id);
    this.#expected.delete(id);
    if (heard !== undefined) return heard;
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
      // Thousands may hang up at once.
      const giveUp = () => void ownTurn().then(() => finish(undefined));
      const timer = setTimeout(giveUp, timeoutMs);
      signal?.addEventListener('abort', giveUp, { once: true });
      waiters.add(finish);
    });
    // Unless it was expected, the job may have finished before anybody listened: look once, when somebody does.
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
        else void this.#recheck(id);
      }
    } catch (error) {
      this.#deps.logger.error({ err: toError(error) }, 'a message about a finished job could not be read');
    }
  }

  #resolve(id: string, outcome: JobRecord | 'deleted'): void {
    if (this.#expected.has(id)) this.#expected.set(id, outcome);
    const [first, ...others] = this.#waiting.get(id)?.waiters ?? [];
    first?.(outcome);
    // Thousands of answers in one turn of the event loop would hold up everybody else.
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
      // Redis is away: the next look comes in two seconds, and at the latest the caller's own timeout.
    }
  }
}
