/** How long a delivery may be pending. */

/** Share of a planned pause by which it is longer or shorter: not all behind one outage are called again in the same second. */
export const JITTER = 0.2;
/** Beyond the whole schedule, a delivery may wait so long for its turn at a receiver that only fails. */
const MAX_PARKED_MS = 86_400_000;

/** The longest that all attempts of a delivery can take, in milliseconds, attempts themselves apart. */
export function scheduleMs(scheduleS: readonly number[]): number {
  return scheduleS.reduce((sum, s) => sum + s * 1000 * (1 + JITTER), 0);
}

/** The longest that a delivery is pending which nobody asks for again, in milliseconds. */
export const deliveryWindowMs = (scheduleS: readonly number[]): number =>
  scheduleMs(scheduleS) + MAX_PARKED_MS;
