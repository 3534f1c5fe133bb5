/**
 * Every shape that crosses a process boundary, once: HTTP requests and responses, BullMQ payloads, records in Redis.
 * Types are inferred from the schemas; the OpenAPI document is generated from them.
 */
import { z } from 'zod';
import type { QuoteMode } from './quoting.ts';
import type { Config } from '../runtime/config.ts';
import { PROBLEMS, type ProblemCode } from './problems.ts';
import { scanJson } from './json-scan.ts';
import { NAME, NAME_RULE } from './names.ts';
import { textProblem, tooManyChars } from './text.ts';
import { MAX_URL_CHARS, readReceiver, receiverPolicy } from './receivers.ts';

// ---------------------------------------------------------------------------------------------------------------------
// Job states

export const jobStatusSchema = z
  .enum(['queued', 'processing', 'succeeded', 'failed', 'canceled', 'expired'])
  .meta({ id: 'JobStatus', description: '`succeeded`, `failed`, `canceled` and `expired` are final.' });
export type JobStatus = z.infer<typeof jobStatusSchema>;
export type FinalStatus = Extract<JobStatus, 'succeeded' | 'failed' | 'canceled' | 'expired'>;

/** Which state may follow which. `processing → queued` is a retry after a worker died. Nothing leaves a final state. */
export const JOB_TRANSITIONS: Readonly<Record<JobStatus, readonly JobStatus[]>> = {
  queued: ['processing', 'failed', 'canceled', 'expired'],
  processing: ['queued', 'succeeded', 'failed', 'canceled', 'expired'],
  succeeded: [],
  failed: [],
  canceled: [],
  expired: [],
};

export function isFinal(status: JobStatus): status is FinalStatus {
  return JOB_TRANSITIONS[status].length === 0;
}

// ---------------------------------------------------------------------------------------------------------------------
// Results

export const labelScoreSchema = z
  .object({ label: z.string(), score: z.number() })
  .meta({ id: 'LabelScore', description: 'A label of the model and its score.' });
export type LabelScore = z.infer<typeof labelScoreSchema>;

export const rowErrorCodes = [
  'poison_input',
  'inference_failed',
  'text_too_long',
  'unreadable_text',
] as const satisfies ProblemCode[];
export const rowErrorSchema = z
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
      labels: z
        .array(labelScoreSchema)
        .optional()
        .meta({ description: 'The best `top_k` labels, best first; only when `top_k` is not 1.' }),
      truncated: z
        .boolean()
        .meta({ description: 'The text had more tokens than the model reads; the rest was cut.' }),
      unknown: z.number().optional().meta({
        description:
          "Share of the text's tokens that are not in the model's vocabulary, up to 1; left out when there are none.",
      }),
    }),
    z.object({ id: rowId, error: rowErrorSchema }),
  ])
  .meta({ id: 'RowResult', description: 'The outcome of one text: labels, or an error in its place.' });
export type RowResult = z.infer<typeof rowResultSchema>;

// ---------------------------------------------------------------------------------------------------------------------
// Webhooks (docs/webhooks.md)

const time = z.iso.datetime();

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

const shownWebhookSchema = z
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

export const deliveryStatusSchema = z.enum(['pending', 'delivered', 'failed', 'canceled']).meta({
  id: 'DeliveryStatus',
  description: '`failed`: given up; `canceled`: no longer wanted by its owner. Each can be sent again.',
});
export type DeliveryStatus = z.infer<typeof deliveryStatusSchema>;

/**
 * Which state may follow which. Only a redelivery leads back to `pending`. `canceled → delivered`: an attempt that was under
 * way got through. webhooks/*.lua keep to it.
 */
export const DELIVERY_TRANSITIONS: Readonly<Record<DeliveryStatus, readonly DeliveryStatus[]>> = {
  pending: ['delivered', 'failed', 'canceled'],
  delivered: ['pending'],
  failed: ['pending'],
  canceled: ['pending', 'delivered'],
};

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

// ---------------------------------------------------------------------------------------------------------------------
// Jobs

/** Any JSON object, handed back as it came. (z.record would drop a key named __proto__.) */
const metadataValues = z
  .custom<Record<string, unknown>>(
    (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
    'must be an object',
  )
  .meta({ type: 'object', additionalProperties: true });
/** As it is shown. The document knows nothing of what is custom: null has to be said again. */
const shownMetadata = metadataValues
  .nullable()
  .meta({ type: ['object', 'null'], additionalProperties: true });

const servedBy = z.int().optional().meta({
  description: 'Live workers that serve the model; not there any more when it has ended. With 0 it waits.',
});

export const jobSchema = z
  .object({
    id: z.string().meta({ example: '019aaf3c5e7b7c3b9d0e5f1a2b3c4d5e-n-sst2-minilm' }),
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
        'Jobs of the same model and priority that came in before and have no outcome yet; not there any more when it was begun.',
    }),
    error: z
      .object({ code: z.string(), message: z.string() })
      .nullable()
      .meta({ description: 'Why the job as a whole has no results.' }),
    metadata: shownMetadata,
    webhook: shownWebhookSchema,
    timings_ms: z.object({ queue: z.number(), inference: z.number(), total: z.number() }).nullable().meta({
      description: 'Waiting, being worked on, and both, in milliseconds; null until the job has finished.',
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
    next: z.string().nullable().meta({ description: 'What the next page comes `after`; null on the last.' }),
  })
  .meta({ id: 'JobList' });
export type JobList = z.infer<typeof jobListSchema>;

/**
 * A finished job as it is kept in Redis. Millions of these fill a Redis, so what follows from the id or from other members
 * is left out; `toJob` in records.ts makes the job that is shown.
 */
export const jobRecordSchema = z.object({
  v: z.literal(1),
  owner: z.string(),
  status: jobStatusSchema,
  /** Unix ms, like the other times. */
  created: z.number(),
  started: z.number().optional(),
  finished: z.number(),
  /** Until when it had to be started. */
  expires: z.number().optional(),
  revision: z.string().optional(),
  /** How many texts it had; left out where `results` tell. */
  texts: z.number().optional(),
  results: z.array(rowResultSchema).optional(),
  error: z.object({ code: z.string(), message: z.string() }).optional(),
  metadata: metadataValues.optional(),
  webhook: webhookSchema.optional(),
});
export type JobRecord = z.infer<typeof jobRecordSchema>;

/** How logits become scores; unset: what the model's config says. */
export const applyFunctionSchema = z.enum(['softmax', 'sigmoid', 'none']);
export type ApplyFunction = z.infer<typeof applyFunctionSchema>;

/** A job that waits. Short: this is what fills Redis meanwhile. */
export const jobPayloadSchema = z.object({
  id: z.string(),
  owner: z.string(),
  texts: z.array(z.object({ id: z.string().optional(), text: z.string() })).min(1),
  top_k: z.int().min(1).nullable(),
  apply: applyFunctionSchema.optional(),
  truncate: z.enum(['right', 'left', 'never']).optional(),
  metadata: metadataValues.optional(),
  webhook: webhookSchema.optional(),
  /** Unix ms. */
  created_at: z.number(),
  /** Unix ms until which it must have been started. */
  expires_at: z.number().optional(),
  /** Redis channel of the API instance that waits for the outcome. */
  notify: z.string().optional(),
  /** Trace of the request, as webhooks/trace.ts writes it; only while tracing is on. */
  trace: z.string().optional(),
});
export type JobPayload = z.infer<typeof jobPayloadSchema>;

/** The data of one BullMQ job: jobs of ours that came in together travel together (src/api/jobs/group-commit.ts). */
export const jobGroupSchema = z.object({ v: z.literal(2), jobs: z.array(jobPayloadSchema) });
export type JobGroup = z.infer<typeof jobGroupSchema>;

// ---------------------------------------------------------------------------------------------------------------------
// Batches (docs/bulk.md)

export const batchStatusSchema = z
  .enum(['open', 'queued', 'processing', 'completed', 'failed', 'canceled', 'expired'])
  .meta({ id: 'BatchStatus', description: '`completed`, `failed`, `canceled` and `expired` are final.' });
export type BatchStatus = z.infer<typeof batchStatusSchema>;
export type FinalBatchStatus = Extract<BatchStatus, 'completed' | 'failed' | 'canceled' | 'expired'>;

/**
 * Which state may follow which. Only `resume` leads out of `failed`, and out of `completed` when results are damaged.
 * batches/*.lua keep to it.
 */
export const BATCH_TRANSITIONS: Readonly<Record<BatchStatus, readonly BatchStatus[]>> = {
  open: ['queued', 'canceled', 'expired'],
  queued: ['processing', 'failed', 'canceled'],
  processing: ['completed', 'failed', 'canceled'],
  completed: ['queued'],
  failed: ['queued'],
  canceled: [],
  expired: [],
};

export function isFinalBatch(status: BatchStatus): status is FinalBatchStatus {
  return status === 'completed' || status === 'failed' || status === 'canceled' || status === 'expired';
}

export const inputFormats = ['ndjson', 'csv', 'lines'] as const;
/** What quotes mean in CSV. */
export const quoteModes = ['"', 'none', 'line'] as const satisfies readonly QuoteMode[];

/** A CSV header without the names of its columns, which may take a thousand times the space. */
export const csvHeaderSchema = z.object({
  /** Columns. */
  width: z.int().min(1),
  /** Index of the column with the text; -1: there is none. */
  text: z.int().min(-1),
  /** Index of the column with the caller's ids. */
  id: z.int().min(0).optional(),
  /** Of the names, to recognise a record that repeats them. */
  digest: z.string(),
});
export type CsvHeader = z.infer<typeof csvHeaderSchema>;

/** How a CSV header is kept: by its names while they are few bytes, which workers of version 0.1 need, else as a CsvHeader. */
const storedHeader = {
  columns: z.array(z.string()).optional(),
  header: csvHeaderSchema.optional(),
};
export interface StoredHeader {
  columns?: string[] | undefined;
  header?: CsvHeader | undefined;
}

/** What a batch was made with. It never changes. */
export const batchSpecSchema = z.object({
  format: z.enum(inputFormats),
  text_field: z.string(),
  id_field: z.string().optional(),
  delimiter: z.string().optional(),
  /** CSV: missing in batches of older versions, which had `"`. */
  quote: z.enum(quoteModes).optional(),
  /** CSV: the header, when it is not in the input. */
  ...storedHeader,
  top_k: z.int().min(1).nullable(),
  first_line: z.int(),
  /** Bytes of a chunk. */
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

/** A part as the service keeps it. */
export const storedPartSchema = batchPartSchema.extend({
  /** First part of the keys of its blobs (batches/layout.ts). */
  blob: z.string(),
  chunks: z.int(),
  ...storedHeader,
  /** Records with a quoted field over several lines; missing in parts of older versions. */
  multiline_rows: z.int().optional(),
});
export type StoredPart = z.infer<typeof storedPartSchema>;

const passingProblemSchema = z.object({ code: z.string(), message: z.string(), since: time });

export const batchSchema = z
  .object({
    id: z.string().meta({ example: '019aaf3c5e7b7c3b9d0e5f1a2b3c4d5e-b-sst2-minilm' }),
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
    rows: z.object({
      total: z.int().meta({ description: 'While the batch is open: so far.' }),
      finished: z.int(),
      failed: z.int().meta({ description: 'How many of the finished ones are errors.' }),
      with_unknown: z.int().meta({
        description: "How many of the finished ones have labels, but tokens outside the model's vocabulary.",
      }),
      mean_unknown: z.number().nullable().meta({
        description: 'Mean of `unknown` over those rows; null while there are none.',
      }),
    }),
    rows_per_second: z.number().nullable(),
    eta_s: z.number().nullable().meta({ description: 'Seconds until it is done, at this rate.' }),
    problem: passingProblemSchema.nullable().meta({
      description:
        'Trouble that passes, after which the batch goes on by itself; or `results_damaged`, which resuming the batch repairs, or `input_damaged`.',
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

const eventUrl = z.string().meta({ description: 'Absolute: under `PUBLIC_URL`.' });

export const jobEventSchema = z
  .object({
    type: z.enum(jobEvents),
    timestamp: time.meta({ description: 'When it happened.' }),
    thin: z.boolean().meta({
      description: 'The event would have more than 20 KB: `results` are left out, fetch `data.urls.self`.',
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

/** What json-scan.ts says of a list, too. */
const atMostItems = (max: number): string => `must have at most ${max} items`;

/** Parts that a batch can have. */
export const MAX_PARTS = 10_000;

export const completeBatchSchema = z
  .strictObject({
    parts: z
      .array(
        z.strictObject({
          number: z.int().min(1).max(MAX_PARTS),
          sha256: z
            .string()
            .regex(/^[0-9a-fA-F]{64}$/, 'must be 64 hexadecimal digits')
            .optional()
            .meta({ description: 'Of the content without `Content-Encoding`; compared, if given.' }),
        }),
      )
      .min(1, 'must name at least one part')
      .max(MAX_PARTS, atMostItems(MAX_PARTS)),
  })
  .meta({ id: 'CompleteBatch', description: 'All parts of the input, so that none is missing unnoticed.' });
export type CompleteBatchBody = z.infer<typeof completeBatchSchema>;

/** The BullMQ data of a chunk. */
export const chunkPayloadSchema = z.object({ v: z.literal(1), batch: z.string(), chunk: z.int().min(0) });
export type ChunkPayload = z.infer<typeof chunkPayloadSchema>;

// ---------------------------------------------------------------------------------------------------------------------
// Requests, whose limits are settings

const MAX_FIELD_CHARS = 200;
/** Of a webhook: more than there are, for those who repeat some. */
const MAX_EVENTS = 16;

/** Name of a field or column. */
const field = shortString(MAX_FIELD_CHARS);

/** The schemas of the request bodies under the limits of `config`. */
export function createRequestSchemas(config: Config) {
  const modelName = z
    .string()
    .regex(NAME, `is not a model name: it must be ${NAME_RULE}`)
    .meta({ description: 'One of `GET /v1/models`.', example: config.DEFAULT_MODEL });
  /** As JSON Schema says it; its lengths are in code points, as ours are. */
  const textDoc = {
    type: 'string',
    minLength: 1,
    maxLength: config.MAX_TEXT_CHARS,
    pattern: '^[^\\u0000]*[^\\s\\u0000][^\\u0000]*$',
    description: 'Unicode without NUL and lone surrogates, not only white space.',
    example: 'a stirring, funny and finally transporting re-imagining'.slice(0, config.MAX_TEXT_CHARS),
  };
  const text = z
    .string()
    .superRefine((value, context) => {
      const problem = textProblem(value, config.MAX_TEXT_CHARS);
      if (problem !== undefined) context.addIssue({ code: 'custom', message: problem });
    })
    .meta(textDoc);
  const textWithId = z.strictObject({ id: shortString(config.MAX_ID_CHARS).optional(), text });
  const metadata = metadataValues
    .superRefine((value, context) => {
      const bytes = jsonBytes(value);
      if (bytes === undefined) context.addIssue({ code: 'custom', message: 'is nested too deeply' });
      else if (bytes > config.MAX_METADATA_BYTES) {
        context.addIssue({
          code: 'custom',
          message: `is ${bytes} bytes of JSON; at most ${config.MAX_METADATA_BYTES} are allowed`,
        });
      }
    })
    .meta({
      description: `Any JSON object of up to ${config.MAX_METADATA_BYTES} bytes and ${config.MAX_METADATA_DEPTH} levels, without numbers that a double does not hold; handed back as it came.`,
    });
  const topK = z.int().min(1).max(1_000_000).nullable();
  const policy = receiverPolicy(config);
  const webhookUrl = z
    .string()
    .superRefine((value, context) => {
      const receiver = readReceiver(value, policy);
      if ('problem' in receiver) context.addIssue({ code: 'custom', message: receiver.problem });
    })
    .meta({
      format: 'uri',
      maxLength: MAX_URL_CHARS,
      pattern: `^(?:${policy.schemes.join('|')})://`,
      description:
        'Where events are sent: a public address on a port that WEBHOOK_PORTS allows, without user name and password.',
    });

  const createJob = z
    .strictObject({
      text: text.optional(),
      texts: z
        .array(z.union([text, textWithId]))
        .min(1, 'must contain at least one text')
        .max(config.MAX_TEXTS_PER_JOB, atMostItems(config.MAX_TEXTS_PER_JOB))
        .optional()
        .meta({ description: `Up to ${config.MAX_TEXTS_PER_JOB} texts, each a string or \`{id, text}\`.` }),
      top_k: topK.default(1).meta({ description: 'How many labels per text; null = all.' }),
      model: modelName.optional(),
      metadata: metadata.optional(),
      priority: z.enum(['normal', 'low']).default('normal'),
      expires_in: z
        .int()
        .min(1)
        .max(config.MAX_EXPIRES_S)
        .optional()
        .meta({ description: 'Seconds within which the job must have been started, else it expires.' }),
      webhook: z
        .strictObject({
          url: webhookUrl,
          events: z
            .array(z.enum(jobEvents))
            .min(1, 'must name at least one event')
            .max(MAX_EVENTS, atMostItems(MAX_EVENTS))
            .optional()
            .meta({ description: 'Default: all of them.' }),
        })
        .optional()
        .meta({ description: 'Be told when the job has ended (docs/webhooks.md).' }),
    })
    .superRefine((body, context) => exactlyOne(body, ['text', 'texts'], context))
    .meta({ id: 'CreateJob', oneOf: [{ required: ['text'] }, { required: ['texts'] }] });

  const predict = z
    .strictObject({
      text: text.optional(),
      inputs: z
        .union([text, z.array(z.union([text, z.array(text)]))])
        .superRefine((inputs, context) => {
          const problem = teiProblem(inputs, config.MAX_TEXTS_PER_JOB);
          if (problem) context.addIssue({ code: 'custom', ...problem });
        })
        .optional()
        .meta({
          anyOf: [
            textDoc,
            { type: 'array', items: textDoc, minItems: 1, maxItems: 1 },
            {
              type: 'array',
              items: { type: 'array', items: textDoc, minItems: 1, maxItems: 1 },
              minItems: 1,
              maxItems: config.MAX_TEXTS_PER_JOB,
            },
          ],
          description: 'A string, or a batch such as `[["a"], ["b"]]`.',
        }),
      truncate: z.boolean().nullable().optional(),
      truncation_direction: z.enum(['right', 'left', 'Right', 'Left']).optional(),
      raw_scores: z.boolean().optional(),
      model: modelName.optional(),
    })
    .superRefine((body, context) => {
      exactlyOne(body, ['text', 'inputs'], context);
      if (body.text === undefined) return;
      for (const option of TEI_OPTIONS) {
        if (body[option] === undefined) continue;
        context.addIssue({ code: 'custom', path: [option], message: 'goes with `inputs` only' });
      }
    })
    .meta({
      id: 'Predict',
      description: 'Either `{"text"}` or the request of text-embeddings-inference.',
      oneOf: [{ required: ['text'] }, { required: ['inputs'] }],
      dependentRequired: Object.fromEntries(TEI_OPTIONS.map((option) => [option, ['inputs']])),
    });

  const someBatchEvent = batchEvents.join('|').replaceAll('.', '\\.');
  /** The query of POST /v1/batches. */
  const createBatch = z.strictObject({
    open: z.enum(['true', 'false']).optional().meta({
      description: '`true`: no body now; the input comes in parts.',
    }),
    format: z.enum(inputFormats).optional().meta({ description: 'Default: what `Content-Type` says.' }),
    text_field: field.optional().meta({ description: 'Field or column with the text; default `text`.' }),
    id_field: field.optional().meta({ description: 'Field or column with your id; default `id`, if there.' }),
    delimiter: z
      .string()
      .regex(/^(?:tab|[!#-~ \t])$/, 'must be `tab` or one ASCII character other than a quote')
      .transform((value) => (value === 'tab' ? '\t' : value))
      .optional()
      .meta({ description: 'CSV: between fields; default a comma.' }),
    quote: z
      .enum(quoteModes)
      .optional()
      .meta({
        description:
          'CSV: `"`: fields may be quoted and span lines; `none`: quotes are characters like any other; `line`: quoted ' +
          'fields end on their line, and a line on which one does not is read without quoting. Default: `line` for ' +
          'tabs, else `"`.',
      }),
    columns: z.string().min(1, 'must not be empty').optional().meta({
      description:
        'CSV: the header, as a CSV record; then the input has none. With `open=true` it may be the body, as `text/csv`.',
    }),
    top_k: z
      .string()
      .regex(/^(?:all|[1-9]\d{0,5})$/, 'must be a number from 1 to 999999, or `all`')
      .transform((value) => (value === 'all' ? null : Number(value)))
      .optional()
      .meta({ description: 'How many labels per text; default 1.' }),
    model: modelName.optional(),
    metadata: z
      .string()
      .transform((value, context) => {
        const { excess, losses } = scanJson(value, { maxDepth: config.MAX_METADATA_DEPTH });
        let parsed: unknown;
        try {
          if (!excess) parsed = JSON.parse(value);
        } catch {
          context.addIssue({ code: 'custom', message: 'is not valid JSON' });
          return z.NEVER;
        }
        const faults = excess ? [excess] : losses;
        if (faults.length === 0) return parsed;
        for (const { path, message } of faults) context.addIssue({ code: 'custom', path, message });
        return z.NEVER;
      })
      .pipe(metadata)
      .optional()
      .meta({
        type: 'string',
        contentMediaType: 'application/json',
        description: `A JSON object, like the \`metadata\` of a job.`,
      }),
    webhook: webhookUrl.optional(),
    webhook_events: z
      .string()
      .regex(
        new RegExp(`^(?:${someBatchEvent})(?:,(?:${someBatchEvent}))*$`),
        `must be some of ${batchEvents.join(',')}`,
      )
      .transform((value) => [...new Set(value.split(','))] as (typeof batchEvents)[number][])
      .optional()
      .meta({ description: 'Comma-separated; default: all of them. Goes with `webhook`.' }),
    first_line: z
      .string()
      .regex(/^[1-9]\d{0,12}$/, 'must be a whole number from 1')
      .transform(Number)
      .optional()
      .meta({ description: "Number of the input's first line; default 1." }),
  });

  const hfClassify = z
    .strictObject({
      inputs: z.union([
        text,
        z
          .array(text)
          .min(1, 'must contain at least one text')
          .max(config.MAX_TEXTS_PER_JOB, atMostItems(config.MAX_TEXTS_PER_JOB)),
      ]),
      parameters: z
        .strictObject({
          function_to_apply: applyFunctionSchema.nullable().optional(),
          top_k: topK.optional(),
        })
        .nullable()
        .optional(),
      // Older clients send `{use_cache, wait_for_model}`: both describe what happens here anyway.
      options: z.record(z.string(), z.unknown()).optional(),
    })
    .meta({ id: 'HfClassify', description: 'The request of the Hugging Face Inference API.' });

  return { createJob, createBatch, predict, hfClassify };
}
export type RequestSchemas = ReturnType<typeof createRequestSchemas>;
export type CreateJobBody = z.output<RequestSchemas['createJob']>;
export type CreateBatchQuery = z.output<RequestSchemas['createBatch']>;
export type PredictBody = z.output<RequestSchemas['predict']>;
export type HfClassifyBody = z.output<RequestSchemas['hfClassify']>;

const TEI_OPTIONS = ['truncate', 'truncation_direction', 'raw_scores'] as const;

/**
 * Text-embeddings-inference reads `"a"` and `["a"]` as one text, `["a", "b"]` as a pair, and `[["a"], ["b"]]` as a batch.
 * Single-sentence classifiers have no use for pairs.
 * @returns what is wrong with the shape of `inputs`, and where
 */
function teiProblem(
  inputs: string | (string | string[])[],
  maxTexts: number,
): { path: number[]; message: string } | undefined {
  if (typeof inputs === 'string') return undefined;
  const asBatch = 'a batch is a list of lists, as in [["a"], ["b"]]';
  const pair = 'is a pair of texts, which this model does not take';
  if (inputs.length === 0) return { path: [], message: 'must contain at least one text' };
  if (inputs.length > maxTexts) return { path: [], message: atMostItems(maxTexts) };
  if (inputs.every((item) => typeof item === 'string')) {
    if (inputs.length === 1) return undefined;
    const message = inputs.length === 2 ? `${pair}; ${asBatch}` : `has ${inputs.length} texts; ${asBatch}`;
    return { path: [], message };
  }
  for (const [index, item] of inputs.entries()) {
    const path = [index];
    if (typeof item === 'string') return { path, message: `must be a list: ${asBatch}` };
    if (item.length === 2) return { path, message: pair };
    if (item.length !== 1) return { path, message: `must have one text, but has ${item.length}` };
  }
  return undefined;
}

/** 1 to `maxChars` code points without NUL and lone surrogates. */
function shortString(maxChars: number) {
  return z
    .string()
    .superRefine((value, context) => {
      const problem = shortStringProblem(value, maxChars);
      if (problem !== undefined) context.addIssue({ code: 'custom', message: problem });
    })
    .meta({ minLength: 1, maxLength: maxChars, pattern: '^[^\\u0000]+$' });
}

function shortStringProblem(value: string, maxChars: number): string | undefined {
  if (value === '') return 'must not be empty';
  if (!value.isWellFormed() || value.includes('\0')) return 'contains a NUL or a lone surrogate';
  return tooManyChars(value, maxChars);
}

/** Bytes of a value as UTF-8 JSON, or undefined when it is nested too deeply to be written. */
function jsonBytes(value: unknown): number | undefined {
  try {
    return Buffer.byteLength(JSON.stringify(value));
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function exactlyOne<K extends string>(
  body: Partial<Record<K, unknown>>,
  [first, second]: readonly [K, K],
  context: z.core.$RefinementCtx,
): void {
  const both = body[first] !== undefined && body[second] !== undefined;
  const none = body[first] === undefined && body[second] === undefined;
  if (both)
    context.addIssue({ code: 'custom', message: `give either \`${first}\` or \`${second}\`, not both` });
  if (none) context.addIssue({ code: 'custom', message: `give \`${first}\` or \`${second}\`` });
}

// ---------------------------------------------------------------------------------------------------------------------
// Other responses

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
      .meta({ description: 'How many there are; only when `errors` has the first of them alone.' }),
    request_id: z.string().optional(),
  })
  .meta({ id: 'Problem', description: 'RFC 9457 problem details.' });

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

export const healthSchema = z
  .object({
    status: z.enum(['ready', 'live', 'not_ready', 'no_workers']),
    reason: z.string().optional(),
    workers: z.int().optional().meta({ description: 'Live workers of all models.' }),
    models: z.record(z.string(), z.int()).optional().meta({ description: 'Live workers per model.' }),
  })
  .meta({ id: 'Health' });
