/** In-flight limits: what the requests of this process may hold together, each limit a setting and shared fairly among owners. */
import type { Config } from '../../shared/runtime/config.ts';
import { AppError, type ProblemCode } from '../../shared/contract/problems.ts';
import { FairShare, type ReachedLimit } from './fair-share.ts';

export interface InFlight {
  /** Requests that are not answered yet; most wait for a job. */
  requests: FairShare;
  /** Bytes of the bodies received for unanswered requests. Uploads do not count: they are stored as they arrive. */
  bodyBytes: FairShare;
  /** Uploads to batches: each holds a piece, a chunk and a record, and what the blob store writes at once. */
  uploads: FairShare;
  /** Downloads of batch results, until the last byte; one that follows a running batch asks Redis twice a second. */
  downloads: FairShare;
}

export function inFlightLimits(config: Config): InFlight {
  // A body of the largest size must fit into the share of a single owner.
  const bodyBytes = Math.max(config.MAX_BODIES_BYTES, 2 * config.MAX_BODY_BYTES);
  return {
    requests: new FairShare(config.MAX_REQUESTS, full('requests_full', 'requests', 1)),
    bodyBytes: new FairShare(bodyBytes, full('bodies_full', 'bytes of request bodies', 1)),
    uploads: new FairShare(config.MAX_UPLOADS, full('uploads_full', 'uploads', 5)),
    downloads: new FairShare(config.MAX_DOWNLOADS, full('downloads_full', 'downloads of results', 5)),
  };
}

const full = (code: ProblemCode, what: string, retryAfterS: number) => (reached: ReachedLimit) =>
  new AppError(
    code,
    reached === 'owner'
      ? `this key has the most ${what} in flight that one key may have; try again when some are finished`
      : `this server has the most ${what} in flight that it accepts; try again in a moment`,
    { retryAfterS },
  );
