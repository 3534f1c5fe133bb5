import { STATUS_CODES } from 'node:http';
import { describe, expect, test } from 'vitest';
import { problemSchema } from '../../src/shared/contract/responses.ts';
import { rowErrorCodes, AppError, PROBLEMS, type ProblemCode } from '../../src/shared/contract/problems.ts';
import { EXIT_CONFIG, StartupError } from '../../src/shared/runtime/startup-error.ts';
import { toError } from '../../src/shared/runtime/to-error.ts';

const EXPECTED: Record<ProblemCode, number> = {
  empty_body: 400,
  malformed_json: 400,
  malformed_body: 400,
  malformed_header: 400,
  unauthorized: 401,
  foreign_origin: 403,
  no_api_key: 403,
  admin_only: 403,
  not_found: 404,
  job_not_found: 404,
  batch_not_found: 404,
  delivery_not_found: 404,
  model_not_found: 404,
  method_not_allowed: 405,
  body_timeout: 408,
  upload_idle: 408,
  batch_not_open: 409,
  batch_not_failed: 409,
  batch_canceled: 409,
  delivery_not_pending: 409,
  part_conflict: 409,
  parts_mismatch: 409,
  revision_gone: 409,
  job_canceled: 409,
  model_in_use: 409,
  input_lost: 410,
  input_damaged: 410,
  results_damaged: 410,
  batch_expired: 410,
  body_too_large: 413,
  unsupported_media_type: 415,
  invalid_request: 422,
  idempotency_mismatch: 422,
  text_too_long: 422,
  too_many_scores: 422,
  unreadable_text: 422,
  rate_limited: 429,
  queue_full: 429,
  quota_reached: 429,
  inference_failed: 500,
  poison_input: 500,
  internal_error: 500,
  job_expired: 503,
  redis_unavailable: 503,
  redis_full: 503,
  blob_store_unavailable: 503,
  bodies_full: 503,
  requests_full: 503,
  downloads_full: 503,
  uploads_full: 503,
  worker_outdated: 503,
  no_worker: 503,
  shutting_down: 503,
  predict_timeout: 504,
  blob_store_full: 507,
  redis_disk_full: 507,
};

test('codes and statuses stay as callers know them', () => {
  expect(Object.fromEntries(Object.entries(PROBLEMS).map(([code, { status }]) => [code, status]))).toEqual(
    EXPECTED,
  );
});

describe.each(Object.entries(PROBLEMS))('%s', (code, { status, title }) => {
  test('has an error status of HTTP', () => {
    expect(status).toBeGreaterThanOrEqual(400);
    expect(STATUS_CODES[status]).toBeDefined();
  });
  test('is a problem document of the contract', () => {
    expect(
      problemSchema.parse({ type: `urn:amulet:problem:${code}`, title, status, detail: 'd', code }),
    ).toMatchObject({ code, status });
  });
});

test('a code that is not in the table is no problem document', () => {
  const document = { type: 't', title: 't', status: 418, detail: 'd', code: 'teapot' };
  expect(problemSchema.safeParse(document).success).toBe(false);
});

test('the table has every error code of rows', () => {
  expect(Object.keys(PROBLEMS)).toEqual(expect.arrayContaining([...rowErrorCodes]));
});

test('errors carry their code, options and cause', () => {
  const cause = new Error('socket closed');
  const error = new AppError('redis_unavailable', 'Redis is away', { retryAfterS: 2, cause });
  expect(error).toMatchObject({
    name: 'AppError',
    code: 'redis_unavailable',
    message: 'Redis is away',
    cause,
  });
  expect(error.options.retryAfterS).toBe(2);
  expect(new StartupError('x')).toMatchObject({ name: 'StartupError', message: 'x' });
  expect(EXIT_CONFIG).toBe(78);
});

test('toError keeps errors and wraps the rest', () => {
  const error = new TypeError('x');
  expect(toError(error)).toBe(error);
  expect(toError('text').message).toBe('text');
  expect(toError(undefined).message).toBe('undefined');
});
