/** Responses that belong to no resource: problem documents and health. */
import { z } from 'zod';
import { PROBLEMS, type ProblemCode } from './problems.ts';

export const problemSchema = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    code: z.enum(Object.keys(PROBLEMS) as [ProblemCode, ...ProblemCode[]]),
    errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
    errors_total: z
      .int()
      .optional()
      .meta({ description: 'Number of all errors; only when `errors` lists just the first of them.' }),
    request_id: z.string().optional(),
  })
  .meta({ id: 'Problem', description: 'RFC 9457 problem details.' });

export const healthSchema = z
  .object({
    status: z.enum(['ready', 'live', 'not_ready', 'no_workers']),
    reason: z.string().optional(),
    workers: z.int().optional().meta({ description: 'Live workers of all models.' }),
    models: z.record(z.string(), z.int()).optional().meta({ description: 'Live workers per model.' }),
  })
  .meta({ id: 'Health' });
