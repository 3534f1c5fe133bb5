/** Trying again, patiently, what failed for a reason that may pass. */
import { ApiError, ConnectionError, isTemporary } from './errors.ts';
import { sleep } from './signals.ts';

/** Why a request is being tried again. */
export interface Trouble {
  reason: string;
  /** Unix ms of the first failure since anything has worked. */
  since: number;
}

export interface RetrierOptions {
  /** How long nothing may work before it gives up, in ms. */
  retryTimeoutMs: number;
  signal: AbortSignal;
  /** When it gives up in any case, as performance.now(); default: never. */
  until?: number | undefined;
  /** Told when trouble begins, goes on, and (undefined) is over. */
  onTrouble?: (trouble: Trouble | undefined) => void;
}

/** It was tried long enough; `cause` is the last failure. */
export class GaveUpError extends Error {
  override name = 'GaveUpError';
}

const FIRST_PAUSE_MS = 400;
const LONGEST_PAUSE_MS = 20_000;
/** A server that asks for an hour gets another try sooner: it may have been a restart's first answer. */
const LONGEST_RETRY_AFTER_MS = 5 * 60_000;

/** Shared by all requests to one server, as its trouble is. */
export class Retrier {
  readonly #options: RetrierOptions;
  #trouble: Trouble | undefined;
  #reached = false;

  constructor(options: RetrierOptions) {
    this.#options = options;
  }

  /**
   * The outcome of the first attempt that succeeds.
   * @param signal one that is narrower than that of all
   * @throws what is final, GaveUpError, or the signal's reason
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

  /** Something has worked: the patience is whole again. For attempts that get somewhere before they fail. */
  succeeded(): void {
    this.#reached = true;
    if (!this.#trouble) return;
    this.#trouble = undefined;
    this.#options.onTrouble?.(undefined);
  }

  async #pause(error: unknown, signal: AbortSignal): Promise<void> {
    if (!(error instanceof Error) || !isTemporary(error)) throw error;
    // A name that was never known is a wrong one; one that was known is back when the network is.
    if (!this.#reached && error instanceof ConnectionError && error.code === 'ENOTFOUND') throw error;

    const { retryTimeoutMs, until = Infinity, onTrouble } = this.#options;
    this.#trouble = { reason: reasonOf(error), since: this.#trouble?.since ?? Date.now() };
    const failingMs = Date.now() - this.#trouble.since;
    const leftMs = Math.min(retryTimeoutMs - failingMs, until - performance.now());
    if (leftMs <= 0) throw new GaveUpError(this.#trouble.reason, { cause: error });
    onTrouble?.(this.#trouble);
    const pauseMs = Math.max(backoffMs(failingMs), retryAfterMs(error));
    await sleep(Math.min(pauseMs, leftMs), signal);
  }
}

/**
 * Half as long as it has been failing, more or less a third: exponential, whatever the number of requests that fail side by
 * side, and not all clients of a restarted server at once.
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
