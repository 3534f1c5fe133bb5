/** Bodies of webhooks (docs/webhooks.md). */
import { z } from 'zod';
import { batchSchema } from './batches.ts';
import { time } from './fields.ts';
import { jobSchema } from './jobs.ts';
import { batchEvents, jobEvents } from './webhooks.ts';

const eventUrl = z.string().meta({ description: 'Absolute: under `PUBLIC_URL`.' });

export const jobEventSchema = z
  .object({
    type: z.enum(jobEvents),
    timestamp: time.meta({ description: 'When it happened.' }),
    thin: z.boolean().meta({
      description: 'The event would exceed 20 KB: `results` are left out; fetch `data.urls.self`.',
    }),
    data: jobSchema
      .omit({ webhook: true })
      .partial({ results: true })
      .extend({ urls: z.object({ self: eventUrl }) }),
  })
  .meta({ id: 'JobEvent' });

export const batchEventSchema = z
  .object({
    type: z.enum(batchEvents),
    timestamp: time.meta({ description: 'When it happened.' }),
    thin: z.literal(false),
    data: batchSchema
      .omit({ webhook: true })
      .extend({ urls: z.object({ self: eventUrl, results: eventUrl }) }),
  })
  .meta({ id: 'BatchEvent' });

/** The body of a webhook. */
export const webhookEventSchema = z.discriminatedUnion('type', [jobEventSchema, batchEventSchema]);
export type WebhookEvent = z.infer<typeof webhookEventSchema>;
