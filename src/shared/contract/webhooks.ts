/** Webhook subscriptions and deliveries (docs/webhooks.md); the bodies that receivers get are in webhook-events.ts. */
import { z } from 'zod';
import { time } from './fields.ts';
import { deliveryStatuses } from './states.ts';

export const jobEvents = ['job.succeeded', 'job.failed', 'job.canceled', 'job.expired'] as const;
export const batchEvents = ['batch.completed', 'batch.failed', 'batch.canceled', 'batch.expired'] as const;
export type EventType = (typeof jobEvents)[number] | (typeof batchEvents)[number];

export function isBatchEvent(type: EventType): type is (typeof batchEvents)[number] {
  return type.startsWith('batch.');
}

/** A webhook subscription as stored; validated when it was submitted. */
export const webhookSchema = z.object({
  url: z.string(),
  /** undefined: all events. */
  events: z.array(z.enum([...jobEvents, ...batchEvents])).optional(),
  /** Parent trace of the delivery, as trace-context.ts writes it: of the request that created the job or batch, or of the job. */
  trace: z.string(),
});
export type Webhook = z.infer<typeof webhookSchema>;

export const shownWebhookSchema = z
  .object({
    url: z.string(),
    events: z.array(z.enum([...jobEvents, ...batchEvents])),
    delivery: z.string().nullable().meta({
      description: 'URL of the delivery of the latest event; null before the first.',
    }),
  })
  .nullable()
  .meta({ description: 'Receiver and events of the webhook that is sent at the end.' });
export type ShownWebhook = z.infer<typeof shownWebhookSchema>;

export const deliveryStatusSchema = z.enum(deliveryStatuses).meta({
  id: 'DeliveryStatus',
  description: '`failed`: given up; `canceled`: by its owner. Both can be sent again.',
});

/** How an attempt to deliver ended. */
export const attemptOutcomes = [
  'delivered',
  'redirect',
  'rejected',
  'gone',
  'throttled',
  'server_error',
  'timeout',
  'connection',
  'blocked',
] as const;
export const attemptSchema = z
  .object({
    at: time,
    outcome: z.enum(attemptOutcomes).meta({
      description:
        '`delivered`: 2xx; `redirect`: 3xx; `rejected`: 4xx; `gone`: 410, which ends the delivery; `throttled`: 429, or 503 with `Retry-After`; `server_error`: 5xx; `timeout`; `connection`: failed or lost; `blocked`: webhooks to this address are not allowed.',
    }),
    status: z.int().nullable().meta({ description: 'The HTTP status; null without a response.' }),
    reason: z.string().nullable(),
    response: z.string().nullable().meta({ description: 'The beginning of the response body.' }),
    ms: z.int(),
  })
  .meta({ id: 'DeliveryAttempt' });
export type Attempt = z.infer<typeof attemptSchema>;

export const deliverySchema = z
  .object({
    id: z.string().meta({
      description: 'What receivers see as `webhook-id`.',
      example: 'evt_019aaf3c5e7b9d0e5f1a2b3c4d5e6f70',
    }),
    type: z.enum([...jobEvents, ...batchEvents]),
    status: deliveryStatusSchema,
    url: z.string(),
    created_at: time,
    finished_at: time.nullable(),
    next_attempt_at: time
      .nullable()
      .meta({ description: 'Earliest time of the next attempt; null when none is planned.' }),
    redeliveries: z.int().meta({ description: 'Number of requested redeliveries.' }),
    attempts: z.array(attemptSchema).meta({ description: 'The latest ones, oldest first.' }),
    urls: z.object({ self: z.string(), source: z.string() }),
  })
  .meta({ id: 'Delivery', description: 'An event on its way to its receiver.' });
export type Delivery = z.infer<typeof deliverySchema>;

/** The BullMQ data of a delivery. */
export const deliveryPayloadSchema = z.object({
  v: z.literal(1),
  id: z.string(),
  run: z.int(),
  /** Host and port of the receiver. */
  host: z.string(),
  /** Missing in payloads of earlier versions, which then share one owner. */
  owner: z.string().default(''),
});
export type DeliveryPayload = z.infer<typeof deliveryPayloadSchema>;
