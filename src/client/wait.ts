/** Waiting for an end, for as long as the caller likes. */
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
const HASTE_MS = 500;

/**
 * Asks, and asks again, until it is final.
 * @param ask holds its answer until there is an end, for so many seconds at most
 */
export async function longPoll(
  ask: (waitS: number) => Promise<Job>,
  isFinal: (job: Job) => boolean,
  { timeoutMs = Infinity, signal }: WaitOptions,
): Promise<Job> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const begun = performance.now();
    const leftS = Math.floor((deadline - begun) / 1000);
    const job = await ask(Math.max(0, Math.min(leftS, LONG_POLL_S)));
    const now = performance.now();
    if (isFinal(job)) return job;
    if (now >= deadline) throw new WaitTimeoutError(job);
    if (now - begun < HASTE_MS) await sleep(Math.min(HASTE_MS, deadline - now), signal);
  }
}

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 5000;
const GROWTH = 1.5;

/** The same for what cannot hold its answers: asks with growing pauses. */
export async function poll(
  ask: () => Promise<Batch>,
  isFinal: (batch: Batch) => boolean,
  { timeoutMs = Infinity, signal }: WaitOptions,
): Promise<Batch> {
  const deadline = performance.now() + timeoutMs;
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * GROWTH, LONGEST_PAUSE_MS)) {
    const batch = await ask();
    const leftMs = deadline - performance.now();
    if (isFinal(batch)) return batch;
    if (leftMs <= 0) throw new WaitTimeoutError(batch);
    await sleep(Math.min(pauseMs, leftMs), signal);
  }
}
