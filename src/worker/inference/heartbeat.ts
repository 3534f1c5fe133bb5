/** Heartbeats of a worker: they keep it among the live workers of its model. */
import type { Redis } from 'ioredis';
import type { Logger } from '../../shared/runtime/logger.ts';
import { HEARTBEAT_MS } from '../../shared/store/models.ts';

/**
 * Announces the worker every HEARTBEAT_MS, and as soon as Redis is back: after an outage longer than LIFETIME_MS it counts as dead,
 * and calls that need a live worker are refused.
 * @param redis connection that `announce` uses; no heartbeat is sent while it is away, because all of them would be sent at its
 *   return
 * @param announce its errors are logged
 * @returns ends the heartbeats
 */
export function startHeartbeat(redis: Redis, announce: () => Promise<void>, logger: Logger): () => void {
  const beat = () => {
    if (redis.status === 'ready')
      announce().catch((error: unknown) => logger.warn({ err: error }, 'heartbeat failed'));
  };
  const timer = setInterval(beat, HEARTBEAT_MS);
  redis.on('ready', beat);
  return () => {
    clearInterval(timer);
    redis.off('ready', beat);
  };
}
