/** Records an attempt in its delivery, decides whether another one follows, and extends or ends the retention of the source. */
import { eventTime } from '../../shared/contract/ids.ts';
import type { Attempt } from '../../shared/contract/webhooks.ts';
import type { Config } from '../../shared/runtime/config.ts';
import type { Logger } from '../../shared/runtime/logger.ts';
import type { DeliveryRecord } from '../../shared/store/deliveries/delivery-record.ts';
import type { AfterAttempt, DeliveryStore } from '../../shared/store/deliveries/delivery-store.ts';
import { deliveryWindowMs } from '../../shared/store/deliveries/retry-window.ts';
import type { AttemptResult } from './attempt.ts';
import { isLarge, pointsToSource } from './payload.ts';
import type { SourceRetention } from './retention.ts';
import { retryDelayMs } from './retry-schedule.ts';

export interface RecordAttemptDeps {
  config: Pick<Config, 'WEBHOOK_RETRY_S' | 'WEBHOOK_TTL_S' | 'WEBHOOK_DELIVERED_TTL_S'>;
  deliveries: DeliveryStore;
  retention: SourceRetention;
  logger: Logger;
  onAttempt: (attempt: { outcome: Attempt['outcome']; ms: number; final: boolean }) => void;
}

/** @returns Unix ms of the next attempt, if there is one */
export async function recordAttempt(
  { config, deliveries, retention, logger, onAttempt }: RecordAttemptDeps,
  id: string,
  record: DeliveryRecord,
  { attempt, retryAfterS }: AttemptResult,
): Promise<number | undefined> {
  const failures = record.run_attempts + 1;
  const { outcome } = attempt;
  const delayMs =
    outcome === 'delivered' || isOverdue(id, record.run, config)
      ? undefined
      : retryDelayMs(config.WEBHOOK_RETRY_S, failures, { outcome, retryAfterS });
  const next: AfterAttempt =
    outcome === 'delivered'
      ? { status: 'delivered', keepS: config.WEBHOOK_DELIVERED_TTL_S }
      : delayMs === undefined
        ? { status: 'failed', keepS: config.WEBHOOK_TTL_S }
        : { status: 'pending', at: Math.round(Date.now() + delayMs) };
  // Results that the receiver has to fetch must not expire before their event is delivered.
  if (next.status !== 'pending') {
    if (isLarge(record)) await retention.endRetention(record.source);
  } else if (pointsToSource(record)) await retention.extendRetention(record.source, next.at);
  const written = await deliveries.recordAttempt(id, record, attempt, next);
  onAttempt({ outcome, ms: attempt.ms, final: written && next.status !== 'pending' });
  const { type, source } = record;
  const reason = attempt.reason ?? `the receiver answered ${attempt.status}`;
  const fields = { delivery: id, type, source, outcome, reason, attempt: failures, status: next.status };
  if (next.status === 'failed')
    logger.warn(fields, `gave up delivery ${id} of ${source} after ${failures} attempts`);
  else logger.debug(fields, 'delivery attempt');
  return written && next.status === 'pending' ? next.at : undefined;
}

/** Whether the time for all attempts is over. A delivery that was requested again has no such limit. */
export function isOverdue(id: string, run: number, config: Pick<Config, 'WEBHOOK_RETRY_S'>): boolean {
  return run === 0 && Date.now() - eventTime(id) > deliveryWindowMs(config.WEBHOOK_RETRY_S);
}
