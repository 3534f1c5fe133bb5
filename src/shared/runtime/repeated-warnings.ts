/** Limits how often the log repeats a warning with the same reason. */
import type { Logger } from './logger.ts';

/** What goes on is said again after so long. */
const AGAIN_MS = 60_000;
/** Different reasons that are remembered. */
const MAX_REASONS = 100;

/**
 * Logs errors that come again and again: each reason at once, then once a minute, with how often it came in between. While
 * Redis is away every worker of BullMQ reports that several times a second; when it went and came back, its connections say
 * themselves (redis.ts).
 */
export function repeatedWarnings(logger: Logger, message: string): (error: Error) => void {
  const reasons = new Map<string, { saidAt: number; since: number }>();
  return ({ message: reason }) => {
    const now = performance.now();
    const known = reasons.get(reason);
    if (known && now - known.saidAt < AGAIN_MS) {
      known.since++;
      return;
    }
    if (reasons.size >= MAX_REASONS) reasons.clear();
    reasons.set(reason, { saidAt: now, since: 0 });
    logger.warn({ reason, ...(known && known.since > 0 ? { repeated: known.since } : {}) }, message);
  };
}
