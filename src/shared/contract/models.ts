/** Models as workers register them, and as the API lists them. */
import { z } from 'zod';
import { applyFunctionSchema } from './option-schemas.ts';
import type { OptionName } from './options.ts';

/** A worker's description of its model at registration; stored in Redis, so the API needs no model files. */
export const modelInfoSchema = z.object({
  name: z.string(),
  revision: z.string(),
  labels: z.array(z.string()),
  max_tokens: z.int(),
  multi_label: z.boolean(),
  function_to_apply: applyFunctionSchema.optional().meta({
    description:
      'Function from outputs to scores when a request does not say. Missing: a worker of an earlier version.',
  }),
  temperature: z
    .number()
    .optional()
    .meta({ description: 'Logits are divided by it before softmax or sigmoid (`amulet.json`). Missing: 1.' }),
  thresholds: z.record(z.string(), z.number()).optional().meta({
    description:
      'The model\'s own thresholds (`amulet.json`), for `threshold: "model"`. Missing: it has none.',
  }),
  task: z.string().optional().meta({ description: 'What it was made for, from `amulet.json`.' }),
  /** Missing: not known, or a worker of an earlier version. */
  languages: z.array(z.string()).optional(),
  chunk_bytes: z.int().optional().meta({
    description:
      'Bytes of input in a chunk of a batch: what one model process labels in about a second, as a worker measured when it started. Missing: not measured.',
  }),
  model_processes: z.int().optional().meta({
    description:
      'Model processes of each worker, of the one that started last. Missing: a worker of an earlier version.',
  }),
  batch_dependence: z
    .number()
    .optional()
    .meta({
      description:
        'Largest difference between the scores of a text alone and beside others, measured when the worker starts; 0: none. ' +
        'Above 0 with dynamic quantisation. Missing: a worker of an earlier version.',
    }),
});
export type ModelInfo = z.infer<typeof modelInfoSchema>;

export const modelSchema = modelInfoSchema
  .extend({
    languages: z
      .array(z.string())
      .nullable()
      .meta({
        description:
          'Languages that the model reads, as BCP 47 language codes such as `en`, from `amulet.json`; null: not known.',
        example: ['en'],
      }),
    options: z
      .array(z.custom<OptionName>())
      .optional()
      .meta({
        type: 'array',
        items: { type: 'string' },
        description:
          'Options that all its live workers understand: fewer only while some are of an earlier version. Missing without workers.',
        example: ['top_k', 'function_to_apply', 'threshold'],
      }),
    default: z.boolean(),
    workers: z.int().meta({ description: 'Live workers that serve this model.' }),
    revisions: z.array(z.object({ revision: z.string(), workers: z.int() })).meta({
      description: 'Revisions that they serve; several only during a rollout. Every result names its own.',
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
      normal: z.int().meta({ description: 'Texts of unfinished jobs: waiting or being classified.' }),
      low: z.int().meta({ description: 'The same with low priority.' }),
      ended: z.int().meta({
        description:
          'Texts of finished jobs so far, a counter: the difference of two answers is the work in between.',
      }),
    }),
    batches: z.object({ running: z.int(), rows: z.int(), rows_per_second: z.number() }).meta({
      description: 'Batches whose input is complete, their rows without a result, and their rate.',
    }),
  })
  .meta({ id: 'ModelStats', description: 'The load of one model, of all callers together.' });
export type ModelStats = z.infer<typeof modelStatsSchema>;
