/** Schemas of the request bodies and queries; their limits are settings. */
import { z } from 'zod';
import { batchEvents, jobEvents } from '../shared/contract/webhooks.ts';
import { inputFormats, MAX_PARTS, quoteModes } from '../shared/contract/batches.ts';
import { metadataValues } from '../shared/contract/fields.ts';
import { scanJson } from '../shared/contract/json-scan.ts';
import { NAME, NAME_RULE } from '../shared/contract/names.ts';
import { applyFunctionSchema, thresholdForms, thresholdSchema } from '../shared/contract/option-schemas.ts';
import { NO_THRESHOLD, parsedThreshold } from '../shared/contract/options.ts';
import { MAX_URL_CHARS, readReceiver, receiverPolicy } from '../shared/runtime/receivers.ts';
import { textProblem, tooManyChars } from '../shared/contract/text.ts';
import type { Config } from '../shared/runtime/config.ts';

/** The same words as in json-scan.ts. */
const atMostItems = (max: number): string => `must have at most ${max} items`;

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
            .meta({
              description:
                'SHA-256 of the content without `Content-Encoding`, in hex; compared with that of the upload, if given.',
            }),
        }),
      )
      .min(1, 'must name at least one part')
      .max(MAX_PARTS, atMostItems(MAX_PARTS)),
  })
  .meta({ id: 'CompleteBatch', description: 'All parts of the input, so that a missing one is noticed.' });
export type CompleteBatchBody = z.infer<typeof completeBatchSchema>;

const MAX_FIELD_CHARS = 200;
/** Most events of a webhook: more than exist, because a request may repeat some. */
const MAX_EVENTS = 16;

/** Name of a field or column. */
const field = shortString(MAX_FIELD_CHARS);

/** The schemas of the request bodies under the limits of `config`. */
export function createRequestSchemas(config: Config) {
  const modelName = z
    .string()
    .regex(NAME, `is not a model name: it must be ${NAME_RULE}`)
    .meta({ description: 'One of `GET /v1/models`.', example: config.DEFAULT_MODEL });
  /** The rules of `text` as JSON Schema, whose lengths are code points like ours. */
  const textDoc = {
    type: 'string',
    minLength: 1,
    maxLength: config.MAX_TEXT_CHARS,
    pattern: '^[^\\u0000]*[^\\s\\u0000][^\\u0000]*$',
    description: 'Unicode text without NUL and lone surrogates, and not only white space.',
    example: 'a stirring, funny and finally transporting re-imagining'.slice(0, config.MAX_TEXT_CHARS),
  };
  const text = z
    .string()
    .superRefine(checkedBy((value) => textProblem(value, config.MAX_TEXT_CHARS)))
    .meta(textDoc);
  const textWithId = z.strictObject({ id: shortString(config.MAX_ID_CHARS).optional(), text });
  const metadata = metadataValues
    .superRefine(
      checkedBy((value) => {
        const bytes = jsonBytes(value);
        if (bytes === undefined) return 'is nested too deeply';
        if (bytes <= config.MAX_METADATA_BYTES) return undefined;
        return `is ${bytes} bytes of JSON; at most ${config.MAX_METADATA_BYTES} are allowed`;
      }),
    )
    .meta({
      description: `Any JSON object of up to ${config.MAX_METADATA_BYTES} bytes and ${config.MAX_METADATA_DEPTH} levels, without numbers that a double cannot hold; returned unchanged.`,
    });
  const topK = z.int().min(1).max(1_000_000).nullable();
  const threshold = thresholdSchema.meta({ ...thresholdForms, description: THRESHOLD, example: 0.5 });
  const functionToApply = applyFunctionSchema.meta({
    description:
      "Function from the model's outputs to scores; `none`: the outputs as they are. Default: the model's own.",
  });
  const policy = receiverPolicy(config);
  const webhookUrl = z
    .string()
    .superRefine(
      checkedBy((value) => {
        const receiver = readReceiver(value, policy);
        return 'problem' in receiver ? receiver.problem : undefined;
      }),
    )
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
      top_k: topK.optional().meta({
        description: 'Labels per text; null: all. Default 1; with a `threshold`, all that reach it.',
      }),
      threshold: threshold.optional(),
      function_to_apply: functionToApply.optional(),
      model: modelName.optional(),
      metadata: metadata.optional(),
      priority: z.enum(['normal', 'low']).default('normal'),
      expires_in: z
        .int()
        .min(1)
        .max(config.MAX_EXPIRES_S)
        .optional()
        .meta({ description: 'Seconds within which a worker must start the job, or it expires.' }),
      webhook: z
        .strictObject({
          url: webhookUrl,
          events: z
            .array(z.enum(jobEvents))
            .min(1, 'must name at least one event')
            .max(MAX_EVENTS, atMostItems(MAX_EVENTS))
            .optional()
            .meta({ description: 'Default: all events.' }),
        })
        .optional()
        .meta({ description: 'Sends an event when the job has ended (docs/webhooks.md).' }),
    })
    .superRefine(checkedBy((body) => notExactlyOne(body, ['text', 'texts'])))
    .meta({ id: 'CreateJob', oneOf: [{ required: ['text'] }, { required: ['texts'] }] });

  const predict = z
    .strictObject({
      text: text.optional(),
      inputs: z
        .union([text, z.array(z.union([text, z.array(text)]))])
        .superRefine(checkedBy((inputs) => teiProblem(inputs, config.MAX_TEXTS_PER_JOB)))
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
    .superRefine(checkedBy((body) => notExactlyOne(body, ['text', 'inputs'])))
    .superRefine((body, context) => {
      if (body.text === undefined) return;
      for (const option of TEI_OPTIONS) {
        if (body[option] === undefined) continue;
        context.addIssue({ code: 'custom', path: [option], message: 'is allowed only with `inputs`' });
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
      description: '`true`: the input is uploaded in parts later, not in this body.',
    }),
    format: z
      .enum(inputFormats)
      .optional()
      .meta({ description: 'Format of the input; default: by `Content-Type`, with `open=true` NDJSON.' }),
    text_field: field.optional().meta({ description: 'Field or column with the text; default `text`.' }),
    id_field: field
      .optional()
      .meta({ description: 'Field or column with your id; default `id`, if the input has one.' }),
    delimiter: z
      .string()
      .regex(/^(?:tab|[!#-~ \t])$/, 'must be `tab` or one ASCII character other than a quote')
      .transform((value) => (value === 'tab' ? '\t' : value))
      .optional()
      .meta({ description: 'CSV: separates fields; default a comma.' }),
    quote: z
      .enum(quoteModes)
      .optional()
      .meta({
        description:
          'CSV: `"`: fields may be quoted and span lines; `none`: quotes are ordinary characters; `line`: a quoted field ' +
          'ends on its line, and a line on which one does not end is read without quoting. Default: `line` for tabs, ' +
          'else `"`.',
      }),
    columns: z.string().min(1, 'must not be empty').optional().meta({
      description:
        'CSV: the header as a CSV record, for input without one. With `open=true` it may also be the body, as `text/csv`.',
    }),
    top_k: z
      .string()
      .regex(/^(?:all|[1-9]\d{0,5})$/, 'must be a number from 1 to 999999, or `all`')
      .transform((value) => (value === 'all' ? null : Number(value)))
      .optional()
      .meta({
        description: 'Labels per text, or `all`. Default 1; with a `threshold`, all that reach it.',
      }),
    threshold: z
      .string()
      .regex(
        new RegExp(`^(?:model|${NUMBER}|\\{ ?${NUMBER_OF_LABEL}(?:, ?${NUMBER_OF_LABEL})* ?\\})$`),
        NO_THRESHOLD,
      )
      .transform(parsedThreshold)
      .pipe(thresholdSchema)
      .optional()
      .meta({ description: `${THRESHOLD} The object as JSON.`, example: '0.5' }),
    function_to_apply: functionToApply.optional(),
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
        `must be one or more of ${batchEvents.join(',')}`,
      )
      .transform((value) => [...new Set(value.split(','))] as (typeof batchEvents)[number][])
      .optional()
      .meta({ description: 'Events to send, comma-separated; default: all. Only with `webhook`.' }),
    first_line: z
      .string()
      .regex(/^[1-9]\d{0,12}$/, 'must be a whole number from 1')
      .transform(Number)
      .optional()
      .meta({ description: "Line number of the input's first line; default 1." }),
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
      // Older clients send `{use_cache, wait_for_model}`, both of which describe what the API does anyway.
      options: z.record(z.string(), z.unknown()).optional(),
    })
    .meta({ id: 'HfClassify', description: 'The request of the Hugging Face Inference API.' });

  return { createJob, createBatch, predict, hfClassify };
}
export type RequestSchemas = ReturnType<typeof createRequestSchemas>;
export type CreateJobBody = z.output<RequestSchemas['createJob']>;
export type CreateBatchQuery = z.output<RequestSchemas['createBatch']>;
export type PredictBody = z.output<RequestSchemas['predict']>;

const THRESHOLD =
  'Least score of a label that is chosen: `labels` are those that reach it, best first, possibly none. A number for all, an object ' +
  "with a number for each label that may be chosen, or `model`: the model's own (`thresholds` of `GET /v1/models`).";

/** A number, and a member of an object, as JSON writes them. */
const NUMBER = String.raw`-?(?:0|[1-9]\d{0,8})(?:\.\d{1,17})?(?:e-?\d{1,2})?`;
const NUMBER_OF_LABEL = String.raw`"(?:[^"\\\u0000-\u001f]|\\["\\]){1,200}": ?${NUMBER}`;

const TEI_OPTIONS = ['truncate', 'truncation_direction', 'raw_scores'] as const;

/**
 * Text-embeddings-inference reads `"a"` and `["a"]` as one text, `["a", "b"]` as a pair, and `[["a"], ["b"]]` as a batch.
 * Single-sentence classifiers cannot use pairs.
 * @returns the problem with the shape of `inputs`, and its path
 */
function teiProblem(
  inputs: string | (string | string[])[],
  maxTexts: number,
): { path: number[]; message: string } | undefined {
  if (typeof inputs === 'string') return undefined;
  const asBatch = 'a batch is a list of lists, as in [["a"], ["b"]]';
  const pair = 'is a pair of texts, which this model cannot classify';
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
    .superRefine(checkedBy((value) => shortStringProblem(value, maxChars)))
    .meta({ minLength: 1, maxLength: maxChars, pattern: '^[^\\u0000]+$' });
}

function shortStringProblem(value: string, maxChars: number): string | undefined {
  if (value === '') return 'must not be empty';
  if (!value.isWellFormed() || value.includes('\0')) return 'contains a NUL or a lone surrogate';
  return tooManyChars(value, maxChars);
}

/** Bytes of a value as UTF-8 JSON; undefined when it is nested too deeply to be serialized. */
function jsonBytes(value: unknown): number | undefined {
  try {
    return Buffer.byteLength(JSON.stringify(value));
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function notExactlyOne<K extends string>(
  body: Partial<Record<K, unknown>>,
  [first, second]: readonly [K, K],
): string | undefined {
  if ((body[first] === undefined) !== (body[second] === undefined)) return undefined;
  return body[first] === undefined
    ? `give \`${first}\` or \`${second}\``
    : `give either \`${first}\` or \`${second}\`, not both`;
}

/** A check by a function that says what is wrong with a value, if anything, and where. */
function checkedBy<T>(
  problemOf: (value: T) => string | { path: (string | number)[]; message: string } | undefined,
) {
  return (value: T, context: z.core.$RefinementCtx<T>): void => {
    const problem = problemOf(value);
    if (problem === undefined) return;
    context.addIssue({ code: 'custom', ...(typeof problem === 'string' ? { message: problem } : problem) });
  };
}
