/** Jobs in three forms: as the API shows them, as they wait in BullMQ, and as finished records in Redis. */
import { z } from 'zod';
import { metadataValues, servedBy, shownMetadata, time } from './fields.ts';
import { answerOptions } from './option-schemas.ts';
import { rowResultSchema } from './results.ts';
import { jobStatuses } from './states.ts';
import { shownWebhookSchema, webhookSchema } from './webhooks.ts';

export const jobStatusSchema = z
  .enum(jobStatuses)
  .meta({ id: 'JobStatus', description: '`succeeded`, `failed`, `canceled` and `expired` are final.' });

export const jobSchema = z
  .object({
    id: z.string().meta({ example: '019aaf3c5e7b7c3b9d0e5f1a2b3c4d5e-n-sentiment-multilingual' }),
    status: jobStatusSchema,
    model: z.object({
      name: z.string(),
      revision: z.string().nullable().meta({ description: 'Which weights answered; null until they have.' }),
      workers: servedBy,
    }),
    created_at: time,
    started_at: time.nullable(),
    finished_at: time.nullable(),
    expires_at: time.nullable().meta({
      description: 'When it expires unless it was started before; null without `expires_in`.',
    }),
    priority: z.enum(['normal', 'low']),
    text_count: z.int().nullable().meta({
      description: 'How many texts it has; null when it ended without results under an earlier version.',
    }),
    results: z.array(rowResultSchema).nullable().meta({
      description: 'One entry per text, in the order they were sent; null until the job has finished.',
    }),
    failed_texts: z.int().meta({ description: 'How many results are errors.' }),
    ahead: z.int().optional().meta({
      description:
        'Jobs of the same model and priority that came in before and have no outcome yet; left out once it was started.',
    }),
    error: z
      .object({ code: z.string(), message: z.string() })
      .nullable()
      .meta({ description: 'Why the job as a whole has no results.' }),
    metadata: shownMetadata,
    webhook: shownWebhookSchema,
    timings_ms: z.object({ queue: z.number(), inference: z.number(), total: z.number() }).nullable().meta({
      description:
        'Time in the queue, in the model, and in total, in milliseconds; null until the job has finished.',
    }),
    urls: z.object({ self: z.string() }),
  })
  .meta({ id: 'Job' });
export type Job = z.infer<typeof jobSchema>;

export const jobListSchema = z
  .object({
    jobs: z.array(
      jobSchema.omit({ results: true }).meta({ id: 'ListedJob', description: 'A job without its results.' }),
    ),
    next: z
      .string()
      .nullable()
      .meta({ description: 'Value of `after` for the next page; null on the last.' }),
  })
  .meta({ id: 'JobList' });
export type JobList = z.infer<typeof jobListSchema>;

/**
 * A finished job as stored in Redis. Millions of these fill a Redis, so members that follow from the id or from other members are
 * left out; `toJob` in store/jobs adds them.
 */
export const jobRecordSchema = z.object({
  v: z.literal(1),
  owner: z.string(),
  status: jobStatusSchema,
  /** Unix ms, like the other times. */
  created: z.number(),
  started: z.number().optional(),
  finished: z.number(),
  /** Deadline for its start. */
  expires: z.number().optional(),
  revision: z.string().optional(),
  /** Number of texts; left out where `results` has them. */
  texts: z.number().optional(),
  results: z.array(rowResultSchema).optional(),
  error: z.object({ code: z.string(), message: z.string() }).optional(),
  metadata: metadataValues.optional(),
  webhook: webhookSchema.optional(),
});
export type JobRecord = z.infer<typeof jobRecordSchema>;

/** A waiting job. Kept short, because waiting jobs fill Redis. */
const jobPayloadSchema = z.object({
  id: z.string(),
  owner: z.string(),
  texts: z.array(z.object({ id: z.string().optional(), text: z.string() })).min(1),
  ...answerOptions,
  truncate: z.enum(['right', 'left', 'never']).optional(),
  metadata: metadataValues.optional(),
  webhook: webhookSchema.optional(),
  /** Unix ms. */
  created_at: z.number(),
  /** Deadline for its start, in Unix ms. */
  expires_at: z.number().optional(),
  /** Redis channel of the API instance that waits for the outcome. */
  notify: z.string().optional(),
  /** Redis channel of that instance on which the caller takes the outcome before it is on disk. */
  early: z.string().optional(),
  /** Trace of the request, as trace-context.ts writes it; only while tracing is on. */
  trace: z.string().optional(),
});
export type JobPayload = z.infer<typeof jobPayloadSchema>;

/**
 * The data of one BullMQ job: a group of jobs that were submitted together (src/api/jobs/group-commit.ts). Version 3 has a job
 * with an option that workers of earlier versions would drop: these refuse it.
 */
export const jobGroupSchema = z.object({ v: z.literal([2, 3]), jobs: z.array(jobPayloadSchema) });
export type JobGroup = z.infer<typeof jobGroupSchema>;
