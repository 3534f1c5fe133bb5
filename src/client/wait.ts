/** Waiting for an end, for as long as the caller likes. */
import { isFinal } from '../shared/contract/states.ts';
import { isTemporary } from './errors.ts';
import { WaitTimeoutError } from './outcome-errors.ts';
import { sleep } from './signals.ts';
import type { Batch, Job } from './types.ts';

export interface WaitOptions {
  /** In ms; default: for ever. */
  timeoutMs?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** Shorter than the silence that proxies put up with, which is a minute in most. */
export const LONG_POLL_S = 25;
/** Of a server that answers at once although it was asked to wait: it is on its way out, or allows no waiting. */
const MIN_INTERVAL_MS = 500;

/** What is waited for, and how it is asked for. */
interface Waiting<T extends Job | Batch> {
  /** As it was seen last, if it was. */
  latest?: T | undefined;
  signal: AbortSignal | undefined;
  /** performance.now() at which the waiting ends. */
  until: number;
}

/**
 * Asks, and asks again, until it is final.
 * @param ask holds its answer until there is an end, for so many seconds at most
 * @throws WaitTimeoutError when time is up; before anything was seen, what ask() throws
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

/** A server that is away when time is up: it has still not ended, as far as anybody knows. */
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

/** The same for what cannot hold its answers: asks with growing pauses. */
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
