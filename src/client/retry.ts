/** Retries requests that failed for a temporary reason, with exponential backoff. */
import { ApiError, ConnectionError, isTemporary } from './errors.ts';
import { sleep } from './signals.ts';

/** Why a request is being tried again. */
export interface Retrying {
  reason: string;
  /** Unix ms of the first failure after the last success. */
  since: number;
}

export interface RetrierOptions {
  /** How long to retry without any success before giving up, in ms. */
  retryTimeoutMs: number;
  signal: AbortSignal;
  /** When to give up in any case, as performance.now(); default: never. */
  until?: number | undefined;
  /** Called on each failure, and with undefined on the first success after it. */
  onRetry?: (retrying: Retrying | undefined) => void;
}

/** Retries ended without success; `cause` is the last failure. */
export class GaveUpError extends Error {
  override name = 'GaveUpError';
}

const FIRST_PAUSE_MS = 400;
const LONGEST_PAUSE_MS = 20_000;
/** A server that asks for an hour is retried sooner: it may have said so while restarting. */
const LONGEST_RETRY_AFTER_MS = 5 * 60_000;

/** Shared by all requests to one server, since they fail together. */
export class Retrier {
  readonly #options: RetrierOptions;
  #retrying: Retrying | undefined;
  #reached = false;

  constructor(options: RetrierOptions) {
    this.#options = options;
  }

  /**
   * Returns the result of the first attempt that succeeds.
   * @param signal of this request alone
   * @throws permanent errors, GaveUpError, or the signal's reason
   */
  async run<T>(attempt: () => Promise<T>, signal = this.#options.signal): Promise<T> {
    for (;;) {
      try {
        const value = await attempt();
        this.succeeded();
        return value;
      } catch (error) {
        signal.throwIfAborted();
        await this.#pause(error, signal);
      }
    }
  }

  /** Restarts the time limit. Called by attempts that make progress before they fail. */
  succeeded(): void {
    this.#reached = true;
    if (!this.#retrying) return;
    this.#retrying = undefined;
    this.#options.onRetry?.(undefined);
  }

  async #pause(error: unknown, signal: AbortSignal): Promise<void> {
    if (!(error instanceof Error) || !isTemporary(error)) throw error;
    // A host name that never resolved is wrong; one that did will resolve again once the network is back.
    if (!this.#reached && error instanceof ConnectionError && error.code === 'ENOTFOUND') throw error;

    const { retryTimeoutMs, until = Infinity, onRetry } = this.#options;
    this.#retrying = { reason: reasonOf(error), since: this.#retrying?.since ?? Date.now() };
    const failingMs = Date.now() - this.#retrying.since;
    const leftMs = Math.min(retryTimeoutMs - failingMs, until - performance.now());
    if (leftMs <= 0) throw new GaveUpError(this.#retrying.reason, { cause: error });
    onRetry?.(this.#retrying);
    const pauseMs = Math.max(backoffMs(failingMs), retryAfterMs(error));
    await sleep(Math.min(pauseMs, leftMs), signal);
  }
}

/**
 * Half the time since the first failure, plus or minus a third: exponential for any number of concurrent requests, and spread
 * over the clients of a restarted server.
 */
export function backoffMs(failingMs: number, random = Math.random()): number {
  const pauseMs = Math.min(LONGEST_PAUSE_MS, Math.max(FIRST_PAUSE_MS, failingMs / 2));
  return pauseMs * (2 / 3 + (2 / 3) * random);
}

function retryAfterMs(error: Error): number {
  const seconds = error instanceof ApiError ? (error.retryAfterS ?? 0) : 0;
  return Math.min(seconds * 1000, LONGEST_RETRY_AFTER_MS);
}

function reasonOf(error: Error): string {
  if (!(error instanceof ApiError)) return error.message;
  return `${error.status} ${error.title}`;
}
