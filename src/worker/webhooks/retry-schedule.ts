/** When a delivery is attempted again. Pure. */
import type { Attempt } from '../../shared/contract/webhooks.ts';
import { JITTER } from '../../shared/store/deliveries/retry-window.ts';

/** A receiver may put an attempt off for a day, but not for ever. */
const MAX_RETRY_AFTER_S = 86_400;
/** In whole seconds, says the standard; some receivers send fractions. */
const SECONDS = /^\d+(\.\d+)?$/;
/** What the three forms of a date in HTTP have in common. Date.parse finds one in nearly everything that has a number. */
const HTTP_DATE = /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? .*\d\d:\d\d:\d\d/;
/** The form without a time zone, which is GMT then. */
const NO_ZONE = /:\d\d \d{4}$/;

export interface Failure {
  outcome: Attempt['outcome'];
  /** What the receiver said in `Retry-After`, in seconds. */
  retryAfterS?: number | undefined;
}

/**
 * Milliseconds until the next attempt, or undefined when there is none: the schedule is over, or the receiver said that it
 * is gone for good.
 * @param scheduleS seconds after the first failed attempt, after the second, …
 * @param failures how many attempts have failed, this one included
 * @param random in [0, 1)
 */
export function retryDelayMs(
  scheduleS: readonly number[],
  failures: number,
  { outcome, retryAfterS = 0 }: Failure,
  random: number = Math.random(),
): number | undefined {
  const planned = scheduleS[failures - 1];
  if (planned === undefined || outcome === 'gone') return undefined;
  const jittered = planned * (1 + JITTER * (2 * random - 1));
  // Never sooner than planned: a receiver that says "a second" every time would use up all attempts within one outage.
  return 1000 * Math.max(jittered, retryAfterS);
}

/**
 * Seconds that `Retry-After` asks for, as a number of them or a date; a day at most.
 * @param now Unix ms
 * @returns undefined when there is none that can be read
 */
export function parseRetryAfter(header: string | undefined, now: number): number | undefined {
  const text = header?.trim() ?? '';
  if (SECONDS.test(text)) return Math.min(Number(text), MAX_RETRY_AFTER_S);
  if (!HTTP_DATE.test(text)) return undefined;
  const date = Date.parse(NO_ZONE.test(text) ? `${text} GMT` : text);
  return Number.isNaN(date) ? undefined : Math.min(Math.max(0, (date - now) / 1000), MAX_RETRY_AFTER_S);
}
