/** What the requests of this process may hold together, each bounded by a setting and shared fairly among owners. */
import type { Config } from '../shared/config.ts';
import { AppError, type ProblemCode } from '../shared/errors.ts';
import { FairShare } from './fair-share.ts';

export interface InFlight {
  /** Bytes of bodies that have come, until their requests are answered. Uploads, which are stored as they come, are none. */
  bodyBytes: FairShare;
  /** Uploads to batches: each holds a piece, a chunk and a record, and what the blob store writes at once. */
  uploads: FairShare;
}

export function inFlightLimits(config: Config): InFlight {
  // A body of the largest size must fit into the share of an owner who is alone.
  const bodyBytes = Math.max(config.MAX_BODIES_BYTES, 2 * config.MAX_BODY_BYTES);
  return {
    bodyBytes: new FairShare(bodyBytes, full('bodies_full', 'bytes of bodies', 1)),
    uploads: new FairShare(config.MAX_UPLOADS, full('uploads_full', 'uploads', 5)),
  };
}

const full = (code: ProblemCode, what: string, retryAfterS: number) => (own: boolean) =>
  new AppError(
    code,
    own
      ? `your requests in flight have as many ${what} as one key may; try again when some are done`
      : `requests in flight have as many ${what} as this server takes; try again in a moment`,
    { retryAfterS },
  );
