/** Schemas of the options of an answer (options.ts), which jobs, batches and requests share. */
import { z } from 'zod';
import {
  applyFunctions,
  MAX_LABEL_CHARS,
  MAX_THRESHOLDS,
  thresholdProblem,
  type Threshold,
} from './options.ts';

export const applyFunctionSchema = z.enum(applyFunctions);

/** A threshold, whatever the model. Not z.record, which would drop a label named __proto__. */
export const thresholdSchema = z
  .unknown()
  .superRefine((value, context) => {
    const problem = thresholdProblem(value);
    if (problem === undefined) return;
    context.addIssue({ code: 'custom', ...(typeof problem === 'string' ? { message: problem } : problem) });
  })
  .transform((value) => value as Threshold);

/** The same for the OpenAPI document, which cannot see into it. */
export const thresholdForms = {
  anyOf: [
    { type: 'number' },
    { type: 'string', enum: ['model'] },
    {
      type: 'object',
      minProperties: 1,
      maxProperties: MAX_THRESHOLDS,
      propertyNames: { maxLength: MAX_LABEL_CHARS },
      additionalProperties: { type: 'number' },
    },
  ],
};

/** The options as a job and a batch keep them. */
export const answerOptions = {
  /** null: all labels, or all that reach the threshold. */
  top_k: z.int().min(1).nullable(),
  apply: applyFunctionSchema.optional(),
  threshold: thresholdSchema.optional(),
};
