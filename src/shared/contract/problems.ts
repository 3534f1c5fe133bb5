/**
 * All errors that a caller can get: code → HTTP status and title (RFC 9457 problem details).
 *
 * Code below the HTTP layer throws an AppError, which `middleware/problems.ts` turns into a response. Any other error is a bug: it is
 * logged in full and answered with a bare 500.
 */
export const PROBLEMS = {
  empty_body: { status: 400, title: 'The request has no body' },
  malformed_json: { status: 400, title: 'The body is not valid JSON' },
  malformed_body: { status: 400, title: 'The body cannot be decoded' },
  malformed_header: { status: 400, title: 'A request header is malformed' },
  unauthorized: { status: 401, title: 'No valid API key' },
  foreign_origin: { status: 403, title: 'Requests from this origin are refused' },
  no_api_key: { status: 403, title: 'This needs an API key' },
  admin_only: { status: 403, title: 'This needs an admin key' },
  not_found: { status: 404, title: 'No such path' },
  job_not_found: { status: 404, title: 'No such job' },
  batch_not_found: { status: 404, title: 'No such batch' },
  delivery_not_found: { status: 404, title: 'No such delivery' },
  model_not_found: { status: 404, title: 'No such model' },
  method_not_allowed: { status: 405, title: 'Method not allowed' },
  body_timeout: { status: 408, title: 'The body took too long' },
  upload_idle: { status: 408, title: 'The upload stalled' },
  batch_not_open: { status: 409, title: 'The batch takes no more parts' },
  batch_not_failed: {
    status: 409,
    title: 'Only a failed batch, or one with damaged results, can be resumed',
  },
  delivery_not_pending: { status: 409, title: 'Only a pending delivery can be canceled' },
  part_conflict: { status: 409, title: 'Another part has this number' },
  parts_mismatch: { status: 409, title: 'The parts do not match those uploaded' },
  model_in_use: { status: 409, title: 'The model is in use' },
  body_too_large: { status: 413, title: 'The body is too large' },
  unsupported_media_type: { status: 415, title: 'Unsupported media type' },
  invalid_request: { status: 422, title: 'The request is not valid' },
  idempotency_mismatch: { status: 422, title: 'This Idempotency-Key was used with another body' },
  too_many_scores: { status: 422, title: 'The request asks for too many scores' },
  rate_limited: { status: 429, title: 'Too many requests' },
  queue_full: { status: 429, title: 'The queue is full' },
  quota_reached: { status: 429, title: 'The limit for bulk data is reached' },
  internal_error: { status: 500, title: 'Internal error' },
  redis_unavailable: { status: 503, title: 'Redis is not reachable' },
  redis_full: { status: 503, title: 'Redis has no memory left' },
  blob_store_unavailable: { status: 503, title: 'The blob store does not work' },
  bodies_full: { status: 503, title: 'Too many bytes of bodies are in flight' },
  requests_full: { status: 503, title: 'Too many requests are in flight' },
  downloads_full: { status: 503, title: 'Too many results are being read' },
  uploads_full: { status: 503, title: 'Too many uploads are in flight' },
  worker_outdated: { status: 503, title: 'Workers of this model are of an earlier version' },
  no_worker: { status: 503, title: 'No live worker serves this model' },
  shutting_down: { status: 503, title: 'The server is shutting down' },
  predict_timeout: { status: 504, title: 'The prediction took too long' },
  blob_store_full: { status: 507, title: 'The blob store has no space left' },
  redis_disk_full: { status: 507, title: 'The disk of Redis has too little room' },

  // Outcomes of a job or batch as a whole; also answers to a request that waits for it or asks for its results.
  job_canceled: { status: 409, title: 'The job was canceled' },
  revision_gone: { status: 409, title: 'The model revision of the batch is no longer served' },
  batch_canceled: { status: 409, title: 'The batch was canceled' },
  input_lost: { status: 410, title: 'The input of the batch is gone' },
  input_damaged: { status: 410, title: 'The input of the batch is damaged' },
  results_damaged: { status: 410, title: 'Results of the batch are damaged' },
  batch_expired: { status: 410, title: 'The batch was not completed in time' },
  job_expired: { status: 503, title: 'The job expired before it was started' },

  // Outcomes of one text (rowErrorCodes); also answers to a request with a single text.
  text_too_long: { status: 422, title: 'The text is longer than the model can read' },
  unreadable_text: { status: 422, title: 'The model cannot read the text' },
  inference_failed: { status: 500, title: 'The model failed on this text' },
  poison_input: { status: 500, title: 'This text crashes the model' },
} as const satisfies Record<string, { status: number; title: string }>;

export type ProblemCode = keyof typeof PROBLEMS;

/** Why one text of a job or batch has no label: codes of PROBLEMS that stand in its place among the results. */
export const rowErrorCodes = [
  'text_too_long',
  'unreadable_text',
  'inference_failed',
  'poison_input',
] as const satisfies ProblemCode[];

/** Why one record of a batch has no text to classify. Such an error stands in the results alone and has no HTTP status. */
export const recordErrorCodes = [
  'invalid_encoding',
  'invalid_id',
  'invalid_record',
  'invalid_text',
  'record_too_long',
] as const;
export type RecordErrorCode = (typeof recordErrorCodes)[number];

/** One invalid place in a request. `path` is the dotted way to the field, empty for the body as a whole. */
export interface FieldError {
  path: string;
  message: string;
}

export interface AppErrorOptions {
  /** The invalid fields, for `invalid_request` and errors about texts; an answer shows the first 20. */
  errors?: FieldError[];
  /** Seconds, sent as `Retry-After`. */
  retryAfterS?: number;
  /** Further members of the problem document, such as the id of a job that continues after a 504. */
  extra?: Record<string, unknown>;
  cause?: unknown;
}

/** An error with a code of PROBLEMS; `message` is the human-readable detail and may be shown to the caller. */
export class AppError extends Error {
  readonly code: ProblemCode;
  readonly options: AppErrorOptions;

  constructor(code: ProblemCode, detail: string, options: AppErrorOptions = {}) {
    super(detail, { cause: options.cause });
    this.name = 'AppError';
    this.code = code;
    this.options = options;
  }
}
