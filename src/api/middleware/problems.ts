/**
 * Problem documents (RFC 9457): turns errors into responses. No other file knows how an error looks over HTTP. Limits their size:
 * whatever a caller sends, the response has less than 64 KB.
 */
import type { Context, ErrorHandler, NotFoundHandler } from 'hono';
import { HTTPException } from 'hono/http-exception';
import type { z } from 'zod';
import { DamagedInput, inputProblem } from '../../shared/store/batches/input.ts';
import { BlobError, toAppError } from '../../shared/blobs/blob-store.ts';
import { AppError, PROBLEMS, type FieldError, type ProblemCode } from '../../shared/contract/problems.ts';
import { toError } from '../../shared/runtime/to-error.ts';
import { shownId } from '../../shared/contract/ids.ts';
import type { Logger } from '../../shared/runtime/logger.ts';
import { shorten } from '../../shared/contract/text.ts';
import type { AppEnv } from '../env.ts';
import { setHeader } from './response-headers.ts';

const MAX_ERRORS = 20;
const MAX_PATH_CHARS = 160;
const MAX_MESSAGE_CHARS = 300;
const MAX_DETAIL_CHARS = 2000;
/** Longest detail that repeats `errors`. */
const MAX_SUMMARY_CHARS = 500;

function problemResponse(c: Context<AppEnv>, error: AppError): Response {
  const { status, title } = PROBLEMS[error.code];
  c.set('problem', error.code);
  const { errors, retryAfterS, extra } = error.options;
  if (retryAfterS !== undefined) setHeader(c, 'Retry-After', String(retryAfterS));
  if (status === 401) setHeader(c, 'WWW-Authenticate', c.get('challenge') ?? 'Bearer realm="amulet"');
  const body = {
    type: `urn:amulet:problem:${error.code}`,
    title,
    status,
    detail: shorten(error.message, MAX_DETAIL_CHARS),
    code: error.code,
    ...(errors ? shownErrors(errors) : {}),
    ...extra,
    request_id: c.get('requestId'),
  };
  return c.body(JSON.stringify(body), status, { 'Content-Type': 'application/problem+json' });
}

function shownErrors(errors: readonly FieldError[]) {
  const shown = errors.slice(0, MAX_ERRORS).map(({ path, message }) => ({
    path: shorten(path, MAX_PATH_CHARS),
    message: shorten(message, MAX_MESSAGE_CHARS),
  }));
  return { errors: shown, ...(errors.length > MAX_ERRORS ? { errors_total: errors.length } : {}) };
}

export function onError(logger: Logger): ErrorHandler<AppEnv> {
  return (thrown, c) => {
    // The caller hung up in the middle of the body: no error of the server, and no one reads the response.
    if ((c.env as Partial<AppEnv['Bindings']> | undefined)?.incoming?.errored === thrown)
      return problemResponse(c, new AppError('malformed_body', 'the connection ended before the body did'));
    const error = translate(thrown);
    if (error instanceof AppError) {
      if (error.code === 'redis_unavailable')
        logger.debug({ path: c.req.path, reason: error.message }, 'Redis is unavailable: answered 503');
      if (thrown instanceof BlobError || thrown instanceof DamagedInput)
        logger.warn({ path: c.req.path, reason: thrown.message }, 'blob store failed');
      return problemResponse(c, error);
    }
    logger.error({ err: toError(thrown), request: c.get('requestId'), path: c.req.path }, 'unexpected error');
    return problemResponse(
      c,
      new AppError('internal_error', 'an unexpected error occurred; it has been logged'),
    );
  };
}

/**
 * Answers 405 for a known path without this method, 404 for all others. The router only reports that no route matched, so the paths
 * are compared again here. Routes call it, too, for files that they do not have.
 * @param routes all routes of the application, with `:name` for parameters
 */
export function onNotFound(routes: { method: string; path: string }[]): NotFoundHandler<AppEnv> {
  const known = routes
    .filter(({ method }) => method !== 'ALL')
    .map(({ method, path }) => ({
      method,
      pattern: new RegExp(`^${path.replaceAll('.', '\\.').replaceAll(/:[^/]+/g, '[^/]+')}$`),
    }));
  const methodsOf = (path: string) => [
    ...new Set(
      known
        .filter(({ pattern }) => pattern.test(path))
        .flatMap(({ method }) => (method === 'GET' ? ['GET', 'HEAD'] : [method])),
    ),
  ];
  return (c) => {
    const { method, path } = c.req;
    const methods = methodsOf(path);
    if (methods.length === 0 || methods.includes(method)) {
      const meant = alternatives(path).find((other) => methodsOf(other).length > 0);
      const hint = meant === undefined ? 'see /docs' : `did you mean ${meant}?`;
      return problemResponse(c, new AppError('not_found', `there is no ${shownId(path)} here; ${hint}`));
    }
    setHeader(c, 'Allow', methods.join(', '));
    if (method === 'OPTIONS') return c.body(null, 204);
    return problemResponse(
      c,
      new AppError('method_not_allowed', `${shownId(path)} allows only ${methods.join(', ')}`),
    );
  };
}

/** Paths that may have been meant: with other slashes, in lower case, or below /v1. */
function alternatives(path: string): string[] {
  const plain = path.replaceAll(/\/{2,}/g, '/').replace(/(.)\/$/, '$1');
  const lower = plain.toLowerCase();
  return [plain, lower, `/v1${lower}`].filter((other) => other !== path);
}

function translate(thrown: unknown): unknown {
  if (thrown instanceof HTTPException) return fromHttpException(thrown);
  const lost = inputProblem(thrown);
  if (lost) return new AppError(lost.code, lost.message, { cause: thrown });
  return thrown instanceof BlobError ? toAppError(thrown) : thrown;
}

/** Hono's own validators throw HTTPExceptions. */
function fromHttpException(exception: HTTPException): unknown {
  const codes: Record<number, ProblemCode> = {
    400: 'malformed_json',
    413: 'body_too_large',
    415: 'unsupported_media_type',
  };
  const code = codes[exception.status];
  return code ? new AppError(code, exception.message) : exception;
}

/** The error `invalid_request` for input that its schema refuses. */
export function invalidInput(issues: z.core.$ZodIssue[]): AppError {
  return invalidRequest(withoutWiderLimits(issues).flatMap((issue) => toFieldErrors(issue, [])));
}

/** Keeps the narrower of two limits of a field: a number beyond 2^53 also exceeds the limit of the schema. */
function withoutWiderLimits(issues: z.core.$ZodIssue[]): z.core.$ZodIssue[] {
  const limitOf = (issue: z.core.$ZodIssue) =>
    issue.code === 'too_big'
      ? Number(issue.maximum)
      : issue.code === 'too_small'
        ? -Number(issue.minimum)
        : undefined;
  const placeOf = ({ code, path }: z.core.$ZodIssue) => `${code} ${path.join('.')}`;
  const narrowest = new Map<string, number>();
  for (const issue of issues) {
    const limit = limitOf(issue);
    if (limit === undefined) continue;
    const place = placeOf(issue);
    narrowest.set(place, Math.min(limit, narrowest.get(place) ?? Infinity));
  }
  return issues.filter((issue) => {
    const limit = limitOf(issue);
    return limit === undefined || limit === narrowest.get(placeOf(issue));
  });
}

/** The error `invalid_request`, which names the invalid fields. */
export function invalidRequest(errors: FieldError[]): AppError {
  const said = errors
    .slice(0, MAX_ERRORS)
    .map(({ path, message }) => {
      const shown = shorten(path, MAX_PATH_CHARS);
      // Some messages about the whole body are sentences without a subject: `must be an object`.
      const subject = shown === '' && message.startsWith('must ') ? 'the body' : shown;
      return subject === '' ? message : `${subject} ${message}`;
    })
    .join('; ');
  const more = errors.length > MAX_ERRORS ? `; and ${errors.length - MAX_ERRORS} more` : '';
  return new AppError('invalid_request', shorten(said, MAX_SUMMARY_CHARS) + more, { errors });
}

const NAMES: Record<string, string> = {
  string: 'a string',
  array: 'a list',
  object: 'an object',
  record: 'an object',
  int: 'a whole number',
};

function toFieldErrors(issue: z.core.$ZodIssue, prefix: PropertyKey[]): FieldError[] {
  const path = [...prefix, ...issue.path];
  const wrong = (message: string) => [{ path: path.map(String).join('.'), message }];
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => ({
        path: [...path, key].map(String).join('.'),
        message: 'is not a known field',
      }));
    case 'invalid_type':
      return wrong(`must be ${NAMES[issue.expected] ?? `a ${issue.expected}`}`);
    case 'invalid_union': {
      // The branch that was meant is the one whose errors are not about the type of the value itself.
      const meant = issue.errors.find(
        (branch) =>
          branch.length > 0 &&
          branch.every((inner) => inner.path.length > 0 || inner.code !== 'invalid_type'),
      );
      if (meant) return meant.flatMap((inner) => toFieldErrors(inner, path));
      const expected = issue.errors.flatMap((branch) =>
        branch.map((inner) =>
          inner.code === 'invalid_type' ? (NAMES[inner.expected] ?? inner.expected) : inner.message,
        ),
      );
      return wrong(`must be ${[...new Set(expected)].join(' or ')}`);
    }
    case 'too_small':
      return wrong(
        issue.message.startsWith('Too small') ? `must be at least ${issue.minimum}` : issue.message,
      );
    case 'too_big':
      return wrong(issue.message.startsWith('Too big') ? `must be at most ${issue.maximum}` : issue.message);
    case 'invalid_value':
      return wrong(`must be one of ${issue.values.map(String).join(', ')}`);
    default:
      return wrong(issue.message);
  }
}
