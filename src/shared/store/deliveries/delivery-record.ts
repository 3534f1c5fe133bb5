/**
 * A delivery as Redis keeps it: the fields of its hash. The script that records the outcome of a job or batch creates the hash
 * (contract/events.ts).
 */
import { z } from 'zod';
import {
  attemptSchema,
  batchEvents,
  deliveryStatusSchema,
  jobEvents,
  type Attempt,
} from '../../contract/webhooks.ts';

const deliveryRecordSchema = z.object({
  type: z.enum([...jobEvents, ...batchEvents]),
  /** Id of the job or batch. */
  source: z.string(),
  owner: z.string(),
  url: z.string(),
  trace: z.string(),
  /** Unix ms, like the other times. */
  created: z.coerce.number(),
  status: deliveryStatusSchema.default('pending'),
  /** Source of the body, until the body is fixed. */
  snapshot: z.string().optional(),
  body: z.string().optional(),
  /** Number of redeliveries. */
  run: z.coerce.number().default(0),
  /** Attempts of all runs, and of this one. */
  attempts: z.coerce.number().default(0),
  run_attempts: z.coerce.number().default(0),
  next: z.coerce.number().optional(),
  /** Time of the last redelivery. */
  asked: z.coerce.number().optional(),
  finished: z.coerce.number().optional(),
});

export type DeliveryRecord = z.output<typeof deliveryRecordSchema> & { log: Attempt[] };

/** Attempts that are kept of one delivery; those of many redeliveries displace the first ones. */
export const MAX_LOGGED = 50;

/** A delivery from the fields of its hash; undefined when the hash does not exist. */
export function parseDeliveryRecord(fields: Record<string, string>): DeliveryRecord | undefined {
  if (fields.owner === undefined) return undefined;
  const log: Attempt[] = [];
  const record = deliveryRecordSchema.parse(fields);
  for (let n = Math.max(1, record.attempts - MAX_LOGGED + 1); n <= record.attempts; n++) {
    const json = fields[`attempt:${n}`];
    if (json !== undefined) log.push(attemptSchema.parse(JSON.parse(json)));
  }
  return { ...record, log };
}
