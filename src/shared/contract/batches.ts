/** Batches, their parts and their chunks (docs/bulk.md). */
import { z } from 'zod';
import { metadataValues, servedBy, shownMetadata, time } from './fields.ts';
import { answerOptions, applyFunctionSchema, thresholdForms, thresholdSchema } from './option-schemas.ts';
import type { QuoteMode } from './quoting.ts';
import { batchStatuses } from './states.ts';
import { shownWebhookSchema } from './webhooks.ts';

export const batchStatusSchema = z
  .enum(batchStatuses)
  .meta({ id: 'BatchStatus', description: '`completed`, `failed`, `canceled` and `expired` are final.' });

export const inputFormats = ['ndjson', 'csv', 'lines'] as const;
/** Meaning of quotes in CSV. */
export const quoteModes = ['"', 'none', 'line'] as const satisfies readonly QuoteMode[];

/** A CSV header without its column names, which may take a thousand times the space. */
const csvHeaderSchema = z.object({
  /** Number of columns. */
  width: z.int().min(1),
  /** Index of the text column; -1: none. */
  text: z.int().min(-1),
  /** Index of the column with the caller's ids. */
  id: z.int().min(0).optional(),
  /** Hash of the names, to recognise a record that repeats them. */
  digest: z.string(),
});
export type CsvHeader = z.infer<typeof csvHeaderSchema>;

/** A stored CSV header: its names while they are short, which workers of version 0.1 need; else a CsvHeader. */
const storedHeaderSchema = z.object({
  columns: z.array(z.string()).optional(),
  header: csvHeaderSchema.optional(),
});
export type StoredHeader = z.infer<typeof storedHeaderSchema>;

/** The options a batch was created with; never changed. */
export const batchSpecSchema = z.object({
  format: z.enum(inputFormats),
  text_field: z.string(),
  id_field: z.string().optional(),
  delimiter: z.string().optional(),
  /** CSV: missing in batches of older versions, which used `"`. */
  quote: z.enum(quoteModes).optional(),
  /** CSV: the header, when the input has none. */
  ...storedHeaderSchema.shape,
  ...answerOptions,
  first_line: z.int(),
  /** Target size of a chunk. */
  chunk_bytes: z.int(),
  metadata: metadataValues.optional(),
});
export type BatchSpec = z.infer<typeof batchSpecSchema>;

/** One part of a batch's input. */
export const batchPartSchema = z
  .object({
    number: z.int(),
    sha256: z.string().meta({ description: 'Of the content without `Content-Encoding`, in hex.' }),
    bytes: z.int().meta({ description: 'Of the content without `Content-Encoding`.' }),
    rows: z.int(),
    lines: z.int().meta({ description: 'Physical lines, empty ones and headers included.' }),
  })
  .meta({ id: 'BatchPart' });
export type BatchPart = z.infer<typeof batchPartSchema>;

/** A part as stored. */
export const storedPartSchema = batchPartSchema.extend({
  /** Prefix of the keys of its blobs (batches/layout.ts). */
  blob: z.string(),
  chunks: z.int(),
  ...storedHeaderSchema.shape,
  /** Records with a quoted field that spans lines; missing in parts of older versions. */
  multiline_rows: z.int().optional(),
});
export type StoredPart = z.infer<typeof storedPartSchema>;

const passingProblemSchema = z.object({ code: z.string(), message: z.string(), since: time });

export const batchSchema = z
  .object({
    id: z.string().meta({ example: '019aaf3c5e7b7c3b9d0e5f1a2b3c4d5e-b-sentiment-multilingual' }),
    status: batchStatusSchema,
    model: z.object({
      name: z.string(),
      revision: z.string().nullable().meta({ description: 'Which weights answer; null until they have.' }),
      workers: servedBy,
    }),
    created_at: time,
    queued_at: time.nullable().meta({ description: 'When its input was whole.' }),
    started_at: time.nullable(),
    finished_at: time.nullable(),
    expires_at: time
      .nullable()
      .meta({ description: 'When it is removed, with its data, if nothing happens.' }),
    input: z.object({
      format: z.enum(inputFormats),
      text_field: z.string(),
      id_field: z.string().nullable(),
      bytes: z.int(),
      parts: z.int(),
      multiline_rows: z.int().optional().meta({
        description:
          'CSV: records with a quoted field that spans lines. More than you expect, and a quote is missing.',
      }),
    }),
    top_k: z.int().nullable(),
    threshold: thresholdSchema
      .optional()
      .meta({ ...thresholdForms, description: 'Left out when none was asked for.' }),
    function_to_apply: applyFunctionSchema
      .optional()
      .meta({ description: "Left out when it is the model's own." }),
    rows: z.object({
      total: z.int().meta({ description: 'While the batch is open: so far.' }),
      finished: z.int(),
      failed: z.int().meta({ description: 'How many of the finished ones are errors.' }),
      with_unknown: z.int().meta({
        description:
          'How many of the finished ones have labels, but tokens that the model cannot read: see `unknown` of a result.',
      }),
      mean_unknown: z.number().nullable().meta({
        description: 'Mean of `unknown` over those rows; null while there are none.',
      }),
      truncated: z.int().nullable().meta({
        description: 'How many of the finished ones have a text that was cut; null: not counted.',
      }),
      mean_score: z.number().nullable().meta({
        description:
          'Mean `score` of the finished ones that have labels; null: there are none, or they were not counted.',
      }),
      with_other_label: z.int().nullable().meta({
        description:
          'How many of the finished ones have a label that `labels` leaves out; null: not counted.',
      }),
    }),
    labels: z.record(z.string(), z.int()).nullable().meta({
      description:
        'Finished rows by their best `label`, the most frequent first; at most 100 labels. Null: not all rows were counted, because a worker of an earlier version finished some of them.',
    }),
    errors: z.record(z.string(), z.int()).nullable().meta({
      description: 'Failed rows by the `code` of their error; null: not counted.',
    }),
    rows_per_second: z.number().nullable(),
    eta_s: z.number().nullable().meta({ description: 'Seconds until it is done, at this rate.' }),
    problem: passingProblemSchema.nullable().meta({
      description:
        'A temporary problem, after which the batch continues by itself; or `results_damaged`, which resuming the batch repairs; or `input_damaged`.',
    }),
    error: z
      .object({ code: z.string(), message: z.string() })
      .nullable()
      .meta({ description: 'Why the batch came to an end without being completed.' }),
    metadata: shownMetadata,
    webhook: shownWebhookSchema,
    urls: z.object({ self: z.string(), results: z.string() }),
  })
  .meta({ id: 'Batch' });
export type Batch = z.infer<typeof batchSchema>;

/** Most parts of a batch. */
export const MAX_PARTS = 10_000;

/**
 * The BullMQ data of a chunk. Version 2 is of a batch with an option that workers of earlier versions would drop: these refuse it,
 * and another worker gets it.
 */
export const chunkPayloadSchema = z.object({
  v: z.literal([1, 2]),
  batch: z.string(),
  chunk: z.int().min(0),
});
export type ChunkPayload = z.infer<typeof chunkPayloadSchema>;

/** Version of the chunks of a batch. */
export const chunkVersion = ({ apply, threshold }: BatchSpec): ChunkPayload['v'] =>
  apply === undefined && threshold === undefined ? 1 : 2;
