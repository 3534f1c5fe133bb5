/** The delivery window: the longest time for which a delivery may be pending. */

/** Random share of each pause, up or down, so that deliveries behind one outage are not retried in the same second. */
export const JITTER = 0.2;
/** Longest time, beyond the retry schedule, that a delivery may be deferred because its receiver keeps failing. */
const MAX_DEFERRED_MS = 86_400_000;

/** Longest duration of a retry schedule in ms, without the attempts themselves. */
export function scheduleMs(scheduleS: readonly number[]): number {
  return scheduleS.reduce((sum, s) => sum + s * 1000 * (1 + JITTER), 0);
}

/** Longest time in ms from an event to the end of its delivery, unless it is redelivered. */
export const deliveryWindowMs = (scheduleS: readonly number[]): number =>
  scheduleMs(scheduleS) + MAX_DEFERRED_MS;
