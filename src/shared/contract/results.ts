/** Labels and scores of a text, or the error in their place. */
import { z } from 'zod';
import { rowErrorCodes } from './problems.ts';

export const labelScoreSchema = z
  .object({ label: z.string(), score: z.number() })
  .meta({ id: 'LabelScore', description: 'A label of the model and its score.' });
export type LabelScore = z.infer<typeof labelScoreSchema>;

const rowErrorSchema = z
  .object({ code: z.enum(rowErrorCodes), message: z.string() })
  .meta({ id: 'RowError', description: 'Why one text of a job has no label; the others are not affected.' });
export type RowError = z.infer<typeof rowErrorSchema>;

const rowId = z.string().optional().meta({ description: 'The id that the caller gave this text.' });

export const rowResultSchema = z
  .union([
    z.object({
      id: rowId,
      label: z.string(),
      score: z.number(),
      labels: z.array(labelScoreSchema).optional().meta({
        description:
          'The labels that were asked for, best first: those that reach the `threshold`, of these the best `top_k`. With a threshold, or a `top_k` other than 1.',
      }),
      truncated: z
        .boolean()
        .meta({ description: 'The text had more tokens than the model reads; the rest was cut.' }),
      unknown: z.number().optional().meta({
        description:
          "Share of the text's tokens that the model cannot read, up to 1: not in its vocabulary, or in a script that none of its `languages` uses. Left out when there are none.",
      }),
    }),
    z.object({ id: rowId, error: rowErrorSchema }),
  ])
  .meta({ id: 'RowResult', description: 'The outcome of one text: labels, or an error in its place.' });
export type RowResult = z.infer<typeof rowResultSchema>;
