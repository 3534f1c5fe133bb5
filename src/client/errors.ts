/** What can go wrong between the client and the API, and whether trying again can help. */

import { STATUS_CODES } from 'node:http';

/** No answer, or half of one. `code` is the system's, such as ECONNREFUSED. */
export class ConnectionError extends Error {
  override name = 'ConnectionError';
  readonly code: string;

  constructor(code: string, message: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

/** The API refused, with a problem document (RFC 9457), or something before it did, without one. */
export class ApiError extends Error {
  override name = 'ApiError';
  readonly status: number;
  /** Of the problem document, such as `part_conflict`; undefined when there was none. */
  readonly code: string | undefined;
  readonly title: string;
  readonly detail: string | undefined;
  /** Seconds to wait before the next try, if the server said so. */
  readonly retryAfterS: number | undefined;

  constructor(status: number, problem: Problem, retryAfterS?: number) {
    const title = problem.title ?? STATUS_CODES[status] ?? `HTTP status ${status}`;
    super(problem.detail === undefined ? title : `${title}: ${problem.detail}`);
    this.status = status;
    this.code = problem.code;
    this.title = title;
    this.detail = problem.detail;
    this.retryAfterS = retryAfterS;
  }
}

export interface Problem {
  title?: string | undefined;
  detail?: string | undefined;
  code?: string | undefined;
}

/** What answered does not speak Amulet's contract. */
export class ProtocolError extends Error {
  override name = 'ProtocolError';
}

/** Request Timeout, Too Early, Too Many Requests. */
const TEMPORARY_4XX = new Set([408, 425, 429]);
/** Not Implemented, HTTP Version Not Supported: these do not pass. */
const FINAL_5XX = new Set([501, 505]);
/** Certificates and such: somebody has to mend them. */
const FINAL_CONNECTION =
  /^(CERT_|ERR_TLS_|ERR_SSL_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|HOSTNAME_MISMATCH|EPROTO$|HPE_)/;

/** Whether the same request may succeed later. */
export function isTemporary(error: unknown): boolean {
  if (error instanceof ConnectionError) return !FINAL_CONNECTION.test(error.code);
  if (!(error instanceof ApiError)) return false;
  return error.status >= 500 ? !FINAL_5XX.has(error.status) : TEMPORARY_4XX.has(error.status);
}
