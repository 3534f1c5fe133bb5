/** Computes when a delivery is attempted again. Pure. */
import type { Attempt } from '../../shared/contract/webhooks.ts';
import { JITTER } from '../../shared/store/deliveries/retry-window.ts';

/** Longest `Retry-After` that is honoured: a day. */
const MAX_RETRY_AFTER_S = 86_400;
/** Whole seconds by the standard; some receivers send fractions. */
const SECONDS = /^\d+(\.\d+)?$/;
/** Common to the three date formats of HTTP. Date.parse accepts nearly everything that contains a number. */
const HTTP_DATE = /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? .*\d\d:\d\d:\d\d/;
/** The format without a time zone, which means GMT. */
const NO_ZONE = /:\d\d \d{4}$/;

export interface Failure {
  outcome: Attempt['outcome'];
  /** `Retry-After` of the response, in seconds. */
  retryAfterS?: number | undefined;
}

/**
 * Milliseconds until the next attempt; undefined when there is none, because the schedule is over or the receiver answered 410.
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
  // Never sooner than planned: a receiver that always asks for one second would use up all attempts within one outage.
  return 1000 * Math.max(jittered, retryAfterS);
}

/**
 * Parses `Retry-After`, a number of seconds or a date.
 * @param now Unix ms
 * @returns seconds, a day at most; undefined when the header is missing or invalid
 */
export function parseRetryAfter(header: string | undefined, now: number): number | undefined {
  const text = header?.trim() ?? '';
  if (SECONDS.test(text)) return Math.min(Number(text), MAX_RETRY_AFTER_S);
  if (!HTTP_DATE.test(text)) return undefined;
  const date = Date.parse(NO_ZONE.test(text) ? `${text} GMT` : text);
  return Number.isNaN(date) ? undefined : Math.min(Math.max(0, (date - now) / 1000), MAX_RETRY_AFTER_S);
}
