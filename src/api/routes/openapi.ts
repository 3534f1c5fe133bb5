/** OpenAPI fragments and parameter schemas shared by several routes. */
import { z } from '@hono/zod-openapi';
import { problemSchema } from '../../shared/contract/responses.ts';
import { NAME, NAME_RULE } from '../../shared/contract/names.ts';

export const json = <S extends z.ZodType>(description: string, schema: S) => ({
  description,
  content: { 'application/json': { schema } },
});

/** A JSON body. @param examples `example` or `examples`, as in OpenAPI */
export const jsonRequest = <S extends z.ZodType, E extends object>(schema: S, examples: E) => ({
  required: true,
  content: { 'application/json': { schema, ...examples } },
});

export const problem = (description: string) => ({
  description,
  content: { 'application/problem+json': { schema: problemSchema } },
});

export const BAD_BODY = {
  400: problem('The body is missing or not valid JSON, or a header is malformed.'),
  408: problem('The body did not arrive in time.'),
  413: problem('The body is too large.'),
  415: problem('The body is not JSON.'),
  422: problem('The body is not valid; `errors` names the fields.'),
};

/** The queue, Redis or its disk has no room, or the key has made too many requests. */
export const FULL = {
  429: problem('The queue or Redis is full, or this key has made too many requests; see `Retry-After`.'),
  507: problem('The disk of Redis has too little free space; see `Retry-After`.'),
};

/** Printable ASCII, like all HTTP header values. */
const IDEMPOTENCY_KEY = /^[\x21-\x7e](?:[\x20-\x7e]{0,254}[\x21-\x7e])?$/;

export const IDEMPOTENCY_HEADER = z.object({
  'idempotency-key': z
    .string()
    .regex(IDEMPOTENCY_KEY, 'must be 1 to 256 printable ASCII characters')
    .optional()
    .openapi({
      description: 'A repeat with the same key and content returns what the first request created.',
    }),
});

/** Header that marks the response as that of an earlier request. The name is Stripe's: the IETF draft has none. */
export const REPLAYED = 'Idempotent-Replayed';

/** A response that may belong to an earlier request with the same key. */
export const replayable = <R extends object>(response: R) => ({
  ...response,
  headers: {
    [REPLAYED]: {
      description: 'Only for a repeated `Idempotency-Key`: an earlier request created what is shown.',
      schema: { type: 'string' as const, enum: ['true'] },
    },
  },
});

/** An id in a path. A malformed id is not refused here: it is unknown like any other, a 404. */
export const idInPath = (pattern: RegExp, example: string) =>
  z.string().openapi({ pattern: pattern.source, example });

/** For operations without a query: refuses any, because a misspelt option would be ignored silently. */
export const NO_QUERY = z.strictObject({});

/** A number in a path or a query. */
export const wholeNumber = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d{1,16}$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.number().min(min).max(max))
    .openapi({ type: 'integer', minimum: min, maximum: max });

export const PAGE =
  'A page; the next page comes `after` its `next`, which is null on the last page. A filtered page may be short or empty and still have a next one.';

export const DEFAULT_PAGE = 20;
const MAX_PAGE = 100;

/**
 * Query of a list.
 * @param pattern of the ids in the list
 * @param status the statuses that its entries may have
 */
export const pageQuery = <S extends z.ZodType<string>>(pattern: RegExp, status: S) =>
  z.strictObject({
    status: status.optional().openapi({ description: 'Only entries with this status.' }),
    model: z
      .string()
      .regex(NAME, `is not a model name: it must be ${NAME_RULE}`)
      .optional()
      .openapi({ description: 'Only entries of this model.' }),
    limit: wholeNumber(1, MAX_PAGE)
      .optional()
      .openapi({ description: `Entries per page; default ${DEFAULT_PAGE}.` }),
    after: z
      .string()
      .regex(pattern, 'must be the `next` of another page')
      .optional()
      .openapi({ description: '`next` of the previous page.' }),
  });
