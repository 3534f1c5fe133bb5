/**
 * Events, on their way into the outbox. The script that fixes an outcome also writes the delivery of its event, as a
 * hash with the fields below, and its id into a stream; the webhook process does the rest (store/deliveries).
 */
import { type EventType, type ShownWebhook, type Webhook, batchEvents, jobEvents } from './webhooks.ts';

/** A larger body is sent with a URL instead of the results, as Standard Webhooks advises. */
export const MAX_EVENT_BYTES = 20 * 1024;

export function wants(webhook: Webhook | undefined, type: EventType): webhook is Webhook {
  return webhook !== undefined && (webhook.events?.includes(type) ?? true);
}

/** Initial fields of a delivery, names and values in turn. */
export function newDelivery(
  type: EventType,
  source: string,
  owner: string,
  { url, trace }: Webhook,
  at: number,
): string[] {
  return ['type', type, 'source', source, 'owner', owner, 'url', url, 'trace', trace, 'created', String(at)];
}

/**
 * A webhook as the API shows it.
 * @param event id of the latest event
 */
export function showWebhook(
  kind: 'job' | 'batch',
  webhook: Webhook | undefined,
  event: string | undefined,
): ShownWebhook {
  if (!webhook) return null;
  return {
    url: webhook.url,
    events: webhook.events ?? [...(kind === 'job' ? jobEvents : batchEvents)],
    delivery: event === undefined ? null : deliveryUrl(event),
  };
}

export function deliveryUrl(id: string): string {
  return `/v1/webhooks/${id}`;
}
