/** What the requests of this process may hold together, each bounded by a setting and shared fairly among owners. */
import type { Config } from '../../shared/runtime/config.ts';
import { AppError, type ProblemCode } from '../../shared/contract/problems.ts';
import { FairShare } from './fair-share.ts';

export interface InFlight {
  /** Until they are answered: most wait for a job. */
  requests: FairShare;
  /** Bytes of bodies that have come, until their requests are answered. Uploads, which are stored as they come, are none. */
  bodyBytes: FairShare;
  /** Uploads to batches: each holds a piece, a chunk and a record, and what the blob store writes at once. */
  uploads: FairShare;
  /** Results of batches that are being read, to their end; followers look into Redis twice a second. */
  downloads: FairShare;
}

export function inFlightLimits(config: Config): InFlight {
  // A body of the largest size must fit into the share of an owner who is alone.
  const bodyBytes = Math.max(config.MAX_BODIES_BYTES, 2 * config.MAX_BODY_BYTES);
  return {
    requests: new FairShare(config.MAX_REQUESTS, full('requests_full', 'requests', 1)),
    bodyBytes: new FairShare(bodyBytes, full('bodies_full', 'bytes of bodies', 1)),
    uploads: new FairShare(config.MAX_UPLOADS, full('uploads_full', 'uploads', 5)),
    downloads: new FairShare(config.MAX_DOWNLOADS, full('downloads_full', 'downloads of results', 5)),
  };
}

const full = (code: ProblemCode, what: string, retryAfterS: number) => (own: boolean) =>
  new AppError(
    code,
    own
      ? `this key has as many ${what} in flight as one may; try again when some are done`
      : `this server has as many ${what} in flight as it takes; try again in a moment`,
    { retryAfterS },
  );
