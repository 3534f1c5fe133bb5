/** Waits for a job or batch to end, up to the caller's timeout. */
import { isFinal } from '../shared/contract/states.ts';
import { isTemporary } from './errors.ts';
import { WaitTimeoutError } from './outcome-errors.ts';
import { sleep } from './signals.ts';
import type { Batch, Job } from './types.ts';

export interface CallOptions {
  /** Ends the call with the signal's reason. Submitted work continues. */
  signal?: AbortSignal | undefined;
}

export interface WaitOptions extends CallOptions {
  /** In ms; default: for ever. */
  timeoutMs?: number | undefined;
}

/** Shorter than the idle timeout of proxies, mostly a minute. */
export const LONG_POLL_S = 25;
/** Between requests to a server that responds at once although asked to wait: it is shutting down, or allows no waiting. */
const MIN_INTERVAL_MS = 500;

interface Waiting<T extends Job | Batch> {
  /** The job or batch as last seen. */
  latest?: T | undefined;
  signal: AbortSignal | undefined;
  /** Deadline, as performance.now(). */
  until: number;
}

/**
 * Repeats a long poll until the job is final.
 * @param ask polls for up to `waitS` seconds
 * @throws WaitTimeoutError at the deadline; the error of ask() if the job has not been seen yet
 */
export async function longPoll(
  ask: (waitS: number) => Promise<Job>,
  { latest, signal, until }: Waiting<Job>,
): Promise<Job> {
  for (;;) {
    const startedAt = performance.now();
    const leftS = Math.floor((until - startedAt) / 1000);
    latest = await ask(Math.max(0, Math.min(leftS, LONG_POLL_S))).catch(orTimeout(latest, until));
    const now = performance.now();
    if (isFinal(latest.status)) return latest;
    if (now >= until) throw new WaitTimeoutError(latest);
    if (now - startedAt < MIN_INTERVAL_MS) await sleep(Math.min(MIN_INTERVAL_MS, until - now), signal);
  }
}

/** Turns a temporary error at the deadline into a WaitTimeoutError: as far as is known, the work has not ended. */
function orTimeout(latest: Job | Batch | undefined, until: number): (error: unknown) => never {
  return (error) => {
    if (latest !== undefined && performance.now() >= until && isTemporary(error)) {
      throw new WaitTimeoutError(latest);
    }
    throw error;
  };
}

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 5000;
const GROWTH = 1.5;

/** Polls with growing pauses until the batch is final; batches have no long poll. */
export async function poll(
  ask: () => Promise<Batch>,
  { latest, signal, until }: Waiting<Batch>,
): Promise<Batch> {
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * GROWTH, LONGEST_PAUSE_MS)) {
    latest = await ask().catch(orTimeout(latest, until));
    const leftMs = until - performance.now();
    if (isFinal(latest.status)) return latest;
    if (leftMs <= 0) throw new WaitTimeoutError(latest);
    await sleep(Math.min(pauseMs, leftMs), signal);
  }
}
