/** Models as workers register them, and as they are listed. */
import { z } from 'zod';

/** What a worker says about its model when it registers; kept in Redis, so the API needs no model files. */
export const modelInfoSchema = z.object({
  name: z.string(),
  revision: z.string(),
  labels: z.array(z.string()),
  max_tokens: z.int(),
  multi_label: z.boolean(),
  /** Bytes of text in a chunk of bulk work: what one of its model processes does in about a second. */
  chunk_bytes: z.int().optional(),
  batch_dependence: z
    .number()
    .optional()
    .meta({
      description:
        'Largest difference found at the start of the worker between the score of a text alone and in a batch; 0: none. ' +
        'Above 0 with dynamic quantisation. Missing: a worker of an earlier version.',
    }),
});
export type ModelInfo = z.infer<typeof modelInfoSchema>;

export const modelSchema = modelInfoSchema
  .extend({
    default: z.boolean(),
    workers: z.int().meta({ description: 'Live workers that serve this model.' }),
    revisions: z.array(z.object({ revision: z.string(), workers: z.int() })).meta({
      description: 'Which weights they have; several only during a rollout. Every result names its own.',
    }),
    last_served_at: z.iso
      .datetime()
      .optional()
      .meta({ description: 'When a worker last served it, if none does now. Such models come last.' }),
  })
  .meta({ id: 'Model' });
export type Model = z.infer<typeof modelSchema>;

export const modelStatsSchema = z
  .object({
    name: z.string(),
    workers: z.int().meta({ description: 'Live workers that serve this model.' }),
    texts: z.object({
      normal: z
        .int()
        .meta({ description: 'Texts of jobs without an outcome: those that wait and those worked on.' }),
      low: z.int().meta({ description: 'The same with low priority.' }),
      ended: z.int().meta({
        description:
          'How many have had an outcome so far. Between two answers it grows by what was done meanwhile.',
      }),
    }),
    batches: z.object({ running: z.int(), rows: z.int(), rows_per_second: z.number() }).meta({
      description: 'Batches whose input is whole, their rows without a result, and how fast they get one.',
    }),
  })
  .meta({ id: 'ModelStats', description: 'The load of one model, of all callers together.' });
export type ModelStats = z.infer<typeof modelStatsSchema>;
