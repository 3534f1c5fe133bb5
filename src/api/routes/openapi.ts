/** What several routes say of themselves, and ask of a request, in the same words. */
import { z } from '@hono/zod-openapi';
import { problemSchema } from '../../shared/contract/responses.ts';
import { NAME, NAME_RULE } from '../../shared/contract/names.ts';

export const json = <S extends z.ZodType>(description: string, schema: S) => ({
  description,
  content: { 'application/json': { schema } },
});

export const problem = (description: string) => ({
  description,
  content: { 'application/problem+json': { schema: problemSchema } },
});

export const UNAVAILABLE = {
  503: problem('Redis is away or full, or too much is in flight; try again after `Retry-After` seconds.'),
};

export const BAD_BODY = {
  400: problem('No body, no valid JSON, or a malformed header.'),
  408: problem('The body did not come in time.'),
  413: problem('The body is too large.'),
  415: problem('The body is not JSON.'),
  422: problem('The body does not keep to the contract; `errors` names the fields.'),
};

/** The queue, Redis or its disk has no room; or the key has made too many requests. */
export const FULL = {
  429: problem('No room for more just now, or too many requests of this key; see `Retry-After`.'),
  507: problem('The disk of Redis has too little room; see `Retry-After`.'),
};

/** Printable ASCII, as HTTP header values are. */
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

/** Says that an answer is that of an earlier request. Stripe's name for it: the IETF draft has none. */
export const REPLAYED = 'Idempotent-Replayed';

/** A response that may be that of an earlier request with the same key. */
export const replayable = <R extends object>(response: R) => ({
  ...response,
  headers: {
    [REPLAYED]: {
      description: 'Only for a repeated `Idempotency-Key`: an earlier request made what is shown.',
      schema: { type: 'string' as const, enum: ['true'] },
    },
  },
});

/** An id in a path. Whatever is not one is as unknown as any other that is not there: the service answers 404. */
export const idInPath = (pattern: RegExp, example: string) =>
  z.string().openapi({ pattern: pattern.source, example });

/** For operations that take no query: a misspelt option would be ignored without a word. */
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
  'A page; `next` is what the following one comes `after`, null on the last. A filtered page may be short, or empty, and have a next one all the same.';

export const DEFAULT_PAGE = 20;
const MAX_PAGE = 100;

/** Which page of a list, and of what. @param pattern of the ids that it has; and which statuses they may have */
export const pageQuery = <S extends z.ZodType<string>>(pattern: RegExp, status: S) =>
  z.strictObject({
    status: status.optional().openapi({ description: 'Only those with this status.' }),
    model: z
      .string()
      .regex(NAME, `is not a model name: it must be ${NAME_RULE}`)
      .optional()
      .openapi({ description: 'Only those of this model.' }),
    limit: wholeNumber(1, MAX_PAGE)
      .optional()
      .openapi({ description: `How many; default ${DEFAULT_PAGE}.` }),
    after: z
      .string()
      .regex(pattern, 'must be the `next` of another page')
      .optional()
      .openapi({ description: '`next` of the previous page.' }),
  });
