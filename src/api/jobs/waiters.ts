/**
 * Waiters: callers that wait for a job to end. The PUBLISH in settle.lua wakes them: on the channel of the API instance whose caller
 * waits since the submission, be it this one or another, else on the job's own channel. A message can be missed while the connection
 * is down, so every awaited job is also looked up every two seconds and after each reconnect.
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

/** A job that will be waited for once it is in its queue. */
interface Expected {
  /** The caller takes an outcome that is not on disk yet. */
  readonly early: boolean;
  /** Announced meanwhile. */
  outcome: WaitOutcome;
}

/** All waits for one job. */
interface Wait {
  readonly owner: string;
  readonly waiters: Set<Waiter>;
  /** The one of them that takes an outcome that is not on disk yet. */
  early: Waiter | undefined;
  /** The channel that its end is announced on; undefined before the first waiter listens. */
  channel: string | undefined;
}

export interface WaitLimits {
  timeoutMs: number;
  /** Fires when the caller hangs up. */
  signal?: AbortSignal | undefined;
}

export interface WaitOptions extends WaitLimits {
  /** Owner of the job. */
  owner: string;
  /** The channel that the job's end is announced on. */
  announcedOn: string;
  /** Unless its caller hangs up, another wait follows one that ends without an outcome: only that one counts. */
  provisional?: boolean;
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
  /** Its channel for outcomes that are not on disk yet. */
  earlyChannel: string;
  logger: Logger;
  /** Called at the end of every wait that counts; `settled`: the job had ended. */
  onEnd?: (outcome: 'settled' | 'given_up') => void;
}

export class Waiters {
  readonly #deps: WaitersDeps;
  readonly #waiting = new Map<string, Wait>();
  /** Waits by channel, without those on this instance's, which is always subscribed to. */
  readonly #listening = new Map<string, number>();
  readonly #expected = new Map<string, Expected>();
  readonly #lookUps = new SharedReads((id) => this.#lookUp([id]));
  readonly #timer: NodeJS.Timeout;
  #closed = false;

  constructor(deps: WaitersDeps) {
    this.#deps = deps;
    const { subscriber, channel, earlyChannel } = deps;
    const subscribe = () => void subscriber.subscribe(channel, earlyChannel).catch(() => {});
    subscriber.on('message', (from: string, message: string) => {
      if (from === earlyChannel) this.#onEarlyMessage(message);
      else if (from === channel || this.#listening.has(from)) this.#onMessage(message);
    });
    // ioredis subscribes again by itself after a reconnect; outcomes published in between must be looked up.
    subscriber.on('ready', () => {
      subscribe();
      void this.#recheckAll();
    });
    if (subscriber.status === 'ready') subscribe();
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

  get earlyChannel(): string {
    return this.#deps.earlyChannel;
  }

  /**
   * Records the outcome of a job until wait() or forget(). Call it before the job is added: a fast worker may finish it before
   * add() has returned, and its message must not be lost.
   * @param early the first caller of wait() takes an outcome that is not on disk yet
   */
  expect(id: string, early = false): void {
    this.#expected.set(id, { early, outcome: undefined });
  }

  forget(id: string): void {
    this.#expected.delete(id);
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
    const followed = options.provisional === true && options.signal?.aborted !== true;
    if (outcome !== undefined) this.#deps.onEnd?.('settled');
    else if (!followed) this.#deps.onEnd?.('given_up');
    return outcome;
  }

  async #wait(id: string, { owner, announcedOn, timeoutMs, signal }: WaitOptions): Promise<WaitOutcome> {
    const expected = this.#expected.get(id);
    this.forget(id);
    if (expected?.outcome !== undefined) return expected.outcome;
    if (this.#closed || signal?.aborted || timeoutMs <= 0) return undefined;
    const wait: Wait = this.#waiting.get(id) ?? {
      owner,
      waiters: new Set(),
      early: undefined,
      channel: undefined,
    };
    this.#waiting.set(id, wait);
    const { waiters } = wait;
    const outcome = new Promise<WaitOutcome>((resolve) => {
      const finish: Waiter = (result) => {
        if (!waiters.delete(finish)) return;
        clearTimeout(timer);
        if (wait.early === finish) wait.early = undefined;
        signal?.removeEventListener('abort', giveUp);
        if (waiters.size === 0) {
          this.#waiting.delete(id);
          if (wait.channel !== undefined) this.#stopListening(wait.channel);
        }
        resolve(result);
      };
      // Thousands of callers may hang up at once.
      const giveUp = () => void ownTurn().then(() => finish(undefined));
      const timer = setTimeout(giveUp, timeoutMs);
      signal?.addEventListener('abort', giveUp, { once: true });
      waiters.add(finish);
      if (expected?.early) wait.early = finish;
    });
    // A job that was not expected may have ended before this wait listened: look it up once.
    const listens = wait.channel === undefined ? this.#listen(announcedOn) : Promise.resolve();
    wait.channel ??= announcedOn;
    listens.then(
      () => (expected ? undefined : void this.#recheck(id)),
      () => {},
    );
    return outcome;
  }

  /** Resolves once messages of the channel arrive here. */
  async #listen(channel: string): Promise<void> {
    if (channel === this.#deps.channel) return;
    this.#listening.set(channel, (this.#listening.get(channel) ?? 0) + 1);
    await this.#deps.subscriber.subscribe(channel);
  }

  #stopListening(channel: string): void {
    if (channel === this.#deps.channel) return;
    const others = (this.#listening.get(channel) ?? 0) - 1;
    if (others > 0) {
      this.#listening.set(channel, others);
      return;
    }
    this.#listening.delete(channel);
    this.#deps.subscriber.unsubscribe(channel).catch(() => {});
  }

  /** Ends all waits, without outcome. */
  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    for (const { waiters } of [...this.#waiting.values()])
      for (const finish of [...waiters]) finish(undefined);
  }

  #onMessage(message: string): void {
    const isAwaited = (id: string) => this.#waiting.has(id) || this.#expected.has(id);
    for (const { id, record } of this.#parse(message, isAwaited)) {
      if (record) this.#resolve(id, record);
      else void this.#recheck(id);
    }
  }

  /** Of the callers that wait for a job, only the one that submitted it takes this outcome. */
  #onEarlyMessage(message: string): void {
    const isAwaited = (id: string) =>
      this.#waiting.get(id)?.early !== undefined || this.#expected.get(id)?.early === true;
    for (const { id, record } of this.#parse(message, isAwaited)) {
      const expected = this.#expected.get(id);
      if (expected) expected.outcome ??= record;
      else this.#waiting.get(id)?.early?.(record);
    }
  }

  /** Ends the wait of the caller that takes an early outcome, without one: the worker that it asked does not run the job. */
  refuse(id: string): void {
    this.#waiting.get(id)?.early?.(undefined);
  }

  #parse(message: string, isAwaited: (id: string) => boolean): ReturnType<typeof parseDoneMessage> {
    try {
      return parseDoneMessage(message, isAwaited);
    } catch (error) {
      this.#deps.logger.error({ err: toError(error) }, 'cannot parse a message about finished jobs');
      return [];
    }
  }

  #resolve(id: string, outcome: JobRecord | 'deleted'): void {
    const expected = this.#expected.get(id);
    if (expected) expected.outcome = outcome;
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
