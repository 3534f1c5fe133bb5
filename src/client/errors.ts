/** Errors of exchanges with the API, and whether a retry can help. */

/** Base class of this package's errors. An aborted signal's reason is thrown as it is. */
export class AmuletError extends Error {
  override name = 'AmuletError';
  /** Stable, for programs; undefined when the response had none. */
  readonly code: string | undefined;

  constructor(code: string | undefined, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** No response, or a truncated one. `code` is the system's, such as ECONNREFUSED, or NO_CONNECTION in runtimes that hide it. */
export class ConnectionError extends AmuletError {
  override name = 'ConnectionError';
  declare readonly code: string;

  constructor(code: string, message: string, cause?: unknown) {
    super(code, message, { cause });
  }
}

/** An invalid field of a request; `path` is its dotted path, empty for the body as a whole. */
export interface FieldError {
  path: string;
  message: string;
}

/** The used members of a problem document (RFC 9457). */
export interface Problem {
  title?: string | undefined;
  detail?: string | undefined;
  code?: string | undefined;
  errors?: readonly FieldError[] | undefined;
  requestId?: string | undefined;
}

/**
 * The API refused a request with a problem document, or a proxy without one. `code` is that of the document, such
 * as `queue_full`.
 */
export class ApiError extends AmuletError {
  override name = 'ApiError';
  readonly status: number;
  readonly title: string;
  readonly detail: string | undefined;
  /** Invalid fields, for `invalid_request`. */
  readonly errors: readonly FieldError[];
  /** Id of the request in the server's logs. */
  readonly requestId: string | undefined;
  /** Seconds to wait before a retry, if the server asked for it. */
  readonly retryAfterS: number | undefined;

  constructor(status: number, problem: Problem, retryAfterS?: number) {
    const title = problem.title ?? `HTTP status ${status}`;
    super(problem.code, problem.detail === undefined ? title : `${title}: ${problem.detail}`);
    this.status = status;
    this.title = title;
    this.detail = problem.detail;
    this.errors = problem.errors ?? [];
    this.requestId = problem.requestId;
    this.retryAfterS = retryAfterS;
  }
}

/** The response does not follow Amulet's contract. */
export class ProtocolError extends AmuletError {
  override name = 'ProtocolError';

  constructor(message: string) {
    super(undefined, message);
  }
}

/** Request Timeout, Too Early, Too Many Requests. */
const TEMPORARY_4XX = new Set([408, 425, 429]);
/** Not Implemented, HTTP Version Not Supported: permanent. */
const FINAL_5XX = new Set([501, 505]);
/** Errors of certificates and TLS, which a retry does not repair. */
const FINAL_CONNECTION =
  /^(CERT_|ERR_TLS_|ERR_SSL_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|HOSTNAME_MISMATCH|EPROTO$|HPE_)/;

/** Whether the same request may succeed later. */
export function isTemporary(error: unknown): boolean {
  if (error instanceof ConnectionError) return !FINAL_CONNECTION.test(error.code);
  if (!(error instanceof ApiError)) return false;
  return error.status >= 500 ? !FINAL_5XX.has(error.status) : TEMPORARY_4XX.has(error.status);
}
