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

/** A wish to be told, as it is kept: checked when it came in. */
export const webhookSchema = z.object({
  url: z.string(),
  /** undefined: all of them. */
  events: z.array(z.enum([...jobEvents, ...batchEvents])).optional(),
  /** What the delivery goes on from, as webhooks/trace.ts writes it: the request that made the job or batch, or the job. */
  trace: z.string(),
});
export type Webhook = z.infer<typeof webhookSchema>;

export const shownWebhookSchema = z
  .object({
    url: z.string(),
    events: z.array(z.enum([...jobEvents, ...batchEvents])),
    delivery: z.string().nullable().meta({
      description: 'Where the delivery of the latest event can be looked at; null until there is one.',
    }),
  })
  .nullable()
  .meta({ description: 'What is sent, and where, when the end is reached.' });
export type ShownWebhook = z.infer<typeof shownWebhookSchema>;

export const deliveryStatusSchema = z.enum(deliveryStatuses).meta({
  id: 'DeliveryStatus',
  description: '`failed`: given up; `canceled`: no longer wanted by its owner. Each can be sent again.',
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
        '`delivered`: 2xx; `redirect`: 3xx; `rejected`: 4xx; `gone`: 410, which ends the delivery; `throttled`: 429, or 503 with `Retry-After`; `server_error`: 5xx; `timeout`; `connection`: none, or it broke; `blocked`: the address is not one that webhooks may go to.',
    }),
    status: z.int().nullable().meta({ description: 'The HTTP status; null when there was no answer.' }),
    reason: z.string().nullable(),
    response: z.string().nullable().meta({ description: 'The beginning of the body of the answer.' }),
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
      .meta({ description: 'Not before; null when no further one is planned.' }),
    redeliveries: z.int().meta({ description: 'How often it was asked to be sent again.' }),
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
  /** Those of earlier versions have none, and count as one owner's. */
  owner: z.string().default(''),
});
export type DeliveryPayload = z.infer<typeof deliveryPayloadSchema>;
