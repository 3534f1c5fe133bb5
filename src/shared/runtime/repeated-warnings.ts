/** Limits how often the log repeats a warning with the same reason. */
import type { Logger } from './logger.ts';

/** Minimum time between two log lines with the same reason. */
const INTERVAL_MS = 60_000;
/** Reasons that are remembered. */
const MAX_REASONS = 100;

/**
 * Rate-limits a recurring warning: each reason is logged at once, then once a minute with the number of repeats. A BullMQ worker
 * reports the same error several times a second.
 */
export function repeatedWarnings(logger: Logger, message: string): (error: Error) => void {
  const reasons = new Map<string, { loggedAt: number; since: number }>();
  return ({ message: reason }) => {
    const now = performance.now();
    const known = reasons.get(reason);
    if (known && now - known.loggedAt < INTERVAL_MS) {
      known.since++;
      return;
    }
    if (reasons.size >= MAX_REASONS) reasons.clear();
    reasons.set(reason, { loggedAt: now, since: 0 });
    logger.warn({ reason, ...(known && known.since > 0 ? { repeated: known.since } : {}) }, message);
  };
}
