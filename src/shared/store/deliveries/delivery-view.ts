/** A delivery as the API shows it. */
import { deliveryUrl } from '../../contract/events.ts';
import { isBatchEvent, type Delivery } from '../../contract/webhooks.ts';
import type { DeliveryRecord } from './delivery-record.ts';

export function toDelivery(id: string, record: DeliveryRecord): Delivery {
  const time = (ms: number | undefined) => (ms === undefined ? null : new Date(ms).toISOString());
  const { type, status, url, created, finished, next, asked, run, log, source } = record;
  return {
    id,
    type,
    status,
    url,
    created_at: new Date(created).toISOString(),
    finished_at: time(finished),
    next_attempt_at: time(status === 'pending' ? (next ?? asked ?? created) : undefined),
    redeliveries: run,
    attempts: log,
    urls: {
      self: deliveryUrl(id),
      source: `/v1/${isBatchEvent(type) ? 'batches' : 'jobs'}/${source}`,
    },
  };
}
